#include "backend/cpu/layer_norm.h"

#include "backend/cpu/cpu_target.h"
#include "backend/cpu/gather.h"
#include "backend/cpu/host_rows.h"
#include "backend/cpu/share_tokens.h"
#include "base/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/layer_norm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// Needs the target that foreach_target.h sets.
#include "backend/cpu/norm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein {
namespace HWY_NAMESPACE {
namespace {

// out = LN(x), [n] each; out may be x.
void layer_norm_row(const float* x, const float* weight, const float* bias, float* out, size_t n) {
  record_executed_cpu_target(HWY_TARGET);
  const NormTag d;
  const Norm norm = norm_of_row(x, n, kLayerNormEps);
  const auto mean = hn::Set(d, norm.mean);
  const auto scale = hn::Set(d, norm.scale);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto normed = hn::Mul(hn::Sub(hn::LoadU(d, x + i), mean), scale);
    const auto y = hn::MulAdd(normed, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i));
    hn::StoreU(y, d, out + i);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace skein
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(layer_norm_row);

}  // namespace

void embed_step(const Weights& weights, const Batch& batch, const Workspace& work,
                ThreadPool& pool) noexcept {
  const float* weight = f32_row(weights.ln0_weight);
  const float* bias = f32_row(weights.ln0_bias);
  share_tokens(pool, batch.num_tokens(), work.x.num_cols, [&](Range tokens) {
    for (uint64_t t = tokens.begin; t < tokens.end; ++t) {
      float* x = work.x.row(t);
      gather_row(weights.emb, batch.ids[t], x);
      HWY_DYNAMIC_DISPATCH(layer_norm_row)(x, weight, bias, x, work.x.num_cols);
    }
  });
}

void layer_norm_rows(const Activation& x, std::span<const uint32_t> tokens, const Tensor& weight,
                     const Tensor& bias, const Activation& out, ThreadPool& pool) noexcept {
  const float* weight_row = f32_row(weight);
  const float* bias_row = f32_row(bias);
  share_tokens(pool, tokens.size(), x.num_cols, [&](Range range) {
    for (uint64_t i = range.begin; i < range.end; ++i) {
      HWY_DYNAMIC_DISPATCH(layer_norm_row)
      (x.row(tokens[i]), weight_row, bias_row, out.row(i), x.num_cols);
    }
  });
}

}  // namespace skein
#endif  // HWY_ONCE
