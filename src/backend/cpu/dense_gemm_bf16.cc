// The bf16 microkernel (kFast): pairs of cols, VDPBF16PS, twice the rate of f32; the sums stay f32.
#include <cstring>

#include "backend/cpu/avx512_bf16.h"
#include "backend/cpu/dense_gemm.h"

namespace skein {

#if SKEIN_HAVE_AVX512_BF16
namespace {

constexpr uint32_t kWidth = 12;

// 256 cols are 128 pairs: the bytes of 128 cols in f32 (dense_gemm_f32.cc).
constexpr uint32_t kMaxCols = 256;

constexpr uint32_t num_pairs_of(uint32_t num_cols) { return (num_cols + 1) / 2; }

// panel[pair][kPanelRows][2] bf16, in place of panel[col][kPanelRows] f32. A pair is written where
// its cols or earlier ones were read.
SKEIN_AVX512_BF16 void prepare_panel(float* panel, uint32_t num_cols) {
  alignas(64) static constexpr uint16_t kPairs[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                      21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                      11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i pairs = _mm512_load_si512(kPairs);
  for (uint32_t pair = 0; pair < num_pairs_of(num_cols); ++pair) {
    const float* even = panel + 2 * pair * kPanelRows;
    const bool has_odd = 2 * pair + 1 < num_cols;
    const __m512 even0 = _mm512_load_ps(even);
    const __m512 even1 = _mm512_load_ps(even + 16);
    const __m512 odd0 = has_odd ? _mm512_load_ps(even + kPanelRows) : _mm512_setzero_ps();
    const __m512 odd1 = has_odd ? _mm512_load_ps(even + kPanelRows + 16) : _mm512_setzero_ps();
    float* to = panel + pair * kPanelRows;
    _mm512_store_si512(to, _mm512_permutexvar_epi16(pairs, bf16_round(even0, odd0)));
    _mm512_store_si512(to + 16, _mm512_permutexvar_epi16(pairs, bf16_round(even1, odd1)));
  }
}

uint64_t packed_elems(uint32_t width, uint32_t num_cols) {
  return uint64_t{width} * num_pairs_of(num_cols);
}

// Pairs of one token, [num_pairs], each in the bits of a float.
SKEIN_AVX512_BF16 void round_row(const float* x, uint32_t num_cols, float* pairs) {
  uint32_t c = 0;
  for (; c + 32 <= num_cols; c += 32) {
    _mm512_storeu_si512(pairs + c / 2,
                        bf16_round(_mm512_loadu_ps(x + c), _mm512_loadu_ps(x + c + 16)));
  }
  if (c == num_cols) return;
  alignas(64) float rest[32] = {};
  std::memcpy(rest, x + c, (num_cols - c) * sizeof(float));
  _mm512_storeu_si512(pairs + c / 2, bf16_round(_mm512_load_ps(rest), _mm512_load_ps(rest + 16)));
}

// packed[pair][width][2] bf16; width is a multiple of 4.
SKEIN_AVX512_BF16 void pack_x(const float* x, uint64_t stride, uint32_t num_tokens, uint32_t width,
                              uint32_t num_cols, float* packed) {
  // Whole vectors of 16 pairs are written, and read in fours.
  alignas(64) float rows[4][kMaxCols / 2 + 16];
  const uint32_t num_pairs = num_pairs_of(num_cols);
  for (uint32_t first = 0; first < width; first += 4) {
    for (uint32_t t = 0; t < 4; ++t) {
      if (first + t < num_tokens) {
        round_row(x + (first + t) * stride, num_cols, rows[t]);
      } else {
        std::memset(rows[t], 0, num_pairs * sizeof(float));
      }
    }
    float* to = packed + first;
    uint32_t p = 0;
    for (; p + 4 <= num_pairs; p += 4) {
      __m128 r0 = _mm_loadu_ps(rows[0] + p), r1 = _mm_loadu_ps(rows[1] + p);
      __m128 r2 = _mm_loadu_ps(rows[2] + p), r3 = _mm_loadu_ps(rows[3] + p);
      _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
      _mm_storeu_ps(to + (p + 0) * width, r0);
      _mm_storeu_ps(to + (p + 1) * width, r1);
      _mm_storeu_ps(to + (p + 2) * width, r2);
      _mm_storeu_ps(to + (p + 3) * width, r3);
    }
    for (; p < num_pairs; ++p) {
      for (uint32_t t = 0; t < 4; ++t) std::memcpy(to + p * width + t, rows[t] + p, sizeof(float));
    }
  }
}

template <uint32_t kTokens>
SKEIN_AVX512_BF16 void multiply(const float* panel, const float* packed_x, uint32_t num_cols,
                                float* y, uint64_t y_stride, uint32_t num_tokens, bool add) {
  __m512 acc[kTokens][2];
#pragma GCC unroll 16
  for (uint32_t t = 0; t < kTokens; ++t) {
    acc[t][0] = _mm512_setzero_ps();
    acc[t][1] = _mm512_setzero_ps();
    // As in dense_gemm_f32.cc: y is asked for now, added at the end.
    __builtin_prefetch(y + t * y_stride, 0, 3);
    __builtin_prefetch(y + t * y_stride + 31, 0, 3);
  }
  const size_t num_pairs = num_pairs_of(num_cols);
  for (size_t pair = 0; pair < num_pairs; ++pair) {
    const __m512i w0 = _mm512_load_si512(panel + pair * kPanelRows);
    const __m512i w1 = _mm512_load_si512(panel + pair * kPanelRows + 16);
#pragma GCC unroll 16
    for (uint32_t t = 0; t < kTokens; ++t) {
      const __m512i xs = _mm512_castps_si512(_mm512_set1_ps(packed_x[pair * kTokens + t]));
      acc[t][0] = bf16_dot(acc[t][0], w0, xs);
      acc[t][1] = bf16_dot(acc[t][1], w1, xs);
    }
  }
#pragma GCC unroll 16
  for (uint32_t t = 0; t < kTokens; ++t) {
    if (t >= num_tokens) break;
    float* to = y + t * y_stride;
    _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), acc[t][0]) : acc[t][0]);
    _mm512_storeu_ps(to + 16, add ? _mm512_add_ps(_mm512_loadu_ps(to + 16), acc[t][1]) : acc[t][1]);
  }
}

constexpr GemmOps kOps = {kMaxCols, kWidth,        packed_elems,
                          pack_x,   prepare_panel, {multiply<4>, multiply<8>, multiply<12>}};

}  // namespace

// Not every CPU that has the instruction gains by it: Zen 5 does twice the products of f32, but on
// 16 cores of an Intel Xeon with AMX a 1.5B prefill of 512 fell from 483 to 316 tokens/s
// (2026-11-23). So it is measured, once a process; the margin keeps noise from deciding.
const GemmOps* gemm_ops_bf16() noexcept {
  static const bool pays = products_per_second(kOps) > 1.25 * products_per_second(gemm_ops_f32());
  return pays ? &kOps : nullptr;
}

#else

const GemmOps* gemm_ops_bf16() noexcept { return nullptr; }

#endif

}  // namespace skein
