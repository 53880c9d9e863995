// AVX512-VNNI, which Highway 1.0 does not know: the one place that uses its intrinsics.
//
// Callers carry SKEIN_AVX512_VNNI themselves, hold no Highway code, and run only where
// cpu_has_avx512_vnni() (cpu_features.h).
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#define SKEIN_HAVE_AVX512_VNNI 1
#define SKEIN_AVX512_VNNI \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")))
#define SKEIN_AVX512_VNNI_INLINE SKEIN_AVX512_VNNI inline __attribute__((always_inline))

namespace skein {

// sum[i] + a[4i] * b[4i] + ... + a[4i + 3] * b[4i + 3], a unsigned, b signed bytes; no saturation.
SKEIN_AVX512_VNNI_INLINE __m512i int8_dot(__m512i sum, __m512i a, __m512i b) {
  return _mm512_dpbusd_epi32(sum, a, b);
}

}  // namespace skein

#else
#define SKEIN_HAVE_AVX512_VNNI 0
#endif
