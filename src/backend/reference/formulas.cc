#include "backend/reference/formulas.h"

#include <cstring>

#include "base/float16.h"
#include "tensor/codec.h"

namespace skein::reference {
namespace {

// memcpy, since a mapped file promises no alignment.
template <class T>
T load(const std::byte* data, uint64_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

double element(const std::byte* data, DType dtype, uint64_t index) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<double>(load<float>(data, index));
    case DType::kF16:
      return static_cast<double>(f32_from(load<F16>(data, index)));
    case DType::kBF16:
      return static_cast<double>(f32_from(load<BF16>(data, index)));
    default:
      break;
  }
  return 0;
}

// Row `row` of codes, decoded by the definitions. Some values of f32 arithmetic are not exact:
// these are the weights, by definition.
void decode_row(const Tensor& weights, uint64_t row, Vector& out) {
  const DType dtype = weights.dtype();
  const std::byte* data = weights.host_data();
  const std::byte* scales = weights.scales_data();
  alignas(4) std::byte scale[16];
  static_assert(sizeof(scale) >= scale_bytes(DType::kQ4K));
  for (uint64_t col = 0; col < out.size(); ++col) {
    const auto in_block = static_cast<uint32_t>(col % block_cols(dtype));
    if (in_block == 0) {
      load_scale(scales, weights.scales_mapping(), dtype, row, col / block_cols(dtype), scale);
    }
    const uint64_t index = weights.mapping()(row, col);
    const bool is_byte = element_bits(dtype) == 8;
    const unsigned byte = load<uint8_t>(data, is_byte ? index : index / 2);
    const auto code = static_cast<uint8_t>(is_byte ? byte : (byte >> (index % 2 * 4)) & 15u);
    out[col] = static_cast<double>(decode_in_block(dtype, scale, in_block, code));
  }
}

}  // namespace

Vector weights_row(const Tensor& weights, uint64_t row) {
  Vector out(weights.cols());
  if (is_quantized(weights.dtype())) {
    decode_row(weights, row, out);
    return out;
  }
  const std::byte* data = weights.host_data();
  const DType dtype = weights.dtype();
  weights.mapping().visit([&](const auto& mapping) {
    for (uint64_t col = 0; col < out.size(); ++col) {
      out[col] = element(data, dtype, mapping(row, col));
    }
  });
  return out;
}

std::span<float> row_of(const Activation& activation, uint64_t token) {
  return {activation.row(token), activation.num_cols};
}

std::span<float> shift_row(const LayerArgs& args, uint32_t slot, uint64_t offset_elems) {
  float* data = reinterpret_cast<float*>(args.state.buffer->host_data());
  return {data + args.state.offset_elems(args.layer, slot) + offset_elems, args.dims.num_emb};
}

Vector layer_norm(std::span<const float> x, const Vector& weight, const Vector& bias, double eps) {
  const double n = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (const float value : x) mean += static_cast<double>(value) / n;
  for (const float value : x) {
    const double deviation = static_cast<double>(value) - mean;
    variance += deviation * deviation / n;
  }
  Vector out(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    out[i] = (static_cast<double>(x[i]) - mean) / std::sqrt(variance + eps) * weight[i] + bias[i];
  }
  return out;
}

}  // namespace skein::reference
