// Codes and scales of the block codecs as f32 vectors: the one place where the matrix kernels know
// how a code decodes (tensor/codec.h says what it means). Compiled once per target.
//
// Goals: any alignment; nothing read behind kLanes elements except within kReadSlackBytes, as said.
// Non-goals: bit equality with codec.h's decode(), which divides by 255: kernels sum codes first
// and apply a block's scale once, equal to rounding.
#include <bit>
#include <cstring>

#include "backend/cpu/matmul-inl.h"
#include "hwy/highway.h"
#include "tensor/codec.h"

#if defined(SKEIN_QUANT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_QUANT_INL_H
#undef SKEIN_QUANT_INL_H
#else
#define SKEIN_QUANT_INL_H
#endif

// Loads are memcpy of whole integers, low byte first.
static_assert(std::endian::native == std::endian::little);

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

using U32Tag = hn::RebindToUnsigned<F32Tag>;
using U32Vec = hn::Vec<U32Tag>;

// kLanes u32 from any address.
HWY_INLINE U32Vec load_u32(const uint8_t* p) {
  const U32Tag d;
#if HWY_TARGET == HWY_SCALAR
  uint32_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return hn::Set(d, bits);
#else
  return hn::LoadU(d, reinterpret_cast<const uint32_t*>(p));
#endif
}

// Small integers, below 2^31, as floats.
HWY_INLINE F32Vec f32_of(U32Vec v) {
  const hn::RebindToSigned<F32Tag> d;
  return hn::ConvertTo(F32Tag(), hn::BitCast(d, v));
}

// kLanes int8 codes that lie side by side, as 0 .. 255.
HWY_INLINE F32Vec load_int8_codes(const uint8_t* p) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(F32Tag(), static_cast<float>(*p));
#else
  const hn::RebindToSigned<F32Tag> d;
  const hn::Rebind<uint8_t, F32Tag> d8;
  return hn::ConvertTo(F32Tag(), hn::PromoteTo(d, hn::LoadU(d8, p)));
#endif
}

// kLanes signed codes that lie side by side.
HWY_INLINE F32Vec load_signed_codes(const uint8_t* p) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(F32Tag(), static_cast<float>(static_cast<int8_t>(*p)));
#else
  const hn::RebindToSigned<F32Tag> d;
  const hn::Rebind<int8_t, F32Tag> d8;
  return hn::ConvertTo(F32Tag(),
                       hn::PromoteTo(d, hn::LoadU(d8, reinterpret_cast<const int8_t*>(p))));
#endif
}

// kLanes 4-bit codes that lie side by side from element `elem` on, even or odd, in the low 4 bits
// of each lane; the other bits are anything. Reads up to 12 bytes from the first code's.
HWY_INLINE U32Vec load_nibbles(const uint8_t* codes, uint64_t elem) {
  const U32Tag d;
  const uint8_t* p = codes + elem / 2;
  const auto shift = static_cast<uint32_t>(elem % 2 * 4);
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(d, static_cast<uint32_t>(*p) >> shift);
#else
  HWY_ALIGN static constexpr uint32_t kShifts[16] = {0, 4, 8, 12, 16, 20, 24, 28,
                                                     0, 4, 8, 12, 16, 20, 24, 28};
  const auto eight_from = [shift](const uint8_t* from) {
    uint64_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return static_cast<uint32_t>(bits >> shift);
  };
  if constexpr (kLanes == 16) {
    const hn::Half<U32Tag> half;
    const auto both =
        hn::Combine(d, hn::Set(half, eight_from(p + 4)), hn::Set(half, eight_from(p)));
    return hn::Shr(both, hn::Load(d, kShifts));
  } else {
    return hn::Shr(hn::Set(d, eight_from(p)), hn::Load(d, kShifts));
  }
#endif
}

// The 16 values of a 4-bit codec in registers (AVX2 and up) or memory, looked up by the low 4 bits
// of each lane.
//
// Cost: AVX-512 one permute; AVX2 two, a shift and a blend; below, kLanes scalar loads.
class NibbleTable {
 public:
  explicit NibbleTable(const CodeTable& codes)
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
      : codes_(hn::LoadU(F32Tag(), codes.data())){}
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
      : low_(hn::LoadU(F32Tag(), codes.data())),
        high_(hn::LoadU(F32Tag(), codes.data() + 8)){}
#else
      : codes_(codes.data()) {
  }
#endif

        HWY_INLINE F32Vec
        operator()(U32Vec nibbles) const {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
    // The instruction ignores the other bits, so that masking would be one operation too many.
    return hn::TableLookupLanes(codes_, hn::Indices512<float>{nibbles.raw});
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
    const F32Tag d;
    const hn::Indices256<float> indices{nibbles.raw};
    const auto in_high = hn::MaskFromVec(hn::BitCast(d, hn::ShiftLeft<28>(nibbles)));
    return hn::IfThenElse(in_high, hn::TableLookupLanes(high_, indices),
                          hn::TableLookupLanes(low_, indices));
#else
    const hn::RebindToSigned<F32Tag> di;
    const auto indices = hn::And(nibbles, hn::Set(U32Tag(), 15u));
    return hn::GatherIndex(F32Tag(), codes_, hn::BitCast(di, indices));
#endif
  }

 private:
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  F32Vec codes_;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  F32Vec low_, high_;
#else
  const float* codes_;
#endif
};

// w = min + code * step.
struct Int8Steps {
  F32Vec min;
  F32Vec step;  // (max - min) / 255
};

// f16 in the low 16 bits of each lane; the other bits are zero.
HWY_INLINE F32Vec f32_from_f16_lanes(U32Vec bits) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(F32Tag(), f32_from(F16{static_cast<uint16_t>(hn::GetLane(bits))}));
#else
  const hn::Rebind<uint16_t, F32Tag> d16;
  const hn::Rebind<hwy::float16_t, F32Tag> half;
  return hn::PromoteTo(F32Tag(), hn::BitCast(half, hn::TruncateTo(d16, bits)));
#endif
}

// kLanes scales that lie side by side.
HWY_INLINE Int8Steps load_int8_steps(const Int8Scale* p) {
  const F32Tag d;
  const U32Vec bits = load_u32(reinterpret_cast<const uint8_t*>(p));
  const F32Vec min = f32_from_f16_lanes(hn::And(bits, hn::Set(U32Tag(), 0xffffu)));
  const F32Vec max = f32_from_f16_lanes(hn::ShiftRight<16>(bits));
  return {min, hn::Mul(hn::Sub(max, min), hn::Set(d, 1.0f / 255.0f))};
}

// kLanes f16 scales that lie side by side: absmax of nf4 and sf4, d of q8_0 and q4_0.
HWY_INLINE F32Vec load_factors(const uint8_t* p) {
  static_assert(sizeof(AbsmaxScale) == sizeof(F16) && sizeof(FactorScale) == sizeof(F16));
  return load_weights(F32Tag(), reinterpret_cast<const F16*>(p));
}

// w = factor * code - min of one run of q4_k, of kLanes rows whose scales lie word by word
// (tensor/sections.h): word i of the rows at p + i * word_stride.
struct Q4KSteps {
  F32Vec factor;
  F32Vec min;
};

HWY_INLINE Q4KSteps load_q4_k_steps(const uint8_t* p, uint64_t word_stride, uint32_t run) {
  const U32Tag d;
  const auto set = [d](uint32_t bits) HWY_ATTR { return hn::Set(d, bits); };
  const U32Vec scales = load_u32(p);
  const auto shift = static_cast<int>(run % 4 * 8);
  U32Vec factor = hn::ShiftRightSame(load_u32(p + word_stride), shift);
  U32Vec min = hn::ShiftRightSame(load_u32(p + 2 * word_stride), shift);
  if (run < 4) {
    factor = hn::And(factor, set(63));
    min = hn::And(min, set(63));
  } else {
    // The upper two bits lie above those of the run four before.
    const U32Vec low = hn::ShiftRightSame(load_u32(p + 3 * word_stride), shift);
    factor = hn::Or(hn::And(low, set(15)), hn::And(hn::ShiftRight<2>(factor), set(48)));
    min =
        hn::Or(hn::And(hn::ShiftRight<4>(low), set(15)), hn::And(hn::ShiftRight<2>(min), set(48)));
  }
  return {hn::Mul(f32_from_f16_lanes(hn::And(scales, set(0xffff))), f32_of(factor)),
          hn::Mul(f32_from_f16_lanes(hn::ShiftRight<16>(scales)), f32_of(min))};
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
