// Addresses as text.
#include "haul/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <array>
#include <charconv>

namespace haul {

namespace {

Status bad_address(std::string_view text, std::string_view why) {
  return Status(StatusCode::invalid, fmt::format("address \"{}\": {}; expected HOST:PORT or [IPV6]:PORT", text, why));
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  std::string_view host;
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return bad_address(text, "the bracket is not closed");
    host = text.substr(1, end - 1);
    if (host.empty()) return bad_address(text, "the brackets are empty");
    if (end + 1 >= text.size() || text[end + 1] != ':') return bad_address(text, "the port is missing");
    port = text.substr(end + 2);
  } else {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return bad_address(text, "the port is missing");
    host = text.substr(0, colon);
    if (host.find(':') != std::string_view::npos) return bad_address(text, "an IPv6 address needs brackets");
    port = text.substr(colon + 1);
  }
  constexpr size_t max_host_bytes = 255;  // RFC 1035 section 2.3.4
  if (host.size() > max_host_bytes) return bad_address(text, "the host is longer than 255 bytes");
  for (const char c : host) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '/' || c == '[' || c == ']' || c == '\x7f')
      return bad_address(text, "the host has a character that no host has");
  }
  uint16_t number = 0;
  const auto [rest, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || rest != port.data() + port.size())
    return bad_address(text, "the port is not a number up to 65535");
  return Address{std::string(host), number};
}

std::string Address::to_string() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

bool Address::is_loopback() const noexcept {
  if (host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) != 1) return false;
  if (IN6_IS_ADDR_LOOPBACK(&v6)) return true;
  return IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127;
}

}  // namespace haul
