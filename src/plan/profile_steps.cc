#include "plan/profile_steps.h"

#include <chrono>

#include "base/check.h"

namespace skein {
namespace {

class StepClock {
 public:
  StepClock(Backend& backend, StepSeconds& seconds) : backend_(backend), seconds_(seconds) {}

  // Runs one step and waits for it; does nothing once a step has failed.
  template <class F>
  void time(Step step, F&& run) {
    if (!status_) return;
    const auto start = Clock::now();
    run();
    status_ = backend_.finish();
    seconds_[static_cast<size_t>(step)] +=
        std::chrono::duration<double>(Clock::now() - start).count();
  }

  const Status& status() const { return status_; }

 private:
  using Clock = std::chrono::steady_clock;
  Backend& backend_;
  StepSeconds& seconds_;
  Status status_;
};

}  // namespace

Status run_steps(const Rwkv7& model, const Batch& batch, const State& state, const Workspace& work,
                 StepSeconds& seconds) {
  const Dimensions& dims = model.dims();
  const Weights& weights = model.weights();
  CHECK(batch.num_tokens() >= 1 && batch.num_tokens() <= work.max_tokens);
  CHECK(batch.logit_tokens.size() <= work.max_logits);
  for (const uint32_t id : batch.ids) CHECK(id < dims.num_vocab);
  Backend& backend = model.backend();
  StepClock clock(backend, seconds);
  clock.time(Step::kEmbed, [&] { backend.embed(dims, weights, batch, work); });
  for (uint32_t layer = 0; layer < dims.num_layers; ++layer) {
    const LayerArgs args{dims, weights.layers[layer], layer, batch, state, work};
    clock.time(Step::kMix6, [&] { backend.mix6(args); });
    clock.time(Step::kProjectIn, [&] { backend.project_in(args); });
    clock.time(Step::kProjectOut, [&] { backend.project_out(args); });
    clock.time(Step::kWkv, [&] { backend.wkv(args); });
    clock.time(Step::kOutput, [&] { backend.output(args); });
    clock.time(Step::kMix, [&] { backend.mix(args); });
    clock.time(Step::kFfnKey, [&] { backend.ffn_key(args); });
    clock.time(Step::kFfnValue, [&] { backend.ffn_value(args); });
  }
  if (!batch.logit_tokens.empty()) {
    clock.time(Step::kHead, [&] { backend.head(dims, weights, batch, work); });
  }
  return clock.status();
}

std::optional<Step> step_of_op(std::string_view op) noexcept {
  if (op == "shift") return Step::kMix6;  // the last part of both mixes
  if (op == "head norm") return Step::kHead;
  for (size_t i = 0; i < kNumSteps; ++i) {
    if (op == kStepNames[i]) return static_cast<Step>(i);
  }
  return std::nullopt;
}

std::vector<StepMatrix> matrices_of(const Rwkv7& model, uint32_t layer, const Workspace& work) {
  const Weights& weights = model.weights();
  if (layer == model.dims().num_layers) {
    return {{Step::kHead, &weights.head, &work.y, &work.logits}};
  }
  const LayerWeights& w = weights.layers[layer];
  std::vector<StepMatrix> matrices = {
      {Step::kProjectIn, &w.receptance, &work.mix(Mix::kR), &work.r},
      {Step::kProjectIn, &w.key, &work.mix(Mix::kK), &work.k},
      {Step::kProjectIn, &w.value, &work.mix(Mix::kV), &work.v},
      {Step::kProjectIn, &w.w1, &work.mix(Mix::kW), &work.low_w},
      {Step::kProjectIn, &w.a1, &work.mix(Mix::kA), &work.low_a},
      {Step::kProjectIn, &w.g1, &work.mix(Mix::kG), &work.low_g},
      {Step::kProjectOut, &w.w2, &work.low_w, &work.w},
      {Step::kProjectOut, &w.a2, &work.low_a, &work.a},
      {Step::kProjectOut, &w.g2, &work.low_g, &work.g},
  };
  if (layer > 0) {
    matrices.insert(matrices.begin() + 6,
                    {Step::kProjectIn, &w.v1, &work.mix(Mix::kV), &work.low_v});
    matrices.push_back({Step::kProjectOut, &w.v2, &work.low_v, &work.v});
  }
  matrices.push_back({Step::kOutput, &w.output, &work.y, &work.x});
  matrices.push_back({Step::kFfnKey, &w.ffn_key, &work.z, &work.f});
  matrices.push_back({Step::kFfnValue, &w.ffn_value, &work.f, &work.x});
  return matrices;
}

std::array<double, kNumSteps> bytes_by_step(const Rwkv7& model) {
  const Workspace none;
  std::array<double, kNumSteps> bytes{};
  for (uint32_t layer = 0; layer <= model.dims().num_layers; ++layer) {
    for (const StepMatrix& matrix : matrices_of(model, layer, none)) {
      bytes[static_cast<size_t>(matrix.step)] += static_cast<double>(matrix.weights->span_bytes());
    }
  }
  return bytes;
}

Result<Sparsity> measure_sparsity(const Rwkv7& model, std::span<const uint32_t> ids) {
  CHECK(!ids.empty());
  SKEIN_ASSIGN_OR_RETURN(const State state, model.make_state(1));
  SKEIN_ASSIGN_OR_RETURN(const Workspace work, model.make_workspace(1, 1));
  Sparsity sparsity;
  sparsity.nonzero_cols.resize(model.dims().num_layers);
  const Run run{0, 0, 1};
  std::vector<float> f(model.dims().num_hidden);
  Status downloaded;
  const auto after_layer = [&](uint32_t layer) {
    if (!downloaded) return;
    downloaded = model.backend().download(*work.f.buffer, work.f.offset_elems * sizeof(float),
                                          std::as_writable_bytes(std::span(f)));
    std::vector<uint32_t>& cols = sparsity.nonzero_cols[layer];
    cols.clear();
    for (uint32_t col = 0; col < f.size(); ++col) {
      if (f[col] != 0) cols.push_back(col);
    }
  };
  for (const uint32_t id : ids) {
    SKEIN_RETURN_IF_ERROR(model.forward({{&id, 1}, {&run, 1}, {}}, state, work, after_layer));
  }
  SKEIN_RETURN_IF_ERROR(downloaded);
  SKEIN_ASSIGN_OR_RETURN(sparsity.counts, count_neurons(model, ids, {}, 1));
  return sparsity;
}

bool skips_zeros(const Rwkv7& model) noexcept {
  return model.backend().name() != "reference" &&
         model.weights().layers.front().ffn_value.layout().kind == LayoutKind::kColMajor;
}

}  // namespace skein
