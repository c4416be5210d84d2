// The verdict on a run by how late the emulator was.
#include "wan/lateness.h"

#include <fmt/format.h>

namespace wan {

Coming coming(haul::TimePoint read_at, haul::TimePoint seen_empty, bool slept) {
  const haul::Duration unseen = read_at - seen_empty;
  return slept ? Coming{read_at - unseen / 2, unseen / 2} : Coming{read_at, unseen};
}

std::string rejection(const Lateness& sending, const Lateness& reading, uint64_t lost_packets) {
  constexpr const char* remedy = "use a lower rate or a quieter machine";
  if (lost_packets > 0) return fmt::format("the emulator itself lost {} packets: {}", lost_packets, remedy);
  const auto judge = [&](const Lateness& lateness, const char* what) -> std::string {
    const double mean = lateness.mean_us();
    const double p99 = lateness.quantile_us(0.99);
    if (mean <= most_mean_lateness_us && p99 <= most_p99_lateness_us) return {};
    return fmt::format(
        "the emulator {} packets late, by {:.0f} us in the mean and {:.0f} us at 99 % (bounds {:.0f} and {:.0f}): {}", what,
        mean, p99, most_mean_lateness_us, most_p99_lateness_us, remedy);
  };
  const std::string sent = judge(sending, "sent");
  return sent.empty() ? judge(reading, "took") : sent;
}

}  // namespace wan
