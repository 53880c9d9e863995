#include "tensor/decode_row.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/thread_pool.h"
#include "tensor/quant_kernels.h"

namespace skein {
namespace {

// Whole blocks of every codec, and room for their scales: at most four bytes for 32 cols.
constexpr uint64_t kPartCols = 512;
constexpr uint64_t kScaleRoom = kPartCols / 32 * 4;

// The codes of a row from `cols.begin` on, a byte each.
template <class Mapping>
void load_codes(const Mapping& mapping, const std::byte* data, uint32_t bits, uint64_t row,
                Range cols, uint8_t* codes) noexcept {
  for (uint64_t col = cols.begin; col < cols.end; ++col) {
    const uint64_t at = mapping(row, col);
    const auto byte = std::to_integer<uint32_t>(data[bits == 8 ? at : at / 2]);
    *codes++ = static_cast<uint8_t>(bits == 8 ? byte : (byte >> (at % 2 * 4)) & 15u);
  }
}

}  // namespace

void decode_row(const Tensor& weights, uint64_t row, std::span<float> out) noexcept {
  const DType dtype = weights.dtype();
  CHECK(is_quantized(dtype) && out.size() == weights.cols());
  for (uint64_t col = 0; col < out.size(); col += kPartCols) {
    const Range cols{col, std::min<uint64_t>(col + kPartCols, out.size())};
    std::array<uint8_t, kPartCols> codes;
    weights.mapping().visit([&](const auto& mapping) {
      load_codes(mapping, weights.host_data(), element_bits(dtype), row, cols, codes.data());
    });
    std::array<std::byte, kScaleRoom> scales;
    std::byte* scale = scales.data();
    for (uint64_t at = col; at < cols.end; at += block_cols(dtype), scale += scale_bytes(dtype)) {
      load_scale(weights.scales_data(), weights.scales_mapping(), dtype, row,
                 at / block_cols(dtype), scale);
    }
    dequantize_run(codes.data(), scales.data(), cols.length(), dtype, out.data() + col);
  }
}

}  // namespace skein
