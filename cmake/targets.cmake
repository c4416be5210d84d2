# The kinds of targets: what is ours, and a room of lib/.

# Our own targets: strict warnings. (Not for code that other packages give us.)
function(haul_own target)
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
endfunction()

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
  haul_own(haul_${name})
endfunction()
