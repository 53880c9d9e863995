#include "backend/webgpu/dense_parts.h"

#include <algorithm>
#include <bit>

#include "backend/webgpu/vector_axis.h"
#include "base/bits.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

// Up to here a job whose rows are read by vectors keeps a sum per token in every thread of a row,
// unless kFew can take it. On a CPU each number of tokens costs more in compilation than it gains.
constexpr uint32_t kMaxVectorTokens = 4, kSoftwareVectorTokens = 2;
// Workgroups of tiles that a dispatch should have, and cols that are worth a part of their own. A
// large GPU has 132 cores of several workgroups each.
constexpr uint64_t kWantedGroups = 512, kMinSplitCols = 128;
constexpr uint64_t kSoftwareGroups = 8, kSoftwareSplitCols = 64;
constexpr uint64_t kMaxSplits = 32;
// Workgroup memory of kFew beside its sums.
constexpr uint64_t kFewOtherBytes = 4096;

Shader shader_of(const DenseJob& job, uint32_t num_tokens, const GpuLimits& limits) {
  if (job.weights == nullptr) return Shader::kCopy;
  const DType dtype = job.weights->dtype();
  const VectorAxis axis = vector_axis(job.weights->mapping(), vector_elems(dtype));
  const bool is_by_cols = axis == VectorAxis::kCols && in_quads(*job.x, num_tokens);
  // Codes are decoded by each run of rows anew: beyond eight tokens tiles take less time (H200).
  const uint32_t most_few = is_quantized(dtype) ? kMaxFewTokens / 2 : kMaxFewTokens;
  // Of quantized types a load brings more rows of a col than a thread has.
  const bool is_by_eights = axis == VectorAxis::kRows && vector_elems(dtype) == kFewRows &&
                            job.weights->cols() % 4 == 0 && in_quads(*job.x, num_tokens);
  const uint32_t threads = few_threads(axis);
  const bool can_fold =
      limits.subgroup_threads >= kFewFold && limits.max_group_threads >= threads &&
      few_group_bytes(threads, num_tokens) + kFewOtherBytes <= limits.max_group_bytes;
  const bool is_few =
      (is_by_cols || is_by_eights) && num_tokens > 1 && num_tokens <= most_few && can_fold;
  // At 1.5B, tokens/s (H200): two and four tokens of f16 1,294 and 2,511 where kRows has 1,209 and
  // 1,753, int8 1,158 and 2,351 (1,107 and 1,567), nf4 1,145 and 2,231 where kLanes has 1,456 and
  // 1,843.
  const uint32_t least_few = element_bits(dtype) == 4 ? 4 : 2;
  if (is_few && num_tokens >= least_few) return Shader::kFew;
  const uint32_t max_tokens = limits.is_software ? kSoftwareVectorTokens : kMaxVectorTokens;
  if (is_by_cols && num_tokens <= max_tokens) {
    return suits_lanes(dtype, job.weights->mapping()) ? Shader::kLanes : Shader::kRows;
  }
  if (num_tokens == 1) return axis == VectorAxis::kRows ? Shader::kCols : Shader::kAny;
  return is_few ? Shader::kFew : Shader::kMatmul;
}

// How threads divide the product.
void set_division(const DenseJob& job, uint32_t num_tokens, uint64_t dispatch_rows,
                  const GpuLimits& limits, Part& part) {
  if (part.shader == Shader::kCopy || part.shader == Shader::kMatmul) return;
  const Tensor& weights = *job.weights;
  if (part.shader == Shader::kFew) {
    part.threads = few_threads(vector_axis(weights.mapping(), vector_elems(weights.dtype())));
    part.lanes = few_lanes(dispatch_rows, weights.cols(), num_tokens);
    part.run_rows = kFewRows;
    return;
  }
  const KernelForm form =
      group_of(job.form, part.shader,
               {weights.dtype(), weights.rows(), weights.cols(), &weights.layout(), num_tokens,
                part.shader == Shader::kLanes ? dispatch_rows : 0},
               limits);
  part.threads = form.group_threads;
  part.lanes = form.row_threads;
  part.run_rows = form.thread_rows;
  part.loads = form.loads;
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

// The parts of one job; `part` has its shader.
Status add_parts(Part part, const GpuLimits& limits, std::vector<Part>& out) {
  if (part.shader == Shader::kCopy) {
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
  const MatmulTile tile = parts.empty() ? MatmulTile{} : parts.front().tile;
  uint64_t groups = 0;
  for (const Part& part : parts) {
    if (part.shader != Shader::kMatmul) continue;
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
    if (part.shader != Shader::kMatmul) continue;
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

std::string_view shader_file(Shader shader) {
  switch (shader) {
    case Shader::kCopy:
      return "copy.wgsl";
    case Shader::kRows:
      return "dense_rows.wgsl";
    case Shader::kCols:
      return "dense_cols.wgsl";
    case Shader::kAny:
      return "dense_any.wgsl";
    case Shader::kLanes:
      return "dense_lanes.wgsl";
    case Shader::kFew:
      return "dense_few.wgsl";
    case Shader::kMatmul:
      break;
  }
  return "matmul.wgsl";
}

bool in_quads(const Activation& x, uint32_t num_tokens) {
  return x.offset_elems % 4 == 0 && (num_tokens == 1 || x.stride_elems % 4 == 0);
}

Result<std::vector<Part>> make_parts(std::span<const DenseJob> jobs, uint32_t num_tokens,
                                     const GpuLimits& limits) {
  const bool has_matmul = std::any_of(jobs.begin(), jobs.end(), [&](const DenseJob& job) {
    return shader_of(job, num_tokens, limits) == Shader::kMatmul;
  });
  // Of the jobs that share a shader.
  const auto dispatch_rows = [&](Shader shader) {
    uint64_t rows = 0;
    for (const DenseJob& job : jobs) {
      if (shader_of(job, num_tokens, limits) == shader && job.weights != nullptr)
        rows += job.weights->rows();
    }
    return rows;
  };
  std::vector<Part> parts;
  for (const DenseJob& job : jobs) {
    Part part;
    part.job = &job;
    part.shader = shader_of(job, num_tokens, limits);
    if (has_matmul && part.shader != Shader::kCopy) part.shader = Shader::kMatmul;
    part.tile = tile_of(jobs.front().form, num_tokens, limits);
    set_division(job, num_tokens, dispatch_rows(part.shader), limits, part);
    SKEIN_RETURN_IF_ERROR(add_parts(part, limits, parts));
  }
  split_cols(parts, num_tokens, limits);
  return parts;
}

}  // namespace skein::webgpu
