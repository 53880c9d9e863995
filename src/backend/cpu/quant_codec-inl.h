// The block codecs as types, for kernels that are one template for all of them: how two vectors of
// codes become floats, and what a block's scale does to them. nf4 and sf4 are one type, whose table
// is chosen at run time. Compiled once per target.
//
// A *pair* is 2 * kLanes codes that lie side by side from a byte on. 4-bit codes come out of memory
// cheapest in another order, so a pair of vectors has an order of the codec's: in_order() makes it
// that of memory, from_order() the reverse. A kernel sums in the codec's order and reorders once a
// block.
#include <cstring>

#include "backend/cpu/quant-inl.h"
#include "hwy/highway.h"

#if defined(SKEIN_QUANT_CODEC_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_QUANT_CODEC_INL_H
#undef SKEIN_QUANT_CODEC_INL_H
#else
#define SKEIN_QUANT_CODEC_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

struct VecPair {
  F32Vec a;
  F32Vec b;
};

struct NibblePair {
  U32Vec a;
  U32Vec b;
};

// How a pair of 4-bit codes comes out of memory, and its order.
//
// AVX-512: 8 bytes, to all 64-bit lanes by the load alone, then each 32-bit lane shifted to its own
// code: a vector's elements are 0, 8, 1, 9, ... Three operations a vector with look-up and FMA, and
// one shuffle. Measured 2026-11-23, Zen 5, 8 vectors in L1: 1.74 ns; bytes widened by the load,
// which is a shuffle, and shifted for the second vector, 2.02.
//
// Others: bytes widened, the even elements in one vector and the odd ones in the other.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3

HWY_INLINE U32Vec load_nibble_vec(const uint8_t* p) {
  const hn::Repartition<uint64_t, F32Tag> d64;
  HWY_ALIGN static constexpr uint32_t kShifts[16] = {0,  0,  4,  4,  8,  8,  12, 12,
                                                     16, 16, 20, 20, 24, 24, 28, 28};
  uint64_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return hn::Shr(hn::BitCast(U32Tag(), hn::Set(d64, bits)), hn::Load(U32Tag(), kShifts));
}
HWY_INLINE NibblePair load_nibble_pair(const uint8_t* p) {
  return {load_nibble_vec(p), load_nibble_vec(p + 8)};
}

// {0, 8, 1, 9, ...} -> {0, 1, 2, 3, ...} in each vector.
HWY_INLINE VecPair nibbles_in_order(VecPair v) {
  const __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  return {F32Vec{_mm512_permutexvar_ps(order, v.a.raw)},
          F32Vec{_mm512_permutexvar_ps(order, v.b.raw)}};
}

// The reverse.
HWY_INLINE VecPair nibbles_from_order(VecPair v) {
  const __m512i order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  return {F32Vec{_mm512_permutexvar_ps(order, v.a.raw)},
          F32Vec{_mm512_permutexvar_ps(order, v.b.raw)}};
}

#else

HWY_INLINE NibblePair load_nibble_pair(const uint8_t* p) {
#if HWY_TARGET == HWY_SCALAR
  const U32Vec bytes = hn::Set(U32Tag(), uint32_t{*p});
#else
  const hn::Rebind<uint8_t, F32Tag> d8;
  const U32Vec bytes = hn::PromoteTo(U32Tag(), hn::LoadU(d8, p));
#endif
  return {bytes, hn::ShiftRight<4>(bytes)};
}

// {a0, a1, ...}, {b0, b1, ...} -> {a0, b0, a1, b1, ...}, twice kLanes.
HWY_INLINE VecPair nibbles_in_order(VecPair v) {
#if HWY_TARGET == HWY_SCALAR
  return v;
#else
  const F32Tag d;
  const F32Vec low = hn::InterleaveLower(d, v.a, v.b), high = hn::InterleaveUpper(d, v.a, v.b);
  if constexpr (kLanes == 4) return {low, high};
  static_assert(kLanes == 4 || kLanes == 8);
  return {hn::ConcatLowerLower(d, high, low), hn::ConcatUpperUpper(d, high, low)};
#endif
}

// The reverse.
HWY_INLINE VecPair nibbles_from_order(VecPair v) {
#if HWY_TARGET == HWY_SCALAR
  return v;
#else
  const F32Tag d;
  return {hn::ConcatEven(d, v.b, v.a), hn::ConcatOdd(d, v.b, v.a)};
#endif
}

#endif

// w = code * step + min of a block.
struct Int8Codec {
  static constexpr DType kDType = DType::kInt8;
  static constexpr uint32_t kBits = 8;
  using Scale = Int8Scale;

  explicit Int8Codec(DType) {}

  HWY_INLINE VecPair load_pair(const uint8_t* p) const {
    return {load_int8_codes(p), load_int8_codes(p + kLanes)};
  }
  static HWY_INLINE VecPair in_order(VecPair v) { return v; }
  static HWY_INLINE VecPair from_order(VecPair v) { return v; }

  // Of kLanes rows.
  struct Steps {
    Int8Steps steps;
    // A weight of these rows.
    HWY_INLINE F32Vec weight(F32Vec code) const { return hn::MulAdd(code, steps.step, steps.min); }
    // y + sum over a block of w x, from the sums of code * x and of x.
    HWY_INLINE F32Vec add(F32Vec code_x, F32Vec sum_x, F32Vec y) const {
      return hn::MulAdd(code_x, steps.step, hn::MulAdd(steps.min, sum_x, y));
    }
  };
  static HWY_INLINE Steps load_steps(const uint8_t* p) {
    return {load_int8_steps(reinterpret_cast<const Int8Scale*>(p))};
  }
  // One scale for all lanes.
  static HWY_INLINE Steps repeat_steps(const uint8_t* p) {
    Int8Scale scale;
    std::memcpy(&scale, p, sizeof(scale));
    const float min = f32_from(scale.min);
    const float step = (f32_from(scale.max) - min) * (1.0f / 255.0f);
    return {{hn::Set(F32Tag(), min), hn::Set(F32Tag(), step)}};
  }
};

// w = code * absmax of a block.
struct NibbleCodec {
  static constexpr DType kDType = DType::kNF4;  // sf4's block and scale are the same
  static constexpr uint32_t kBits = 4;
  using Scale = AbsmaxScale;

  explicit NibbleCodec(DType dtype) : table(code_table(dtype)) {}

  HWY_INLINE VecPair load_pair(const uint8_t* p) const {
    const NibblePair codes = load_nibble_pair(p);
    return {table(codes.a), table(codes.b)};
  }
  static HWY_INLINE VecPair in_order(VecPair v) { return nibbles_in_order(v); }
  static HWY_INLINE VecPair from_order(VecPair v) { return nibbles_from_order(v); }

  struct Steps {
    F32Vec absmax;
    HWY_INLINE F32Vec weight(F32Vec code) const { return hn::Mul(code, absmax); }
    HWY_INLINE F32Vec add(F32Vec code_x, F32Vec, F32Vec y) const {
      return hn::MulAdd(code_x, absmax, y);
    }
  };
  static HWY_INLINE Steps load_steps(const uint8_t* p) {
    return {load_absmaxes(reinterpret_cast<const AbsmaxScale*>(p))};
  }
  static HWY_INLINE Steps repeat_steps(const uint8_t* p) {
    AbsmaxScale scale;
    std::memcpy(&scale, p, sizeof(scale));
    return {hn::Set(F32Tag(), f32_from(scale.absmax))};
  }

  NibbleTable table;
};

template <class Codec>
inline constexpr uint32_t kBlockCols = block_cols(Codec::kDType);
// Of a pair.
inline constexpr size_t kPairElems = 2 * kLanes;
template <class Codec>
inline constexpr size_t kPairBytes = kPairElems* Codec::kBits / 8;

// Copies `num_elems` codes from element `elem` on, so that the first one begins a byte. Reads no
// byte that holds none of them; of the last byte of `to` half may be anything.
template <class Codec>
HWY_INLINE void copy_codes(const uint8_t* codes, uint64_t elem, size_t num_elems, uint8_t* to) {
  if constexpr (Codec::kBits == 8) {
    std::memcpy(to, codes + elem, num_elems);
  } else if (elem % 2 == 0) {
    std::memcpy(to, codes + elem / 2, (num_elems + 1) / 2);
  } else {
    const uint8_t* from = codes + elem / 2;
    for (size_t i = 0; i < num_elems; i += 2, ++from) {
      const uint32_t high = i + 1 < num_elems ? uint32_t{from[1]} << 4 : 0;
      *to++ = static_cast<uint8_t>(from[0] >> 4 | high);
    }
  }
}

// Whether `elem` begins a byte.
template <class Codec>
constexpr bool begins_byte(uint64_t elem) {
  return Codec::kBits == 8 || elem % 2 == 0;
}

template <class Codec>
HWY_INLINE const uint8_t* byte_of(const uint8_t* codes, uint64_t elem) {
  return codes + elem * Codec::kBits / 8;
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
