// Names, URLs: what is accepted, and what is said of the rest.
#include "object/names.h"

#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "object/url.h"

using namespace haul;
using namespace haul::object;

TEST_CASE("ordinary names are accepted, odd ones too") {
  for (const char* name :
       {"", "a", "a/b/c", "with space", "..a", "a..", "...", "ünï", "\xff\xfe", "a\nb", ".hidden", ".haul-x.part"}) {
    CAPTURE(name);
    CHECK(name_fault(name).empty());
  }
  CHECK(name_fault(std::string(255, 'x')).empty());
}

TEST_CASE("names that could leave the folder, or that no file has, are refused") {
  for (const char* name : {"/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".haul-0123456789abcdef.part",
                           "a/.haul-0123456789abcdef.part"}) {
    CAPTURE(name);
    CHECK(!name_fault(name).empty());
  }
  CHECK(!name_fault(std::string_view("a\0b", 3)).empty());
  CHECK(!name_fault(std::string(256, 'x')).empty());
  std::string deep = "a";
  while (deep.size() <= max_path_bytes) deep += "/a";
  CHECK(!name_fault(deep).empty());
}

TEST_CASE("temporary names are recognised") {
  CHECK(temporary_name(0x1234) == ".haul-0000000000001234.part");
  CHECK(is_temporary_name(temporary_name(~0ULL)));
  CHECK(!is_temporary_name(".haul-000000000000123G.part"));
  CHECK(!is_temporary_name(".haul-.part"));
  CHECK(!is_temporary_name("x.haul-0000000000001234.part"));
}

TEST_CASE("joining and splitting") {
  CHECK(join("", "a") == "a");
  CHECK(join("a", "") == "a");
  CHECK(join("a/b", "c") == "a/b/c");
  CHECK(split("a") == std::pair<std::string_view, std::string_view>("", "a"));
  CHECK(split("a/b/c") == std::pair<std::string_view, std::string_view>("a/b", "c"));
}

TEST_CASE("URLs are taken apart") {
  const auto url = parse_url("haul://example.org:7440//models/llama%202//x%25");
  REQUIRE(url.ok());
  CHECK(url->address.host == "example.org");
  CHECK(url->address.port == 7440);
  CHECK(url->path == "models/llama 2/x%");
  CHECK(!url->folder);
  const auto v6 = parse_url("haul://[::1]:1/a/");
  REQUIRE(v6.ok());
  CHECK(v6->address.host == "::1");
  CHECK(v6->path == "a");
  CHECK(v6->folder);
  for (const char* root : {"haul://h:1", "haul://h:1/", "haul://h:1///"}) {
    const auto parsed = parse_url(root);
    REQUIRE(parsed.ok());
    CHECK(parsed->path.empty());
    CHECK(parsed->folder);
  }
}

TEST_CASE("a URL's text says the same URL") {
  for (const char* text : {"haul://h:1/a%25b", "haul://h:1/a%2520b/", "haul://h:1/"}) {
    const auto url = parse_url(text);
    REQUIRE(url.ok());
    CHECK(url->to_string() == text);
  }
}

TEST_CASE("dot components reach the side that owns the folder") {
  const auto url = parse_url("haul://h:1/../etc/passwd");
  REQUIRE(url.ok());
  CHECK(url->path == "../etc/passwd");
}

TEST_CASE("malformed URLs are refused with the form expected") {
  for (const char* text : {"", "haul:", "haul:/h:1/a", "http://h:1/a", "haul://h/a", "haul://:1/a", "haul://h:0/a",
                           "haul://h:x/a", "haul://h:65536/a", "haul://::1:5/a", "haul://[::1/a", "haul://h:1/%",
                           "haul://h:1/%4", "haul://h:1/%zz", "haul://h:1/a%00b", "haul://h h:1/a"}) {
    CAPTURE(text);
    const auto url = parse_url(text);
    REQUIRE(!url.ok());
    CHECK(url.status().code() == StatusCode::invalid);
    CHECK(url.status().message().find("haul://HOST:PORT/PATH") != std::string_view::npos);
  }
}
