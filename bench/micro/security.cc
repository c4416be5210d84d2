// TLS handshakes with mutual authentication, and the sealing and opening of records.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "security/keys.h"
#include "security/tls_session.h"

namespace {

using haul::Protection;
using haul::SecurityContext;
using haul::security::RecordCipher;
using haul::security::TlsSession;

struct Folder {
  Folder() {
    if (mkdtemp(path.data()) == nullptr) std::abort();
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path = (std::filesystem::temp_directory_path() / "haul-bench-XXXXXX").string();
};

// One identity that knows itself, made for this process. Its folder stays: the authorized peers are looked at again.
std::shared_ptr<const SecurityContext> context() {
  static const Folder own;
  static const std::shared_ptr<const SecurityContext> made = [] {
    const std::string& folder = own.path;
    const haul::Credentials files{.certificate_file = folder + "/haul.crt",
                                  .key_file = folder + "/haul.key",
                                  .authorized_peers_file = folder + "/authorized_peers",
                                  .ca_file = {},
                                  .crl_file = {}};
    constexpr int64_t day_s = 86400;
    const auto identity = haul::security::make_identity("bench", std::time(nullptr), day_s).value();
    if (!haul::security::write_identity(identity, files.key_file, files.certificate_file).ok()) std::abort();
    std::ofstream(files.authorized_peers_file) << "bench " << identity.fingerprint.to_string() << '\n';
    return SecurityContext::load(files).value();
  }();
  return made;
}

double processor_time_s() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// Adds what `work` takes to `spent_s`.
template <typename Work>
auto timed(double& spent_s, const Work& work) {
  const double begin_s = processor_time_s();
  auto result = work();
  spent_s += processor_time_s() - begin_s;
  return result;
}

std::unique_ptr<TlsSession> session(TlsSession::Role role) {
  return TlsSession::start(role, context(), Protection::encrypted, {}).value();
}

bool move(TlsSession& from, TlsSession& to) {
  const std::vector<std::byte> bytes(from.outgoing().begin(), from.outgoing().end());
  from.take_outgoing();
  return bytes.empty() || to.advance(bytes).ok();
}

// A whole handshake, both sides with certificates that the other judges, up to the keys of the records. One thread plays both
// sides; the counters tell their processor times apart.
void handshake(benchmark::State& state) {
  context();
  double dialing_s = 0;
  double accepting_s = 0;
  for (auto _ : state) {
    const auto dials = timed(dialing_s, [] { return session(TlsSession::Role::dials); });
    const auto accepts = timed(accepting_s, [] { return session(TlsSession::Role::accepts); });
    bool good = timed(dialing_s, [&] { return dials->advance({}).ok(); });
    while (good && (!dials->done() || !accepts->done())) {
      good = timed(accepting_s, [&] { return move(*dials, *accepts); });
      good = good && timed(dialing_s, [&] { return move(*accepts, *dials); });
    }
    if (!good) std::abort();
    benchmark::DoNotOptimize(accepts->keys(true));
    benchmark::DoNotOptimize(dials->keys(true));
  }
  const auto count = static_cast<double>(state.iterations());
  state.counters["handshakes"] = benchmark::Counter(count, benchmark::Counter::kIsRate);
  state.counters["dialing_us"] = dialing_s / count * 1e6;
  state.counters["accepting_us"] = accepting_s / count * 1e6;
}
BENCHMARK(handshake)->Unit(benchmark::kMicrosecond);

RecordCipher cipher(Protection mode) {
  haul::security::RecordKeys keys;
  haul::base::Random random(1);
  random.fill(keys.key);
  random.fill(keys.iv);
  return RecordCipher::make(keys, mode).value();
}

void seal(benchmark::State& state) {
  auto sealer = cipher(static_cast<Protection>(state.range(1)));
  std::vector<std::byte> content(static_cast<size_t>(state.range(0)));
  std::vector<std::byte> record(haul::security::max_record_bytes);
  const iovec part{content.data(), content.size()};
  for (auto _ : state) benchmark::DoNotOptimize(sealer.seal(std::span(&part, 1), record));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(seal)->ArgsProduct({{64, 4096, 16384}, {0, 1}})->ArgNames({"bytes", "integrity_only"});

void seal_and_open(benchmark::State& state) {
  const auto mode = static_cast<Protection>(state.range(1));
  auto sealer = cipher(mode);
  auto opener = cipher(mode);
  std::vector<std::byte> content(static_cast<size_t>(state.range(0)));
  std::vector<std::byte> record(haul::security::max_record_bytes);
  std::vector<std::byte> out(content.size() + 1);
  const iovec part{content.data(), content.size()};
  for (auto _ : state) {
    const size_t bytes = sealer.seal(std::span(&part, 1), record).value();
    benchmark::DoNotOptimize(opener.open(std::span(record).first(bytes), out));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(seal_and_open)->ArgsProduct({{64, 4096, 16384}, {0, 1}})->ArgNames({"bytes", "integrity_only"});

}  // namespace
