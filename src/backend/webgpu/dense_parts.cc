#include "backend/webgpu/dense_parts.h"

#include <algorithm>
#include <bit>

#include "backend/webgpu/vector_axis.h"
#include "base/bits.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

// Up to here a job whose rows are read by vectors keeps a sum per token in every thread of a row.
// On a CPU each number of tokens costs more in compilation than it gains.
constexpr uint32_t kMaxVectorTokens = 4, kSoftwareVectorTokens = 2;
// One row a group of 128 threads is the best from 2048 cols of f16 on (H200, 2026-11-23): in a
// chain of dependent dispatches few rows a group win, since the last group is done sooner.
constexpr uint32_t kMaxRowLanes = 128;
constexpr uint64_t kManyRows = 32768;
// Workgroups of tiles that a dispatch should have, and cols that are worth a part of their own. A
// large GPU has 132 cores of several workgroups each.
constexpr uint64_t kWantedGroups = 512, kMinSplitCols = 128;
constexpr uint64_t kSoftwareGroups = 8, kSoftwareSplitCols = 64;
constexpr uint64_t kMaxSplits = 32;

constexpr MatmulTile kFewTokensTile = {32, 4, 1};   // 128 rows of 16 tokens
constexpr MatmulTile kManyTokensTile = {16, 8, 2};  // 64 rows of 64 tokens
constexpr uint32_t kFewTokens = 16;

Form form_of(const DenseJob& job, uint32_t num_tokens, const GpuLimits& limits) {
  if (job.weights == nullptr) return Form::kCopy;
  const DType dtype = job.weights->dtype();
  const VectorAxis axis = vector_axis(job.weights->mapping(), vector_elems(dtype));
  const bool is_by_cols = axis == VectorAxis::kCols && in_quads(*job.x, num_tokens);
  const uint32_t max_tokens = limits.is_software ? kSoftwareVectorTokens : kMaxVectorTokens;
  if (is_by_cols && num_tokens <= max_tokens) return Form::kRows;
  if (num_tokens == 1) return axis == VectorAxis::kRows ? Form::kCols : Form::kAny;
  return Form::kMatmul;
}

uint32_t lanes_of(const DenseJob& job, Form form) {
  if (form == Form::kCopy || form == Form::kMatmul) return 1;
  const uint32_t vec = vector_elems(job.weights->dtype());
  if (form == Form::kCols) {
    // 64 B of a col, or all of an interleaved block: then other threads take other cols.
    const uint64_t rows = round_up<uint64_t>(job.weights->rows(), vec);
    const Layout& layout = job.weights->layout();
    const uint64_t side_by_side =
        layout.kind == LayoutKind::kColMajor ? 4 * vec : uint64_t{layout.rows};
    return static_cast<uint32_t>(
        std::bit_floor(std::max<uint64_t>(std::min(rows, side_by_side) / vec, 1)));
  }
  const uint64_t loads =
      job.weights->cols() / (form == Form::kRows ? load_elems(job.weights->dtype()) : 1);
  const uint64_t max_lanes = loads >= 2048 ? 2 * kMaxRowLanes : kMaxRowLanes;
  // Threads with several rows have loads enough.
  if (element_bits(job.weights->dtype()) == 8) {
    return static_cast<uint32_t>(std::clamp<uint64_t>(std::bit_floor(loads), 1, max_lanes));
  }
  return static_cast<uint32_t>(
      std::clamp<uint64_t>(std::bit_floor(std::max<uint64_t>(loads / 2, 1)), 1, max_lanes));
}

// Codes cost more than their bytes: several rows share the loads of x. (Four rows of eight bits
// took 1.1 of a token's time, H200.)
uint32_t run_rows_of(const DenseJob& job, Form form, uint32_t num_tokens, const GpuLimits& limits) {
  if (form != Form::kRows) return 1;
  const uint32_t bits = element_bits(job.weights->dtype());
  if (bits == 4 && limits.is_software) return 1;
  // A matrix with workgroups to spare, as a head: two rows take 0.8 of the time (H200).
  const uint32_t plain = job.weights->rows() >= kManyRows && !limits.is_software ? 2 : 1;
  const uint32_t wanted = bits == 4 ? 4 : bits == 8 ? 2 : plain;
  return std::max(1u, std::min(wanted, std::bit_floor(kMaxRunSums / num_tokens)));
}

// Rows that can be cut off: where row r begins, everything before it lies before. 0: none.
uint64_t rows_of_cut(const AnyMapping& mapping) {
  switch (mapping.layout().kind) {
    case LayoutKind::kRowMajor:
      return 1;
    case LayoutKind::kInterleave:
    case LayoutKind::kTile:
      return mapping.layout().rows;
    default:
      return 0;
  }
}

// The parts of one job; `part` has its form.
Status add_parts(Part part, const GpuLimits& limits, std::vector<Part>& out) {
  if (part.form == Form::kCopy) {
    out.push_back(part);
    return {};
  }
  const Tensor& weights = *part.job->weights;
  part.codes = codes_range(weights);
  part.row_end = weights.rows();
  const uint64_t max_bytes = limits.max_binding_bytes - kBufferGrainBytes;
  if (part.codes.end - part.codes.begin <= max_bytes) {
    out.push_back(part);
    return {};
  }
  const uint64_t unit = rows_of_cut(weights.mapping());
  const uint64_t bits = element_bits(weights.dtype());
  const uint64_t unit_bytes =
      unit == 0 || unit >= weights.rows() ? 0 : weights.mapping()(unit, 0) * bits / 8;
  if (unit_bytes == 0 || unit_bytes > max_bytes || unit_bytes % 16 != 0) {
    return error(
        "expected a {} matrix of at most {} bytes, the most that this device binds, found "
        "{} x {} with {}",
        to_string(weights.layout()), max_bytes, weights.rows(), weights.cols(),
        part.codes.end - part.codes.begin);
  }
  const uint64_t rows_each = max_bytes / unit_bytes * unit;
  const ByteRange all = part.codes;
  for (uint64_t row = 0; row < weights.rows(); row += rows_each) {
    part.row_begin = row;
    part.row_end = std::min(row + rows_each, weights.rows());
    part.delta_elems = weights.mapping()(row, 0);
    part.codes.begin = all.begin + part.delta_elems * bits / 8;
    part.codes.end = std::min(all.end, part.codes.begin + rows_each / unit * unit_bytes);
    out.push_back(part);
  }
  return {};
}

// Parts of the cols for the workgroups that the rows and tokens leave wanting. Powers of two, since
// each number is a shader of its own.
void split_cols(std::span<Part> parts, uint32_t num_tokens, const GpuLimits& limits) {
  const MatmulTile& tile = matmul_tile(num_tokens);
  uint64_t groups = 0;
  for (const Part& part : parts) {
    if (part.form != Form::kMatmul) continue;
    groups += ceil_div<uint64_t>(part.row_end - part.row_begin, tile.rows());
  }
  if (groups == 0) return;
  groups *= ceil_div(num_tokens, tile.tokens());
  const uint64_t wanted = limits.is_software ? kSoftwareGroups : kWantedGroups;
  const uint64_t most =
      std::min(std::bit_floor(std::max<uint64_t>(wanted / groups, 1)), kMaxSplits);
  const uint64_t min_cols = limits.is_software ? kSoftwareSplitCols : kMinSplitCols;
  uint64_t begin = 0;
  for (Part& part : parts) {
    if (part.form != Form::kMatmul) continue;
    const uint64_t by_cols =
        std::bit_floor(std::max<uint64_t>(part.job->weights->cols() / min_cols, 1));
    part.splits = static_cast<uint32_t>(std::min(most, by_cols));
    // One binding holds all of a dispatch.
    while (part.splits > 1 &&
           begin + part.sums_bytes(num_tokens) + kBufferGrainBytes > limits.max_binding_bytes) {
      part.splits /= 2;
    }
    part.sums_begin = begin;
    begin += part.sums_bytes(num_tokens);
  }
}

}  // namespace

std::string_view shader_file(Form form) {
  switch (form) {
    case Form::kCopy:
      return "copy.wgsl";
    case Form::kRows:
      return "dense_rows.wgsl";
    case Form::kCols:
      return "dense_cols.wgsl";
    case Form::kAny:
      return "dense_any.wgsl";
    case Form::kMatmul:
      break;
  }
  return "matmul.wgsl";
}

const MatmulTile& matmul_tile(uint32_t num_tokens) {
  return num_tokens <= kFewTokens ? kFewTokensTile : kManyTokensTile;
}

bool in_quads(const Activation& x, uint32_t num_tokens) {
  return x.offset_elems % 4 == 0 && (num_tokens == 1 || x.stride_elems % 4 == 0);
}

Result<std::vector<Part>> make_parts(std::span<const DenseJob> jobs, uint32_t num_tokens,
                                     const GpuLimits& limits) {
  const bool has_matmul = std::any_of(jobs.begin(), jobs.end(), [&](const DenseJob& job) {
    return form_of(job, num_tokens, limits) == Form::kMatmul;
  });
  std::vector<Part> parts;
  for (const DenseJob& job : jobs) {
    Form form = form_of(job, num_tokens, limits);
    if (has_matmul && form != Form::kCopy) form = Form::kMatmul;
    Part part;
    part.job = &job;
    part.form = form;
    part.lanes = lanes_of(job, form);
    part.run_rows = run_rows_of(job, form, num_tokens, limits);
    SKEIN_RETURN_IF_ERROR(add_parts(part, limits, parts));
  }
  split_cols(parts, num_tokens, limits);
  return parts;
}

}  // namespace skein::webgpu
