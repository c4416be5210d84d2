// Reads the file of authorized peers.
#include "security/authorized_peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "security/peer_name.h"
#include "security/text.h"

namespace haul::security {

namespace {

constexpr std::string_view line_form = "NAME sha256:FINGERPRINT or NAME ca, then what it may do";
constexpr std::string_view blanks = " \t";
constexpr std::string_view expires_word = "expires";
constexpr std::string_view revoked_word = "revoked";
constexpr size_t max_verb_bytes = 32;

/// The words of a line, and where it is for messages.
class Line {
 public:
  Line(std::string_view file, size_t number, std::string_view text) : file_(file), number_(number), left_(text) {}

  size_t number() const { return number_; }
  Status wrong(std::string_view what) const {
    return Status(StatusCode::invalid, fmt::format("{}:{}: {}", file_, number_, what));
  }

  /// The next word; empty at the end, or where a comment begins.
  std::string_view word() {
    left_.remove_prefix(std::min(left_.find_first_not_of(blanks), left_.size()));
    if (left_.starts_with('#')) left_ = {};
    const std::string_view found = left_.substr(0, left_.find_first_of(blanks));
    left_.remove_prefix(found.size());
    return found;
  }

 private:
  std::string_view file_;
  size_t number_;
  std::string_view left_;
};

/// Whole lines are looked at, comments too: a byte that shows on no screen hides something.
Status check_bytes(std::string_view text, const Line& line) {
  if (text.size() > AuthorizedPeers::max_line_bytes) {
    return line.wrong(fmt::format("the line has {} bytes, more than {}: name folders instead of what is in them", text.size(),
                                  AuthorizedPeers::max_line_bytes));
  }
  const auto bad = std::find_if(text.begin(), text.end(),
                                [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; });
  if (bad == text.end()) return {};
  return line.wrong(fmt::format("byte {} of the line is the control character 0x{:02x}: expected plain text",
                                bad - text.begin() + 1, static_cast<unsigned char>(*bad)));
}

bool is_verb(std::string_view verb) {
  const auto is_small = [](char c) { return c >= 'a' && c <= 'z'; };
  if (verb.empty() || verb.size() > max_verb_bytes || !is_small(verb.front())) return false;
  return std::all_of(verb.begin(), verb.end(), [&](char c) { return is_small(c) || (c >= '0' && c <= '9') || c == '-'; });
}

/// Absolute, of components that are neither empty nor "." nor "..". Absent: not so. One slash at the end is dropped, and "/" is
/// the empty scope, everywhere.
std::optional<std::string_view> normal_scope(std::string_view scope) {
  if (!scope.starts_with('/')) return {};
  if (scope.ends_with('/')) scope.remove_suffix(1);
  for (std::string_view left = scope; !left.empty();) {
    left.remove_prefix(1);
    const std::string_view component = left.substr(0, left.find('/'));
    if (component.empty() || component == "." || component == "..") return {};
    left.remove_prefix(component.size());
  }
  return scope;
}

/// The first second after a day given as YYYY-MM-DD; absent: no such day.
std::optional<int64_t> end_of_day(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return {};
  bool all_digits = true;
  const auto number = [&](size_t at, size_t digits) {
    unsigned value = 0;
    for (const char c : text.substr(at, digits)) {
      all_digits = all_digits && c >= '0' && c <= '9';
      value = value * 10 + static_cast<unsigned>(c - '0');
    }
    return value;
  };
  const unsigned year = number(0, 4);
  const unsigned month = number(5, 2);
  const unsigned day = number(8, 2);
  if (!all_digits) return {};
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)), std::chrono::month(month),
                                         std::chrono::day(day)};
  if (!date.ok()) return {};
  const auto next_day = std::chrono::sys_days(date) + std::chrono::days(1);
  return std::chrono::duration_cast<std::chrono::seconds>(next_day.time_since_epoch()).count();
}

Status read_identity(Line& line, AuthorizedPeer& peer) {
  const std::string_view name = line.word();
  if (name != "*" && !is_peer_name(name))
    return line.wrong(fmt::format("{} cannot be a name: expected {}, or * before ca", quoted(name), peer_name_rule));
  peer.name = name;
  const std::string_view identity = line.word();
  if (identity.empty()) return line.wrong(fmt::format("{} has no identity: expected {}", quoted(name), line_form));
  if (identity == "ca") return {};
  if (!identity.starts_with("sha256:")) {
    return line.wrong(
        fmt::format("{} is no identity: expected sha256: and 64 hexadecimal digits, or ca for whoever a certificate "
                    "authority certified under this name",
                    quoted(identity)));
  }
  if (name == "*") return line.wrong("* stands only before ca: give the peer with this fingerprint a name");
  const auto fingerprint = Fingerprint::parse(identity);
  if (!fingerprint) return line.wrong(fingerprint.status().message());
  peer.fingerprint = *fingerprint;
  return {};
}

Status read_expiry(const Line& line, std::string_view word, std::string_view date, AuthorizedPeer& peer) {
  if (peer.expires_at_s) return line.wrong(fmt::format("{}: the line has an expiry date already; keep one", quoted(word)));
  peer.expires_at_s = end_of_day(date);
  if (peer.expires_at_s) return {};
  return line.wrong(fmt::format("{}: expected the last day, as in expires=2027-06-30", quoted(word)));
}

/// What comes after the identity: "revoked", "expires=DAY", "VERB", "VERB=/PATH".
Status read_word(const Line& line, std::string_view word, AuthorizedPeer& peer, std::set<std::string>& seen) {
  const size_t equals = word.find('=');
  const bool has_value = equals != std::string_view::npos;
  const std::string_view verb = word.substr(0, equals);
  const std::string_view value = has_value ? word.substr(equals + 1) : std::string_view();
  if (verb == expires_word) return read_expiry(line, word, value, peer);
  if (verb == revoked_word) {
    if (has_value || peer.revoked) return line.wrong(fmt::format("{}: expected the word revoked alone, once", quoted(word)));
    peer.revoked = true;
    return {};
  }
  if (!is_verb(verb)) {
    return line.wrong(
        fmt::format("{} is nothing that a peer may do: expected a verb of a to z, digits and hyphens, at most {}, "
                    "which begins with a letter, as in push or pull=/models",
                    quoted(word), max_verb_bytes));
  }
  const auto scope = has_value ? normal_scope(value) : std::string_view();
  if (!scope) {
    return line.wrong(
        fmt::format("{}: expected an absolute path without empty, . and .. parts, as in {}=/models/llama", quoted(word), verb));
  }
  if (!seen.insert(fmt::format("{}={}", verb, *scope)).second)
    return line.wrong(fmt::format("{}: the line has this permission already; keep one", quoted(word)));
  peer.permissions.push_back({std::string(verb), std::string(*scope)});
  return {};
}

Result<AuthorizedPeer> read_peer(Line line) {
  AuthorizedPeer peer;
  peer.line = line.number();
  if (Status good = read_identity(line, peer); !good.ok()) return good;
  std::set<std::string> seen;
  for (std::string_view word = line.word(); !word.empty(); word = line.word()) {
    if (Status good = read_word(line, word, peer, seen); !good.ok()) return good;
  }
  return peer;
}

/// Which line names whom, so that no one is named twice.
class Named {
 public:
  Status add(const AuthorizedPeer& peer, const Line& line) {
    const auto [at, is_new] = peer.fingerprint ? lines_.try_emplace(peer.fingerprint->to_string(), peer.line)
                                               : lines_.try_emplace(peer.name, peer.line);
    if (is_new) return {};
    return line.wrong(fmt::format("{} {} stands in line {} already: keep one of the two",
                                  peer.fingerprint ? "the fingerprint of" : "the line for ca and the name", quoted(peer.name),
                                  at->second));
  }

 private:
  std::map<std::string, size_t> lines_;  // no name has the colon of a fingerprint
};

}  // namespace

Result<AuthorizedPeers> AuthorizedPeers::parse(std::string_view text, std::string_view file) {
  if (text.size() > max_bytes) {
    return Status(StatusCode::invalid,
                  fmt::format("{}: {} bytes, more than {}: have a certificate authority certify the peers, "
                              "and name it in ca_file",
                              file, text.size(), max_bytes));
  }
  AuthorizedPeers out;
  Named named;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view content = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (content.ends_with('\r')) content.remove_suffix(1);
    const Line line(file, number, content);
    if (Status good = check_bytes(content, line); !good.ok()) return good;
    if (Line(line).word().empty()) continue;
    auto peer = read_peer(line);
    if (!peer) return peer.status();
    if (Status good = named.add(*peer, line); !good.ok()) return good;
    out.peers_.push_back(std::move(*peer));
  }
  return out;
}

const AuthorizedPeer* AuthorizedPeers::by_fingerprint(const Fingerprint& fingerprint) const noexcept {
  const auto found =
      std::find_if(peers_.begin(), peers_.end(), [&](const AuthorizedPeer& peer) { return peer.fingerprint == fingerprint; });
  return found == peers_.end() ? nullptr : &*found;
}

const AuthorizedPeer* AuthorizedPeers::by_certified_name(std::string_view name) const noexcept {
  const AuthorizedPeer* any = nullptr;
  for (const AuthorizedPeer& peer : peers_) {
    if (peer.fingerprint) continue;
    if (peer.name == name) return &peer;
    if (peer.name == "*") any = &peer;
  }
  return any;
}

}  // namespace haul::security
