// AVX512-BF16, which Highway 1.0 does not know: the one place that uses its intrinsics.
//
// Callers carry SKEIN_AVX512_BF16 themselves, hold no Highway code, and run only where
// cpu_has_avx512_bf16() (cpu_features.h).
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#define SKEIN_HAVE_AVX512_BF16 1
#define SKEIN_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace skein {

// 32 floats as bf16, nearest even: lanes 0 to 15 are `low`, 16 to 31 `high`.
SKEIN_AVX512_BF16 inline __attribute__((always_inline)) __m512i bf16_round(__m512 low,
                                                                           __m512 high) {
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// sum[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1], bf16 products, f32 sums; denormals are zero.
SKEIN_AVX512_BF16 inline __attribute__((always_inline)) __m512 bf16_dot(__m512 sum, __m512i a,
                                                                        __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

}  // namespace skein

#else
#define SKEIN_HAVE_AVX512_BF16 0
#endif
