# skein_folder(NAME DEPENDS a b ... LINK pkg ... TEST_DEPENDS c ...)
#
# One folder of src/ is one static library skein_NAME of its *.cc files, and one test program NAME_test of its
# *_test.cc files. Files are found by name: a new kernel or test is a new file and nothing else. DEPENDS names other
# folders (the arrows of scripts/arrows.txt, which scripts/check_arrows.py checks), LINK names outside packages.
# The targets are recorded in the global properties SKEIN_LIBRARIES (all) and SKEIN_ARCHIVES (those with objects):
# what crosses folders links the first, and the installed library is made of the second.
function(skein_folder name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "DEPENDS;LINK;TEST_DEPENDS")
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(TRANSFORM ARG_DEPENDS PREPEND skein_)
  list(TRANSFORM ARG_TEST_DEPENDS PREPEND skein_)
  if(sources)
    add_library(skein_${name} STATIC ${sources})
    set(scope PUBLIC)
    target_link_libraries(skein_${name} PRIVATE skein_options)
    set_property(GLOBAL APPEND PROPERTY SKEIN_ARCHIVES skein_${name})
    if(SKEIN_QUICK)
      skein_unity(skein_${name} ${sources})
    endif()
  else()
    add_library(skein_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  set_property(GLOBAL APPEND PROPERTY SKEIN_LIBRARIES skein_${name})
  target_include_directories(skein_${name} ${scope}
    ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(skein_${name} ${scope} ${ARG_DEPENDS} ${ARG_LINK})
  if(SKEIN_TESTS AND tests)
    skein_test(${name}_test SOURCES ${tests} DEPENDS skein_${name} ${ARG_TEST_DEPENDS})
  endif()
endfunction()

# skein_unity(TARGET sources ...)
#
# Headers cost more than what stands below them, above all where they are instrumented or read by clang-tidy. Kernels stay
# apart, since they include themselves once a target.
function(skein_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
  foreach(source IN LISTS ARGN)
    file(STRINGS ${source} kernel REGEX "HWY_TARGET_INCLUDE" LIMIT_COUNT 1)
    if(kernel)
      set_property(SOURCE ${source} PROPERTY SKIP_UNITY_BUILD_INCLUSION ON)
    endif()
  endforeach()
endfunction()

# skein_precompile(TEST)
#
# The headers that nearly every test includes are read once, for the first test, whose flags all others have.
function(skein_precompile name)
  get_property(owner GLOBAL PROPERTY SKEIN_PRECOMPILED)
  if(owner)
    target_precompile_headers(${name} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${name} PRIVATE
      <gmock/gmock.h> <gtest/gtest.h> <fmt/format.h> <algorithm> <array> <filesystem> <memory> <optional> <span> <string> <vector>)
    set_property(GLOBAL PROPERTY SKEIN_PRECOMPILED ${name})
  endif()
endfunction()

# skein_test(NAME SOURCES files ... DEPENDS targets ...)
#
# One GoogleTest program, one ctest entry a test case. Cases are listed when ctest starts, not while building, so a
# build never waits for a program to run. SKEIN_SOURCE_DIR is the repository's root, for models and goldens.
function(skein_test name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;DEPENDS")
  add_executable(${name} ${ARG_SOURCES})
  target_compile_definitions(${name} PRIVATE SKEIN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE skein_options ${ARG_DEPENDS} GTest::gmock GTest::gtest_main)
  # Not in `dev`, where clang-tidy tells of a header that a test forgot.
  if(SKEIN_QUICK OR CMAKE_BUILD_TYPE STREQUAL Release)
    skein_precompile(${name})
  endif()
  # What is tested is optimized as it is shipped; the tests are compiled in two thirds of the time where they are less so.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
    PROPERTIES TIMEOUT 300 LABELS ${name} ENVIRONMENT SKEIN_PLAN=none)
endfunction()
