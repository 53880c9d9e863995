#include "backend/webgpu/sparse.h"

#include <algorithm>
#include <bit>

#include "backend/webgpu/dense_parts.h"
#include "backend/webgpu/vector_axis.h"
#include "backend/webgpu/weights_text.h"
#include "base/bits.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kMinGroupThreads = 64;  // whose rounds hold a block of any type
constexpr uint32_t kThreadCols = 4;        // values of x that a thread looks at
// Workgroups enough for a large GPU, and few enough sums for the next kernel to add: it reads eight
// rows of sums in less time than a dispatch takes. Several tokens have workgroups enough with
// fewer: 16 at 1.5B 5,314 tokens/s with two splits, 4,883 with eight, 8 tokens 3,982 and 3,705 with
// one (H200).
constexpr uint32_t kWantedSplits = 8, kFewSplits = 2;
constexpr uint32_t kSplitGrain = 128;  // cols; a multiple of every block
constexpr uint32_t kPlainGroupRows = 128, kQuantGroupRows = 256;
constexpr uint32_t kUnroll = 4, kMaxUnroll = 8;
constexpr uint32_t kPassQuads = 2;
// Workgroup memory of a thread: its sums, the lists of cols and values, and what sums and scans
// take.
constexpr uint32_t kThreadBytes = kPassQuads * 16 + 2 * kThreadCols * 4 + 2 * 4;

struct Shape {
  uint32_t vec, quads, threads, group_rows, row_lanes, col_lanes, unroll;
  uint32_t round_cols() const { return kThreadCols * threads; }
};

Shape shape_of(const Tensor& weights, const KernelForm& form, const GpuLimits& limits) {
  const uint32_t vec = vector_elems(weights.dtype());
  const uint32_t rows = is_quantized(weights.dtype()) ? kQuantGroupRows : kPlainGroupRows;
  uint32_t threads = kThreads, row_lanes = rows / vec, unroll = kUnroll;
  if (form.has_group()) {
    threads = std::max(form.group_threads, kMinGroupThreads);
    while (threads > kMinGroupThreads && threads * kThreadBytes + 1024 > limits.max_group_bytes) {
      threads /= 2;
    }
    const uint64_t most = std::bit_ceil(ceil_div<uint64_t>(weights.rows(), vec));
    row_lanes = static_cast<uint32_t>(std::min<uint64_t>({form.row_threads, threads, most}));
    unroll = std::min(form.loads, kMaxUnroll);
  }
  return {vec, vec / 4, threads, row_lanes * vec, row_lanes, threads / row_lanes, unroll};
}

// sparse_blocks.wgsl: a subgroup has one word of codes of each of its threads' rows.
// Subgroups of eight to 32 threads: a ballot of them is one word.
constexpr uint32_t kMinBlockSubgroup = 8, kMaxBlockSubgroup = 32;
constexpr uint32_t kBlockUnroll = 4, kMaxBlockWarps = 32;

bool by_blocks(const Tensor& weights, const GpuLimits& limits) {
  return is_quantized(weights.dtype()) && limits.subgroup_threads >= kMinBlockSubgroup &&
         limits.subgroup_threads <= kMaxBlockSubgroup;
}

// Subgroups that share the rows of a workgroup: one for each block of a part of the cols, as far as
// there is room for their sums.
uint32_t block_warps(uint32_t block, const SparseSplit& split, const KernelForm& form,
                     const GpuLimits& limits) {
  const uint32_t most_threads =
      std::min(limits.max_group_threads, form.has_group() ? form.group_threads : kMaxGroupThreads);
  uint32_t warps = std::bit_ceil(ceil_div(split.split_cols, block));
  warps = std::min({warps, kMaxBlockWarps, std::bit_floor(most_threads / limits.subgroup_threads)});
  constexpr uint64_t kOtherBytes = 4096;
  const uint64_t warp_bytes = uint64_t{limits.subgroup_threads} * 2 * 16;
  while (warps > 2 && warps * warp_bytes + kOtherBytes > limits.max_group_bytes) warps /= 2;
  return std::max(warps, 1u);
}

// Returns the kernel's grid in the dimension of rows.
Result<uint64_t> add_blocks(const Tensor& weights, const Activation& x, uint32_t num_tokens,
                            const SparseSplit& split, const KernelForm& form,
                            const GpuLimits& limits, ShaderValues& values, Kernel& kernel) {
  const DType dtype = weights.dtype();
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place in,
                         kernel.bindings.activation(x, num_tokens, Access::kRead));
  const uint32_t word_rows = vector_elems(dtype) / 4, word_quads = word_rows / 4;
  const uint32_t block = step_cols(dtype), warps = block_warps(block, split, form, limits);
  const uint32_t subgroup = limits.subgroup_threads, group_rows = subgroup * word_rows;
  values.set("X", in.name);
  values.set("X_OFFSET", in.offset_bytes / sizeof(float));
  values.set("X_STRIDE", x.stride_elems);
  values.set("GROUP_THREADS", warps * subgroup);
  values.set("PARTIALS", warps * subgroup);
  values.set("SUBGROUP", subgroup);
  values.set("WARPS", warps);
  values.set("UNROLL", kBlockUnroll);
  values.set("BLOCK_PARTS", block / subgroup);
  values.set("WORD_ROWS", word_rows);
  values.set("WORD_QUADS", word_quads);
  for (uint32_t q = 0; q < word_quads; ++q) {
    const std::string_view four = word_quads == 1 ? "four" : q == 0 ? "word_0" : "word_1";
    values.set(fmt::format("WORD_QUAD_{}", q), fmt::format("{}_{}", to_string(dtype), four));
  }
  values.set("GROUP_ROWS", group_rows);
  values.set("GROUP_QUADS", group_rows / 4);
  values.set("LANE_SUMS", warps * group_rows / 4);
  values.set("LAST_ROW", weights.rows() - word_rows);
  values.set("LAST_QUAD", weights.rows() - 4);
  values.set("SCALE_QUADS", 1);
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("lib/row_scales.wgsl", values));
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("sparse_blocks.wgsl", values));
  return ceil_div<uint64_t>(weights.rows(), group_rows);
}

}  // namespace

SparseSplit sparse_split(const Tensor& weights, const Activation& x, uint32_t num_tokens,
                         const GpuLimits& limits) {
  const DType dtype = weights.dtype();
  const uint32_t vec = vector_elems(dtype);
  const uint64_t cols = weights.cols();
  const bool fits = num_tokens <= kMaxFewTokens &&
                    vector_axis(weights.mapping(), vec) == VectorAxis::kRows &&
                    weights.rows() % vec == 0 && cols % 4 == 0 && in_quads(x, num_tokens) &&
                    weights.mapping().span_bytes() + kBufferGrainBytes <= limits.max_binding_bytes;
  if (!fits) return {};
  // Sixteen bytes of scales are those of rows side by side.
  if (is_quantized(dtype) &&
      vector_axis(weights.scales_mapping(), 16 / scale_word_bytes(dtype)) != VectorAxis::kRows) {
    return {};
  }
  const uint32_t wanted = num_tokens == 1 ? kWantedSplits : kFewSplits;
  const uint64_t split_cols = round_up<uint64_t>(ceil_div<uint64_t>(cols, wanted), kSplitGrain);
  return {static_cast<uint32_t>(ceil_div(cols, split_cols)), static_cast<uint32_t>(split_cols)};
}

Result<Kernel> sparse_kernel(const Tensor& weights, const Activation& x, uint32_t num_tokens,
                             const SparseSums& out, const KernelForm& form,
                             const GpuLimits& limits) {
  const Shape shape = shape_of(weights, form, limits);
  const SparseSplit split = sparse_split(weights, x, num_tokens, limits);
  const DType dtype = weights.dtype();
  CHECK(split.num_splits > 0);
  Kernel kernel{"ffn_value", {}, Bindings(limits), 1, split.num_splits, num_tokens};
  kernel.detail = fmt::format("{} {} sparse", to_string(dtype), to_string(weights.layout()));
  std::vector<ByteRange> ranges = {codes_range(weights)};
  if (is_quantized(dtype)) ranges.push_back(scales_range(weights));
  SKEIN_RETURN_IF_ERROR(kernel.bindings.add_weights(ranges));
  SKEIN_RETURN_IF_ERROR(add_dtype_text(dtype, {}, kernel.shader));
  ShaderValues values;
  SKEIN_RETURN_IF_ERROR(add_only_weights_text(weights, kernel.bindings, values, kernel.shader));
  SKEIN_ASSIGN_OR_RETURN(
      const Bindings::Place sums,
      kernel.bindings.activation(*out.sums, uint64_t{num_tokens} * out.num_splits, Access::kWrite,
                                 true));
  values.set("OUT", sums.name);
  values.set("OUT_OFFSET", sums.offset_bytes / 16);
  values.set("ALL_SPLITS", out.num_splits);
  values.set("FIRST_SPLIT", out.first_split);
  values.set("HAS_SUBGROUPS", limits.has_subgroups ? 1 : 0);
  values.set("SPLITS", split.num_splits);
  values.set("SPLIT_COLS", split.split_cols);
  if (has_table(dtype)) values.set("START", fmt::format("{}_start(lane);", to_string(dtype)));
  values.set("HAS_TABLE", has_table(dtype) ? 1 : 0);
  if (by_blocks(weights, limits)) {
    SKEIN_ASSIGN_OR_RETURN(const uint64_t groups,
                           add_blocks(weights, x, num_tokens, split, form, limits, values, kernel));
    kernel.x = static_cast<uint32_t>(groups);
    return kernel;
  }
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place in,
                         kernel.bindings.activation(x, num_tokens, Access::kRead, true));
  values.set("X", in.name);
  values.set("X_OFFSET", in.offset_bytes / 16);
  values.set("X_STRIDE", x.stride_elems);
  values.set("GROUP_THREADS", shape.threads);
  values.set("PARTIALS", shape.threads);
  values.set("SCAN_TYPE", "u32");
  values.set("GROUP_ROWS", shape.group_rows);
  values.set("ROW_LANES", shape.row_lanes);
  values.set("COL_LANES", shape.col_lanes);
  values.set("LAST_ROW", weights.rows() - shape.vec);
  values.set("ROUND_COLS", shape.round_cols());
  const uint32_t block = is_quantized(dtype) ? step_cols(dtype) : shape.round_cols();
  values.set("ROUND_BLOCKS", shape.round_cols() / block);
  values.set("ROUND_BLOCKS_1", shape.round_cols() / block + 1);
  values.set("BLOCK_LANES", block / 4);
  values.set("UNROLL", shape.unroll);
  const uint32_t pass_quads = std::min(kPassQuads, shape.quads);
  values.set("PASS_QUADS", pass_quads);
  values.set("PASSES", shape.quads / pass_quads);
  values.set("LANE_SUMS", shape.threads * pass_quads);
  for (uint32_t quad = 0; quad < shape.quads; ++quad) {
    values.set(fmt::format("Q_{}_{}", quad / pass_quads, quad % pass_quads), quad);
  }
  const uint32_t octets = shape.quads / 2;
  values.set("OCTETS", octets);
  for (uint32_t octet = 0; octet < octets; ++octet) {
    values.set(fmt::format("EVEN_{}", octet), 2 * octet);
    values.set(fmt::format("ODD_{}", octet), 2 * octet + 1);
  }
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("sparse.wgsl", values));
  kernel.x = static_cast<uint32_t>(ceil_div<uint64_t>(weights.rows(), shape.group_rows));
  return kernel;
}

}  // namespace skein::webgpu
