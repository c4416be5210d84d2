// What is kept of what libbpf says.
#include "tcp/kernel_cc/loader_log.h"

#include <catch2/catch.hpp>
#include <cstdarg>

using haul::tcp::LoaderLog;

namespace {

/// As libbpf does it.
void say(libbpf_print_level level, const char* format, ...) {
  const libbpf_print_fn_t print = libbpf_set_print(nullptr);
  libbpf_set_print(print);
  va_list arguments;
  va_start(arguments, format);
  print(level, format, arguments);
  va_end(arguments);
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

TEST_CASE("loader log: of a long text its end is kept, in one line", "[kernel-cc]") {
  const LoaderLog log;
  say(LIBBPF_WARN, "libbpf: a short one\n");
  CHECK(LoaderLog::text() == "libbpf: a short one ");
  say(LIBBPF_WARN, "log:\n%s%s\n", std::string(100'000, '.').c_str(), "R1 invalid mem access");
  CHECK(has(LoaderLog::text(), "..R1 invalid mem access "));
  CHECK(LoaderLog::text().size() < 4000);
  say(LIBBPF_WARN, "failed to load");
  CHECK(has(LoaderLog::text(), "R1 invalid mem access failed to load"));
}

TEST_CASE("loader log: it begins empty, leaves out what is for developers, and puts the printer back", "[kernel-cc]") {
  const libbpf_print_fn_t before = libbpf_set_print(nullptr);
  {
    const LoaderLog log;
    say(LIBBPF_DEBUG, "libbpf: much");
    CHECK(LoaderLog::text().empty());
  }
  CHECK(libbpf_set_print(before) == nullptr);
}
