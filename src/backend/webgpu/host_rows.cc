#include "backend/webgpu/host_rows.h"

#include <cstring>

#include "tensor/decode_row.h"
#include "tensor/pack_kernels.h"

namespace skein::webgpu {

void gather_row(const Tensor& emb, uint64_t row, std::span<float> out) {
  if (is_quantized(emb.dtype())) return decode_row(emb, row, out);
  const uint64_t elem_bytes = element_bits(emb.dtype()) / 8;
  const auto at = [&](uint64_t col) {
    return emb.host_data() + emb.mapping()(row, col) * elem_bytes;
  };
  const auto convert = [&](uint64_t col, uint64_t count) {
    auto* to = reinterpret_cast<std::byte*>(&out[col]);
    if (emb.dtype() == DType::kF32) {
      std::memcpy(to, at(col), count * sizeof(float));
    } else {
      convert_run(at(col), emb.dtype(), to, DType::kF32, count);
    }
  };
  if (emb.layout().kind == LayoutKind::kRowMajor) return convert(0, out.size());
  for (uint64_t col = 0; col < out.size(); ++col) convert(col, 1);
}

}  // namespace skein::webgpu
