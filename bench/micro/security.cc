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

void move(TlsSession& from, TlsSession& to) {
  const std::vector<std::byte> bytes(from.outgoing().begin(), from.outgoing().end());
  from.take_outgoing();
  if (!bytes.empty() && !to.advance(bytes).ok()) std::abort();
}

// Both sides: the processor time of one is about half.
void handshake(benchmark::State& state) {
  const auto security = context();
  for (auto _ : state) {
    auto dials = TlsSession::start(TlsSession::Role::dials, security, Protection::encrypted, {}).value();
    auto accepts = TlsSession::start(TlsSession::Role::accepts, security, Protection::encrypted, {}).value();
    if (!dials->advance({}).ok()) std::abort();
    while (!dials->done() || !accepts->done()) {
      move(*dials, *accepts);
      move(*accepts, *dials);
    }
    benchmark::DoNotOptimize(accepts->keys(true));
  }
  state.counters["handshakes"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
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
