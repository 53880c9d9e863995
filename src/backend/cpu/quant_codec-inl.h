// The block codecs as types, for kernels that are one template for all of them: how two vectors of
// codes become floats, and what a scale does to them. nf4 and sf4 are one type, whose table is
// chosen at run time. Compiled once per target.
//
// A *step* is step_cols() cols of a row, which meet one factor and, of int8 and q4_k, one minimum:
// a block, or a run of q4_k.
//
// A *pair* is 2 * kLanes codes that lie side by side from a byte on. 4-bit codes come out of memory
// cheapest in another order, so a pair of vectors has an order of the codec's: in_order() makes it
// that of memory, from_order() the reverse. A kernel sums in the codec's order and reorders once a
// block.
#include <cstring>

#include "backend/cpu/quant-inl.h"
#include "base/check.h"
#include "hwy/highway.h"
#include "tensor/tensor.h"

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

// Where the scales of neighbouring rows lie for one step: those of row i at p + i * kWordBytes, of
// each word.
struct ScalePlace {
  const uint8_t* p;
  uint64_t word_stride;  // in bytes, from a word to the next; 0 where there is one
  uint32_t run;          // which step of its block
};

template <DType kType>
struct CodecShape {
  static constexpr DType kDType = kType;
  static constexpr uint32_t kBits = element_bits(kType);
  static constexpr uint32_t kStepCols = step_cols(kType);
  static constexpr uint32_t kRuns = block_cols(kType) / kStepCols;
  static constexpr uint32_t kWords = scale_words(kType);
  static constexpr uint32_t kWordBytes = scale_word_bytes(kType);
  static constexpr size_t kChunk = 32 / kBits;  // codes of a 32-bit lane
};

// Of kLanes rows: w = code * factor + min.
struct FactorsAndMins {
  static constexpr bool kHasMin = true;
  F32Vec factor;
  F32Vec min;

  HWY_INLINE F32Vec weight(F32Vec code) const { return hn::MulAdd(code, factor, min); }
  // y + sum over a step of w x, from the sums of code * x and of x.
  HWY_INLINE F32Vec add(F32Vec code_x, F32Vec sum_x, F32Vec y) const {
    return hn::MulAdd(code_x, factor, hn::MulAdd(min, sum_x, y));
  }
  // Those of other lanes.
  template <class Indices>
  HWY_INLINE FactorsAndMins lanes(const Indices& from) const {
    return {hn::TableLookupLanes(factor, from), hn::TableLookupLanes(min, from)};
  }
  // That of the first row in all lanes.
  HWY_INLINE FactorsAndMins first_row() const {
    return {hn::Set(F32Tag(), hn::GetLane(factor)), hn::Set(F32Tag(), hn::GetLane(min))};
  }
};

// w = code * factor.
struct Factors {
  static constexpr bool kHasMin = false;
  F32Vec factor;

  HWY_INLINE F32Vec weight(F32Vec code) const { return hn::Mul(code, factor); }
  HWY_INLINE F32Vec add(F32Vec code_x, F32Vec, F32Vec y) const {
    return hn::MulAdd(code_x, factor, y);
  }
  template <class Indices>
  HWY_INLINE Factors lanes(const Indices& from) const {
    return {hn::TableLookupLanes(factor, from)};
  }
  HWY_INLINE Factors first_row() const { return {hn::Set(F32Tag(), hn::GetLane(factor))}; }
};

// Codes of a byte.
template <DType kType>
struct ByteCodec : CodecShape<kType> {
  static constexpr bool kIsSigned = kType == DType::kQ8_0;

  explicit ByteCodec(DType) {}

  static HWY_INLINE F32Vec load_codes(const uint8_t* p) {
    return kIsSigned ? load_signed_codes(p) : load_int8_codes(p);
  }
  HWY_INLINE VecPair load_pair(const uint8_t* p) const {
    return {load_codes(p), load_codes(p + kLanes)};
  }
  static HWY_INLINE VecPair in_order(VecPair v) { return v; }
  static HWY_INLINE VecPair from_order(VecPair v) { return v; }

  // The code of the lowest byte of each lane; the next one comes down.
  HWY_INLINE F32Vec take(U32Vec& bits) const {
    F32Vec codes;
    if constexpr (kIsSigned) {
      const hn::RebindToSigned<F32Tag> d;
      const auto high = hn::BitCast(d, hn::ShiftLeft<24>(bits));
      codes = hn::ConvertTo(F32Tag(), hn::ShiftRight<24>(high));
    } else {
      codes = f32_of(hn::And(bits, hn::Set(U32Tag(), 0xffu)));
    }
    bits = hn::ShiftRight<8>(bits);
    return codes;
  }
};

struct Int8Codec : ByteCodec<DType::kInt8> {
  using ByteCodec::ByteCodec;
  using Steps = FactorsAndMins;
  static HWY_INLINE Steps load_steps(ScalePlace at) {
    const Int8Steps steps = load_int8_steps(reinterpret_cast<const Int8Scale*>(at.p));
    return {steps.step, steps.min};
  }
};

struct Q8Codec : ByteCodec<DType::kQ8_0> {
  using ByteCodec::ByteCodec;
  using Steps = Factors;
  static HWY_INLINE Steps load_steps(ScalePlace at) { return {load_factors(at.p)}; }
};

// Codes of 4 bits. Those of q4_0 and q4_k are integers, which are quicker converted than looked up
// where a table of 16 is no register.
template <DType kType>
class NibbleCodec : public CodecShape<kType> {
 public:
  explicit NibbleCodec(DType dtype) : table_(code_table(dtype)) {}

  HWY_INLINE VecPair load_pair(const uint8_t* p) const {
    const NibblePair codes = load_nibble_pair(p);
    return {value(codes.a), value(codes.b)};
  }
  static HWY_INLINE VecPair in_order(VecPair v) { return nibbles_in_order(v); }
  static HWY_INLINE VecPair from_order(VecPair v) { return nibbles_from_order(v); }

  // As ByteCodec's.
  HWY_INLINE F32Vec take(U32Vec& bits) const {
    const F32Vec codes = value(bits);
    bits = hn::ShiftRight<4>(bits);
    return codes;
  }

 private:
  static constexpr bool kIsConverted =
      is_ggml_codec(kType) && !(HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3);

  // Of the low 4 bits of each lane.
  HWY_INLINE F32Vec value(U32Vec codes) const {
    if constexpr (kIsConverted) {
      const F32Vec number = f32_of(hn::And(codes, hn::Set(U32Tag(), 15u)));
      return kType == DType::kQ4K ? number : hn::Sub(number, hn::Set(F32Tag(), 8.0f));
    } else {
      return table_(codes);
    }
  }

  NibbleTable table_;
};

// nf4; sf4's block and scale are the same.
struct TableCodec : NibbleCodec<DType::kNF4> {
  using NibbleCodec::NibbleCodec;
  using Steps = Factors;
  static HWY_INLINE Steps load_steps(ScalePlace at) { return {load_factors(at.p)}; }
};

struct Q4Codec : NibbleCodec<DType::kQ4_0> {
  using NibbleCodec::NibbleCodec;
  using Steps = Factors;
  static HWY_INLINE Steps load_steps(ScalePlace at) { return {load_factors(at.p)}; }
};

struct Q4KCodec : NibbleCodec<DType::kQ4K> {
  using NibbleCodec::NibbleCodec;
  using Steps = FactorsAndMins;
  static HWY_INLINE Steps load_steps(ScalePlace at) {
    const Q4KSteps steps = load_q4_k_steps(at.p, at.word_stride, at.run);
    return {steps.factor, hn::Neg(steps.min)};
  }
};

// Calls Op::run<Codec>(arguments...) for the codec of a quantized dtype.
template <class Op, class... Args>
HWY_INLINE void with_codec(DType dtype, const Args&... args) {
  switch (dtype) {
    case DType::kInt8:
      return Op::template run<Int8Codec>(args...);
    case DType::kNF4:
    case DType::kSF4:
      return Op::template run<TableCodec>(args...);
    case DType::kQ8_0:
      return Op::template run<Q8Codec>(args...);
    case DType::kQ4_0:
      return Op::template run<Q4Codec>(args...);
    case DType::kQ4K:
      return Op::template run<Q4KCodec>(args...);
    default:
      break;
  }
  check_failed(__FILE__, __LINE__, "the tensor is quantized");
}

template <class Codec>
inline constexpr uint32_t kStepCols = Codec::kStepCols;
template <class Codec>
inline constexpr bool kHasMin = Codec::Steps::kHasMin;
// Of a pair.
inline constexpr size_t kPairElems = 2 * kLanes;
template <class Codec>
inline constexpr size_t kPairBytes = kPairElems* Codec::kBits / 8;

// The scales of a tensor of the codec.
template <class Codec>
class Scales {
 public:
  explicit Scales(const Tensor& weights)
      : data_(reinterpret_cast<const uint8_t*>(weights.scales_data())),
        mapping_(weights.scales_mapping()) {}

  // Of the rows from `row` on, as far as they lie side by side, and cols [step * kStepCols, ...).
  HWY_INLINE ScalePlace at(uint64_t row, uint64_t step) const {
    const uint64_t first = step / Codec::kRuns * Codec::kWords;
    const uint64_t index = mapping_(row, first);
    uint64_t stride = 0;
    if constexpr (Codec::kWords > 1) {
      stride = (mapping_(row, first + 1) - index) * Codec::kWordBytes;
    }
    return {data_ + index * Codec::kWordBytes, stride, static_cast<uint32_t>(step % Codec::kRuns)};
  }

  const AnyMapping& mapping() const { return mapping_; }

 private:
  const uint8_t* data_;
  const AnyMapping& mapping_;
};

// The scales `num_rows` rows further.
template <class Codec>
HWY_INLINE ScalePlace skip_rows(ScalePlace at, size_t num_rows) {
  at.p += num_rows * Codec::kWordBytes;
  return at;
}

// Copies of the scales of up to kMaxRows rows, with zeros behind them, so that whole vectors of
// steps may be loaded.
template <class Codec, size_t kMaxRows>
class CopiedScales {
 public:
  // Rows that lie side by side.
  HWY_INLINE void copy(ScalePlace from, size_t num_rows) {
    for (size_t w = 0; w < Codec::kWords; ++w) {
      std::memcpy(bytes_[w], from.p + w * from.word_stride, num_rows * Codec::kWordBytes);
      std::memset(bytes_[w] + num_rows * Codec::kWordBytes, 0,
                  (kRoom - num_rows) * Codec::kWordBytes);
    }
    run_ = from.run;
  }
  // Of one row, to place i.
  HWY_INLINE void copy_row(ScalePlace from, size_t i) {
    for (size_t w = 0; w < Codec::kWords; ++w) {
      std::memcpy(bytes_[w] + i * Codec::kWordBytes, from.p + w * from.word_stride,
                  Codec::kWordBytes);
    }
    run_ = from.run;
  }
  HWY_INLINE ScalePlace at(size_t i) const {
    return {bytes_[0] + i * Codec::kWordBytes, sizeof(bytes_[0]), run_};
  }

 private:
  static constexpr size_t kRoom = kMaxRows + 16;
  HWY_ALIGN uint8_t bytes_[Codec::kWords][kRoom * Codec::kWordBytes] = {};
  uint32_t run_ = 0;
};

// One scale for all lanes.
template <class Codec>
HWY_INLINE typename Codec::Steps repeat_steps(ScalePlace at) {
  CopiedScales<Codec, 1> copy;
  copy.copy(at, 1);
  return Codec::load_steps(copy.at(0)).first_row();
}

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
