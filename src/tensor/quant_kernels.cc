// See quant_kernels.h. The last elements of a row that fill no vector go through the scalar
// definitions, which are the same arithmetic; so do all of ggml's codecs, whose matrices come out
// of files as codes.
#include "tensor/quant_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/codec.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/quant_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skein {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using IntTag = hn::RebindToSigned<FloatTag>;
using ByteTag = hn::Rebind<uint8_t, FloatTag>;

struct Bounds {
  float min;
  float max;
  bool fits;  // all values can stand in a scale
};

HWY_ATTR Bounds bounds_of(const float* values, uint64_t count) {
  const FloatTag d;
  const uint64_t lanes = hn::Lanes(d);
  Bounds bounds = {values[0], values[0], true};
  uint64_t i = 0;
  if (count >= lanes) {
    const auto limit = hn::Set(d, 65520.0f);
    auto min = hn::LoadU(d, values);
    auto max = min;
    auto fits = hn::Lt(hn::Abs(min), limit);
    for (i = lanes; i + lanes <= count; i += lanes) {
      const auto v = hn::LoadU(d, values + i);
      min = hn::Min(min, v);
      max = hn::Max(max, v);
      fits = hn::And(fits, hn::Lt(hn::Abs(v), limit));
    }
    bounds = {hn::GetLane(hn::MinOfLanes(d, min)), hn::GetLane(hn::MaxOfLanes(d, max)),
              hn::AllTrue(d, fits)};
  }
  for (; i < count; ++i) {
    bounds.min = values[i] < bounds.min ? values[i] : bounds.min;
    bounds.max = values[i] > bounds.max ? values[i] : bounds.max;
    bounds.fits = bounds.fits && fits_scale(values[i]);
  }
  return bounds;
}

HWY_ATTR void encode_int8(const float* values, uint64_t count, Int8Scale scale, uint8_t* codes) {
  const FloatTag d;
  const uint64_t lanes = hn::Lanes(d);
  const float low = f32_from(scale.min);
  const auto min = hn::Set(d, low);
  const auto range = hn::Set(d, f32_from(scale.max) - low);
  const auto one = hn::Set(d, 1.0f);
  uint64_t i = 0;
  if (f32_from(scale.max) == low) {
    std::memset(codes, 0, count);
    return;
  }
  for (; i + lanes <= count; i += lanes) {
    auto t = hn::Div(hn::Sub(hn::LoadU(d, values + i), min), range);
    t = hn::Min(hn::Max(t, hn::Zero(d)), one);
    const auto q =
        hn::ConvertTo(IntTag(), hn::Add(hn::Set(d, 0.5f), hn::Mul(hn::Set(d, 255.0f), t)));
    hn::StoreU(hn::DemoteTo(ByteTag(), q), ByteTag(), codes + i);
  }
  for (; i < count; ++i) codes[i] = encode(scale, values[i]);
}

HWY_ATTR void encode_4(const float* values, uint64_t count, DType dtype, AbsmaxScale scale,
                       uint8_t* codes) {
  const FloatTag d;
  const uint64_t lanes = hn::Lanes(d);
  const float absmax = f32_from(scale.absmax);
  uint64_t i = 0;
  if (absmax == 0) {
    std::memset(codes, kZeroCode4, count);
    return;
  }
  const auto middles = code_middles(dtype);
  const auto divisor = hn::Set(d, absmax);
  for (; i + lanes <= count; i += lanes) {
    const auto t = hn::Div(hn::LoadU(d, values + i), divisor);
    auto q = hn::Zero(IntTag());
    // A true mask is -1.
    for (const float middle : middles) {
      q = hn::Sub(q, hn::BitCast(IntTag(), hn::VecFromMask(d, hn::Gt(t, hn::Set(d, middle)))));
    }
    hn::StoreU(hn::DemoteTo(ByteTag(), q), ByteTag(), codes + i);
  }
  for (; i < count; ++i) codes[i] = encode(dtype, scale, values[i]);
}

HWY_ATTR uint64_t quantize_run(const float* values, uint64_t cols, DType dtype, uint8_t* codes,
                               std::byte* scales) {
  const uint64_t block = block_cols(dtype);
  uint64_t refused = kNoBlock;
  for (uint64_t begin = 0; begin < cols; begin += block, scales += scale_bytes(dtype)) {
    const uint64_t count = HWY_MIN(block, cols - begin);
    if (is_ggml_codec(dtype)) {
      const bool fits = encode_block(dtype, {values + begin, count}, codes + begin, scales);
      if (!fits && refused == kNoBlock) refused = begin / block;
      continue;
    }
    const Bounds bounds = bounds_of(values + begin, count);
    if (!bounds.fits) {
      if (refused == kNoBlock) refused = begin / block;
      std::memset(codes + begin, 0, count);
      continue;
    }
    if (dtype == DType::kInt8) {
      const Int8Scale scale = int8_scale(bounds.min, bounds.max);
      std::memcpy(scales, &scale, sizeof scale);
      encode_int8(values + begin, count, scale, codes + begin);
    } else {
      const AbsmaxScale scale = {f16_from(HWY_MAX(std::fabs(bounds.min), std::fabs(bounds.max)))};
      std::memcpy(scales, &scale, sizeof scale);
      encode_4(values + begin, count, dtype, scale, codes + begin);
    }
  }
  return refused;
}

}  // namespace HWY_NAMESPACE
}  // namespace skein
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {
HWY_EXPORT(quantize_run);
}  // namespace

uint64_t quantize_run(const float* values, uint64_t cols, DType dtype, uint8_t* codes,
                      std::byte* scales) noexcept {
  return HWY_DYNAMIC_DISPATCH(quantize_run)(values, cols, dtype, codes, scales);
}

// Plain loops: reading codes back is for tests and for other layouts and types.
namespace {

template <class Scale>
Scale scale_at(const std::byte* bytes) noexcept {
  Scale scale;
  std::memcpy(&scale, bytes, sizeof scale);
  return scale;
}

// values[i] = f(codes[i]).
template <class F>
void map_codes(const uint8_t* codes, uint64_t count, float* values, F&& f) {
  for (uint64_t i = 0; i < count; ++i) values[i] = f(codes[i]);
}

void dequantize_block(const uint8_t* codes, const std::byte* scale, uint64_t count, DType dtype,
                      float* values) noexcept {
  switch (dtype) {
    case DType::kInt8: {
      const auto of_block = scale_at<Int8Scale>(scale);
      return map_codes(codes, count, values, [&](uint8_t code) { return decode(of_block, code); });
    }
    case DType::kQ8_0: {
      const auto of_block = scale_at<FactorScale>(scale);
      return map_codes(codes, count, values,
                       [&](uint8_t code) { return decode_q8_0(of_block, code); });
    }
    case DType::kQ4_0: {
      const auto of_block = scale_at<FactorScale>(scale);
      return map_codes(codes, count, values,
                       [&](uint8_t code) { return decode_q4_0(of_block, code); });
    }
    case DType::kQ4K: {
      const auto of_block = scale_at<Q4KScale>(scale);
      for (uint64_t i = 0; i < count; i += step_cols(dtype)) {
        const RunStep step = run_step(of_block, static_cast<uint32_t>(i / step_cols(dtype)));
        map_codes(codes + i, std::min<uint64_t>(step_cols(dtype), count - i), values + i,
                  [&](uint8_t code) { return decode(step, code); });
      }
      return;
    }
    default: {
      const auto of_block = scale_at<AbsmaxScale>(scale);
      return map_codes(codes, count, values,
                       [&](uint8_t code) { return decode(dtype, of_block, code); });
    }
  }
}

}  // namespace

void dequantize_run(const uint8_t* codes, const std::byte* scales, uint64_t cols, DType dtype,
                    float* values) noexcept {
  const uint64_t block = block_cols(dtype);
  for (uint64_t begin = 0; begin < cols; begin += block, scales += scale_bytes(dtype)) {
    dequantize_block(codes + begin, scales, std::min(block, cols - begin), dtype, values + begin);
  }
}

}  // namespace skein
#endif  // HWY_ONCE
