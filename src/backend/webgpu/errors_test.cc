// What a driver refuses is one line, after which the device goes on: memory, a device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "backend/test_model.h"
#include "backend/webgpu/gpu.h"
#include "backend/webgpu/test_api.h"
#include "backend/webgpu/test_gpu.h"
#include "backend/webgpu/webgpu_backend.h"

namespace skein::webgpu {
namespace {

using namespace skein::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::watched;
using testing::watching_api;

constexpr uint64_t kSeed = 9;

const auto kIsOutOfMemory =
    AllOf(HasSubstr("webgpu: "), HasSubstr("out of memory: Not enough memory left. Caused by: "),
          Not(HasSubstr("\n")));

class OutOfMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto loaded = load_wgpu();
    SKEIN_NEED_GPU(loaded);
    watched.clear();
    const auto gpu = Gpu::create({}, false, &watching_api());
    SKEIN_NEED_GPU(gpu);
    backend_ = make_webgpu_backend_on(*gpu);
  }
  void TearDown() override { watched.clear(); }

  std::unique_ptr<Backend> backend_;
};

TEST_F(OutOfMemoryTest, AnAllocationIsOneLine) {
  watched.buffers_left = 0;
  for (int i = 0; i < 2; ++i) {
    const auto buffer = backend_->allocate(4096);
    ASSERT_FALSE(buffer);
    EXPECT_THAT(buffer.error().message, kIsOutOfMemory);
  }
  watched.buffers_left = -1;
  EXPECT_TRUE(backend_->allocate(4096));
  EXPECT_TRUE(backend_->finish());
}

// What steps allocate as they go: the list of runs, sums of parts, pending sums.
TEST_F(OutOfMemoryTest, AStepThatFindsNoneIsOneLineOfFinish) {
  const Dimensions dims = test_dimensions(128, 1);
  const Weights weights = random_weights(*backend_, dims, {}, kSeed);
  for (const uint32_t num_tokens : {1u, 17u}) {
    const TestBatch batch = random_batch(std::vector<uint32_t>{num_tokens}, dims.num_vocab, kSeed);
    const Workspace work =
        poisoned_workspace(*backend_, dims, num_tokens, num_tokens, ActivationLayout::kPacked);
    const State state = zero_state(*backend_, dims, 1);
    for (int left = 0; left < 2; ++left) {
      watched.buffers_left = left;
      forward(*backend_, dims, weights, state, batch.view(), work);
      const Status status = backend_->finish();
      watched.buffers_left = -1;
      if (left == 1 && status) break;  // one was enough
      ASSERT_FALSE(status) << num_tokens;
      EXPECT_THAT(status.error().message, kIsOutOfMemory);
    }
    forward(*backend_, dims, weights, state, batch.view(), work);
    const Status status = backend_->finish();
    EXPECT_TRUE(status) << status.error().message;
  }
}

}  // namespace
}  // namespace skein::webgpu
