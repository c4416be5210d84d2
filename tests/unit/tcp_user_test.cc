// The tcp transport as an ordinary user with little lockable memory.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <stdexcept>

#include "tcp_support.h"

using namespace haul;
using namespace haul::tcp::test;

namespace {

constexpr uid_t nobody = 65534;
constexpr uid_t first_lonely_user = 54400;  // without other processes

/// Runs `body` in a process of its own, as that user, with this much lockable memory. False: it failed.
bool as_user(uid_t user, rlim_t lockable_bytes, const std::function<void()>& body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit limit{lockable_bytes, lockable_bytes};
    bool done = setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
    done = done && (getuid() != 0 || setresuid(user, user, user) == 0);
    try {
      if (done) body();
    } catch (const std::exception&) {
      done = false;
    } catch (...) {  // Catch's own, of a REQUIRE
      done = false;
    }
    _exit(done ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void transfer_without_copying() {
  std::vector<std::string> log;
  tcp::Options options;
  options.zero_copy = tcp::ZeroCopy::always;
  options.log = [&log](const LogRecord& record) {
    if (record.level == LogLevel::warning) log.emplace_back(record.text);
  };
  Pair pair(options, options);
  constexpr uint32_t length = 4U << 20;
  Memory source(pair.a, length, 1);
  Memory target(pair.b, length, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  const std::vector<Operation> operations(4, operation(Op::write, 1, source, 0, grant.remote, 0, length));
  size_t posted = 0;
  REQUIRE(pair.run_until([&] {
    posted += pair.a.transport->post(pair.at_a, std::span(operations).subspan(posted), Side::now());
    return pair.a.count(Event::Kind::completed) == operations.size();
  }));
  REQUIRE(target.data == source.data);
  for (const Seen& event : pair.a.seen) REQUIRE(event.status.ok());
  // Said once, with the limit's name.
  REQUIRE(log.size() == 1);
  REQUIRE(log[0].find("RLIMIT_MEMLOCK") != std::string::npos);
}

}  // namespace

TEST_CASE("tcp: little lockable memory costs zero copy, not the transfer", "[tcp]") {
  if (haul::test::skip_without_uring()) return;
  constexpr rlim_t few_bytes = 1U << 20;
  CHECK(as_user(nobody, few_bytes, transfer_without_copying));
}

TEST_CASE("tcp: too little lockable memory for a ring is said with the limit's name", "[tcp]") {
  if (haul::test::skip_without_uring()) return;
  CHECK(as_user(nobody, 4096, [] {
    const auto made = tcp::make_transport();
    REQUIRE(made.status().code() == StatusCode::exhausted);
    REQUIRE(made.status().message().find("RLIMIT_MEMLOCK is 4096 bytes") != std::string_view::npos);
    Side epoll(options_for(tcp::Io::prefer_uring));
    REQUIRE(epoll.transport->capabilities().name == "tcp");
  }));
}

TEST_CASE("tcp: whether io_uring works is told as a transport finds it", "[tcp]") {
  // The kernel counts a ring's memory by user, also for a moment after its end: each look is a user's only one.
  uid_t user = first_lonely_user;
  const auto succeeds = [&user](rlim_t lockable_bytes, const std::function<Status()>& look) {
    return as_user(user++, lockable_bytes, [&look] {
      if (const Status status = look(); !status.ok()) throw std::runtime_error(status.to_string());
    });
  };
  for (const rlim_t lockable_bytes : {rlim_t{4} << 10, rlim_t{32} << 10, rlim_t{64} << 10, rlim_t{1} << 20}) {
    CAPTURE(lockable_bytes);
    CHECK(succeeds(lockable_bytes, [] { return tcp::uring_works(); }) ==
          succeeds(lockable_bytes, [] { return tcp::make_transport().status(); }));
  }
}
