// Steps 2, 3, 4 and 6: the projections around the wkv.
#include "backend/reference/formulas.h"
#include "backend/reference/reference_backend.h"

namespace skein {

using namespace reference;

void ReferenceBackend::mix6(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Vector weight = weights_row(w.ln1_weight), bias = weights_row(w.ln1_bias);
  std::vector<Vector> mix;
  for (uint32_t c = 0; c < kNumMixes; ++c) mix.push_back(weights_row(w.mix, c));

  for (const Run& run : args.batch.runs) {
    const std::span<float> shift = shift_row(args, run.slot, args.state.mapping.att_shift());
    for (uint32_t t = run.first_token; t < run.first_token + run.num_tokens; ++t) {
      const Vector y = layer_norm(row_of(args.work.x, t), weight, bias, kLayerNormEps);
      for (size_t i = 0; i < y.size(); ++i) {
        const double d = static_cast<double>(shift[i]) - y[i];
        for (uint32_t c = 0; c < kNumMixes; ++c) {
          row_of(args.work.mixed[c], t)[i] = static_cast<float>(y[i] + d * mix[c][i]);
        }
        shift[i] = static_cast<float>(y[i]);
      }
    }
  }
}

void ReferenceBackend::project_in(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  const uint32_t num_tokens = args.batch.num_tokens();
  const auto identity = [](uint32_t, uint64_t, double sum) { return sum; };
  matmul(w.receptance, work.mix(Mix::kR), work.r, num_tokens, identity);
  matmul(w.key, work.mix(Mix::kK), work.k, num_tokens, identity);
  matmul(w.value, work.mix(Mix::kV), work.v, num_tokens, identity);
  matmul(w.w1, work.mix(Mix::kW), work.low_w, num_tokens,
         [](uint32_t, uint64_t, double sum) { return std::tanh(sum); });
  matmul(w.a1, work.mix(Mix::kA), work.low_a, num_tokens, identity);
  matmul(w.g1, work.mix(Mix::kG), work.low_g, num_tokens,
         [](uint32_t, uint64_t, double sum) { return sigmoid(sum); });
  if (args.layer > 0) matmul(w.v1, work.mix(Mix::kV), work.low_v, num_tokens, identity);
}

void ReferenceBackend::project_out(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  const uint32_t num_tokens = args.batch.num_tokens();
  const Vector w0 = weights_row(w.w0), a0 = weights_row(w.a0);
  matmul(w.w2, work.low_w, work.w, num_tokens, [&](uint32_t, uint64_t row, double sum) {
    return std::exp(static_cast<double>(kDecayScale) * sigmoid(w0[row] + sum));
  });
  matmul(w.a2, work.low_a, work.a, num_tokens,
         [&](uint32_t, uint64_t row, double sum) { return sigmoid(a0[row] + sum); });
  matmul(w.g2, work.low_g, work.g, num_tokens, [](uint32_t, uint64_t, double sum) { return sum; });
  if (args.layer == 0) {
    for (uint32_t t = 0; t < num_tokens; ++t) {
      const std::span<const float> v = row_of(work.v, t);
      std::copy(v.begin(), v.end(), row_of(work.v_first, t).begin());
    }
    return;
  }
  const Vector v0 = weights_row(w.v0);
  matmul(w.v2, work.low_v, work.v, num_tokens, [&](uint32_t t, uint64_t row, double sum) {
    const double v = static_cast<double>(row_of(work.v, t)[row]);
    const double v_first = static_cast<double>(row_of(work.v_first, t)[row]);
    return v + (v_first - v) * sigmoid(v0[row] + sum);
  });
}

void ReferenceBackend::output(const LayerArgs& args) noexcept {
  const Activation& x = args.work.x;
  matmul(args.weights.output, args.work.y, x, args.batch.num_tokens(),
         [&](uint32_t t, uint64_t row, double sum) {
           return static_cast<double>(row_of(x, t)[row]) + sum;
         });
}

}  // namespace skein
