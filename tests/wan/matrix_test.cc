// Matrix files: what they say, and mistakes told with file, line and remedy.
#include "wan/matrix.h"

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

std::string refusal(const std::string& text) {
  const auto matrix = wan::parse_matrix(text, "links.toml");
  REQUIRE_FALSE(matrix.ok());
  return std::string(matrix.status().message());
}

}  // namespace

TEST_CASE("a matrix is links and what runs across them") {
  const auto matrix = wan::parse_matrix(R"(
duration = "5s"
seed = 9
beside = ["cubic", "bbr:8"]
controllers = ["off", "hub"]
transport = "quic"
[[link]]
rate = "100M"
rtt = "20ms"
buffer = "0.5bdp"
loss = "0.1%"
[[link]]
name = "dead"
outages = [{ at = "1s", length = "2s" }]
rival = "cubic"
)",
                                        "text");
  INFO(matrix.status().to_string());
  REQUIRE(matrix.ok());
  CHECK(matrix->duration == 5s);
  CHECK(matrix->seed == 9);
  CHECK(matrix->controllers == std::vector<std::string>{"off", "hub"});
  CHECK(matrix->transport == "quic");
  REQUIRE(matrix->beside.size() == 2);
  CHECK(matrix->beside[1].name() == "iperf3 bbr ×8");
  REQUIRE(matrix->rows.size() == 2);
  CHECK(matrix->rows[0].name == "100 Mbit/s, 20 ms, 0.5 BDP, 0.1 % loss");
  CHECK(matrix->rows[0].link.rate_bytes_s == 12'500'000);
  CHECK_FALSE(matrix->rows[0].rival);
  CHECK(matrix->rows[1].link.outages.size() == 1);
  CHECK(matrix->rows[1].rival->name() == "iperf3 cubic");
}

TEST_CASE("a link without a name is called by all that sets it apart") {
  const auto name = [](const std::string& keys) {
    const auto matrix = wan::parse_matrix("[[link]]\nrate = \"100M\"\nrtt = \"20ms\"\n" + keys, "text");
    INFO(matrix.status().to_string());
    REQUIRE(matrix.ok());
    return matrix->rows.front().name;
  };
  const std::string plain = "100 Mbit/s, 20 ms, 1 BDP";
  CHECK(name("") == plain);
  CHECK(name("loss = 0.001") == plain + ", 0.1 % loss");
  CHECK(name("steps = [{ at = \"2s\", rate = \"10M\" }, { at = \"2500ms\", rate = \"50M\" }]") ==
        plain + ", 10 Mbit/s from 2 s on, 50 Mbit/s from 2.5 s on");
  CHECK(name("reorder = \"0.1%\"\nreorder_delay = \"5ms\"") == plain + ", 0.1 % late by 5 ms");
  CHECK(name("jitter = \"1ms\"\ncodel = \"5ms\"\nback_rate = \"3M\"") == plain + ", jitter 1 ms, CoDel 5 ms, 3 Mbit/s back");
}

TEST_CASE("cubic and bbr stand beside haul where a matrix does not say what") {
  const auto matrix = wan::parse_matrix("[[link]]\n", "text");
  REQUIRE(matrix.ok());
  REQUIRE(matrix->beside.size() == 2);
  CHECK(matrix->beside[0].name() == "iperf3 cubic");
  CHECK(matrix->controllers.empty());
  CHECK(matrix->transport == "tcp");
  CHECK(matrix->duration == 20s);
}

TEST_CASE("the matrix that comes with haul is sound") {
  const auto matrix = wan::load_matrix(HAUL_SOURCE_DIR "/bench/scenarios/wan/links.toml");
  INFO(matrix.status().to_string());
  REQUIRE(matrix.ok());
  CHECK(matrix->rows.size() == 5);
}

TEST_CASE("mistakes are told with file, line and remedy") {
  CHECK_THAT(refusal(""), StartsWith("links.toml:") && Contains("[[link]]"));
  CHECK_THAT(refusal("[[link]\n"), StartsWith("links.toml:1:") && Contains("bench/scenarios"));
  CHECK_THAT(refusal("[[link]]\n\nspeed = \"1G\"\n"), StartsWith("links.toml:3:") && Contains("rate"));
  CHECK_THAT(refusal("[[link]]\nrate = \"fast\"\n"), StartsWith("links.toml:2:") && Contains("500M"));
  CHECK_THAT(refusal("[[link]]\n[[link]]\nrtt = \"0ms\"\n"), StartsWith("links.toml:2:") && Contains("above 0"));
  CHECK_THAT(refusal("[[link]]\nrate = \"100G\"\n"), StartsWith("links.toml:1:") && Contains("10G"));
  CHECK_THAT(refusal("[[link]]\nloss = \"200%\"\n"), StartsWith("links.toml:2:") && Contains("1%"));
  CHECK_THAT(refusal("[[link]]\nmark_above = \"1ms\"\n"), StartsWith("links.toml:1:") && Contains("ECN"));
  CHECK_THAT(refusal("[[link]]\nrival = \"Cubic!\"\n"), StartsWith("links.toml:2:") && Contains("bbr:8"));
  CHECK_THAT(refusal("beside = \"cubic\"\n[[link]]\n"), StartsWith("links.toml:1:") && Contains("[ … ]"));
  CHECK_THAT(refusal("beside = [\"cubic\",\n 7]\n[[link]]\n"), StartsWith("links.toml:2:") && Contains("bbr:8"));
  CHECK_THAT(refusal("controllers = [\"hub\", \"pigeon\"]\n[[link]]\n"),
             StartsWith("links.toml:1:") && Contains("off, automatic, hub, bbr, cubic, swift, fixed"));
  CHECK_THAT(refusal("transport = true\n[[link]]\n"), StartsWith("links.toml:1:") && Contains("transport is not text"));
  CHECK_THAT(refusal("duration = \"0s\"\n[[link]]\n"), Contains("1s to 3600s"));
  CHECK_THAT(refusal("seed = 1.7\n[[link]]\n"), StartsWith("links.toml:1:") && Contains("whole number"));
  for (const char* wrong : {"true", "[\"a\"]", "2026-01-01"}) {
    CHECK_THAT(refusal(std::string("[[link]]\nname = ") + wrong + "\n"),
               StartsWith("links.toml:2:") && Contains("name is not text"));
  }
  for (const char* wrong : {"infbdp", "nanbdp", "-1bdp", "1e30bdp", "inf", "1e300ms"}) {
    CHECK_THAT(refusal(std::string("[[link]]\nbuffer = \"") + wrong + "\"\n"),
               StartsWith("links.toml:2:") && Contains("a buffer"));
  }
  CHECK_THAT(refusal("[[link]]\nrate = \"1000G\"\nrtt = \"100000s\"\n"), StartsWith("links.toml:1:") && Contains("1 PB"));
  CHECK_THAT(refusal("[[link]]\nsteps = [{ at = \"2s\", rate = \"1M\" }, { at = \"1s\", rate = \"2M\" }]\n"),
             Contains("ordered by time"));
  CHECK_THAT(refusal("[[link]]\nrtt = \"0ms\"\n"), StartsWith("links.toml:1: link: the round trip"));
  CHECK_THAT(refusal("[[link]]\nburst_loss = { enter = 0.1, leave = 0 }\n"), Contains("turning good"));
  CHECK_THAT(std::string(wan::load_matrix("/nowhere.toml").status().message()), Contains("/nowhere.toml"));
}

TEST_CASE("haul is named by its controller and the kernel's congestion control below") {
  CHECK(wan::Program{}.name() == "haul");
  CHECK(wan::Program{true, "hub"}.name() == "haul hub");
  CHECK(wan::Program{true, "hub", 2, "cubic"}.name() == "haul hub over cubic ×2");
  CHECK(wan::Program{true, "hub", 0}.name() == "haul hub ×?");
}

TEST_CASE("iperf3 is named by its congestion control, with a number of streams") {
  CHECK(wan::parse_iperf3("bbr")->connections == 1);
  CHECK(wan::parse_iperf3("bbr:8")->connections == 8);
  for (const char* wrong : {"", ":8", "bbr:", "bbr:0", "bbr:65", "bbr:1.5", "bbr:inf", "bbr:x", "-C", "a b"}) {
    CAPTURE(wrong);
    CHECK_FALSE(wan::parse_iperf3(wrong));
  }
}
