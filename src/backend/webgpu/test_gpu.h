// A device for tests. Only tests include it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

namespace skein::testing {

// Whether tests must find an adapter: in CI one that is missing is a failure, not a skip.
inline bool needs_gpu() {
  const char* ci = std::getenv("CI");
  return ci != nullptr && std::string_view(ci) == "true";
}

}  // namespace skein::testing

// Leaves the test where `made`, a Result, has no value: a failure in CI, elsewhere a loud skip.
#define SKEIN_NEED_GPU(made)                                                        \
  do {                                                                              \
    if (!(made) && ::skein::testing::needs_gpu()) FAIL() << (made).error().message; \
    if (!(made)) GTEST_SKIP() << "no GPU adapter: " << (made).error().message;      \
  } while (false)
