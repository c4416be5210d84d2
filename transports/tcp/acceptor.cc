// Routes accepted sockets.
#include "tcp/acceptor.h"

#include <algorithm>
#include <cstring>

namespace haul::tcp {

namespace {

bool is_wildcard(const Endpoint& endpoint) {
  if (endpoint.family() == AF_INET) return reinterpret_cast<const sockaddr_in&>(endpoint.storage).sin_addr.s_addr == INADDR_ANY;
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(endpoint.storage).sin6_addr) != 0;
}

bool reaches(const Endpoint& door, const Endpoint& local) {
  if (door.family() == AF_INET6 && is_wildcard(door)) return true;  // both families
  // An IPv4 connection to a socket of both families has a mapped address: compare what it means.
  if (is_wildcard(door)) return local.address().host.find(':') == std::string::npos;
  return door.address().host == local.address().host;
}

}  // namespace

void Acceptor::attach(std::shared_ptr<Inbox> inbox) {
  const std::lock_guard lock(mutex_);
  members_.push_back(std::move(inbox));
}

void Acceptor::detach(const std::shared_ptr<Inbox>& inbox) {
  const std::lock_guard lock(mutex_);
  std::erase(members_, inbox);
  std::erase_if(lanes_, [&inbox](const auto& lane) { return lane.second == inbox; });
  std::erase_if(doors_, [&inbox](const Door& door) { return door.inbox == inbox.get(); });
}

void Acceptor::expect(const wire::Token& token, std::shared_ptr<Inbox> inbox) {
  const std::lock_guard lock(mutex_);
  lanes_[token] = std::move(inbox);
}

void Acceptor::forget(const wire::Token& token) {
  const std::lock_guard lock(mutex_);
  lanes_.erase(token);
}

std::shared_ptr<Inbox> Acceptor::route(const wire::Preface& preface) {
  const std::lock_guard lock(mutex_);
  if (preface.kind == wire::PrefaceKind::lane) {
    const auto found = lanes_.find(preface.token);
    return found == lanes_.end() ? nullptr : found->second;
  }
  if (members_.empty()) return nullptr;
  return members_[turn_++ % members_.size()];
}

void Acceptor::listening(const Endpoint& endpoint, const std::shared_ptr<Inbox>& inbox) {
  const std::lock_guard lock(mutex_);
  doors_.push_back({endpoint, inbox.get()});
  const auto member = std::find(members_.begin(), members_.end(), inbox);
  if (turn_ == 0) std::rotate(members_.begin(), member, members_.end());
}

std::optional<uint16_t> Acceptor::port_at(const Endpoint& local) {
  const std::lock_guard lock(mutex_);
  std::optional<uint16_t> port;
  for (const Door& door : doors_) {
    if (!reaches(door.endpoint, local)) continue;
    port = door.endpoint.port();
    if (*port == local.port()) break;  // the very one that the peer came through
  }
  return port;
}

std::shared_ptr<Acceptor> make_acceptor() { return std::make_shared<Acceptor>(); }

}  // namespace haul::tcp
