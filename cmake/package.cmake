# What an installed haul consists of: libraries with a SONAME, headers, a CMake package and pkg-config files.
# All of it is the install component "library", so that it can be installed before tools and benchmarks are built.
include(CMakePackageConfigHelpers)
set(HAUL_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/haul)

# A library that users link: haul::<export_name> for CMake, <pc_name>.pc for pkg-config.
#   haul_package(<target> EXPORT_NAME tcp PC_NAME haul-tcp DESCRIPTION "…" [PC_REQUIRES haul] [PC_PRIVATE "liburing"])
# PC_PRIVATE: pkg-config modules that a static library needs at the link; a shared one brings them.
function(haul_package target)
  cmake_parse_arguments(PACKAGE "" "EXPORT_NAME;PC_NAME;DESCRIPTION;PC_REQUIRES;PC_PRIVATE" "" ${ARGN})
  # Before 1.0 a minor version may change the interface: then programs built for the one before must not load it.
  set(so_version ${PROJECT_VERSION_MAJOR})
  if(PROJECT_VERSION_MAJOR EQUAL 0)
    set(so_version ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  endif()
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX OUTPUT_NAME ${PACKAGE_PC_NAME}
    EXPORT_NAME ${PACKAGE_EXPORT_NAME} VERSION ${PROJECT_VERSION} SOVERSION ${so_version})
  if(BUILD_SHARED_LIBS)
    set(exports ${PROJECT_SOURCE_DIR}/cmake/exports.map)
    target_link_options(${target} PRIVATE LINKER:--version-script=${exports})
    set_target_properties(${target} PROPERTIES LINK_DEPENDS ${exports})
    if(NOT HAUL_SANITIZE)
      target_link_options(${target} PRIVATE LINKER:--no-undefined)
    endif()
  endif()
  install(TARGETS ${target} EXPORT haul-targets COMPONENT library)

  if(BUILD_SHARED_LIBS)
    set(PACKAGE_PC_PRIVATE "")
  endif()
  file(RELATIVE_PATH up_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  configure_file(${PROJECT_SOURCE_DIR}/cmake/haul.pc.in ${PROJECT_BINARY_DIR}/${PACKAGE_PC_NAME}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${PACKAGE_PC_NAME}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
endfunction()

# Headers and the CMake package; called once, after all libraries are known.
function(haul_install_package)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/haul DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
  install(EXPORT haul-targets NAMESPACE haul:: DESTINATION ${HAUL_CMAKE_DIR} COMPONENT library)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/haul-config.cmake.in ${PROJECT_BINARY_DIR}/haul-config.cmake
    INSTALL_DESTINATION ${HAUL_CMAKE_DIR})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/haul-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/haul-config.cmake ${PROJECT_BINARY_DIR}/haul-config-version.cmake
    DESTINATION ${HAUL_CMAKE_DIR} COMPONENT library)
endfunction()
