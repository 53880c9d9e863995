// The ten steps of one forward pass, one by one: timed, and the matrices that each of them reads.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "model/neurons.h"
#include "model/rwkv7.h"

namespace skein {

enum class Step : uint8_t {
  kEmbed,
  kMix6,
  kProjectIn,
  kProjectOut,
  kWkv,
  kOutput,
  kMix,
  kFfnKey,
  kFfnValue,
  kHead,
};

inline constexpr std::array<std::string_view, 10> kStepNames = {
    "embed",  "mix6", "project_in", "project_out", "wkv",
    "output", "mix",  "ffn_key",    "ffn_value",   "head"};
inline constexpr size_t kNumSteps = kStepNames.size();

// The step that an op of a device (OpTime) is part of; nothing for an op of none.
std::optional<Step> step_of_op(std::string_view op) noexcept;

constexpr std::string_view to_string(Step step) noexcept {
  return kStepNames[static_cast<size_t>(step)];
}

// By step, all layers together.
using StepSeconds = std::array<double, kNumSteps>;

// Rwkv7::forward() with a clock around each step: adds to `seconds`. A step is waited for before
// the next one starts, so that on a device too its time is its own. The batch must be one that
// forward() takes, its ids valid.
Status run_steps(const Rwkv7& model, const Batch& batch, const State& state, const Workspace& work,
                 StepSeconds& seconds);

// y = W x, as a step does it.
struct StepMatrix {
  Step step;
  const Tensor* weights;
  const Activation* x;
  const Activation* y;
};

// The matrices of one layer in the order of use, and the head as that of layer num_layers.
std::vector<StepMatrix> matrices_of(const Rwkv7& model, uint32_t layer, const Workspace& work);

// Bytes of weights that decoding one token reads in each step, zero activations not skipped.
std::array<double, kNumSteps> bytes_by_step(const Rwkv7& model);

// What the ffn's activations leave of ffn.value.
struct Sparsity {
  NeuronCounts counts;
  std::vector<std::vector<uint32_t>> nonzero_cols;  // [layer] of the last token, ascending
};

// Decodes `ids`, at least one, from an empty state.
Result<Sparsity> measure_sparsity(const Rwkv7& model, std::span<const uint32_t> ids);

// Whether the backend's kernels leave out the weights of zero activations. The oracle reads all.
bool skips_zeros(const Rwkv7& model) noexcept;

}  // namespace skein
