// Two engines in one process: one writes into the other's memory over TCP, and a notification follows the bytes.
#include <haul/engine.h>
#include <haul/tcp.h>

#include <iostream>

std::unique_ptr<haul::Engine> make_engine(haul::EngineOptions options) {
  haul::tcp::Options tcp;
  tcp.io = haul::tcp::Io::prefer_uring;  // else epoll, where io_uring is forbidden, as in many containers
  std::vector<std::unique_ptr<haul::Transport>> transports;
  transports.push_back(haul::tcp::make_transport(tcp).value());
  return haul::Engine::create(std::move(options), std::move(transports)).value();
}

int main() {
  haul::Buffer source, target;
  haul::EngineOptions sends, receives;
  bool arrived = false, done = false;
  // Each peer may write into `target`, and is told so.
  receives.on_peer = [&](haul::Peer peer) { peer.send(peer.grant(target.slice(), haul::Rights::write).value().serialize()); };
  receives.on_message = [&](haul::Peer, const haul::Message& message) { arrived = message.notification; };
  // The grant came: use it.
  sends.on_message = [&](haul::Peer peer, const haul::Message& message) {
    const auto remote = haul::RemoteBuffer::deserialize(message.payload).value();
    haul::TransferOptions options;
    options.notify = std::as_bytes(std::span("all there"));
    options.on_done = [&](const haul::TransferResult& result) { done = result.status.ok(); };
    peer.put(source.slice(), remote.slice(), std::move(options));
  };
  const auto receiver = make_engine(receives), sender = make_engine(sends);
  source = sender->allocate(64 << 20).value();
  target = receiver->allocate(64 << 20).value();
  const haul::Peer peer = sender->connect(receiver->listen({"127.0.0.1", 0}).value()).value();
  for (int turn = 0; turn < 100000 && !(arrived && done); ++turn, receiver->poll()) sender->wait(std::chrono::microseconds(50));
  std::cout << (arrived && done ? "64 MiB arrived\n" : "failed: " + peer.status().to_string() + '\n');
  return arrived && done ? 0 : 1;
}
