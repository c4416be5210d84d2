// The receiving side: gives each client memory, answers its questions and its pings.
#pragma once

#include "haul_bench/settings.h"

namespace bench {

/// Prints "listening on HOST:PORT" to standard output, then serves until a signal, its lifetime's end, or (once) the end of its
/// first client. Returns the exit code.
int run_server(const Settings& settings);

}  // namespace bench
