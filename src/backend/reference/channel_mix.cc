// Steps 7 to 9: the feed-forward half of a layer.
#include <algorithm>

#include "backend/reference/formulas.h"
#include "backend/reference/reference_backend.h"

namespace skein {

using namespace reference;

void ReferenceBackend::mix(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Vector weight = weights_row(w.ln2_weight), bias = weights_row(w.ln2_bias);
  const Vector mix = weights_row(w.ffn_mix);
  for (const Run& run : args.batch.runs) {
    const std::span<float> shift = shift_row(args, run.slot, args.state.mapping.ffn_shift());
    for (uint32_t t = run.first_token; t < run.first_token + run.num_tokens; ++t) {
      const Vector y = layer_norm(row_of(args.work.x, t), weight, bias, kLayerNormEps);
      for (size_t i = 0; i < y.size(); ++i) {
        const double d = static_cast<double>(shift[i]) - y[i];
        row_of(args.work.z, t)[i] = static_cast<float>(y[i] + d * mix[i]);
        shift[i] = static_cast<float>(y[i]);
      }
    }
  }
}

void ReferenceBackend::ffn_key(const LayerArgs& args) noexcept {
  matmul(args.weights.ffn_key, args.work.z, args.work.f, args.batch.num_tokens(),
         [](uint32_t, uint64_t, double sum) {
           // Not std::max, which would turn NaN into 0 and hide a bug.
           const double positive = sum < 0 ? 0 : sum;
           return positive * positive;
         });
}

void ReferenceBackend::ffn_value(const LayerArgs& args) noexcept {
  const Activation& x = args.work.x;
  matmul(args.weights.ffn_value, args.work.f, x, args.batch.num_tokens(),
         [&](uint32_t t, uint64_t row, double sum) {
           return static_cast<double>(row_of(x, t)[row]) + sum;
         });
}

}  // namespace skein
