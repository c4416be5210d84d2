// haul:// URLs.
#include "object/url.h"

#include <fmt/format.h>

#include <optional>

#include "object/names.h"

namespace haul::object {

namespace {

constexpr std::string_view scheme = "haul://";

Status bad_url(std::string_view text, std::string_view why) {
  return Status(StatusCode::invalid, fmt::format("\"{}\": {}; expected haul://HOST:PORT/PATH", text, why));
}

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]);
    const int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string without_extra_slashes(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (c == '/' && (out.empty() || out.back() == '/')) continue;
    out += c;
  }
  if (!out.empty() && out.back() == '/') out.pop_back();
  return out;
}

}  // namespace

std::string Url::to_string() const {
  std::string escaped;
  for (const char c : path) c == '%' ? escaped += "%25" : escaped += c;
  return fmt::format("haul://{}/{}{}", address.to_string(), escaped, folder && !path.empty() ? "/" : "");
}

Result<Url> parse_url(std::string_view text) {
  if (!text.starts_with(scheme)) return bad_url(text, "it does not begin with haul://");
  const auto rest = text.substr(scheme.size());
  const size_t slash = rest.find('/');
  auto address = Address::parse(rest.substr(0, slash));
  if (!address) return bad_url(text, address.status().message());
  if (address->host.empty()) return bad_url(text, "the host is missing");
  if (address->port == 0) return bad_url(text, "port 0 cannot be connected to");
  const auto raw_path = slash == std::string_view::npos ? std::string_view() : rest.substr(slash);
  const auto path = percent_decoded(raw_path);
  if (!path) return bad_url(text, "a percent sign is not followed by two hexadecimal digits (write %25 for a percent sign)");
  if (path->find('\0') != std::string::npos) return bad_url(text, "the path has a NUL byte");
  Url url{
      .address = std::move(*address), .path = without_extra_slashes(*path), .folder = path->empty() || path->ends_with('/')};
  if (url.path.size() > max_path_bytes) return bad_url(text.substr(0, 80), "the path is longer than 4000 bytes");
  return url;
}

bool looks_like_url(std::string_view text) noexcept { return text.starts_with("haul:"); }

}  // namespace haul::object
