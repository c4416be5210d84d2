// How a connection begins: any bytes instead of a preface or handshake, and a man in the middle between two good sides.
#include "tcp/greeting.h"

#include <deque>

#include "base/random.h"
#include "fuzz/identities.h"
#include "fuzz/script.h"
#include "fuzz/targets.h"
#include "security/tls_session.h"

namespace haul::fuzz {

namespace {

using security::TlsSession;
using tcp::Greeting;

std::unique_ptr<Greeting> greet(TlsSession::Role role, Protection weakest) {
  const auto& context = role == TlsSession::Role::dials ? identities().dials : identities().accepts;
  auto session = TlsSession::start(role, context, weakest, {});
  return std::make_unique<Greeting>(std::move(session).value(), context);
}

/// Hands over what the greeting has room for. False: it failed, or it is done.
bool receive(Greeting& greeting, std::span<const std::byte>& bytes, size_t most) {
  const auto wanted = greeting.wanted();
  require(!wanted.empty() || greeting.done(), "a greeting that is not done wants nothing");
  const size_t count = std::min({wanted.size(), bytes.size(), most});
  std::copy_n(bytes.begin(), count, wanted.begin());
  bytes = bytes.subspan(count);
  const Status status = greeting.received(count);
  require(greeting.outgoing().size() <= 64U << 10, "a stranger makes a greeting say too much");
  return status.ok() && !greeting.done();
}

/// Bytes of a stranger, in pieces.
void stranger(Script& script, std::unique_ptr<Greeting> greeting) {
  while (!script.done()) {
    auto bytes = script.bytes(1U + script.byte());
    while (!bytes.empty()) {
      if (!receive(*greeting, bytes, bytes.size())) return;
    }
  }
}

/// One side of a handshake, and the records on their way to it.
struct Side {
  std::unique_ptr<Greeting> greeting;
  tcp::wire::Preface preface;
  std::deque<Bytes> coming{};
  bool told = false;
  bool failed = false;
};

/// What the side says, as records or whatever it sent, to the other one.
void collect(Side& from, Side& to) {
  if (!from.failed && from.greeting->secured() && !from.told) {
    from.told = true;
    from.failed = !from.greeting->send_preface(from.preface).ok();
  }
  auto out = from.greeting->outgoing();
  while (!out.empty()) {
    size_t bytes = out.size();
    if (bytes > 5) bytes = std::min(bytes, 5 + (std::to_integer<size_t>(out[3]) << 8U) + std::to_integer<size_t>(out[4]));
    to.coming.emplace_back(out.begin(), out.begin() + static_cast<ptrdiff_t>(bytes));
    out = out.subspan(bytes);
  }
  from.greeting->take_outgoing();
}

/// What the man in the middle does to the next record.
void tamper(Script& script, std::deque<Bytes>& coming, std::vector<Bytes>& seen) {
  Bytes& next = coming.front();
  seen.push_back(next);
  switch (script.below(10)) {
    case 0: next[script.number16() % next.size()] ^= std::byte{static_cast<uint8_t>(1U << script.below(8))}; break;
    case 1: coming.pop_front(); break;
    case 2: coming.push_front(Bytes(next)); break;
    case 3: next.resize(script.number16() % next.size()); break;
    case 4: coming.push_front(Bytes(seen[script.below(seen.size())])); break;
    case 5:
      if (coming.size() > 1) std::swap(coming[0], coming[1]);
      break;
    case 6: {
      const auto bytes = script.bytes(1U + script.byte());
      coming.push_front(Bytes(bytes.begin(), bytes.end()));
      break;
    }
    default: break;
  }
}

void deliver(Side& side) {
  const Bytes record = std::move(side.coming.front());
  side.coming.pop_front();
  std::span<const std::byte> bytes = record;
  while (!bytes.empty() && !side.failed && !side.greeting->done()) {
    const bool goes_on = receive(*side.greeting, bytes, bytes.size());
    side.failed = !goes_on && !side.greeting->done();
  }
}

void man_in_the_middle(Script& script) {
  constexpr Protection protections[] = {Protection::encrypted, Protection::integrity_only, Protection::plain};
  const Protection weakest_dialing = protections[script.below(3)];
  const Protection weakest_accepting = protections[script.below(3)];
  Side dials{.greeting = greet(TlsSession::Role::dials, weakest_dialing),
             .preface = {.max_payload_bytes = 11, .max_message_bytes = 12, .credits = 13}};
  Side accepts{.greeting = greet(TlsSession::Role::accepts, weakest_accepting),
               .preface = {.max_payload_bytes = 21, .max_message_bytes = 22, .credits = 23}};
  std::vector<Bytes> seen;
  constexpr int most_steps = 64;
  for (int step = 0; step < most_steps; ++step) {
    collect(dials, accepts);
    collect(accepts, dials);
    if (dials.coming.empty() && accepts.coming.empty()) break;
    for (Side* to : {&dials, &accepts}) {
      if (!to->coming.empty()) tamper(script, to->coming, seen);
      if (!to->coming.empty()) deliver(*to);
    }
  }
  for (const auto& [side, other] : {std::pair(&dials, &accepts), std::pair(&accepts, &dials)}) {
    if (side->failed || !side->greeting->done()) continue;
    require(side->greeting->peer().credits == other->preface.credits, "a preface was altered and nobody noticed");
    const tcp::Link link = side->greeting->take_link();
    require(link.identity.name == "other", "a handshake ended with an identity that nobody proved");
    require(link.protection == std::min(weakest_dialing, weakest_accepting), "a link is weaker than its sides agreed on");
  }
}

}  // namespace

void greeting_run(std::span<const std::byte> input) {
  Script script(input);
  switch (script.below(4)) {
    case 0: return stranger(script, std::make_unique<Greeting>(nullptr, nullptr));
    case 1: return stranger(script, greet(TlsSession::Role::accepts, Protection::encrypted));
    case 2: return stranger(script, greet(TlsSession::Role::dials, Protection::encrypted));
    default: return man_in_the_middle(script);
  }
}

void greeting_seeds(const SeedSink& sink) {
  const auto put = [&sink](std::string_view name, std::initializer_list<uint8_t> bytes) {
    sink(name, std::as_bytes(std::span(bytes.begin(), bytes.size())));
  };
  Bytes preface(tcp::wire::preface_bytes);
  tcp::wire::encode({.max_payload_bytes = 1U << 20, .max_message_bytes = 8192, .credits = 64},
                    std::span(preface).first<tcp::wire::preface_bytes>());
  for (uint8_t role = 0; role < 3; ++role) {
    Bytes seed{std::byte{role}, std::byte{63}};
    seed.insert(seed.end(), preface.begin(), preface.end());
    sink("plain-" + std::to_string(role), seed);
  }
  put("tls-to-plain", {0, 10, 22, 3, 1, 0, 5, 1, 0, 0, 1, 0});
  put("tls-hello", {1, 10, 22, 3, 1, 0, 5, 1, 0, 0, 1, 0});
  put("alert", {2, 6, 21, 3, 3, 0, 2, 2, 40});
  // 7: the record passes. The first two say what both sides accept.
  put("untouched", {3, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7});
  put("weak", {3, 2, 2, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7});
  put("integrity", {3, 1, 2, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7});
  for (uint8_t passes = 0; passes < 6; ++passes) {
    for (uint8_t does = 0; does < 7; ++does) {
      Bytes seed{std::byte{3}, std::byte{0}, std::byte{1}};
      seed.insert(seed.end(), passes, std::byte{7});
      seed.push_back(std::byte{does});
      seed.insert(seed.end(), 12, std::byte{static_cast<uint8_t>(7 + 10 * passes)});
      sink("middle-" + std::to_string(does) + "-" + std::to_string(passes), seed);
    }
  }
}

}  // namespace haul::fuzz
