// Which form of cong_control() a kernel has, by its BTF.
#pragma once

#include "haul/status.h"

struct btf;

namespace haul::tcp {

/// The number of cong_control()'s arguments: 2 or 4. Errors: unsupported (no such operations, or another number).
Result<int> cong_control_arguments(const btf* kernel);
/// Of the kernel that runs. Errors: unsupported (no BTF too).
Result<int> cong_control_arguments_here();

}  // namespace haul::tcp
