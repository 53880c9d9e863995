# The program, one static library of all folders, the public header and the default model; for other builds
# find_package(skein) gives the target skein::skein.
include(CMakePackageConfigHelpers)

# The program lies at the root of the build folder, where ./dev and people look for it.
if(TARGET skein)
  set_target_properties(skein PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  install(TARGETS skein RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# One archive instead of one a folder: a user links skein::skein and need not know the house. The command line is no
# part of it. Nothing in the build itself links it.
get_property(archives GLOBAL PROPERTY SKEIN_ARCHIVES)
list(REMOVE_ITEM archives skein_cli)
file(GLOB public_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/skein/*)
if(archives AND public_headers)
  add_library(skein_bundle STATIC)
  set_target_properties(skein_bundle PROPERTIES OUTPUT_NAME skein EXPORT_NAME skein LINKER_LANGUAGE CXX)
  foreach(archive IN LISTS archives)
    target_sources(skein_bundle PRIVATE $<TARGET_OBJECTS:${archive}>)
  endforeach()
  target_compile_features(skein_bundle INTERFACE cxx_std_20)
  target_include_directories(skein_bundle INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  # What the objects call at link time. The header-only packages are compiled in and a user does not need them,
  # save tl::expected, whose type the public header returns.
  target_link_libraries(skein_bundle
    PUBLIC tl::expected
    PRIVATE fmt::fmt hwy::hwy Threads::Threads ${CMAKE_DL_LIBS})

  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/skein)
  install(TARGETS skein_bundle EXPORT skein ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT skein NAMESPACE skein:: FILE skein-targets.cmake DESTINATION ${package_dir})
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/skein-config.cmake.in
    ${PROJECT_BINARY_DIR}/skein-config.cmake INSTALL_DESTINATION ${package_dir}
    PATH_VARS CMAKE_INSTALL_DATADIR)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/skein-config-version.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/skein-config.cmake ${PROJECT_BINARY_DIR}/skein-config-version.cmake
    DESTINATION ${package_dir})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/skein DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()

# Where the program looks for it.
if(SKEIN_WGPU_LIBRARY)
  install(FILES ${SKEIN_WGPU_LIBRARY} DESTINATION lib/skein)
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/skein/models
  PATTERN "*.golden.safetensors" EXCLUDE)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
