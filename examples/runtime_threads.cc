// Engines on threads of their own: four application threads put through one runtime into another.
#include <haul/runtime.h>
#include <haul/tcp.h>

#include <atomic>
#include <cstring>
#include <iostream>
#include <thread>

namespace {

constexpr size_t threads = 4;
constexpr uint64_t part_bytes = 1 << 20;

/// `acceptor` is shared by the runtime's engines, so that all of them take peers from one address.
haul::RuntimeOptions with_engines(size_t engines) {
  haul::RuntimeOptions options;
  options.engines = engines;
  options.make_engine = [acceptor = haul::tcp::make_acceptor()](size_t) -> haul::Result<haul::EngineParts> {
    haul::tcp::Options tcp;
    tcp.io = haul::tcp::Io::prefer_uring;  // else epoll, where io_uring is forbidden, as in many containers
    tcp.acceptor = acceptor;
    auto transport = haul::tcp::make_transport(std::move(tcp));
    if (!transport) return transport.status();
    haul::EngineParts parts;
    parts.transports.push_back(std::move(*transport));
    return parts;
  };
  return options;
}

}  // namespace

int main() {
  // The server lets each peer write into `memory`, and counts the notifications.
  haul::SharedBuffer memory;
  std::promise<void> all_arrived;
  std::atomic<size_t> arrived = 0;
  haul::RuntimeOptions serves = with_engines(2);
  serves.on_peer = [&](haul::SharedPeer peer) {
    peer.grant(memory.slice(), haul::Rights::write, {}, [peer](haul::Result<haul::RemoteBuffer> granted) {
      if (granted) peer.send(granted->serialize());
    });
  };
  serves.on_message = [&](haul::SharedPeer, const haul::Message& message) {
    if (message.notification && ++arrived == threads) all_arrived.set_value();
  };
  const auto server = haul::Runtime::create(std::move(serves)).value();
  memory = server->allocate(threads * part_bytes).get().value();
  const haul::Address address = server->listen({"127.0.0.1", 0}).get().value();

  std::promise<haul::RemoteBuffer> announced;
  haul::RuntimeOptions puts = with_engines(1);
  puts.on_message = [&](haul::SharedPeer, const haul::Message& message) {
    announced.set_value(haul::RemoteBuffer::deserialize(message.payload).value());
  };
  const auto client = haul::Runtime::create(std::move(puts)).value();
  const haul::SharedPeer peer = client->connect(address).get().value();
  const haul::RemoteBuffer remote = announced.get_future().get();

  std::atomic<bool> ok = true;
  std::vector<std::thread> workers;
  for (size_t part = 0; part < threads; ++part) {
    workers.emplace_back([&, part] {
      const haul::SharedBuffer source = client->allocate(part_bytes).get().value();
      std::memset(source.data(), static_cast<int>('a' + part), source.size());
      haul::TransferOptions options;
      options.notify = std::as_bytes(std::span("part"));
      const auto put = peer.put(source.slice(), remote.slice(part * part_bytes, part_bytes), std::move(options));
      if (!put || !put->future().get().status.ok()) ok = false;
    });
  }
  for (std::thread& worker : workers) worker.join();
  if (ok) ok = all_arrived.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready;
  for (size_t part = 0; part < threads; ++part)
    ok = ok && memory.data()[part * part_bytes] == static_cast<std::byte>('a' + part);

  client->shutdown(haul::ShutdownMode::drain);
  server->shutdown(haul::ShutdownMode::drain);
  std::cout << (ok ? "all parts arrived\n" : "failed\n");
  return ok ? 0 : 1;
}
