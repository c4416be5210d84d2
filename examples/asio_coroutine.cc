// Transfers as coroutines: two engines on one io_context.
#include <haul/asio.h>
#include <haul/tcp.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/channel.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <cstring>
#include <iostream>

namespace {

using Grants = asio::experimental::channel<void(asio::error_code, haul::RemoteBuffer)>;

std::unique_ptr<haul::Engine> make_engine(haul::EngineOptions options) {
  haul::tcp::Options tcp;
  tcp.io = haul::tcp::Io::prefer_uring;  // else epoll, where io_uring is forbidden, as in many containers
  std::vector<std::unique_ptr<haul::Transport>> transports;
  transports.push_back(haul::tcp::make_transport(tcp).value());
  return haul::Engine::create(std::move(options), std::move(transports)).value();
}

asio::awaitable<bool> put_and_get(haul::AsioLoop& loop, haul::Engine& engine, Grants& grants, haul::Address address) {
  haul::PeerOptions peer_options;
  auto [status, peer] = co_await loop.async_connect(address, peer_options, asio::use_awaitable);
  std::cout << "connect: " << status.to_string() << '\n';
  if (!status.ok()) co_return false;

  const haul::RemoteBuffer remote = co_await grants.async_receive(asio::use_awaitable);
  const haul::Buffer sent = engine.allocate(remote.size()).value();
  const haul::Buffer back = engine.allocate(remote.size()).value();
  std::memset(sent.data(), 42, sent.size());

  const haul::Status put = co_await peer.async_put(sent.slice(), remote.slice(), asio::use_awaitable);
  std::cout << "put: " << put.to_string() << '\n';

  haul::TransferOptions options;
  options.timeout = std::chrono::seconds(10);
  const haul::Status get = co_await peer.async_get(back.slice(), remote.slice(), options, asio::use_awaitable);
  std::cout << "get: " << get.to_string() << '\n';

  peer.close();
  peer.wake();
  co_return put.ok() && get.ok() && std::memcmp(sent.data(), back.data(), sent.size()) == 0;
}

}  // namespace

int main() {
  asio::io_context io;
  Grants grants(io, 1);
  haul::Buffer memory;

  haul::EngineOptions serves, asks;
  serves.on_peer = [&](haul::Peer peer) {
    peer.send(peer.grant(memory.slice(), haul::Rights::read_write).value().serialize());
  };
  asks.on_message = [&](haul::Peer, const haul::Message& message) {
    grants.try_send(asio::error_code(), haul::RemoteBuffer::deserialize(message.payload).value());
  };
  const auto server = make_engine(std::move(serves));
  const auto client = make_engine(std::move(asks));
  memory = server->allocate(16 << 20).value();

  haul::AsioLoop server_loop = haul::AsioLoop::start(io.get_executor(), *server).value();
  haul::AsioLoop client_loop = haul::AsioLoop::start(io.get_executor(), *client).value();
  bool equal = false;
  asio::co_spawn(io, put_and_get(client_loop, *client, grants, server->listen({"127.0.0.1", 0}).value()),
                 [&](const std::exception_ptr&, bool result) {
                   equal = result;
                   // Both loops count as work: without them, run() returns.
                   server_loop.stop();
                   client_loop.stop();
                 });
  io.run_for(std::chrono::seconds(30));
  std::cout << (equal ? "what came back is equal\n" : "failed\n");
  return equal ? 0 : 1;
}
