// Reading TOML so that every key is known or refused, and every mistake is told with its line and the remedy.
#pragma once

#include <fmt/format.h>
#include <toml++/toml.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flowsim/quantities.h"
#include "haul/status.h"

namespace flowsim {

/// Reads the keys of one table; remembers the first mistake and which keys it was asked for.
class Reader {
 public:
  Reader(const toml::table& table, std::string source, std::string place, haul::Status& status)
      : table_(table), source_(std::move(source)), place_(std::move(place)), status_(status) {}

  void fail(const toml::node& node, const std::string& message) {
    if (status_.ok())
      status_ = haul::Status(haul::StatusCode::invalid, fmt::format("{}:{}: {}", source_, node.source().begin.line, message));
  }

  const toml::node* find(std::string_view key) {
    known_.emplace_back(key);
    return table_.get(key);
  }

  /// Text, or a number where `parse` takes its text.
  template <typename T, typename Parse>
  void read(std::string_view key, T& into, const Parse& parse, std::string_view remedy) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    std::string text;
    if (const auto* string = node->as_string()) {
      text = string->get();
    } else if (const auto* integer = node->as_integer()) {
      text = std::to_string(integer->get());
    } else if (const auto* number = node->as_floating_point()) {
      text = fmt::format("{}", number->get());
    } else {
      return fail(*node, fmt::format("{}{} is not {}", place_, key, remedy));
    }
    if (const auto value = parse(text)) {
      into = *value;
    } else {
      fail(*node, fmt::format("{}{} = \"{}\" is not {}", place_, key, text, remedy));
    }
  }
  template <typename T>
  void rate(std::string_view key, T& into) {
    read(key, into, parse_rate, "a rate in bits per second above 0: write \"500M\", \"10G\"");
  }
  template <typename T>
  void duration(std::string_view key, T& into) {
    read(key, into, parse_duration, "a time: write \"100ms\", \"1.5s\", \"50us\"");
  }
  template <typename T>
  void fraction(std::string_view key, T& into) {
    read(key, into, parse_fraction, "a fraction: write \"1%\" or 0.01, between 0 and 1");
  }
  template <typename T>
  void size(std::string_view key, T& into) {
    read(key, into, parse_size, "a number of bytes: write \"4MB\", \"64KiB\"");
  }
  template <typename T>
  void whole(std::string_view key, T& into, uint64_t low, uint64_t high) {
    read(
        key, into,
        [&](std::string_view text) -> std::optional<T> {
          const auto number = parse_whole(text, low, high);
          return number ? std::optional(static_cast<T>(*number)) : std::nullopt;
        },
        fmt::format("a whole number from {} to {}", low, high));
  }
  void positive(std::string_view key, std::optional<double>& into) { read(key, into, parse_number, "a number"); }
  void text(std::string_view key, std::string& into) {
    read(
        key, into, [](const std::string& text) { return std::optional(text); }, "text");
  }
  void flag(std::string_view key, bool& into) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (const auto* value = node->as_boolean()) {
      into = value->get();
    } else {
      fail(*node, fmt::format("{}{} must be true or false", place_, key));
    }
  }
  /// Calls `each` with a Reader for every table of an array.
  template <typename Each>
  void tables(std::string_view key, const Each& each) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const toml::array* array = node->as_array();
    if (array == nullptr) {
      fail(*node, fmt::format("{}{} must be an array of tables: write [[{}]] or {} = [{{ … }}]", place_, key, key, key));
      return;
    }
    for (const toml::node& element : *array) {
      const toml::table* table = element.as_table();
      if (table == nullptr) {
        fail(element, fmt::format("{}{} must hold tables: write {{ key = value }}", place_, key));
        return;
      }
      Reader inner(*table, source_, fmt::format("{}{}.", place_, key), status_);
      each(inner);
      inner.finish();
    }
  }
  template <typename Each>
  void table(std::string_view key, const Each& each) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const toml::table* table = node->as_table();
    if (table == nullptr) {
      fail(*node, fmt::format("{}{} must be a table: write [{}]", place_, key, key));
      return;
    }
    Reader inner(*table, source_, fmt::format("{}{}.", place_, key), status_);
    each(inner);
    inner.finish();
  }

  /// Every text of an array, in place of what was there.
  template <typename T, typename Parse>
  void list(std::string_view key, std::vector<T>& into, const Parse& parse, std::string_view remedy) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    into.clear();
    const toml::array* array = node->as_array();
    if (array == nullptr) return fail(*node, fmt::format("{}{} must be an array: write [ … ]", place_, key));
    for (const toml::node& element : *array) {
      const auto* text = element.as_string();
      const auto value = parse(text == nullptr ? std::string() : text->get());
      if (!value) return fail(element, fmt::format("{}{}: this is not {}", place_, key, remedy));
      into.push_back(*value);
    }
  }

  /// A mistake that no single key shows.
  void refuse(const std::string& message) {
    fail(table_, place_.empty() ? message : place_.substr(0, place_.size() - 1) + ": " + message);
  }

  /// Refuses keys that nobody asked for.
  void finish() {
    for (const auto& [key, node] : table_) {
      bool is_known = false;
      for (const std::string& known : known_) is_known |= known == key.str();
      if (!is_known) fail(node, fmt::format("{}{} is not a key; there are: {}", place_, key.str(), fmt::join(known_, ", ")));
    }
  }

 private:
  const toml::table& table_;
  std::string source_;
  std::string place_;
  haul::Status& status_;
  std::vector<std::string> known_;
};

/// The keys of a link, as in bench/scenarios.
void read_link(Reader& reader, Link& link);

/// Parses `text` and has `read` take its keys. `remedy` follows a mistake in the syntax.
/// Errors: invalid; the message begins with "<source>:<line>:".
template <typename Read>
haul::Status read_toml(std::string_view text, const std::string& source, std::string_view remedy, const Read& read) {
  const toml::parse_result parsed = toml::parse(text, source);
  if (!parsed) {
    return {haul::StatusCode::invalid,
            fmt::format("{}:{}: {}; {}", source, parsed.error().source().begin.line, parsed.error().description(), remedy)};
  }
  haul::Status status;
  Reader reader(parsed.table(), source, "", status);
  read(reader);
  reader.finish();
  return status;
}

/// The text of a file. Errors: unavailable; `what` says what the file should have been.
haul::Result<std::string> read_text(const std::string& path, std::string_view what);

}  // namespace flowsim
