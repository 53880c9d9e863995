#include "backend/webgpu/low_rank.h"

#include <algorithm>
#include <span>

#include "backend/webgpu/dense_parts.h"
#include "backend/webgpu/vector_axis.h"
#include "backend/webgpu/weights_text.h"
#include "base/bits.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

// Of every device that has workgroups of this size.
constexpr uint64_t kLeastGroupBytes = 32768;
constexpr uint32_t kLeastBuffers = 20;

struct LowRankJob {
  const Tensor* weights;
  const Activation* x;
  const Tensor* bias;  // may be none
  std::string_view bias_name;
};

// w, a, g and, but in the first layer, v.
std::vector<LowRankJob> jobs_of(const LayerArgs& args) {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  std::vector<LowRankJob> jobs = {{&w.w2, &work.low_w, &w.w0, "W0"},
                                  {&w.a2, &work.low_a, &w.a0, "A0"},
                                  {&w.g2, &work.low_g, nullptr, ""}};
  if (args.layer > 0) jobs.push_back({&w.v2, &work.low_v, &w.v0, "V0"});
  return jobs;
}

bool suits(const LowRankJob& job, uint32_t num_tokens, const GpuLimits& limits) {
  const DType dtype = job.weights->dtype();
  const ByteRange codes = codes_range(*job.weights);
  return !is_quantized(dtype) &&
         vector_axis(job.weights->mapping(), vector_elems(dtype)) == VectorAxis::kCols &&
         in_quads(*job.x, num_tokens) &&
         codes.end - codes.begin + kBufferGrainBytes <= limits.max_binding_bytes;
}

}  // namespace

bool fuses_low_rank(const LayerArgs& args, const GpuLimits& limits) {
  const uint32_t num_tokens = args.batch.num_tokens();
  if (limits.head_parts == 0 || args.batch.runs.size() != num_tokens ||
      limits.max_group_threads < limits.head_parts * args.dims.head_size ||
      limits.max_group_bytes < kLeastGroupBytes || limits.max_storage_buffers < kLeastBuffers ||
      args.dims.head_size % (4 * limits.head_parts) != 0) {
    return false;
  }
  const std::vector<LowRankJob> jobs = jobs_of(args);
  return std::all_of(jobs.begin(), jobs.end(),
                     [&](const LowRankJob& job) { return suits(job, num_tokens, limits); });
}

void add_low_rank_ranges(const LayerArgs& args, std::vector<ByteRange>& ranges) {
  for (const LowRankJob& job : jobs_of(args)) {
    ranges.push_back(codes_range(*job.weights));
    if (job.bias != nullptr) ranges.push_back(codes_range(*job.bias));
  }
}

Status add_low_rank(const LayerArgs& args, const GpuLimits& limits, Bindings& bindings,
                    ShaderValues& values, ShaderText& shader) {
  const uint32_t pieces = limits.head_parts;
  const std::vector<LowRankJob> jobs = jobs_of(args);
  const uint32_t num_tokens = args.batch.num_tokens(), head_size = args.dims.head_size;
  std::vector<DType> dtypes;
  SKEIN_RETURN_IF_ERROR(shader.add_file("lib/math.wgsl", values));
  for (uint32_t j = 0; j < jobs.size(); ++j) {
    const LowRankJob& job = jobs[j];
    const DType dtype = job.weights->dtype();
    if (std::find(dtypes.begin(), dtypes.end(), dtype) == dtypes.end()) {
      dtypes.push_back(dtype);
      SKEIN_RETURN_IF_ERROR(add_dtype_text(dtype, {}, shader));
    }
    ShaderValues own;
    SKEIN_RETURN_IF_ERROR(
        add_weights_text(*job.weights, j, bindings, codes_range(*job.weights), 0, own, shader));
    SKEIN_ASSIGN_OR_RETURN(const Bindings::Place x,
                           bindings.activation(*job.x, num_tokens, Access::kRead, true));
    own.set("X", x.name);
    own.set("X_OFFSET", x.offset_bytes / 16);
    own.set("X_STRIDE", job.x->stride_elems);
    own.set("PIECES", pieces);
    own.set("LOADS",
            ceil_div<uint64_t>(job.weights->cols(), uint64_t{pieces} * vector_elems(dtype)));
    SKEIN_RETURN_IF_ERROR(shader.add_file("lib/head_rows.wgsl", own));
    if (job.bias == nullptr) continue;
    const Bindings::Place bias = bindings.weights(codes_range(*job.bias));
    values.set(job.bias_name, bias.name);
    values.set(fmt::format("{}_BASE", job.bias_name), bias.offset_bytes / 16);
  }
  const bool is_first = args.layer == 0;
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place first,
                         bindings.activation(args.work.v_first, num_tokens,
                                             is_first ? Access::kWrite : Access::kRead));
  values.set("V_FIRST", first.name);
  values.set("V_FIRST_OFFSET", first.offset_bytes / sizeof(float));
  values.set("V_FIRST_STRIDE", args.work.v_first.stride_elems);
  values.set("IS_FIRST_LAYER", is_first ? 1 : 0);
  values.set("JOBS", jobs.size());
  values.set("PIECES", pieces);
  values.set("PIECE_STRIDE", head_size + 1);
  values.set("JOB_STRIDE", pieces * (head_size + 1));
  values.set("PIECE_SUMS", jobs.size() * pieces * (head_size + 1));
  values.set("INPUTS", 4 * head_size);
  values.set("DECAY_SCALE", number(kDecayScale));
  return shader.add_file("lib/head_inputs.wgsl", values);
}

void add_low_rank_key(const LayerArgs& args, StepKey& key) {
  for (const LowRankJob& job : jobs_of(args)) {
    key.add(*job.weights);
    key.add(*job.x);
  }
  key.add(args.work.v_first);
}

}  // namespace skein::webgpu
