// Contract: tenants have rates and fair shares between the engine's and their peers', over every backend.
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "contract/rates.h"

namespace haul::contract {
namespace {

PeerOptions of_tenant(std::string_view name) {
  PeerOptions options;
  options.tenant.emplace(name);
  return options;
}

/// What is moved shall be so many megabytes a second each, in this order.
void check_rates(Harness& harness, std::initializer_list<const Moving*> moving, std::vector<double> wanted,
                 Duration time = 3s) {
  const auto rates = rates_over(harness, moving, time);
  for (size_t i = 0; i < rates.size(); ++i) {
    CAPTURE(i);
    const double an_operation = 1.1 / seconds_of(time);  // more or less than the rate says; of a mebibyte over rdma
    CHECK(rates[i] / 1e6 == Approx(wanted.at(i)).epsilon(0.15).margin(wanted.at(i) > 0 ? an_operation : 0));
  }
}

bool says(const std::string& told, std::string_view text) { return told.find(text) != std::string::npos; }

}  // namespace

BACKEND_TEST_CASE("rates of engine, tenant and peer are nested, and change while bytes move", "[contract][tenants]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Node& a = start_limited(harness, "a", 12 * MB);
  REQUIRE(a->limit_tenant("x", 6 * MB).ok());
  Pair bounded = harness.connect(a, harness.start("b"), of_tenant("x"));
  Pair other = harness.connect(a, harness.start("c"), of_tenant("x"));
  Pair beside = harness.connect(a, harness.start("d"));
  bounded.to_b.limit_rate(1 * MB);
  const Moving of_bounded(harness, bounded, 20 * MB, true);
  const Moving of_other(harness, other, 80 * MB, true);
  const Moving of_beside(harness, beside, 100 * MB, true);
  const auto all = {&of_bounded, &of_other, &of_beside};
  harness.run_for(500ms);
  check_rates(harness, all, {1, 5, 6});
  CHECK(bounded.to_b.stats().rate_limited_by == "peer");
  CHECK(other.to_b.stats().rate_limited_by == "tenant");
  REQUIRE(a->limit_tenant("x", 3 * MB).ok());
  harness.run_for(500ms);
  check_rates(harness, all, {1, 2, 9});
  CHECK(beside.to_b.stats().rate_limited_by == "engine");
  // Without a rate of its own a tenant still has a share.
  REQUIRE(a->limit_tenant("x", std::nullopt).ok());
  harness.run_for(500ms);
  check_rates(harness, all, {1, 5, 6});
  CHECK(other.to_b.stats().rate_limited_by == "engine");
  // A tenant's rate needs none of the engine's.
  REQUIRE(a->limit_tenant("x", 4 * MB).ok());
  a->limit_rate(std::nullopt);
  finish_ok(harness, of_beside.transfer);
  check_rates(harness, {&of_bounded, &of_other}, {1, 3});
  REQUIRE(a->limit_tenant("x", 0).ok());
  harness.run_for(500ms);
  check_rates(harness, {&of_bounded, &of_other}, {0, 0});
  REQUIRE(a->limit_tenant("x", std::nullopt).ok());
  bounded.to_b.limit_rate(std::nullopt);
  finish_ok(harness, of_bounded.transfer);
  finish_ok(harness, of_other.transfer);
  CHECK(same(of_other.source.bytes(), of_other.target.bytes()));
}

BACKEND_TEST_CASE("tenants share the engine's rate by bytes, and peers their tenant's", "[contract][tenants]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Node& a = start_limited(harness, "a", 12 * MB);
  Pair first = harness.connect(a, harness.start("b"), of_tenant("x"));
  Pair second = harness.connect(a, harness.start("c"), of_tenant("x"));
  Pair third = harness.connect(a, harness.start("d"), of_tenant("y"));
  Pair fourth = harness.connect(a, harness.start("e"));
  const Moving of_first(harness, first, 100 * MB, true);
  harness.run_for(1s);  // alone: it is not held against it
  const Moving of_second(harness, second, 60 * MB, true);
  const Moving of_third(harness, third, 90 * MB, false);
  harness.run_for(500ms);
  check_rates(harness, {&of_first, &of_second, &of_third}, {3, 3, 6});
  const Moving of_fourth(harness, fourth, 80 * MB, true);
  const auto all = {&of_first, &of_second, &of_third, &of_fourth};
  harness.run_for(500ms);
  check_rates(harness, all, {2, 2, 4, 4});
  SECTION("also within a rate of the tenant's") {
    REQUIRE(a->limit_tenant("x", 2 * MB).ok());
    harness.run_for(500ms);
    check_rates(harness, all, {1, 1, 5, 5});
  }
  SECTION("a peer moves while it transfers") {
    REQUIRE(second.to_b.set_tenant("y").ok());
    harness.run_for(500ms);
    check_rates(harness, all, {4, 2, 2, 4});
    REQUIRE(a->limit_tenant("z", 1 * MB).ok());
    REQUIRE(second.to_b.set_tenant("z").ok());
    harness.run_for(1s);
    check_rates(harness, all, {11.0 / 3, 1, 11.0 / 3, 11.0 / 3});
    REQUIRE(second.to_b.set_tenant("").ok());
    harness.run_for(500ms);
    check_rates(harness, all, {3, 3, 3, 3});
  }
  a->limit_rate(std::nullopt);
  REQUIRE(a->limit_tenant("x", std::nullopt).ok());
  for (const Moving* moving : all) finish_ok(harness, moving->transfer);
}

BACKEND_TEST_CASE("who is held back by a tighter rate is owed nothing of the wider one", "[contract][tenants]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Node& a = start_limited(harness, "a", 12 * MB);
  REQUIRE(a->limit_tenant("x", 1 * MB).ok());
  Pair bounded = harness.connect(a, harness.start("b"), of_tenant("x"));
  SECTION("a tenant by its own") {
    Pair other = harness.connect(a, harness.start("c"));
    const Moving of_bounded(harness, bounded, 30 * MB, true);
    const Moving of_other(harness, other, 90 * MB, true);
    harness.run_for(5s);
    REQUIRE(a->limit_tenant("x", std::nullopt).ok());
    check_rates(harness, {&of_bounded, &of_other}, {6, 6}, 2s);
    a->limit_rate(std::nullopt);
    finish_ok(harness, of_bounded.transfer);
    finish_ok(harness, of_other.transfer);
  }
  SECTION("a peer by its own, within the tenant's") {
    REQUIRE(a->limit_tenant("x", 8 * MB).ok());
    bounded.to_b.limit_rate(1 * MB);
    Pair other = harness.connect(a, harness.start("c"), of_tenant("x"));
    const Moving of_bounded(harness, bounded, 30 * MB, true);
    const Moving of_other(harness, other, 90 * MB, true);
    harness.run_for(5s);
    bounded.to_b.limit_rate(std::nullopt);
    check_rates(harness, {&of_bounded, &of_other}, {4, 4}, 2s);
    REQUIRE(a->limit_tenant("x", std::nullopt).ok());
    a->limit_rate(std::nullopt);
    finish_ok(harness, of_bounded.transfer);
    finish_ok(harness, of_other.transfer);
  }
}

BACKEND_TEST_CASE("peers that came have tenants, too", "[contract][tenants]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Node& b = harness.start("b");
  REQUIRE(b->limit_tenant("x", 4 * MB).ok());
  b.inbox.on_peer = [](Peer peer) { CHECK(peer.set_tenant("x").ok()); };
  Pair pair = harness.connect(harness.start("a"), b);
  Pair back{pair.b, pair.a, pair.to_a, pair.to_b};
  const Moving moving(harness, back, 40 * MB, true);
  CHECK(rate_over(harness, b, 2s) / 1e6 == Approx(4).epsilon(0.15));
  REQUIRE(b->limit_tenant("x", std::nullopt).ok());
  finish_ok(harness, moving.transfer);
}

BACKEND_TEST_CASE("explanations and statistics name the tenant, its rate and what limits", "[contract][tenants]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Node& a = harness.start("a");
  REQUIRE(a->limit_tenant("reserved", 7000).ok());
  Pair pair = harness.connect(a, harness.start("b"), of_tenant("x"));
  CHECK(says(a->explain(), "  tenant \"reserved\": rate limit: 7000 bytes/s, 0 peer(s)\n"));
  CHECK(says(a->explain(), "  tenant \"x\": rate limit: no bound, 1 peer(s)\n"));
  CHECK(says(pair.to_b.explain(),
             "  rate limit: no bound for this peer, no bound for its tenant \"x\", no bound for all of "
             "this engine's; none limits now\n"));
  CHECK(pair.to_b.stats().tenant == "x");
  CHECK_FALSE(pair.to_b.stats().tenant_rate_limit_bytes_s);
  CHECK_FALSE(pair.to_b.stats().rate_limit_bytes_s);
  CHECK(pair.to_b.stats().rate_limited_by.empty());
  const Buffer source = allocate_filled(a, MB, 1);
  const Buffer target = allocate(pair.b, MB);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  REQUIRE(a->limit_tenant("x", 0).ok());
  pair.to_b.limit_rate(5 * MB);
  a->limit_rate(9 * MB);
  const Transfer put = pair.to_b.put(source.slice(), remote.slice());
  REQUIRE(harness.run([&] { return !pair.to_b.stats().rate_limited_by.empty(); }));
  CHECK(pair.to_b.stats().rate_limited_by == "tenant");
  CHECK(pair.to_b.stats().tenant_rate_limit_bytes_s == uint64_t{0});
  CHECK(pair.to_b.stats().rate_limit_bytes_s == 5 * MB);
  CHECK(says(pair.to_b.explain(),
             "  rate limit: 5000000 bytes/s for this peer, 0 bytes/s for its tenant \"x\", 9000000 bytes/s "
             "for all of this engine's; the tenant's limits now\n"));
  REQUIRE(a->limit_tenant("x", 1 * MB).ok());
  pair.to_b.limit_rate(0);
  CHECK(harness.run([&] { return pair.to_b.stats().rate_limited_by == "peer"; }));
  pair.to_b.limit_rate(std::nullopt);
  a->limit_rate(0);
  CHECK(harness.run([&] { return pair.to_b.stats().rate_limited_by == "engine"; }));
  a->limit_rate(std::nullopt);
  REQUIRE(a->limit_tenant("x", std::nullopt).ok());
  finish_ok(harness, put);
  CHECK(same(source.bytes(), target.bytes()));
}

BACKEND_TEST_CASE("tenants are bounded in number, and gone without a rate and peers", "[contract][tenants]") {
  const auto made = backend.make();
  Harness& harness = *made;
  EngineOptions options = harness.options();
  options.max_tenants = 2;
  Node& a = harness.start("a", options);
  Pair pair = harness.connect(a, harness.start("b"), of_tenant("x"));
  REQUIRE(a->limit_tenant("y", 1 * MB).ok());
  const auto too_many = [](const Status& status) {
    INFO(status.to_string());
    CHECK(status.code() == StatusCode::exhausted);
    CHECK(says(std::string(status.message()), "EngineOptions::max_tenants"));
  };
  too_many(a->limit_tenant("z", 1 * MB));
  too_many(a->connect(pair.b.address, of_tenant("z")).status());
  CHECK(a->limit_tenant("z", std::nullopt).ok());  // nothing is nothing
  // Its only peer leaves x, which has no rate: there is room for another one then.
  CHECK(pair.to_b.set_tenant("z").ok());
  CHECK(pair.to_b.stats().tenant == "z");
  CHECK_FALSE(says(a->explain(), "tenant \"x\""));
  too_many(a->limit_tenant("x", 1 * MB));
  REQUIRE(a->limit_tenant("z", 2 * MB).ok());
  too_many(pair.to_b.set_tenant("x"));  // z stays, for its rate
  CHECK(pair.to_b.stats().tenant == "z");
  CHECK(pair.to_b.set_tenant("y").ok());
  CHECK(a->limit_tenant("z", std::nullopt).ok());
  CHECK(a->limit_tenant("x", 1 * MB).ok());
  CHECK(a->limit_tenant("y", std::nullopt).ok());
  CHECK(says(a->explain(), "  tenant \"y\": rate limit: no bound, 1 peer(s)\n"));
  pair.to_b.close();
  REQUIRE(harness.run([&] { return !a.inbox.closed.empty(); }));
  harness.run_for(10ms);
  CHECK_FALSE(says(a->explain(), "tenant \"y\""));
  CHECK(pair.to_b.set_tenant("x").code() == StatusCode::peer_lost);
}

BACKEND_TEST_CASE("names of tenants that can't be shown are refused", "[contract][tenants]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair(of_tenant(std::string(64, 'x')));
  for (const std::string& name : {std::string(65, 'x'), std::string("a\nb"), std::string("a\0b", 3), std::string("\x7f")}) {
    CAPTURE(name);
    CHECK(pair.a->limit_tenant(name, 1 * MB).code() == StatusCode::invalid);
    CHECK(pair.to_b.set_tenant(name).code() == StatusCode::invalid);
    CHECK(pair.a->connect(pair.b.address, of_tenant(name)).status().code() == StatusCode::invalid);
  }
  CHECK(pair.a->limit_tenant("", 1 * MB).code() == StatusCode::invalid);
  CHECK(pair.to_b.stats().tenant == std::string(64, 'x'));
  CHECK(Peer().set_tenant("x").code() == StatusCode::peer_lost);
}

}  // namespace haul::contract
