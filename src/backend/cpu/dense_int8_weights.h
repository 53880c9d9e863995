// The block codecs as operands of VPDPBUSD, for dense_int8_vnni.cc: how 64 bytes of interleaved
// codes become vectors of unsigned bytes, and what the scales of 16 rows do to the sums.
//
// Weights are the unsigned operand: codes of int8, q4_0 and q4_k as they are, of q8_0 plus 128, of
// nf4 and sf4 as bytes 128 + 127 * code from a table of 16; what is too much is taken off again
// with the sum of x.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "backend/cpu/avx512_vnni.h"
#include "tensor/codec.h"

#if SKEIN_HAVE_AVX512_VNNI

namespace skein {

// As in dense_quant_interleave.cc.
inline constexpr size_t kScalePrefetchBytes = 512;

// f16 in the low half of each lane.
SKEIN_AVX512_VNNI_INLINE __m512 f32_from_f16_lanes(__m512i bits) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(bits));
}

SKEIN_AVX512_VNNI_INLINE __m512 load_f16(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

// Each has: planes() of a chunk, vectors of 4 cols a lane; kBias, what the operand is beyond the
// code; load_steps() of 16 rows, whose scales begin at p; and add(), the total + a step's weights
// times its x, where dot is the sum of the products of codes.
struct Int8Weights {
  static constexpr DType kDType = DType::kInt8;
  static constexpr size_t kPlanes = 1;
  static constexpr int32_t kBias = 0;

  struct Steps {
    __m512 min;
    __m512 step;
  };

  SKEIN_AVX512_VNNI_INLINE void load(const uint8_t* w, __m512i (&planes)[kPlanes]) const {
    planes[0] = _mm512_loadu_si512(w);
  }
  SKEIN_AVX512_VNNI_INLINE static Steps load_steps(const uint8_t* p, uint32_t /*run*/) {
    const __m512i bits = _mm512_loadu_si512(p);
    const __m512 min = f32_from_f16_lanes(bits);
    const __m512 max = f32_from_f16_lanes(_mm512_srli_epi32(bits, 16));
    return {min, _mm512_mul_ps(_mm512_sub_ps(max, min), _mm512_set1_ps(1.0f / 255.0f))};
  }
  SKEIN_AVX512_VNNI_INLINE static __m512 add(__m512 total, const Steps& steps, __m512 dot,
                                             __m512 sum_x) {
    return _mm512_fmadd_ps(steps.step, dot, _mm512_fmadd_ps(steps.min, sum_x, total));
  }
};

class NibbleWeights {
 public:
  static constexpr DType kDType = DType::kNF4;
  static constexpr size_t kPlanes = 2;
  static constexpr int32_t kBias = 128;

  struct Steps {
    __m512 step;
  };

  SKEIN_AVX512_VNNI explicit NibbleWeights(const CodeTable& codes) {
    alignas(16) uint8_t bytes[16];
    for (size_t i = 0; i < 16; ++i) {
      bytes[i] = static_cast<uint8_t>(std::lround(127.0f * codes[i]) + kBias);
    }
    table_ = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
  }

  // The even cols of 8, then the odd ones.
  SKEIN_AVX512_VNNI_INLINE void load(const uint8_t* w, __m512i (&planes)[kPlanes]) const {
    const __m512i low = _mm512_set1_epi8(0x0f);
    const __m512i codes = _mm512_loadu_si512(w);
    planes[0] = _mm512_shuffle_epi8(table_, _mm512_and_si512(codes, low));
    planes[1] = _mm512_shuffle_epi8(table_, _mm512_and_si512(_mm512_srli_epi16(codes, 4), low));
  }
  SKEIN_AVX512_VNNI_INLINE static Steps load_steps(const uint8_t* p, uint32_t /*run*/) {
    return {_mm512_mul_ps(load_f16(p), _mm512_set1_ps(1.0f / 127.0f))};
  }
  SKEIN_AVX512_VNNI_INLINE static __m512 add(__m512 total, const Steps& steps, __m512 dot,
                                             __m512 /*sum_x*/) {
    return _mm512_fmadd_ps(steps.step, dot, total);
  }

 private:
  __m512i table_;
};

struct Q8Weights {
  static constexpr DType kDType = DType::kQ8_0;
  static constexpr size_t kPlanes = 1;
  static constexpr int32_t kBias = 128;

  struct Steps {
    __m512 factor;
  };

  SKEIN_AVX512_VNNI_INLINE void load(const uint8_t* w, __m512i (&planes)[kPlanes]) const {
    planes[0] = _mm512_xor_si512(_mm512_loadu_si512(w), _mm512_set1_epi8(-128));
  }
  SKEIN_AVX512_VNNI_INLINE static Steps load_steps(const uint8_t* p, uint32_t /*run*/) {
    return {load_f16(p)};
  }
  SKEIN_AVX512_VNNI_INLINE static __m512 add(__m512 total, const Steps& steps, __m512 dot,
                                             __m512 /*sum_x*/) {
    return _mm512_fmadd_ps(steps.factor, dot, total);
  }
};

// Codes of 4 bits that are integers.
struct LinearNibbles {
  static constexpr size_t kPlanes = 2;

  // The even cols of 8, then the odd ones.
  SKEIN_AVX512_VNNI_INLINE void load(const uint8_t* w, __m512i (&planes)[kPlanes]) const {
    const __m512i low = _mm512_set1_epi8(0x0f);
    const __m512i codes = _mm512_loadu_si512(w);
    planes[0] = _mm512_and_si512(codes, low);
    planes[1] = _mm512_and_si512(_mm512_srli_epi16(codes, 4), low);
  }
};

struct Q4Weights : LinearNibbles {
  static constexpr DType kDType = DType::kQ4_0;
  static constexpr int32_t kBias = 8;
  using Steps = Q8Weights::Steps;

  SKEIN_AVX512_VNNI_INLINE static Steps load_steps(const uint8_t* p, uint32_t run) {
    return Q8Weights::load_steps(p, run);
  }
  SKEIN_AVX512_VNNI_INLINE static __m512 add(__m512 total, const Steps& steps, __m512 dot,
                                             __m512 sum_x) {
    return Q8Weights::add(total, steps, dot, sum_x);
  }
};

struct Q4KWeights : LinearNibbles {
  static constexpr DType kDType = DType::kQ4K;
  static constexpr int32_t kBias = 0;

  struct Steps {
    __m512 factor;
    __m512 min;
  };

  // The four words of 16 rows; as load_q4_k_steps() of quant-inl.h.
  SKEIN_AVX512_VNNI_INLINE static Steps load_steps(const uint8_t* p, uint32_t run) {
    const __m512i scales = _mm512_loadu_si512(p);
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(run % 4 * 8));
    __m512i factor = _mm512_srl_epi32(_mm512_loadu_si512(p + 64), shift);
    __m512i min = _mm512_srl_epi32(_mm512_loadu_si512(p + 128), shift);
    if (run < 4) {
      factor = _mm512_and_si512(factor, _mm512_set1_epi32(63));
      min = _mm512_and_si512(min, _mm512_set1_epi32(63));
    } else {
      const __m512i low = _mm512_srl_epi32(_mm512_loadu_si512(p + 192), shift);
      const __m512i nibble = _mm512_set1_epi32(15), upper = _mm512_set1_epi32(48);
      factor = _mm512_or_si512(_mm512_and_si512(low, nibble),
                               _mm512_and_si512(_mm512_srli_epi32(factor, 2), upper));
      min = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(low, 4), nibble),
                            _mm512_and_si512(_mm512_srli_epi32(min, 2), upper));
    }
    return {
        _mm512_mul_ps(f32_from_f16_lanes(scales), _mm512_cvtepi32_ps(factor)),
        _mm512_mul_ps(f32_from_f16_lanes(_mm512_srli_epi32(scales, 16)), _mm512_cvtepi32_ps(min))};
  }
  SKEIN_AVX512_VNNI_INLINE static __m512 add(__m512 total, const Steps& steps, __m512 dot,
                                             __m512 sum_x) {
    return _mm512_fmadd_ps(steps.factor, dot, _mm512_fnmadd_ps(steps.min, sum_x, total));
  }
};

// The scales of 16 rows from `first` on, for step after step: the words of 16 rows side by side.
template <class Weights>
struct StepScales {
  static constexpr DType kDType = Weights::kDType;
  static constexpr uint64_t kRuns = block_cols(kDType) / step_cols(kDType);
  static constexpr uint64_t kBlockBytes = uint64_t{16} * scale_bytes(kDType);

  const uint8_t* first;

  SKEIN_AVX512_VNNI_INLINE typename Weights::Steps load(uint64_t step) const {
    const uint8_t* p = first + step / kRuns * kBlockBytes;
    if (step % kRuns == 0) {
#pragma GCC unroll 16
      for (uint64_t bytes = 0; bytes < kBlockBytes; bytes += 64) {
        __builtin_prefetch(p + kScalePrefetchBytes + bytes, 0, 3);
      }
    }
    return Weights::load_steps(p, static_cast<uint32_t>(step % kRuns));
  }
};

}  // namespace skein

#endif  // SKEIN_HAVE_AVX512_VNNI
