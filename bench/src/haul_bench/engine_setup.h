// Makes the engine of either side as the settings ask.
#pragma once

#include <memory>

#include "haul/engine.h"
#include "haul_bench/settings.h"

namespace bench {

/// `options` has the callbacks; the rest comes from the settings.
haul::Result<std::unique_ptr<haul::Engine>> make_engine(const Settings& settings, haul::EngineOptions options);

/// Segments that the transports of this peer had to send again, all lanes together.
uint64_t retransmits(const haul::Peer& peer);

/// Memory of the working set's size, filled with pseudo-random bytes so that every page is there before a measurement.
haul::Result<haul::Buffer> make_working_set(haul::Engine& engine, uint64_t bytes, uint64_t seed);

}  // namespace bench
