// Runs one client job from connecting to leaving, with signals and progress.
#pragma once

#include <functional>
#include <memory>

#include "object/client.h"
#include "options.h"
#include "outcome.h"

namespace haul::tool {

using MakeClientJob = std::function<std::unique_ptr<object::Job>(object::Channel&, Engine&)>;

struct ClientOutcome {
  object::Failure failure;
  Reached reached = Reached::nothing;
  int signal = 0;
  Duration duration{};  ///< of the job
};

/// `inspect` is called at the end, while client and engine still live.
ClientOutcome run_client(const CommonOptions& common, const Address& address, bool show_progress, MakeClientJob make_job,
                         const std::function<void(const object::FileClient&, Engine&)>& inspect);

}  // namespace haul::tool
