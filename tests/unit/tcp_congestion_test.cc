// Which congestion control the tcp backend sets, and what it says when it can set none that was asked for.
#include <fstream>

#include "tcp_support.h"

using namespace haul;
using namespace haul::tcp::test;
using haul::tcp::Io;

namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

struct LoggedPair {
  explicit LoggedPair(std::vector<std::string> rack, Io io = Io::epoll) : pair(options(std::move(rack), io), options_for(io)) {}

  tcp::Options options(std::vector<std::string> rack, Io io) {
    tcp::Options made = options_for(io);
    made.congestion_rack = std::move(rack);
    made.log = [this](const LogRecord& record) {
      CHECK(record.level == LogLevel::warning);
      log.emplace_back(record.text);
    };
    return made;
  }

  void connect_once_more() {
    const size_t before = pair.a.count(Event::Kind::connected);
    auto end = pair.a.transport->open({.address = pair.address}, Side::now());
    REQUIRE(end.ok());
    REQUIRE(pair.a.transport->join(end->connection, {}, Side::now()).ok());
    REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::connected) > before; }));
  }

  std::string in_force() const {
    constexpr std::string_view key = "congestion control ";
    const std::string text = pair.a.transport->describe(pair.at_a);
    const size_t begin = text.find(key) + key.size();
    return text.substr(begin, text.find(',', begin) - begin);
  }

  std::vector<std::string> log;
  Pair pair;
};

}  // namespace

TEST_CASE("tcp: a list of congestion controls that names none of the kernel's is said once", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  LoggedPair logged({"no_such_one", "nor_this"}, io);
  logged.connect_once_more();
  REQUIRE(logged.log.size() == 1);
  INFO(logged.log[0]);
  CHECK(has(logged.log[0], "congestion_rack"));
  CHECK(has(logged.log[0], "no_such_one, nor_this"));
  CHECK(has(logged.log[0], logged.in_force() + " is used instead"));
  std::string available;
  if (std::getline(std::ifstream("/proc/sys/net/ipv4/tcp_available_congestion_control"), available)) {
    CHECK(has(logged.log[0], available));
  }
}

TEST_CASE("tcp: a congestion control that can be set is set, without a word", "[tcp]") {
  const std::string usual = LoggedPair({}).in_force();
  LoggedPair logged({"no_such_one", usual});
  CHECK(logged.in_force() == usual);
  CHECK(logged.log.empty());
}

TEST_CASE("tcp: an empty list of congestion controls asks for nothing", "[tcp]") {
  const LoggedPair logged({});
  CHECK(logged.log.empty());
}
