// The measurements: what is moved, how, and which figures come of it.
#pragma once

#include "haul_bench/report.h"
#include "haul_bench/session.h"
#include "haul_bench/settings.h"

namespace bench {

/// Runs the settings' mode (any but server) over an open session.
haul::Result<Report> measure(Session& session, const Settings& settings);

}  // namespace bench
