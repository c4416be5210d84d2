// Defaults of the controller interface, and the built-in controllers by name.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "haul/congestion.h"

namespace haul {

CongestionController::~CongestionController() = default;
void CongestionController::on_sent(TimePoint, uint64_t, uint64_t) {}
void CongestionController::on_path_change(TimePoint) {}
std::optional<PathMemory> CongestionController::memory() const noexcept { return std::nullopt; }
bool CongestionController::memory_failed() const noexcept { return false; }

namespace congestion {

namespace {

using Make = std::unique_ptr<CongestionController> (*)(const ControllerOptions&);
constexpr std::array<std::string_view, 5> all_names{"hub", "bbr", "cubic", "swift", "fixed"};
constexpr std::array<Make, 5> all_makers{make_hub, make_bbr, make_cubic, make_swift, make_fixed};

std::string out_of_range(const ControllerOptions& options) {
  if (options.packet_bytes == 0 || options.packet_bytes > (16U << 20)) return "packet_bytes must be 1 to 16777216";
  if (options.max_window_bytes < uint64_t{2} * options.packet_bytes) return "max_window_bytes must hold two packets";
  if (options.fixed_rate == 0) return "fixed_rate must be above 0";
  return {};
}

}  // namespace

std::span<const std::string_view> names() noexcept { return all_names; }

Result<std::unique_ptr<CongestionController>> make(std::string_view name, const ControllerOptions& options) {
  if (std::string wrong = out_of_range(options); !wrong.empty()) {
    return Status(StatusCode::invalid, "controller options: " + wrong);
  }
  const auto* const found = std::find(all_names.begin(), all_names.end(), name);
  if (found == all_names.end()) {
    std::string message = "no congestion controller is called \"" + std::string(name) + "\"; there are:";
    for (const std::string_view known : all_names) message.append(" ").append(known);
    return Status(StatusCode::invalid, std::move(message));
  }
  return all_makers.at(static_cast<size_t>(found - all_names.begin()))(options);
}

}  // namespace congestion
}  // namespace haul
