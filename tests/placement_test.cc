// Where weights and activations lie (WeightPlan::placement, ::activations) changes no bit of the
// logits; and they lie where the plan says.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/backends.h"
#include "model/rwkv7.h"
#include "tiny_model.h"

namespace skein {
namespace {

constexpr const char* kGoose = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";

struct Loaded {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Rwkv7> model;
};

Loaded load(const std::string& path, const WeightPlan& plan, const std::string& backend = "cpu") {
  Loaded loaded;
  loaded.backend = make_backend(backend, 2, Precision::kExact).value();
  loaded.model = Rwkv7::load(path, *loaded.backend, {plan, 2, {}, nullptr}).value();
  return loaded;
}

WeightPlan plan_of(Placement placement, ActivationLayout activations) {
  WeightPlan plan;
  plan.placement = placement;
  plan.activations = activations;
  return plan;
}

std::vector<float> download(Backend& backend, const Activation& rows, uint64_t num_rows) {
  std::vector<float> values(num_rows * rows.stride_elems);
  EXPECT_TRUE(backend.download(*rows.buffer, rows.offset_elems * sizeof(float),
                               std::as_writable_bytes(std::span(values))));
  return values;
}

// Of five tokens at once, then of three one by one.
std::vector<float> logits_of(const Loaded& loaded) {
  const Rwkv7& model = *loaded.model;
  const State state = model.make_state(1).value();
  const Workspace work = model.make_workspace(5, 5, model.plan().activations).value();
  std::vector<float> all;
  const auto run = [&](std::vector<uint32_t> ids) {
    const auto count = static_cast<uint32_t>(ids.size());
    const Run run{0, 0, count};
    std::vector<uint32_t> wanted(count);
    for (uint32_t i = 0; i < count; ++i) wanted[i] = i;
    EXPECT_TRUE(model.forward({ids, {&run, 1}, wanted}, state, work));
    const auto logits = download(*loaded.backend, work.logits, count);
    all.insert(all.end(), logits.begin(), logits.end());
  };
  run({0, 5, 300, 7, 8});
  for (const uint32_t id : {4u, 500u, 9u}) run({id});
  return all;
}

TEST(PlacementTest, LogitsAreTheSameBits) {
  for (const char* backend : {"cpu", "reference"}) {
    const auto want = logits_of(load(kGoose, WeightPlan(), backend));
    for (const Placement placement : {Placement::kHot, Placement::kFile}) {
      for (const ActivationLayout layout :
           {ActivationLayout::kSeparate, ActivationLayout::kPacked}) {
        const WeightPlan plan = plan_of(placement, layout);
        EXPECT_EQ(logits_of(load(kGoose, plan, backend)), want) << backend << ' ' << plan.text();
      }
    }
  }
}

TEST(PlacementTest, HotIsOneArenaInTheOrderOfUseWithoutTheEmbedding) {
  const Loaded loaded = load(kGoose, plan_of(Placement::kHot, ActivationLayout::kPacked));
  Weights weights = loaded.model->weights();
  uint64_t end = 0;
  const Buffer* arena = nullptr;
  for (const WeightSpec& spec : list_weights(loaded.model->dims(), weights)) {
    const Tensor& tensor = *spec.target;
    if (spec.group == WeightGroup::kEmbedding) {
      EXPECT_NE(tensor.buffer().get(), arena);
      continue;
    }
    if (arena == nullptr) arena = tensor.buffer().get();
    ASSERT_EQ(tensor.buffer().get(), arena) << spec.label();
    EXPECT_GE(tensor.offset_bytes(), end) << spec.label();
    EXPECT_LT(tensor.offset_bytes(), end + 256) << spec.label();
    end = tensor.offset_bytes() + tensor.span_bytes();
  }
  EXPECT_LT(arena->num_bytes(), end + 256);
}

// The seed's Runtime: what one pass over the mixed inputs reads lies side by side, and so do the
// low-rank inputs, which a dense step streams as if they were one matrix.
TEST(PlacementTest, TheLowRankInputsLieSideBySide) {
  const Loaded loaded = load(kGoose, WeightPlan());
  for (const LayerWeights& layer : loaded.model->weights().layers) {
    std::vector<const Tensor*> inputs = {&layer.value, &layer.w1, &layer.a1, &layer.g1};
    if (layer.v1) inputs.push_back(&layer.v1);
    for (size_t i = 1; i < inputs.size(); ++i) {
      const uint64_t end = inputs[i - 1]->offset_bytes() + inputs[i - 1]->span_bytes();
      EXPECT_EQ(inputs[i]->buffer(), inputs[i - 1]->buffer());
      EXPECT_GE(inputs[i]->offset_bytes(), end);
      EXPECT_LT(inputs[i]->offset_bytes(), end + 256);
    }
  }
}

TEST(PlacementTest, FileHasABufferForEachInTheFilesOrder) {
  const Loaded loaded = load(kGoose, plan_of(Placement::kFile, ActivationLayout::kPacked));
  Weights weights = loaded.model->weights();
  std::map<const Buffer*, std::string> owners;
  for (const WeightSpec& spec : list_weights(loaded.model->dims(), weights)) {
    const Tensor& tensor = *spec.target;
    EXPECT_TRUE(owners.emplace(tensor.buffer().get(), spec.label()).second)
        << spec.label() << " shares the buffer of " << owners[tensor.buffer().get()];
    EXPECT_EQ(tensor.offset_bytes(), 0u);
    EXPECT_EQ(tensor.buffer()->num_bytes(), tensor.span_bytes());
  }
}

TEST(ActivationsTest, PackedIsOneTensorSeparateAreSix) {
  const Loaded loaded = load(kGoose, WeightPlan());
  constexpr uint32_t kTokens = 7;
  const uint32_t num_emb = loaded.model->dims().num_emb;
  const Workspace packed =
      loaded.model->make_workspace(kTokens, 1, ActivationLayout::kPacked).value();
  const Workspace separate =
      loaded.model->make_workspace(kTokens, 1, ActivationLayout::kSeparate).value();
  for (uint32_t c = 0; c < kNumMixes; ++c) {
    // [num_emb, num_token, 6, 1], the first dimension the fastest.
    EXPECT_EQ(packed.mixed[c].buffer, packed.mixed[0].buffer);
    EXPECT_EQ(packed.mixed[c].offset_elems, uint64_t{c} * kTokens * num_emb);
    EXPECT_EQ(packed.mixed[c].stride_elems, num_emb);
    EXPECT_EQ(separate.mixed[c].offset_elems, 0u);
    for (uint32_t other = 0; other < c; ++other)
      EXPECT_NE(separate.mixed[c].buffer, separate.mixed[other].buffer);
  }
}

}  // namespace
}  // namespace skein
