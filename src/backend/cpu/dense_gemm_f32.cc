// The f32 microkernel: 32 rows times a panel of tokens, the sums in registers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_gemm_f32.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/dense_gemm.h"
#include "backend/cpu/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// Two vectors of rows times kWidth tokens: with 32 registers 24 sums, 2 weights, 1 of x; with 16
// registers 12, 2, 1. At 12 tokens a col costs 14 loads for 24 FMAs: the two load ports keep up.
constexpr size_t kVecs = 2;
constexpr uint32_t kWidth = kLanes == 16 ? 12 : 6;

// A panel of 128 cols is 16 KiB, a token panel 6 KiB: half of an L1 of 48 KiB (Zen 5), two thirds
// of 32 KiB (Zen 4). Measured 2026-11-23, Zen 5, 2048 x 2048, 16 tokens: 64 cols 775 us, 128 980
// us, 256 1040 us; 128 tokens: 5.40, 5.39, 5.85 ms. The microkernel alone runs at 92 to 94 % of the
// FMA peak with all.
constexpr uint32_t kMaxCols = 128;

// Tokens are packed in fours, so a width of 6 or 2 leaves gaps.
constexpr uint32_t token_stride(uint32_t width) { return (width + 3) / 4 * 4; }

template <size_t kTokens>
HWY_INLINE void multiply_rows(const float* HWY_RESTRICT panel, const float* HWY_RESTRICT x,
                              size_t num_cols, float* HWY_RESTRICT y, size_t y_stride,
                              size_t num_tokens, bool add) {
  const F32Tag d;
  F32Vec acc[kTokens][kVecs];
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    HWY_UNROLL(4)
    for (size_t v = 0; v < kVecs; ++v) {
      acc[t][v] = hn::Zero(d);
    }
    // y of a prompt is in L3: asked for now, added at the end. Loading it first cost 13 % of the
    // time.
    prefetch_l1(y + t * y_stride);
    prefetch_l1(y + t * y_stride + kVecs * kLanes - 1);
  }
  constexpr size_t kStride = token_stride(kTokens);
  for (size_t c = 0; c < num_cols; ++c) {
    F32Vec w[kVecs];
    HWY_UNROLL(4)
    for (size_t v = 0; v < kVecs; ++v) w[v] = hn::LoadU(d, panel + c * kPanelRows + v * kLanes);
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      const F32Vec xs = hn::Set(d, x[c * kStride + t]);
      HWY_UNROLL(4)
      for (size_t v = 0; v < kVecs; ++v) acc[t][v] = hn::MulAdd(w[v], xs, acc[t][v]);
    }
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    if (t >= num_tokens) break;
    HWY_UNROLL(4)
    for (size_t v = 0; v < kVecs; ++v) {
      float* to = y + t * y_stride + v * kLanes;
      hn::StoreU(add ? hn::Add(hn::LoadU(d, to), acc[t][v]) : acc[t][v], d, to);
    }
  }
}

template <size_t kTokens>
void multiply(const float* panel, const float* packed_x, uint32_t num_cols, float* y,
              uint64_t y_stride, uint32_t num_tokens, bool add) {
  for (size_t r = 0; r < kPanelRows; r += kVecs * kLanes) {
    multiply_rows<kTokens>(panel + r, packed_x, num_cols, y + r, y_stride, num_tokens, add);
  }
}

uint64_t packed_elems(uint32_t width, uint32_t num_cols) {
  return uint64_t{token_stride(width)} * num_cols;
}

// packed[col][token_stride(width)]
void pack_x(const float* x, uint64_t stride, uint32_t num_tokens, uint32_t width, uint32_t num_cols,
            float* packed) {
  const uint32_t to_stride = token_stride(width);
  for (uint32_t t = 0; t < to_stride; t += 4) {
    if (t + 4 <= num_tokens) {
      transpose_4_rows(x + t * stride, stride, num_cols, packed + t, to_stride);
      continue;
    }
    for (uint32_t c = 0; c < num_cols; ++c) {
      for (uint32_t i = t; i < t + 4; ++i) {
        packed[c * to_stride + i] = i < num_tokens ? x[i * stride + c] : 0.0f;
      }
    }
  }
}

const GemmOps* gemm_ops() {
  static constexpr GemmOps kOps = {
      kMaxCols, kWidth,  packed_elems,
      pack_x,   nullptr, {multiply<kWidth / 3>, multiply<kWidth * 2 / 3>, multiply<kWidth>}};
  record_executed_cpu_target(HWY_TARGET);
  return &kOps;
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {

HWY_EXPORT(gemm_ops);

const GemmOps& gemm_ops_f32() noexcept { return *HWY_DYNAMIC_DISPATCH(gemm_ops)(); }

}  // namespace skein
#endif  // HWY_ONCE
