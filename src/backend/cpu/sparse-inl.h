// Sums of scaled columns, for `col_major`: what sparse() and dense() share. Compiled once per
// target.
#include "backend/cpu/matmul-inl.h"
#include "backend/cpu/sparse_kernel.h"
#include "hwy/highway.h"

#if defined(SKEIN_SPARSE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_SPARSE_INL_H
#undef SKEIN_SPARSE_INL_H
#else
#define SKEIN_SPARSE_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

// Columns at once: y in L1 is read and written once for all of them.
inline constexpr size_t kColsAtOnce = 4;

// How far ahead columns are asked for. Measured 2026-11-23, Zen 5 under load, 2048 x 8192, 10 %: 4,
// 8 and 12 ahead, 2 or 4 at once are alike (25 GB/s with one thread, where a stream reads 37).
inline constexpr size_t kColsAhead = 4;

// y[0, num_rows) = or += sum over i of w[i][0, num_rows) * x[i]; asks for the same rows of `next`.
//
// Measured 2026-11-23, Zen 4, 10 % of 8192 cols, runs of 4 KiB: without prefetch 7 GB/s (one
// thread), with prefetch into L1 11, into L2 17: outstanding misses of L1 are the limit.
template <size_t kCols, class E>
HWY_INLINE void add_some_cols(const E* const* w, const E* const* next, const float* x,
                              size_t num_rows, float* HWY_RESTRICT y, bool add) {
  const F32Tag d;
  constexpr size_t kStep = 64 / sizeof(E);  // rows of a cache line
  F32Vec xs[kCols];
  HWY_UNROLL(16)
  for (size_t i = 0; i < kCols; ++i) xs[i] = hn::Set(d, x[i]);
  size_t r = 0;
  for (; r + kStep <= num_rows; r += kStep) {
    HWY_UNROLL(16)
    for (size_t i = 0; i < kCols; ++i) prefetch_l2(next[i] + r);
    HWY_UNROLL(32)
    for (size_t v = 0; v < kStep; v += kLanes) {
      F32Vec sum = add ? hn::LoadU(d, y + r + v) : hn::Zero(d);
      HWY_UNROLL(16)
      for (size_t i = 0; i < kCols; ++i)
        sum = hn::MulAdd(load_weights(d, w[i] + r + v), xs[i], sum);
      hn::StoreU(sum, d, y + r + v);
    }
  }
  for (; r < num_rows; r += kLanes) {
    const size_t n = HWY_MIN(kLanes, num_rows - r);
    F32Vec sum = add ? load_floats_n(d, y + r, n) : hn::Zero(d);
    HWY_UNROLL(16)
    for (size_t i = 0; i < kCols; ++i) {
      sum = hn::MulAdd(load_weights_n(d, w[i] + r, n), xs[i], sum);
    }
    store_floats_n(d, sum, y + r, n);
  }
}

// y[row - rows.begin] = or += sum over the non-zeros of W[row][col] * value, in their order.
template <class E>
HWY_NOINLINE void add_cols(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  const auto& mapping = mapping_as<ColMajor>(weights);
  const E* base = reinterpret_cast<const E*>(weights.host_data());
  const size_t num_rows = rows.length();
  const auto run_of = [&](uint64_t i) {
    return base + mapping(rows.begin, uint64_t{x.cols[HWY_MIN(i, x.count + x.num_next - 1)]});
  };
  if (x.count == 0 && !add) std::memset(y, 0, num_rows * sizeof(float));
  uint64_t i = 0;
  for (; i + kColsAtOnce <= x.count; i += kColsAtOnce) {
    const E* w[kColsAtOnce];
    const E* next[kColsAtOnce];
    for (size_t j = 0; j < kColsAtOnce; ++j) {
      w[j] = run_of(i + j);
      next[j] = run_of(i + kColsAhead + j);
    }
    add_some_cols<kColsAtOnce>(w, next, x.values + i, num_rows, y, add || i != 0);
  }
  for (; i < x.count; ++i) {
    const E* w = run_of(i);
    const E* next = run_of(i + kColsAhead);
    add_some_cols<1>(&w, &next, x.values + i, num_rows, y, add || i != 0);
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
