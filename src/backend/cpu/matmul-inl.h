// Loads of weights as f32 vectors: the one place where the matrix kernels know how a dtype decodes.
// Compiled once per target (Highway's foreach_target), so nothing here has a header guard of its
// own.
#include <cstring>

#include "backend/cpu/cpu_target.h"
#include "backend/cpu/dense_kernel.h"
#include "base/float16.h"
#include "hwy/highway.h"

#if defined(SKEIN_MATMUL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_MATMUL_INL_H
#undef SKEIN_MATMUL_INL_H
#else
#define SKEIN_MATMUL_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes: a row group of interleave(16,B,1) is kVecs16 of these.
using F32Tag = hn::CappedTag<float, 16>;
using F32Vec = hn::Vec<F32Tag>;
inline constexpr size_t kLanes = hn::MaxLanes(F32Tag());
inline constexpr size_t kVecs16 = 16 / kLanes;

// One weight from any address (mapped files promise no alignment).
template <class E>
HWY_INLINE float one_weight(const E* p) {
  E weight;
  std::memcpy(&weight, p, sizeof(E));
  if constexpr (sizeof(E) == sizeof(float)) {
    return weight;
  } else {
    return f32_from(weight);
  }
}

// kLanes weights from any address.
#if HWY_TARGET == HWY_SCALAR
// One lane's LoadU reads through the pointer, which must be aligned then.
template <class E>
HWY_INLINE F32Vec load_weights(F32Tag d, const E* p) {
  return hn::Set(d, one_weight(p));
}
#else
HWY_INLINE F32Vec load_weights(F32Tag d, const float* p) { return hn::LoadU(d, p); }

HWY_INLINE F32Vec load_weights(F32Tag d, const F16* p) {
  const hn::Rebind<hwy::float16_t, F32Tag> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
}

HWY_INLINE F32Vec load_weights(F32Tag d, const BF16* p) {
  const hn::Rebind<uint16_t, F32Tag> d16;
  const hn::Rebind<uint32_t, F32Tag> d32;
  const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p)));
  return hn::BitCast(d, hn::ShiftLeft<16>(bits));
}
#endif

#if HWY_TARGET != HWY_SCALAR
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> load_4_weights(const float* p) {
  return hn::LoadU(hn::CappedTag<float, 4>(), p);
}
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> load_4_weights(const F16* p) {
  const hn::CappedTag<float, 4> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
}
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> load_4_weights(const BF16* p) {
  const hn::CappedTag<float, 4> d;
  const hn::Rebind<uint16_t, decltype(d)> d16;
  const hn::Rebind<uint32_t, decltype(d)> d32;
  const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p)));
  return hn::BitCast(d, hn::ShiftLeft<16>(bits));
}
#endif

// The first n < kLanes weights, zero in the other lanes; reads nothing behind them.
template <class E>
HWY_INLINE F32Vec load_weights_n(F32Tag d, const E* p, size_t n) {
  E lanes[kLanes] = {};
  std::memcpy(lanes, p, n * sizeof(E));
  return load_weights(d, lanes);
}

// to[col * to_stride + row] = from[row * from_stride + col] for 4 rows and num_cols cols, as f32.
template <class E>
HWY_INLINE void transpose_4_rows(const E* from, size_t from_stride, size_t num_cols, float* to,
                                 size_t to_stride) {
  size_t c = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 4> d;
  const hn::Repartition<double, decltype(d)> d64;
  for (; c + 4 <= num_cols; c += 4) {
    const E* p = from + c;
    const auto r0 = load_4_weights(p);
    const auto r1 = load_4_weights(p + from_stride);
    const auto r2 = load_4_weights(p + 2 * from_stride);
    const auto r3 = load_4_weights(p + 3 * from_stride);
    const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
    const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
    const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
    const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
    float* q = to + c * to_stride;
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, low01, low23)), d, q);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23)), d, q + to_stride);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, high01, high23)), d, q + 2 * to_stride);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23)), d, q + 3 * to_stride);
  }
#endif
  for (; c < num_cols; ++c) {
    for (size_t r = 0; r < 4; ++r) to[c * to_stride + r] = one_weight(from + r * from_stride + c);
  }
}

HWY_INLINE F32Vec load_floats_n(F32Tag d, const float* p, size_t n) {
  return load_weights_n(d, p, n);
}

// The sum of x[0, n).
HWY_INLINE float sum_of(const float* x, size_t n) {
  const F32Tag d;
  F32Vec sum = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = hn::Add(sum, hn::LoadU(d, x + i));
  if (i < n) sum = hn::Add(sum, load_floats_n(d, x + i, n - i));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

HWY_INLINE void store_floats_n(F32Tag d, F32Vec v, float* p, size_t n) {
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, d, lanes);
  std::memcpy(p, lanes, n * sizeof(float));
}

// y = v, or y += v, for the first n lanes; n may be 0 or more than kLanes.
HWY_INLINE void add_or_store(F32Tag d, F32Vec v, float* y, size_t n, bool add) {
  if (n >= kLanes) {
    hn::StoreU(add ? hn::Add(hn::LoadU(d, y), v) : v, d, y);
  } else if (n != 0) {
    store_floats_n(d, add ? hn::Add(load_floats_n(d, y, n), v) : v, y, n);
  }
}

// A group of 16 rows that the weights do not have, in a panel of kPanelRows.
HWY_INLINE void zero_panel_rows(float* panel, size_t num_cols) {
  for (size_t c = 0; c < num_cols; ++c) std::memset(panel + c * kPanelRows, 0, 16 * sizeof(float));
}

// Into all caches (L1 too), or into the second level only. A prefetch never faults, so it may point
// behind the weights.
HWY_INLINE void prefetch_l1(const void* p) { __builtin_prefetch(p, 0, 3); }
HWY_INLINE void prefetch_l2(const void* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
