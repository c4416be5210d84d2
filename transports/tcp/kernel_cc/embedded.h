// The compiled programs, as the build embeds them (kernel_cc.cmake).
#pragma once

#include <span>

namespace haul::tcp::embedded {

/// haul.bpf.c for kernels whose cong_control() takes so many arguments; an ELF file, aligned for it.
extern const std::span<const unsigned char> with_2_arguments;
extern const std::span<const unsigned char> with_4_arguments;

}  // namespace haul::tcp::embedded
