// Two processes: the client puts bytes into the server's memory and gets them back. Completion by polling.
//   put_get server 127.0.0.1:7100      serves one client, then ends
//   put_get client 127.0.0.1:7100
//   put_get                            both, the server in a child process
#include <haul/engine.h>
#include <haul/tcp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <iostream>

namespace {

std::unique_ptr<haul::Engine> make_engine(haul::EngineOptions options) {
  haul::tcp::Options tcp;
  tcp.io = haul::tcp::Io::prefer_uring;  // else epoll, where io_uring is forbidden, as in many containers
  std::vector<std::unique_ptr<haul::Transport>> transports;
  transports.push_back(haul::tcp::make_transport(tcp).value());
  return haul::Engine::create(std::move(options), std::move(transports)).value();
}

/// Runs the engine until `done`, for half a minute at most.
bool run(haul::Engine& engine, const std::function<bool()>& done) {
  for (int turn = 0; turn < 300 && !done(); ++turn) engine.wait(std::chrono::milliseconds(100));
  return done();
}

int serve(const haul::Address& address, const std::function<void(const haul::Address&)>& on_bound) {
  haul::Buffer memory;
  bool served = false;
  haul::EngineOptions options;
  options.on_peer = [&](haul::Peer peer) {
    peer.send(peer.grant(memory.slice(), haul::Rights::read_write).value().serialize());
  };
  options.on_peer_closed = [&](haul::Peer, const haul::Status&) { served = true; };
  const auto engine = make_engine(std::move(options));
  memory = engine->allocate(1 << 20).value();
  on_bound(engine->listen(address).value());
  return run(*engine, [&] { return served; }) ? 0 : 1;
}

int put_and_get(const haul::Address& address) {
  std::optional<haul::RemoteBuffer> remote;
  haul::EngineOptions options;
  options.on_message = [&](haul::Peer, const haul::Message& message) {
    remote = haul::RemoteBuffer::deserialize(message.payload).value();
  };
  const auto engine = make_engine(std::move(options));
  const haul::Buffer sent = engine->allocate(1 << 20).value();
  const haul::Buffer back = engine->allocate(1 << 20).value();
  std::memset(sent.data(), 42, sent.size());

  haul::Peer peer = engine->connect(address).value();
  run(*engine, [&] { return remote || peer.state() == haul::PeerState::closed; });
  if (!remote) {
    std::cerr << "put_get: " << peer.status().to_string() << '\n';
    return 1;
  }
  const haul::Transfer put = peer.put(sent.slice(), remote->slice());
  run(*engine, [&] { return put.done(); });
  std::cout << "put: " << put.status().to_string() << '\n';

  const haul::Transfer get = peer.get(back.slice(), remote->slice());
  run(*engine, [&] { return get.done(); });
  const bool equal = std::memcmp(sent.data(), back.data(), sent.size()) == 0;
  std::cout << "get: " << get.status().to_string() << (equal ? ", equal" : ", different") << '\n';

  peer.close();
  run(*engine, [&] { return peer.state() == haul::PeerState::closed; });
  return put.status().ok() && get.status().ok() && equal ? 0 : 1;
}

/// The child serves and tells its port through a pipe.
int run_both() {
  int ends[2];
  if (pipe(ends) != 0) return 1;
  const pid_t child = fork();
  if (child == 0) {
    _exit(serve({"127.0.0.1", 0}, [&](const haul::Address& bound) { (void)!write(ends[1], &bound.port, sizeof(bound.port)); }));
  }
  close(ends[1]);
  uint16_t port = 0;
  const bool known = child > 0 && read(ends[0], &port, sizeof(port)) == sizeof(port);
  int status = known ? put_and_get({"127.0.0.1", port}) : 1;
  int child_status = 1;
  if (child > 0) waitpid(child, &child_status, 0);
  return status != 0 || child_status != 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return run_both();
  const haul::Result<haul::Address> address = haul::Address::parse(argv[2]);
  if (!address) return std::cerr << "put_get: " << address.status().to_string() << '\n', 2;
  if (std::string_view(argv[1]) == "client") return put_and_get(*address);
  return serve(*address, [](const haul::Address& bound) { std::cout << "serving at " << bound.to_string() << std::endl; });
}
