// Why the recurrence serves prefill too. An entry of S costs it five multiplications or fused
// multiply-adds a token: one for S (-kk), three to update, one for S r. The chunked form costs four
// and about 4 L / 64 for chunks of L tokens, besides the triangular products and their solve:
// nothing is won on a CPU unless S were multiplied in bf16. Measured 2026-11-23 on one thread of a
// Zen 5 (AVX-512), C = 1024, T = 256: 0.23 us a token and head, 2.5 % of a layer of prefill with
// f32 products and 4.3 % with bf16 ones. In the same runs, prefetching the rows of the next tokens
// changed the best time by 1 %, so it is not done.
#include "backend/cpu/wkv.h"

#include "backend/cpu/cpu_target.h"
#include "backend/cpu/host_rows.h"
#include "base/thread_pool.h"

#ifndef SKEIN_BACKEND_CPU_WKV_CC_
#define SKEIN_BACKEND_CPU_WKV_CC_
namespace skein {
namespace {

constexpr size_t kSize = kWkvHeadSize;

// The weights of one head, [S] each.
struct WkvWeights {
  const float* k_k;
  const float* k_a;
  const float* r_k;
  const float* ln_weight;
  const float* ln_bias;
};

// One head of one token, [S] each.
struct WkvToken {
  const float* r;
  const float* w;
  const float* k;
  const float* v;
  const float* a;
  const float* g;
  float* y;
};

}  // namespace
}  // namespace skein
#endif  // SKEIN_BACKEND_CPU_WKV_CC_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/wkv.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// Needs the target that foreach_target.h sets.
#include "backend/cpu/norm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein {
namespace HWY_NAMESPACE {
namespace {

using V = hn::Vec<NormTag>;

// The vectors over K that the recurrence broadcasts from.
struct KeyVectors {
  alignas(64) float minus_kk[kSize];  // -k k_k / |k k_k|
  alignas(64) float kk_a[kSize];      // kk a
  alignas(64) float k[kSize];         // k (1 + (a - 1) k_a)
  float bonus;                        // sum of r k r_k, with that k
};

HWY_INLINE void prepare_keys(const WkvWeights& weights, const WkvToken& token, KeyVectors& keys) {
  const NormTag d;
  const size_t lanes = hn::Lanes(d);
  V squares = hn::Zero(d), bonus = hn::Zero(d);
  for (size_t i = 0; i < kSize; i += lanes) {
    const V k = hn::LoadU(d, token.k + i);
    const V kk = hn::Mul(k, hn::LoadU(d, weights.k_k + i));
    squares = hn::MulAdd(kk, kk, squares);
    hn::Store(kk, d, keys.minus_kk + i);
    const V a_less_1 = hn::Sub(hn::LoadU(d, token.a + i), hn::Set(d, 1.0f));
    const V scaled = hn::MulAdd(hn::Mul(k, a_less_1), hn::LoadU(d, weights.k_a + i), k);
    hn::Store(scaled, d, keys.k + i);
    const V r_r_k = hn::Mul(hn::LoadU(d, token.r + i), hn::LoadU(d, weights.r_k + i));
    bonus = hn::MulAdd(scaled, r_r_k, bonus);
  }
  keys.bonus = hn::GetLane(hn::SumOfLanes(d, bonus));
  const float length = std::sqrt(hn::GetLane(hn::SumOfLanes(d, squares)));
  // The comparison lets NaN through.
  const V minus_inverse = hn::Set(d, -1.0f / (length < kNormalizeEps ? kNormalizeEps : length));
  for (size_t i = 0; i < kSize; i += lanes) {
    const V minus_kk = hn::Mul(hn::Load(d, keys.minus_kk + i), minus_inverse);
    hn::Store(minus_kk, d, keys.minus_kk + i);
    hn::Store(hn::Neg(hn::Mul(minus_kk, hn::LoadU(d, token.a + i))), d, keys.kk_a + i);
  }
}

// Advances four vectors of value indices, from `first` on, of the head's state [K][V] by one token;
// their part of S r goes to y. Value indices do not meet anywhere here: no sums across lanes. Four
// vectors are all 64 lanes of AVX-512, half of them with AVX2; more would not fit into 16
// registers.
HWY_INLINE void advance_panel(const KeyVectors& keys, const WkvToken& token, size_t first,
                              float* HWY_RESTRICT state, float* HWY_RESTRICT y) {
  const NormTag d;
  const size_t lanes = hn::Lanes(d);
  float* HWY_RESTRICT s = state + first;

  // S (-kk). Two sums a vector: with one, the latency of the addition is the limit.
  V a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  for (size_t key = 0; key < kSize; key += 2) {
    const float* row = s + key * kSize;
    const V even = hn::Set(d, keys.minus_kk[key]);
    a0 = hn::MulAdd(even, hn::LoadU(d, row), a0);
    a1 = hn::MulAdd(even, hn::LoadU(d, row + lanes), a1);
    a2 = hn::MulAdd(even, hn::LoadU(d, row + 2 * lanes), a2);
    a3 = hn::MulAdd(even, hn::LoadU(d, row + 3 * lanes), a3);
    const float* next = row + kSize;
    const V odd = hn::Set(d, keys.minus_kk[key + 1]);
    b0 = hn::MulAdd(odd, hn::LoadU(d, next), b0);
    b1 = hn::MulAdd(odd, hn::LoadU(d, next + lanes), b1);
    b2 = hn::MulAdd(odd, hn::LoadU(d, next + 2 * lanes), b2);
    b3 = hn::MulAdd(odd, hn::LoadU(d, next + 3 * lanes), b3);
  }
  a0 = hn::Add(a0, b0);
  a1 = hn::Add(a1, b1);
  a2 = hn::Add(a2, b2);
  a3 = hn::Add(a3, b3);

  const float* v = token.v + first;
  const V v0 = hn::LoadU(d, v), v1 = hn::LoadU(d, v + lanes);
  const V v2 = hn::LoadU(d, v + 2 * lanes), v3 = hn::LoadU(d, v + 3 * lanes);
  V y0 = hn::Zero(d), y1 = y0, y2 = y0, y3 = y0;
  for (size_t key = 0; key < kSize; ++key) {
    float* HWY_RESTRICT row = s + key * kSize;
    const V w = hn::Set(d, token.w[key]);
    const V kk_a = hn::Set(d, keys.kk_a[key]);
    const V k = hn::Set(d, keys.k[key]);
    const V r = hn::Set(d, token.r[key]);
    const auto update = [&](float* at, V sum, V value) HWY_ATTR {
      const V added = hn::MulAdd(sum, kk_a, hn::Mul(value, k));
      const V next = hn::MulAdd(hn::LoadU(d, at), w, added);
      hn::StoreU(next, d, at);
      return next;
    };
    y0 = hn::MulAdd(update(row, a0, v0), r, y0);
    y1 = hn::MulAdd(update(row + lanes, a1, v1), r, y1);
    y2 = hn::MulAdd(update(row + 2 * lanes, a2, v2), r, y2);
    y3 = hn::MulAdd(update(row + 3 * lanes, a3, v3), r, y3);
  }
  hn::StoreU(y0, d, y + first);
  hn::StoreU(y1, d, y + first + lanes);
  hn::StoreU(y2, d, y + first + 2 * lanes);
  hn::StoreU(y3, d, y + first + 3 * lanes);
}

// y = (GN(y) + bonus v) g.
HWY_INLINE void finish_head(const WkvWeights& weights, const WkvToken& token, float bonus,
                            const float* y) {
  const NormTag d;
  const Norm norm = norm_of_row(y, kSize, kGroupNormEps);
  const V mean = hn::Set(d, norm.mean), scale = hn::Set(d, norm.scale);
  for (size_t i = 0; i < kSize; i += hn::Lanes(d)) {
    const V normed = hn::Mul(hn::Sub(hn::LoadU(d, y + i), mean), scale);
    const V affine =
        hn::MulAdd(normed, hn::LoadU(d, weights.ln_weight + i), hn::LoadU(d, weights.ln_bias + i));
    const V sum = hn::MulAdd(hn::Set(d, bonus), hn::LoadU(d, token.v + i), affine);
    hn::StoreU(hn::Mul(sum, hn::LoadU(d, token.g + i)), d, token.y + i);
  }
}

// state: [K][V] of one head.
void wkv_token(const WkvWeights& weights, const WkvToken& token, float* state) {
  record_executed_cpu_target(HWY_TARGET);
  KeyVectors keys;
  alignas(64) float y[kSize];
  prepare_keys(weights, token, keys);
  for (size_t first = 0; first < kSize; first += 4 * hn::Lanes(NormTag())) {
    advance_panel(keys, token, first, state, y);
  }
  finish_head(weights, token, keys.bonus, y);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace skein
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(wkv_token);

WkvWeights weights_of_head(const LayerWeights& w, uint64_t first) noexcept {
  return {f32_row(w.k_k) + first, f32_row(w.k_a) + first, f32_row(w.r_k) + first,
          f32_row(w.ln_x_weight) + first, f32_row(w.ln_x_bias) + first};
}

// All tokens of one run, one head: its state stays in L1.
void wkv_head(const LayerArgs& args, const Run& run, uint64_t head) noexcept {
  const Workspace& work = args.work;
  const uint64_t first = head * kSize;
  const WkvWeights weights = weights_of_head(args.weights, first);
  float* state = state_of_slot(args, run.slot) + args.state.mapping.wkv(head, 0, 0);
  for (uint64_t i = 0; i < run.num_tokens; ++i) {
    const uint64_t t = run.first_token + i;
    const WkvToken token{work.r.row(t) + first, work.w.row(t) + first, work.k.row(t) + first,
                         work.v.row(t) + first, work.a.row(t) + first, work.g.row(t) + first,
                         work.y.row(t) + first};
    HWY_DYNAMIC_DISPATCH(wkv_token)(weights, token, state);
  }
}

}  // namespace

void wkv_step(const LayerArgs& args, ThreadPool& pool) noexcept {
  DCHECK(args.dims.head_size == kWkvHeadSize && args.state.mapping.layout == kWkvStateLayout);
  const uint64_t num_heads = args.dims.num_heads;
  const uint64_t num_units = args.batch.runs.size() * num_heads;
  pool.run([&](uint32_t thread) {
    const Range units = share_of(num_units, 1, thread, pool.num_threads());
    for (uint64_t unit = units.begin; unit < units.end; ++unit) {
      wkv_head(args, args.batch.runs[unit / num_heads], unit % num_heads);
    }
  });
}

}  // namespace skein
#endif  // HWY_ONCE
