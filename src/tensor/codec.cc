#include "tensor/codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace skein {
namespace {

template <class Scale>
Scale scale_at(const std::byte* bytes) noexcept {
  Scale scale;
  std::memcpy(&scale, bytes, sizeof(scale));
  return scale;
}

template <class Scale>
void put(const Scale& scale, std::byte* bytes) noexcept {
  std::memcpy(bytes, &scale, sizeof(scale));
}

}  // namespace

bool encode_block(DType dtype, std::span<const float> values, uint8_t* codes,
                  std::byte* scale) noexcept {
  if (!std::all_of(values.begin(), values.end(), fits_scale)) return false;
  switch (dtype) {
    case DType::kInt8: {
      const auto [min, max] = std::minmax_element(values.begin(), values.end());
      const Int8Scale bounds = int8_scale(*min, *max);
      for (size_t i = 0; i < values.size(); ++i) codes[i] = encode(bounds, values[i]);
      put(bounds, scale);
      return true;
    }
    case DType::kNF4:
    case DType::kSF4: {
      float absmax = 0;
      for (const float value : values) absmax = std::max(absmax, std::fabs(value));
      const AbsmaxScale of_block = {f16_from(absmax)};
      for (size_t i = 0; i < values.size(); ++i) codes[i] = encode(dtype, of_block, values[i]);
      put(of_block, scale);
      return true;
    }
    case DType::kQ8_0:
      put(encode_q8_0(values, codes), scale);
      return true;
    case DType::kQ4_0:
      put(encode_q4_0(values, codes), scale);
      return true;
    case DType::kQ4K:
      put(encode_q4_k(values, codes), scale);
      return true;
    default:
      break;
  }
  CHECK(false);
}

float decode_in_block(DType dtype, const std::byte* scale, uint32_t col, uint8_t code) noexcept {
  switch (dtype) {
    case DType::kInt8:
      return decode(scale_at<Int8Scale>(scale), code);
    case DType::kNF4:
    case DType::kSF4:
      return decode(dtype, scale_at<AbsmaxScale>(scale), code);
    case DType::kQ8_0:
      return decode_q8_0(scale_at<FactorScale>(scale), code);
    case DType::kQ4_0:
      return decode_q4_0(scale_at<FactorScale>(scale), code);
    case DType::kQ4K:
      return decode(run_step(scale_at<Q4KScale>(scale), col / step_cols(dtype)), code);
    default:
      break;
  }
  CHECK(false);
}

}  // namespace skein
