// What makes two steps two kernels, and the labels by which debuggers tell kernels apart.
#include "backend/webgpu/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "backend/test_model.h"
#include "backend/webgpu/test_api.h"
#include "backend/webgpu/test_gpu.h"
#include "backend/webgpu/webgpu_backend.h"
#include "base/bits.h"

namespace skein::webgpu {
namespace {

using namespace skein::testing;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
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

TEST(Kernels, EveryNumberOfAFormIsPartOfAKey) {
  const auto key_of = [](const KernelForm& form) {
    StepKey key(1);
    key.add(form);
    return key.values();
  };
  KernelForm form = group_form(64, 16, 2, 4);
  form = form.with(tile_form(128, 64, 4, 8));
  for (uint32_t KernelForm::*number :
       {&KernelForm::group_threads, &KernelForm::row_threads, &KernelForm::thread_rows,
        &KernelForm::loads, &KernelForm::tile_rows, &KernelForm::tile_tokens,
        &KernelForm::tile_thread_rows, &KernelForm::thread_tokens}) {
    KernelForm other = form;
    other.*number *= 2;
    EXPECT_NE(key_of(form), key_of(other)) << to_string(form) << ", " << to_string(other);
  }
}

// The tuner sets one form after the other on one backend, and measures what runs then.
TEST(Kernels, FormsThatDifferInAThreadsRowsOnlyAreTwoKernels) {
  const auto gpu = watched_gpu();
  SKEIN_NEED_GPU(gpu);
  const std::unique_ptr<Backend> backend = make_webgpu_backend_on(*gpu);
  Layer layer(*backend, 17);
  std::vector<size_t> num_pipelines;
  for (const uint32_t thread_rows : {4u, 8u, 4u}) {
    KernelForms forms;
    forms.ffn_key = tile_form(32, 32, thread_rows, 4);
    ASSERT_TRUE(backend->set_forms(forms));
    watched.clear();
    backend->ffn_key(layer.args());
    const Status status = backend->finish();
    ASSERT_TRUE(status) << status.error().message;
    num_pipelines.push_back(watched.pipelines.size());
  }
  EXPECT_EQ(num_pipelines[0], num_pipelines[1]);
  EXPECT_GT(num_pipelines[1], 0u);
  EXPECT_EQ(num_pipelines[2], 0u);
}

// The same weights, with nothing in them, side by side in one buffer as a loaded model has them.
void share_buffer(Backend& backend, std::span<Tensor* const> tensors) {
  uint64_t num_bytes = 0;
  std::vector<uint64_t> offsets;
  for (const Tensor* tensor : tensors) {
    offsets.push_back(num_bytes);
    num_bytes += round_up<uint64_t>(tensor->mapping().span_bytes(), 256);
  }
  const Result<std::shared_ptr<Buffer>> buffer = backend.allocate(num_bytes);
  ASSERT_TRUE(buffer);
  for (size_t i = 0; i < tensors.size(); ++i) {
    *tensors[i] = Tensor(*buffer, offsets[i], tensors[i]->dtype(), tensors[i]->mapping());
  }
}

// Six products of the same cols: where x of all lies without gaps, their code is one.
TEST(Kernels, ProductsOfOneDispatchShareTheirCode) {
  const auto gpu = watched_gpu();
  SKEIN_NEED_GPU(gpu);
  const std::unique_ptr<Backend> backend = make_webgpu_backend_on(*gpu);
  for (const uint32_t max_tokens : {1u, 2u}) {
    Layer layer(*backend, 1);
    LayerWeights& w = layer.weights.layers[0];
    Tensor* const tensors[] = {&w.receptance, &w.key, &w.value, &w.w1, &w.a1, &w.g1};
    share_buffer(*backend, tensors);
    layer.work = poisoned_workspace(*backend, layer.dims, max_tokens, 1, ActivationLayout::kPacked);
    watched.clear();
    backend->project_in(layer.args());
    const Status status = backend->finish();
    ASSERT_TRUE(status) << status.error().message;
    ASSERT_THAT(watched.shaders, SizeIs(1));
    const bool are_twins = max_tokens == 1;
    EXPECT_THAT(watched.shaders[0], HasSubstr("fn run_0("));
    EXPECT_EQ(watched.shaders[0].find("fn run_1(") == std::string::npos, are_twins);
    EXPECT_EQ(watched.shaders[0].find("fn store_0_5(") != std::string::npos, are_twins);
  }
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
