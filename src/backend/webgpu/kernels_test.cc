// The labels by which debuggers tell kernels apart.
#include "backend/webgpu/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

#include "backend/test_model.h"
#include "backend/webgpu/test_api.h"
#include "backend/webgpu/test_gpu.h"
#include "backend/webgpu/webgpu_backend.h"

namespace skein::webgpu {
namespace {

using namespace skein::testing;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::watched;
using testing::watching_api;

constexpr uint64_t kSeed = 5;

// A layer, and what its steps need.
struct Layer {
  explicit Layer(Backend& on, uint32_t num_tokens)
      : backend(on),
        weights(random_weights(on, dims, {}, kSeed)),
        tokens(random_batch(std::vector<uint32_t>{num_tokens}, dims.num_vocab, kSeed)),
        batch(tokens.view()),
        state(zero_state(on, dims, 1)),
        work(poisoned_workspace(on, dims, num_tokens, 1, ActivationLayout::kPacked)) {}

  LayerArgs args() { return {dims, weights.layers[0], 0, batch, state, work}; }

  Dimensions dims = test_dimensions(64, 1);
  Backend& backend;
  Weights weights;
  TestBatch tokens;
  Batch batch;
  State state;
  Workspace work;
};

// Where the library is loaded, a device that is watched.
Result<std::shared_ptr<Gpu>> watched_gpu() {
  const Result<const WgpuApi*> loaded = load_wgpu();
  if (!loaded) return tl::unexpected(loaded.error());
  return Gpu::create({}, false, &watching_api());
}

// Whatever the user's environment says.
class DebugVariable {
 public:
  explicit DebugVariable(const char* value) { setenv("WGPU_DEBUG", value, 1); }
  ~DebugVariable() { unsetenv("WGPU_DEBUG"); }
};

TEST(Kernels, PipelinesAndGroupsCarryLabels) {
  for (const bool is_debugged : {false, true}) {
    const DebugVariable variable(is_debugged ? "1" : "0");
    const auto gpu = watched_gpu();
    SKEIN_NEED_GPU(gpu);
    const std::unique_ptr<Backend> backend = make_webgpu_backend_on(*gpu);
    Layer layer(*backend, 1);
    WeightFormat format;
    format.dense = Layout::col_major();
    layer.weights.layers[0].value =
        random_weights(*backend, layer.dims, format, kSeed).layers[0].value;
    watched.clear();
    backend->project_in(layer.args());
    backend->ffn_key(layer.args());
    backend->ffn_value(layer.args());
    const Status status = backend->finish();
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_THAT(watched.passes, SizeIs(1));
    EXPECT_THAT(watched.passes, Each("skein"));
    EXPECT_THAT(watched.pipelines,
                ElementsAre("project_in f16 row_major, f16 col_major", "ffn_key f16 row_major",
                            "ffn_value f16 col_major sparse"));
    if (is_debugged) {
      EXPECT_THAT(watched.groups, ElementsAre("project_in", "ffn_key", "ffn_value"));
    } else {
      EXPECT_THAT(watched.groups, IsEmpty());
    }
  }
}

}  // namespace
}  // namespace skein::webgpu
