// A man in the middle: relays one connection record by record, and tampers with one record on the way.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/unique_fd.h"

namespace haul::hostile {

enum class Kind : uint8_t {
  none,
  flip,     ///< a bit
  lose,     ///< the record
  shorten,  ///< by some bytes in its middle
  twice,    ///< the record comes again at once
  swap,     ///< with the one behind it
  replay,   ///< an earlier record comes again behind it
  inject,   ///< a record of random bytes comes before it
  half,     ///< the stream ends within it
  end,      ///< the stream ends before it
};
inline constexpr std::array all_kinds = {Kind::flip,   Kind::lose,   Kind::shorten, Kind::twice, Kind::swap,
                                         Kind::replay, Kind::inject, Kind::half,    Kind::end};
std::string to_string(Kind kind);

struct Tampering {
  Kind kind = Kind::none;
  bool to_server = true;
  size_t record = 0;  ///< the number of the record, counted in its direction from the first of the handshake
  uint64_t seed = 0;
};

class Relay {
 public:
  using Edit = std::function<void(std::vector<std::byte>& record)>;

  Relay(uint16_t target_port, Tampering tampering);
  /// Changes the record that `tampering` names in another way than those of Kind.
  Relay(uint16_t target_port, Tampering which, Edit edit);

  uint16_t port() const noexcept { return port_; }
  /// Moves what can be moved, without waiting.
  void step();
  /// The record came, and was tampered with.
  bool tampered() const noexcept { return tampered_; }
  size_t records(bool to_server) const noexcept { return ways_[to_server ? 0 : 1].count; }

 private:
  struct Way {
    int from = -1;
    int to = -1;
    std::vector<std::byte> in;
    std::vector<std::byte> out;
    std::vector<std::byte> held;                  // behind the record that comes next
    std::vector<std::vector<std::byte>> earlier;  // a few of them
    size_t count = 0;
    bool over = false;
  };

  void accept();
  void receive(Way& way);
  void take_records(Way& way);
  void pass(Way& way, std::vector<std::byte> record);
  void tamper(Way& way, std::vector<std::byte> record);
  void send(Way& way);
  void hang_up();

  uint16_t target_port_;
  Tampering tampering_;
  Edit edit_;
  base::Random random_;
  base::UniqueFd listening_;
  uint16_t port_ = 0;
  base::UniqueFd client_;
  base::UniqueFd server_;
  std::array<Way, 2> ways_;
  bool tampered_ = false;
  bool ends_ = false;  // once all is sent
};

}  // namespace haul::hostile
