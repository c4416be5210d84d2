// getaddrinfo, at once or on a helper thread.
#include "net/resolver.h"

#include <fmt/format.h>
#include <netdb.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <thread>

namespace haul::net {

namespace {

constexpr size_t max_running = 8;

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};

Status lookup_failed(const Address& address, int error, int system_error) {
  const StatusCode code = error == EAI_MEMORY ? StatusCode::exhausted : StatusCode::unavailable;
  const char* why = error == EAI_SYSTEM ? std::strerror(system_error) : gai_strerror(error);
  return Status(
      code,
      fmt::format("the host name \"{}\" does not resolve (check its spelling, and this machine's DNS): {}", address.host, why),
      error == EAI_SYSTEM ? system_error : 0);
}

Result<std::vector<Endpoint>> look_up(const Address& address, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
  if (error != 0) return lookup_failed(address, error, errno);
  const std::unique_ptr<addrinfo, FreeAddresses> owner(list);
  std::vector<Endpoint> endpoints;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    Endpoint endpoint;
    std::memcpy(&endpoint.storage, entry->ai_addr, entry->ai_addrlen);
    endpoint.bytes = entry->ai_addrlen;
    // Engines without credentials talk to this name because it is this machine (RFC 6761 section 6.3), whatever DNS says.
    if (address.host == "localhost" && !endpoint.is_loopback()) continue;
    endpoints.push_back(endpoint);
  }
  if (endpoints.empty()) return lookup_failed(address, EAI_NONAME, 0);
  return endpoints;
}

Resolution resolution(ConnectionId connection, Result<std::vector<Endpoint>> found) {
  Resolution result{.connection = connection, .endpoints = {}, .status = found.status()};
  if (found.ok()) result.endpoints = std::move(*found);
  return result;
}

}  // namespace

Result<std::vector<Endpoint>> resolve_now(const Address& address) { return look_up(address, 0); }

void Resolver::resolve(ConnectionId connection, const Address& address) {
  if (auto numeric = look_up(address, AI_NUMERICHOST); numeric.ok()) {
    ++running_;
    put_(resolution(connection, std::move(numeric)));
    return;
  }
  waiting_.push_back({connection, address});
  start_next();
}

void Resolver::finished() {
  --running_;
  start_next();
}

void Resolver::start_next() {
  while (!waiting_.empty() && running_ < max_running) {
    Wanted wanted = std::move(waiting_.front());
    waiting_.pop_front();
    ++running_;
    try {
      std::thread([put = put_, wanted] { put(resolution(wanted.connection, look_up(wanted.address, 0))); }).detach();
    } catch (const std::system_error& error) {
      put_(Resolution{
          .connection = wanted.connection,
          .endpoints = {},
          .status = Status(StatusCode::exhausted, "no thread could be started to resolve a host name", error.code().value())});
    }
  }
}

}  // namespace haul::net
