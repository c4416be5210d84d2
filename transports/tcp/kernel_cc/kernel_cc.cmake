# The program for the kernel, where it can be built: sets HAUL_KERNEL_CC_SOURCES, _LINKS and _PC for the tcp backend, and
# HAUL_HAS_TCP_BPF.
set(HAUL_TCP_BPF auto CACHE STRING
  "Build haul's congestion control for the kernel: auto (where clang for bpf and libbpf are found), on, off")
set_property(CACHE HAUL_TCP_BPF PROPERTY STRINGS auto on off)

set(folder ${CMAKE_CURRENT_LIST_DIR})
set(HAUL_KERNEL_CC_SOURCES ${folder}/reader.cc ${folder}/controller.cc ${folder}/presence.cc)
set(HAUL_KERNEL_CC_LINKS "")
set(HAUL_KERNEL_CC_PC "")
set(HAUL_HAS_TCP_BPF OFF CACHE INTERNAL "This build has haul's congestion control for the kernel")

string(TOLOWER "${HAUL_TCP_BPF}" wanted)
if(NOT wanted MATCHES "^(auto|on|off)$")
  message(FATAL_ERROR "HAUL_TCP_BPF is ${HAUL_TCP_BPF}; auto, on and off are possible.")
endif()
find_program(HAUL_BPF_CLANG NAMES clang-14 clang)
pkg_check_modules(LIBBPF IMPORTED_TARGET libbpf>=1.0)
set(missing "")
if(NOT HAUL_BPF_CLANG)
  set(missing "clang (clang-14) is missing")
elseif(NOT LIBBPF_FOUND)
  set(missing "libbpf 1.0 or newer (libbpf-dev) is missing")
endif()

# -g: the loader needs the types (BTF). clang does not look where Debian keeps asm/types.h.
set(bpf_options -target bpf -O2 -g -ffreestanding -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
# Not every clang has the target, or the attributes that the program is written with.
if(NOT missing)
  set(probe ${CMAKE_CURRENT_BINARY_DIR}/bpf_probe)
  file(WRITE ${probe}.c "#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernels { int member; };
#pragma clang attribute pop
int member_of(const struct kernels *object) { return object->member; }
")
  execute_process(COMMAND ${HAUL_BPF_CLANG} ${bpf_options} -c ${probe}.c -o ${probe}.o
    RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE said)
  if(failed)
    string(REGEX MATCH "[^\n]+" said "${said}")
    set(missing "${HAUL_BPF_CLANG} cannot compile for the kernel (${said})")
  endif()
endif()
if(wanted STREQUAL on AND missing)
  message(FATAL_ERROR "HAUL_TCP_BPF is on, but ${missing}.")
endif()

if(wanted STREQUAL off)
  set(missing "HAUL_TCP_BPF is off")
endif()
if(missing)
  list(APPEND HAUL_KERNEL_CC_SOURCES ${folder}/absent/absent.cc)
  message(STATUS "haul's congestion control for the kernel is left out: ${missing}")
  return()
endif()
set(HAUL_HAS_TCP_BPF ON CACHE INTERNAL "This build has haul's congestion control for the kernel")
set(HAUL_KERNEL_CC_LINKS PkgConfig::LIBBPF)
set(HAUL_KERNEL_CC_PC libbpf)
list(APPEND HAUL_KERNEL_CC_SOURCES ${folder}/groups.cc ${folder}/installation.cc ${folder}/loader_log.cc
  ${folder}/maps.cc ${folder}/pins.cc ${folder}/program.cc ${folder}/variant.cc)

# Once for each form of cong_control().
foreach(arguments IN ITEMS 2 4)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/haul_${arguments}.bpf.o)
  set(embedded ${CMAKE_CURRENT_BINARY_DIR}/haul_${arguments}.bpf.cc)
  add_custom_command(OUTPUT ${object}
    COMMAND ${HAUL_BPF_CLANG} ${bpf_options} -Wall -Wextra -Wno-unused-parameter -Werror
            -ffile-prefix-map=${PROJECT_SOURCE_DIR}=. -DHAUL_CONG_CONTROL_ARGUMENTS=${arguments}
            -c ${folder}/haul.bpf.c -o ${object}
    DEPENDS ${folder}/haul.bpf.c ${folder}/kernel.h ${folder}/rules.h ${folder}/values.h
    COMMENT "Compiling haul's program for kernels with ${arguments} arguments" VERBATIM)
  add_custom_command(OUTPUT ${embedded}
    COMMAND ${CMAKE_COMMAND} -D INPUT=${object} -D OUTPUT=${embedded} -D NAME=with_${arguments}_arguments
            -P ${folder}/embed.cmake
    DEPENDS ${object} ${folder}/embed.cmake VERBATIM)
  haul_compile_alone(${embedded})
  list(APPEND HAUL_KERNEL_CC_SOURCES ${embedded})
endforeach()
