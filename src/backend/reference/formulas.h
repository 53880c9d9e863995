// The pieces that the formulas of the reference backend are made of: rows of weights as doubles,
// dot products, norms.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/rwkv7.h"
#include "tensor/tensor.h"

namespace skein::reference {

using Vector = std::vector<double>;

// Row `row` of `weights`, whatever its layout and dtype, as [cols] doubles: exact. The buffer must
// be a host buffer.
Vector weights_row(const Tensor& weights, uint64_t row = 0);

// The activation's row of `token`, as [num_cols] floats that can be written.
std::span<float> row_of(const Activation& activation, uint64_t token);

// The state's shift row at `offset_elems` (of the mapping: att_shift() or ffn_shift()) for `slot`:
// [C].
std::span<float> shift_row(const LayerArgs& args, uint32_t slot, uint64_t offset_elems);

// out[t][row] = f(t, row, sum over col of weights[row][col] * in[t][col]) for every token and row;
// f returns a double. `in` and `out` must not share memory. 8 or more bytes of traffic an element
// and a mapping evaluated per element.
template <class F>
void matmul(const Tensor& weights, const Activation& in, const Activation& out, uint32_t num_tokens,
            F&& f) {
  for (uint64_t row = 0; row < weights.rows(); ++row) {
    const Vector w = weights_row(weights, row);
    for (uint32_t t = 0; t < num_tokens; ++t) {
      const std::span<const float> x = row_of(in, t);
      double sum = 0;
      for (uint64_t col = 0; col < w.size(); ++col) sum += w[col] * static_cast<double>(x[col]);
      row_of(out, t)[row] = static_cast<float>(f(t, row, sum));
    }
  }
}

// (x - mean) / sqrt(variance + eps) * weight + bias, over all of x; the variance is that of the
// population.
Vector layer_norm(std::span<const float> x, const Vector& weight, const Vector& bias, double eps);

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace skein::reference
