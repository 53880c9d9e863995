// What a kernel says of the device's subgroups; products of few tokens rely on it.
#include "backend/webgpu/subgroup.h"

#include <gtest/gtest.h>

#include <bit>

#include "backend/webgpu/test_gpu.h"

namespace skein::webgpu {
namespace {

TEST(Subgroup, HasAPowerOfTwoOfNeighbours) {
  auto gpu = Gpu::create(std::nullopt);
  SKEIN_NEED_GPU(gpu);
  if (!(*gpu)->limits().has_subgroups) GTEST_SKIP() << "the adapter has no subgroups";
  EXPECT_EQ((*gpu)->limits().subgroup_threads, 0u) << "not asked yet";
  const Result<uint32_t> threads = measure_subgroup(*gpu);
  ASSERT_TRUE(threads) << threads.error().message;
  EXPECT_TRUE(std::has_single_bit(*threads)) << *threads;
  EXPECT_LE(*threads, 128u);
}

}  // namespace
}  // namespace skein::webgpu
