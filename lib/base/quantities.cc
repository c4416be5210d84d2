// A number and a unit from a short list.
#include "base/quantities.h"

#include <charconv>
#include <cmath>
#include <initializer_list>

namespace haul::base {

namespace {

struct Number {
  double value = 0;
  std::string_view unit;
};

std::optional<Number> split(std::string_view text) {
  Number number;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number.value);
  if (error != std::errc() || !(number.value >= 0) || !std::isfinite(number.value)) return std::nullopt;
  number.unit = text.substr(static_cast<size_t>(end - text.data()));
  while (!number.unit.empty() && number.unit.front() == ' ') number.unit.remove_prefix(1);
  return number;
}

struct Unit {
  std::string_view name;
  double factor;
};

std::optional<double> scaled(std::string_view text, std::initializer_list<Unit> units) {
  const auto number = split(text);
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    if (unit.name == number->unit) return number->value * unit.factor;
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> parse_size(std::string_view text) {
  const auto bytes = scaled(text, {{"", 1},
                                   {"K", 1e3},
                                   {"M", 1e6},
                                   {"G", 1e9},
                                   {"KB", 1e3},
                                   {"MB", 1e6},
                                   {"GB", 1e9},
                                   {"KiB", 1024},
                                   {"MiB", 1048576},
                                   {"GiB", 1073741824}});
  if (!bytes || *bytes > 1e15) return std::nullopt;
  return static_cast<uint64_t>(*bytes);
}

std::optional<uint64_t> parse_rate(std::string_view text) {
  const auto bits = scaled(text, {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}});
  if (!bits || *bits < 8 || *bits > 1e13) return std::nullopt;
  return static_cast<uint64_t>(*bits / 8);
}

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  const auto nanoseconds = scaled(text, {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}});
  if (!nanoseconds || *nanoseconds > 1e15) return std::nullopt;
  return std::chrono::nanoseconds(static_cast<int64_t>(*nanoseconds));
}

std::optional<double> parse_fraction(std::string_view text) {
  const auto value = scaled(text, {{"", 1}, {"%", 0.01}});
  return value && *value <= 1 ? value : std::nullopt;
}

std::optional<double> parse_number(std::string_view text) { return scaled(text, {{"", 1}}); }

}  // namespace haul::base
