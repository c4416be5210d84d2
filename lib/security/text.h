// Text of files in messages.
#pragma once

#include <string>
#include <string_view>

namespace haul::security {

/// In quotation marks, fit for a terminal: control characters become '?', and what is long is cut.
std::string quoted(std::string_view text);

}  // namespace haul::security
