// The controlled path of one peer over one transport.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "congestion/operation_path.h"
#include "congestion/sampled_path.h"
#include "haul/congestion.h"

namespace haul::engine {

/// All lanes of the peer over that transport share it. It outlives them, and so what was learned outlives a lane.
struct PathState {
  uint32_t transport_index = 0;
  std::array<std::unique_ptr<congestion::OperationPath>, 2> operations;  // by Op; Acknowledgements::completions
  std::unique_ptr<congestion::SampledPath> sampled;                      // Acknowledgements::samples
  // Of what is remembered, by the same index; a sampled path has the first. Empty: nothing is.
  std::array<std::string, 2> memory_names;
  std::array<bool, 2> given_memory{};
  bool decided = false;
  std::string verdict;  // for explain(): who controls, and why

  bool controlled() const noexcept { return operations[0] || sampled; }
};

}  // namespace haul::engine
