#include "backend/webgpu/col_parts.h"

#include <algorithm>

#include "backend/webgpu/gpu_buffer.h"
#include "base/bits.h"

namespace skein::webgpu {
namespace {

// Of the sparse kernel's splits; of f16 as many cols of any even number of rows begin at a multiple
// of 256 B.
constexpr uint64_t kGrainCols = 128;

}  // namespace

bool fits_binding(const Tensor& weights, const GpuLimits& limits) {
  return weights.mapping().span_bytes() + kBufferGrainBytes <= limits.max_binding_bytes;
}

std::vector<ColPart> col_parts(const Tensor& weights, const Activation& x,
                               const GpuLimits& limits) {
  const Layout& layout = weights.layout();
  if (layout.kind != LayoutKind::kColMajor || is_quantized(weights.dtype())) return {};
  const uint64_t elem_bytes = element_bits(weights.dtype()) / 8;
  const uint64_t cols = weights.cols();
  const uint64_t col_bytes = cols > 1 ? weights.mapping()(0, 1) * elem_bytes : 0;
  if (col_bytes == 0 || col_bytes * kGrainCols % kBufferGrainBytes != 0) return {};
  const uint64_t max_cols =
      (limits.max_binding_bytes - kBufferGrainBytes) / col_bytes / kGrainCols * kGrainCols;
  if (max_cols == 0) return {};
  const uint64_t each = round_up(ceil_div(cols, ceil_div(cols, max_cols)), kGrainCols);
  std::vector<ColPart> parts;
  for (uint64_t begin = 0; begin < cols; begin += each) {
    const uint64_t count = std::min(each, cols - begin);
    const Result<AnyMapping> mapping =
        make_mapping(layout, {weights.rows(), count}, element_bits(weights.dtype()));
    if (!mapping) return {};
    ColPart part{Tensor(weights.buffer(), weights.offset_bytes() + begin * col_bytes,
                        weights.dtype(), *mapping),
                 x};
    part.x.offset_elems += begin;
    part.x.num_cols = static_cast<uint32_t>(count);
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace skein::webgpu
