// Step 5: the recurrence over the state, with its normalisations.
#include <algorithm>

#include "backend/reference/formulas.h"
#include "backend/reference/reference_backend.h"

namespace skein {
namespace {

using namespace reference;

// The per-channel weights of the step, [C] each.
struct WkvWeights {
  Vector k_k, k_a, r_k, ln_x_weight, ln_x_bias;
};

// One head of one token: its channels of every input, and S of its slot.
struct Head {
  Vector r, w, k, v, a, g;  // [S]
  const StateMapping& mapping;
  uint64_t index;  // of the head
  float* state;    // one layer of one slot

  float& s(uint64_t value, uint64_t key) const { return state[mapping.wkv(index, key, value)]; }
};

// k * k_k scaled to length 1; zeros stay zeros.
Vector normalized_key(const Head& head, const WkvWeights& weights, uint64_t first) {
  Vector kk(head.k.size());
  double square = 0;
  for (size_t i = 0; i < kk.size(); ++i) {
    kk[i] = head.k[i] * weights.k_k[first + i];
    square += kk[i] * kk[i];
  }
  const double norm = std::max(std::sqrt(square), static_cast<double>(kNormalizeEps));
  for (double& value : kk) value /= norm;
  return kk;
}

// S = S diag(w) - (S kk)(kk * a)^T + v k^T; returns S r. S is rounded to f32 once an element.
Vector advance(const Head& head, const Vector& kk, const Vector& k) {
  const size_t size = kk.size();
  Vector y(size);
  for (size_t value = 0; value < size; ++value) {
    double s_kk = 0;
    for (size_t key = 0; key < size; ++key) {
      s_kk += static_cast<double>(head.s(value, key)) * kk[key];
    }
    for (size_t key = 0; key < size; ++key) {
      const double s = static_cast<double>(head.s(value, key)) * head.w[key] -
                       s_kk * kk[key] * head.a[key] + head.v[value] * k[key];
      head.s(value, key) = static_cast<float>(s);
      y[value] += s * head.r[key];
    }
  }
  return y;
}

// Replaces y by its group norm, plus (sum r k r_k) v, times g.
void finish_head(const Head& head, const Vector& k, const WkvWeights& weights, uint64_t first,
                 Vector& y) {
  const double n = static_cast<double>(y.size());
  double mean = 0, variance = 0, bonus = 0;
  for (const double value : y) mean += value / n;
  for (const double value : y) variance += (value - mean) * (value - mean) / n;
  for (size_t i = 0; i < y.size(); ++i) bonus += head.r[i] * k[i] * weights.r_k[first + i];
  const double scale = 1 / std::sqrt(variance + static_cast<double>(kGroupNormEps));
  for (size_t i = 0; i < y.size(); ++i) {
    const double normed =
        (y[i] - mean) * scale * weights.ln_x_weight[first + i] + weights.ln_x_bias[first + i];
    y[i] = (normed + bonus * head.v[i]) * head.g[i];
  }
}

Vector run_head(const Head& head, const WkvWeights& weights) {
  const uint64_t first = head.index * head.k.size();
  const Vector kk = normalized_key(head, weights, first);
  Vector k(head.k.size());
  for (size_t i = 0; i < k.size(); ++i) {
    k[i] = head.k[i] * (1 + (head.a[i] - 1) * weights.k_a[first + i]);
  }
  Vector y = advance(head, kk, k);
  finish_head(head, k, weights, first, y);
  return y;
}

Vector slice(const Activation& activation, uint32_t token, uint64_t first, uint64_t count) {
  const std::span<const float> part = row_of(activation, token).subspan(first, count);
  return Vector(part.begin(), part.end());
}

}  // namespace

void ReferenceBackend::wkv(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  const uint64_t size = args.dims.head_size;
  const WkvWeights weights{weights_row(w.k_k), weights_row(w.k_a), weights_row(w.r_k),
                           weights_row(w.ln_x_weight), weights_row(w.ln_x_bias)};
  for (const Run& run : args.batch.runs) {
    float* state = reinterpret_cast<float*>(args.state.buffer->host_data()) +
                   args.state.offset_elems(args.layer, run.slot);
    for (uint32_t t = run.first_token; t < run.first_token + run.num_tokens; ++t) {
      for (uint64_t h = 0; h < args.dims.num_heads; ++h) {
        const auto part = [&](const Activation& from) { return slice(from, t, h * size, size); };
        const Head head{part(work.r), part(work.w), part(work.k),       part(work.v),
                        part(work.a), part(work.g), args.state.mapping, h,
                        state};
        const Vector y = run_head(head, weights);
        std::transform(y.begin(), y.end(),
                       row_of(work.y, t).begin() + static_cast<ptrdiff_t>(h * size),
                       [](double value) { return static_cast<float>(value); });
      }
    }
  }
}

}  // namespace skein
