// Options that take one of a few names.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

namespace haul::tool {

/// Puts the number of the value in place of its name, which is what CLI11 makes enumerations of. Its own CheckedTransformer
/// writes values into its message as they are: those of one byte as characters, of which the first is the end of the text.
template <typename T>
CLI::Validator one_of(const std::map<std::string, T>& names) {
  return {[names](std::string& text) {
            const auto found = names.find(text);
            if (found == names.end()) {
              std::string all;
              for (const auto& [name, value] : names) all += (all.empty() ? "" : ",") + name;
              return fmt::format("{} not in {{{}}}", text, all);
            }
            text = std::to_string(static_cast<int>(found->second));
            return std::string();
          },
          ""};
}

}  // namespace haul::tool
