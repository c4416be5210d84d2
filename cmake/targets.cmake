# The kinds of targets: what is ours, and a room of lib/.

# Our own targets: strict warnings. (Not for code that other packages give us.)
#   haul_own(<target> [PRECOMPILED <kind>])     see haul_precompiled; what is of kind `test` is not optimised
function(haul_own target)
  cmake_parse_arguments(OWN "" "PRECOMPILED" "" ${ARGN})
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # A call within the library goes straight to its target, also where the target is exported.
    target_compile_options(${target} PRIVATE -fno-semantic-interposition)
    if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
      # GCC 12 sees overlaps in std::string's operator+ that are not there (GCC bug 105651).
      target_compile_options(${target} PRIVATE -Wno-restrict)
    endif()
    if(HAUL_SANITIZE)
      # The instrumentation hides initialisations from this warning; other builds keep it.
      target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
    endif()
  endif()
  if(OWN_PRECOMPILED STREQUAL test)
    # The code of a test runs for moments: optimising it takes more than half of the time of compiling it, and wins nothing. The
    # libraries under it are what the build makes them.
    target_compile_options(${target} PRIVATE -O0)
  endif()
  if(HAUL_PRECOMPILE AND OWN_PRECOMPILED)
    target_precompile_headers(${target} REUSE_FROM haul_precompiled_${OWN_PRECOMPILED})
  endif()
  if(HAUL_UNITY AND OWN_PRECOMPILED)
    # Files of one target share their anonymous namespaces then: those with a name that another has too are kept apart by
    # haul_compile_alone. Builds without it notice what a file forgot to include.
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${HAUL_UNITY_FILES})
  endif()
endfunction()

# Sources of this folder that HAUL_UNITY leaves alone.
function(haul_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# Headers that are compiled once for all targets of one kind of code. Every file includes what it uses all the same: builds
# without HAUL_PRECOMPILE notice what is missing.
#   haul_precompiled(<kind> LIBRARY|PROGRAM HEADERS <headers>… [LINKS <targets>…])
function(haul_precompiled kind type)
  cmake_parse_arguments(KIND "" "" "HEADERS;LINKS" ${ARGN})
  if(NOT HAUL_PRECOMPILE)
    return()
  endif()
  set(name haul_precompiled_${kind})
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  if(type STREQUAL PROGRAM)
    # Position-independent as programs are, which differs from libraries.
    file(CONFIGURE OUTPUT ${source} CONTENT "int main() {}\n" @ONLY)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
  else()
    file(CONFIGURE OUTPUT ${source} CONTENT "\n" @ONLY)
    add_library(${name} STATIC EXCLUDE_FROM_ALL ${source})
  endif()
  target_link_libraries(${name} PRIVATE ${KIND_LINKS})
  target_precompile_headers(${name} PRIVATE ${KIND_HEADERS})
  haul_own(${name})
  if(kind STREQUAL test)
    target_compile_options(${name} PRIVATE -O0)
  endif()
endfunction()

set(HAUL_COMMON_HEADERS <algorithm> <array> <chrono> <cstring> <functional> <map> <memory> <optional> <span> <string>
  <unordered_map> <utility> <variant> <vector> <fmt/format.h>)
haul_precompiled(library LIBRARY HEADERS ${HAUL_COMMON_HEADERS} LINKS fmt::fmt)
haul_precompiled(program PROGRAM HEADERS ${HAUL_COMMON_HEADERS} LINKS fmt::fmt)

# A room of lib/: a static library whose dependencies are the only rooms it may use.
function(haul_room name)
  cmake_parse_arguments(ROOM "" "" "USES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  add_library(haul_${name} STATIC ${sources})
  target_include_directories(haul_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib)
  foreach(used IN LISTS ROOM_USES)
    target_link_libraries(haul_${name} PUBLIC haul_${used})
  endforeach()
  target_link_libraries(haul_${name} PRIVATE fmt::fmt)
  haul_own(haul_${name} PRECOMPILED library)
endfunction()
