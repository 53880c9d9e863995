#include "backend/webgpu/sparse.h"

#include <algorithm>

#include "backend/webgpu/vector_axis.h"
#include "backend/webgpu/weights_text.h"
#include "base/bits.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kRoundCols = 4 * kThreads;  // a thread looks at four values of x
// Workgroups enough for a large GPU, and few enough sums for the next kernel to add: it reads eight
// rows of sums in less time than a dispatch takes.
constexpr uint32_t kWantedSplits = 8;
constexpr uint32_t kSplitGrain = 128;  // cols; a multiple of every block
constexpr uint32_t kPlainGroupRows = 128, kQuantGroupRows = 256;
constexpr uint32_t kUnroll = 4;
constexpr uint32_t kPassQuads = 2;

struct Shape {
  uint32_t vec, quads, group_rows, row_lanes, col_lanes;
};

Shape shape_of(const Tensor& weights) {
  const uint32_t vec = vector_elems(weights.dtype());
  const uint32_t rows = is_quantized(weights.dtype()) ? kQuantGroupRows : kPlainGroupRows;
  const uint32_t row_lanes = rows / vec;
  return {vec, vec / 4, rows, row_lanes, kThreads / row_lanes};
}

}  // namespace

SparseSplit sparse_split(const Tensor& weights, const Activation& x, const GpuLimits& limits) {
  const DType dtype = weights.dtype();
  const Shape shape = shape_of(weights);
  const uint64_t cols = weights.cols();
  const bool fits = vector_axis(weights.mapping(), shape.vec) == VectorAxis::kRows &&
                    weights.rows() % shape.vec == 0 && cols % 4 == 0 && x.offset_elems % 4 == 0 &&
                    weights.mapping().span_bytes() + kBufferGrainBytes <= limits.max_binding_bytes;
  if (!fits) return {};
  // Sixteen bytes of scales are those of rows side by side.
  if (is_quantized(dtype) &&
      vector_axis(weights.scales_mapping(), 16 / scale_word_bytes(dtype)) != VectorAxis::kRows) {
    return {};
  }
  const uint64_t split_cols =
      round_up<uint64_t>(ceil_div<uint64_t>(cols, kWantedSplits), kSplitGrain);
  return {static_cast<uint32_t>(ceil_div(cols, split_cols)), static_cast<uint32_t>(split_cols)};
}

Result<Kernel> sparse_kernel(const Tensor& weights, const Activation& x, const Activation& sums,
                             const GpuLimits& limits) {
  const Shape shape = shape_of(weights);
  const SparseSplit split = sparse_split(weights, x, limits);
  const DType dtype = weights.dtype();
  CHECK(split.num_splits > 0);
  Kernel kernel{"ffn_value", {}, Bindings(limits), 1, split.num_splits};
  kernel.detail = fmt::format("{} {} sparse", to_string(dtype), to_string(weights.layout()));
  std::vector<ByteRange> ranges = {codes_range(weights)};
  if (is_quantized(dtype)) ranges.push_back(scales_range(weights));
  SKEIN_RETURN_IF_ERROR(kernel.bindings.add_weights(ranges));
  SKEIN_RETURN_IF_ERROR(add_dtype_text(dtype, kernel.shader));
  ShaderValues values;
  SKEIN_RETURN_IF_ERROR(add_weights_text(weights, 0, kernel.bindings, codes_range(weights), 0,
                                         values, kernel.shader));
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place in,
                         kernel.bindings.activation(x, 1, Access::kRead, true));
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place out,
                         kernel.bindings.activation(sums, split.num_splits, Access::kWrite, true));
  CHECK(out.offset_bytes == 0);
  values.set("X", in.name);
  values.set("X_OFFSET", in.offset_bytes / 16);
  values.set("OUT", out.name);
  values.set("GROUP_THREADS", kThreads);
  values.set("PARTIALS", kThreads);
  values.set("SCAN_TYPE", "u32");
  values.set("HAS_SUBGROUPS", limits.has_subgroups ? 1 : 0);
  values.set("GROUP_ROWS", shape.group_rows);
  values.set("ROW_LANES", shape.row_lanes);
  values.set("COL_LANES", shape.col_lanes);
  values.set("LAST_ROW", weights.rows() - shape.vec);
  values.set("SPLITS", split.num_splits);
  values.set("SPLIT_COLS", split.split_cols);
  values.set("ROUND_COLS", kRoundCols);
  const uint32_t block = is_quantized(dtype) ? step_cols(dtype) : kRoundCols;
  values.set("ROUND_BLOCKS", kRoundCols / block);
  values.set("ROUND_BLOCKS_1", kRoundCols / block + 1);
  values.set("BLOCK_LANES", block / 4);
  values.set("UNROLL", kUnroll);
  const uint32_t pass_quads = std::min(kPassQuads, shape.quads);
  values.set("PASS_QUADS", pass_quads);
  values.set("PASSES", shape.quads / pass_quads);
  values.set("LANE_SUMS", kThreads * pass_quads);
  for (uint32_t quad = 0; quad < shape.quads; ++quad) {
    values.set(fmt::format("Q_{}_{}", quad / pass_quads, quad % pass_quads), quad);
  }
  const uint32_t octets = shape.quads / 2;
  values.set("OCTETS", octets);
  for (uint32_t octet = 0; octet < octets; ++octet) {
    values.set(fmt::format("EVEN_{}", octet), 2 * octet);
    values.set(fmt::format("ODD_{}", octet), 2 * octet + 1);
  }
  if (has_table(dtype)) values.set("START", fmt::format("{}_start(lane);", to_string(dtype)));
  values.set("HAS_TABLE", has_table(dtype) ? 1 : 0);
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("sparse.wgsl", values));
  kernel.x = static_cast<uint32_t>(ceil_div<uint64_t>(weights.rows(), shape.group_rows));
  return kernel;
}

}  // namespace skein::webgpu
