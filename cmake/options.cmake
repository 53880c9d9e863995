# Language, warnings and sanitizers for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug, ..." FORCE)
endif()
include(GNUInstallDirs)

option(SKEIN_TESTS "Build the tests (needs GoogleTest)" ON)
option(SKEIN_BENCH "Build the micro-benchmarks (needs Google Benchmark)" OFF)
option(SKEIN_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
option(SKEIN_QUICK "For checks: a folder's sources compiled as one, kernels for two CPU targets" OFF)
option(SKEIN_WERROR "Warnings are errors" ON)
set(SKEIN_SANITIZE "" CACHE STRING "Value for -fsanitize=, e.g. address,undefined")

# A compiler cache is used where there is one; nothing needs it.
find_program(SKEIN_CCACHE ccache)
mark_as_advanced(SKEIN_CCACHE)
if(SKEIN_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${SKEIN_CCACHE})
endif()

add_library(skein_options INTERFACE)
target_compile_options(skein_options INTERFACE
  -Wall -Wextra -Wconversion -Wsign-conversion $<$<BOOL:${SKEIN_WERROR}>:-Werror>)
if(SKEIN_SANITIZE)
  target_compile_definitions(skein_options INTERFACE SKEIN_SANITIZED)
  target_compile_options(skein_options INTERFACE
    -fsanitize=${SKEIN_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  if(SKEIN_SANITIZE MATCHES "undefined")
    # Highway's scalar target converts NaN to int as it comes, where SIMD instructions give a number.
    target_compile_options(skein_options INTERFACE -fno-sanitize=float-cast-overflow)
  endif()
  target_link_options(skein_options INTERFACE -fsanitize=${SKEIN_SANITIZE})
endif()
