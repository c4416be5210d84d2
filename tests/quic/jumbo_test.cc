// Packets as large as a real interface takes them: loopback's.
#include <catch2/catch.hpp>
#include <string>
#include <utility>

#include "quic/ends.h"

namespace haul::quic {
namespace {

using test::End;

/// Bytes of a packet at the end of a transfer of 8 MiB over loopback.
int packet_bytes(uint32_t most) {
  const security::test::Folder folder;
  const security::test::Party one(folder, "one");
  const security::test::Party other(folder, "other");
  one.knows(other);
  other.knows(one);
  Options options;
  options.udp_payload_bytes = most;
  End listener(&one, options);
  End dialer(&other, options);
  const auto address = listener.transport->listen({"127.0.0.1", 0});
  REQUIRE(address.ok());
  const ConnectionId here = test::dial(dialer, *address);
  REQUIRE(test::run({&listener, &dialer},
                    [&] { return listener.last(Event::Kind::accepted) && dialer.last(Event::Kind::connected); }));
  constexpr uint32_t length = 1U << 20;
  std::vector<std::byte> source(length, std::byte{7});
  std::vector<std::byte> target(length);
  const auto from = dialer.transport->register_memory(source, MemoryKind::host);
  const auto to = listener.transport->register_memory(target, MemoryKind::host);
  REQUIRE((from.ok() && to.ok()));
  const auto granted = listener.transport->grant(listener.last(Event::Kind::accepted)->connection, **to, {0, length},
                                                 Rights::write, system_clock().now());
  REQUIRE(granted.ok());
  for (uint64_t id = 1; id <= 8; ++id) {
    Operation operation;
    operation.id = id;
    operation.local = from->get();
    operation.remote = &granted->remote;
    operation.length = length;
    REQUIRE(dialer.transport->post(here, std::span(&operation, 1), system_clock().now()) == 1);
    const auto done = [&] {
      for (const Event& event : std::exchange(listener.seen, {})) {
        if (event.kind != Event::Kind::landed) continue;
        listener.transport->answer(event.connection, event.id, {}, system_clock().now());
      }
      const auto last = dialer.last(Event::Kind::completed);
      return last && last->id == id;
    };
    REQUIRE(test::run({&listener, &dialer}, done));
    CHECK(dialer.last(Event::Kind::completed)->status.ok());
    CHECK(source == target);
  }
  const std::string text = dialer.transport->describe(here);
  const size_t at = text.find(" bytes a packet");
  REQUIRE(at != std::string::npos);
  return std::stoi(text.substr(text.rfind(' ', at - 1)));
}

TEST_CASE("on loopback packets grow as far as is permitted", "[quic]") {
  CHECK(packet_bytes(1452) > 1440);
  CHECK(packet_bytes(1452) <= 1452);
  CHECK(packet_bytes(8000) > 7980);
  CHECK(packet_bytes(0) > 60'000);
}

}  // namespace
}  // namespace haul::quic
