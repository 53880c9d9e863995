// Steps 1 and 10: from token ids to the residual stream, and from there to logits.
#include "backend/reference/formulas.h"
#include "backend/reference/reference_backend.h"

namespace skein {

using namespace reference;

void ReferenceBackend::embed(const Dimensions& /*dims*/, const Weights& weights, const Batch& batch,
                             const Workspace& work) noexcept {
  const Vector weight = weights_row(weights.ln0_weight), bias = weights_row(weights.ln0_bias);
  for (uint32_t t = 0; t < batch.num_tokens(); ++t) {
    const Vector emb = weights_row(weights.emb, batch.ids[t]);
    const std::vector<float> exact(emb.begin(), emb.end());  // stored dtypes fit into f32
    const Vector x = layer_norm(exact, weight, bias, kLayerNormEps);
    const std::span<float> out = row_of(work.x, t);
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(x[i]);
  }
}

void ReferenceBackend::head(const Dimensions& /*dims*/, const Weights& weights, const Batch& batch,
                            const Workspace& work) noexcept {
  const Vector weight = weights_row(weights.ln_out_weight);
  const Vector bias = weights_row(weights.ln_out_bias);
  std::vector<Vector> inputs;
  for (const uint32_t token : batch.logit_tokens) {
    inputs.push_back(layer_norm(row_of(work.x, token), weight, bias, kLayerNormEps));
  }
  for (uint64_t row = 0; row < weights.head.rows(); ++row) {
    const Vector w = weights_row(weights.head, row);
    for (size_t i = 0; i < inputs.size(); ++i) {
      double sum = 0;
      for (size_t col = 0; col < w.size(); ++col) sum += w[col] * inputs[i][col];
      row_of(work.logits, i)[row] = static_cast<float>(sum);
    }
  }
}

}  // namespace skein
