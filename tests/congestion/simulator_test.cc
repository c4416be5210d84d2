// The simulator's own accuracy, and the mistakes in scenario files.
#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

#include "flowsim/figures.h"
#include "flowsim/link.h"
#include "flowsim/scenario_toml.h"
#include "flowsim/simulation.h"

namespace {

flowsim::SimulationResult run(const std::string& link, const std::string& flows, const char* duration = "10s") {
  const std::string text = std::string("duration = \"") + duration + "\"\n[link]\n" + link + "\n" + flows;
  const auto scenario = flowsim::parse_scenario(text, "text");
  INFO(scenario.status().to_string());
  REQUIRE(scenario.ok());
  auto result = flowsim::simulate(*scenario);
  REQUIRE(result.ok());
  return *result;
}

std::string refusal(const std::string& text) {
  const auto scenario = flowsim::parse_scenario(text, "file.toml");
  REQUIRE_FALSE(scenario.ok());
  return std::string(scenario.status().message());
}

constexpr const char* fixed_9m = "[[flow]]\ncontroller = \"fixed\"\nfixed_rate = \"9M\"\n";

}  // namespace

TEST_CASE("a flow below the link's rate arrives as it was sent") {
  const auto result = run("rate = \"10M\"\nrtt = \"50ms\"", fixed_9m);
  CHECK(result.dropped_packets == 0);
  CHECK(result.flows[0].lost_bytes == 0);
  const double expected = 9e6 / 8 * 9.95;  // what was sent half a second before the end is not yet acknowledged
  CHECK(static_cast<double>(result.flows[0].delivered_bytes) == Approx(expected).epsilon(0.01));
}

TEST_CASE("loss strikes as often as asked for, alone and in bursts") {
  const auto alone = run("rate = \"10M\"\nrtt = \"50ms\"\nloss = \"10%\"", fixed_9m, "60s");
  const auto share = [](const flowsim::SimulationResult& result) {
    return static_cast<double>(result.lost_packets) / static_cast<double>(result.passed_packets);
  };
  CHECK(share(alone) == Approx(0.1).epsilon(0.05));
  const auto burst =
      run("rate = \"10M\"\nrtt = \"50ms\"\nburst_loss = { enter = \"1%\", leave = \"9%\", loss = \"100%\" }", fixed_9m, "60s");
  CHECK(share(burst) == Approx(0.1).epsilon(0.15));
}

TEST_CASE("a step of the rate and an outage take what they must") {
  const auto step =
      run("rate = \"10M\"\nrtt = \"10ms\"\nsteps = [{ at = \"5s\", rate = \"5M\" }]", "[[flow]]\ncontroller = \"cubic\"\n");
  CHECK(step.capacity_bytes.back() == Approx(10e6 / 8 * 5 + 5e6 / 8 * 5).epsilon(0.001));
  CHECK(static_cast<double>(step.flows[0].delivered_bytes) < step.capacity_bytes.back());
  CHECK(static_cast<double>(step.flows[0].delivered_bytes) > 0.9 * step.capacity_bytes.back());
  const auto outage = run("rate = \"10M\"\nrtt = \"10ms\"\noutages = [{ at = \"4s\", length = \"2s\" }]", fixed_9m);
  CHECK(outage.flows[0].longest_stall >= std::chrono::seconds(2));
  CHECK(outage.flows[0].longest_stall < std::chrono::milliseconds(2100));
}

TEST_CASE("reordering is not taken for loss for ever") {
  const auto result = run("rate = \"50M\"\nrtt = \"40ms\"\nreorder = \"1%\"\nreorder_delay = \"3ms\"", "[[flow]]\n");
  CHECK(result.flows[0].spurious_bytes < 100'000);
  CHECK(result.flows[0].delivered_bytes > 45'000'000);
}

TEST_CASE("marks and CoDel keep the queue short") {
  const auto mean = [](const flowsim::SimulationResult& result) {
    double sum = 0;
    for (const auto delay : result.queue_delays) sum += static_cast<double>(delay.count()) * 1e-6;
    return sum / static_cast<double>(result.queue_delays.size());
  };
  const std::string link = "rate = \"50M\"\nrtt = \"20ms\"\nbuffer = \"100ms\"\n";
  const std::string cubic = "[[flow]]\ncontroller = \"cubic\"\n";
  const double plain = mean(run(link, cubic));
  const double marked = mean(run(link + "mark_above = \"5ms\"", cubic));
  const double codel = mean(run(link + "codel = \"5ms\"", cubic));
  CHECK(plain > 40);
  CHECK(marked < 10);
  CHECK(codel < 20);
  const auto hub = run(link + "mark_above = \"1ms\"", "[[flow]]\n");
  CHECK(hub.flows[0].delivered_bytes > 55'000'000);
}

// RFC 8289, section 5.5: one that resumes dropping soon after starts at the drops of the last time, not at their whole history.
TEST_CASE("CoDel resumes at the rate that controlled the queue last time") {
  using namespace std::chrono_literals;
  flowsim::Codel codel(5ms);
  flowsim::TimePoint now(1000s);
  // Packets that have waited too long, for a time; then one that has not.
  const auto drops = [&](haul::Duration length) {
    int count = 0;
    for (const auto end = now + length; now < end; now += 1ms) count += codel.drops(now, 10ms) ? 1 : 0;
    CHECK_FALSE(codel.drops(now, 1ms));
    return count;
  };
  // The first after 100 ms, then after 100 ms / √1, √2, √3 …
  CHECK(drops(600ms) == 10);
  // Again 100 ms without a drop; then it goes on from the nine that it had added, after 100 ms / √9, √10 …
  CHECK(drops(240ms) == 5);
  // Four were added in the meantime: 100 ms / √4, √5, √6.
  CHECK(drops(240ms) == 4);
  // Long after, it starts anew.
  now += 10s;
  CHECK(drops(240ms) == 2);
}

TEST_CASE("a tenant's budget holds for all of its flows") {
  const auto result = run("rate = \"50M\"\nrtt = \"20ms\"",
                          "[[tenant]]\nname = \"a\"\nrate = \"10M\"\n"
                          "[[flow]]\ntenant = \"a\"\n[[flow]]\ntenant = \"a\"\n[[flow]]\nname = \"free\"\n");
  const double together = static_cast<double>(result.flows[0].delivered_bytes + result.flows[1].delivered_bytes);
  CHECK(together < 1.02 * 10e6 / 8 * 10);
  CHECK(together > 0.8 * 10e6 / 8 * 10);
  CHECK(result.flows[2].delivered_bytes > 40'000'000);
}

TEST_CASE("many flows share a link without any of them starving") {
  const auto result = run("rate = \"1G\"\nrtt = \"20ms\"", "[[flow]]\ncount = 40\nevery = \"10ms\"\n");
  for (const auto& flow : result.flows) CHECK(flow.delivered_bytes > 1'000'000'000 / 8 * 10 / 40 / 10);
}

TEST_CASE("hub's start loses little in a buffer of one bandwidth-delay product") {
  for (const uint64_t megabits : std::initializer_list<uint64_t>{100, 500, 1000}) {
    const std::string link = "rate = \"" + std::to_string(megabits) + "M\"\nrtt = \"100ms\"\nbuffer = \"1bdp\"";
    const auto result = run(link, "[[flow]]\ncontroller = \"hub\"\n", "3s");
    INFO(megabits);
    const uint64_t path_packets = megabits * 1'000'000 / 8 / 10 / 1500;
    CHECK(result.dropped_packets <= path_packets / 3);
  }
}

TEST_CASE("hub's start leaves most of a deep buffer empty") {
  // Without loss only the growing round trip tells that the path is full.
  const auto result = run("rate = \"500M\"\nrtt = \"100ms\"\nbuffer = \"20bdp\"", "[[flow]]\ncontroller = \"hub\"\n");
  CHECK(*std::max_element(result.queue_delays.begin(), result.queue_delays.end()) < std::chrono::milliseconds(400));
}

TEST_CASE("mistakes in scenario files are told with line and remedy") {
  CHECK(refusal("[link]\nrate = \"fast\"\n") ==
        "file.toml:2: link.rate = \"fast\" is not a rate in bits per second above 0: write \"500M\", \"10G\"");
  CHECK(refusal("[link]\nraet = \"5M\"\n[[flow]]\n").starts_with("file.toml:2: link.raet is not a key; there are: rate, rtt"));
  CHECK(refusal("[link]\nloss = 2\n[[flow]]\n").starts_with("file.toml:2: link.loss = \"2\" is not a fraction"));
  CHECK(refusal("[[flow]]\ncontroller = \"reno\"\n").find("there are: hub, bbr") != std::string::npos);
  CHECK(refusal("[[flow]]\ncount = 1.5\n").starts_with("file.toml:2: flow.count = \"1.5\" is not a whole number"));
  CHECK(refusal("link = { burst_loss = { enter = 0.1, leave = 0 } }\n[[flow]]\n").find("turning good") != std::string::npos);
  CHECK(refusal("link = { steps = [{ at = \"2s\", rate = \"1M\" }, { at = \"1s\", rate = \"2M\" }] }\n[[flow]]\n")
            .ends_with("link: steps must be ordered by time"));
  CHECK(refusal("link = { rtt = \"0ms\" }\n[[flow]]\n").find("above 0") != std::string::npos);
  CHECK(refusal("name = true\n[[flow]]\n").starts_with("file.toml:1: name is not text"));
  CHECK(refusal("name = \"x\n").starts_with("file.toml:1: "));
  CHECK(refusal("name = \"x\"\n").ends_with("there is no flow: add [[flow]]"));
  CHECK(refusal("flow = 3\n").find("must be an array of tables") != std::string::npos);
  CHECK(refusal("[[flow]]\ntenant = \"a\"\n").find("add [[tenant]]") != std::string::npos);
  CHECK(refusal("link = { steps = [{ at = \"1s\", rate = \"0\" }] }\n[[flow]]\n").find("link.steps.rate") != std::string::npos);
  CHECK_FALSE(flowsim::load_scenario("/nonexistent/scenario.toml").ok());
}
