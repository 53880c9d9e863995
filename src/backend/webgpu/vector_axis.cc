#include "backend/webgpu/vector_axis.h"

namespace skein::webgpu {
namespace {

VectorAxis axis_of(const RowMajor& mapping, uint32_t count) {
  return mapping.stride(0) % count == 0 ? VectorAxis::kCols : VectorAxis::kNone;
}

VectorAxis axis_of(const ColMajor& mapping, uint32_t count) {
  return mapping.stride(1) % count == 0 ? VectorAxis::kRows : VectorAxis::kNone;
}

VectorAxis axis_of(const Interleave& mapping, uint32_t count) {
  if (mapping.block_stride() % count != 0) return VectorAxis::kNone;
  if (mapping.chunk_cols() % count == 0) return VectorAxis::kCols;
  const bool is_by_rows = mapping.chunk_cols() == 1 && mapping.block_rows() % count == 0;
  return is_by_rows ? VectorAxis::kRows : VectorAxis::kNone;
}

VectorAxis axis_of(const Morton& mapping, uint32_t count) {
  const bool is_by_cols = mapping.side() % count == 0 && mapping.tile_stride() % count == 0;
  return is_by_cols ? VectorAxis::kCols : VectorAxis::kNone;
}

}  // namespace

VectorAxis vector_axis(const AnyMapping& mapping, uint32_t count) {
  const VectorAxis axis = mapping.visit([=](const auto& typed) { return axis_of(typed, count); });
  if (axis == VectorAxis::kCols && mapping.extents().cols % count != 0) return VectorAxis::kNone;
  return axis;
}

}  // namespace skein::webgpu
