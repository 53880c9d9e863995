#include "backend/webgpu/dense.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "backend/webgpu/bodies.h"
#include "backend/webgpu/dense_parts.h"
#include "backend/webgpu/dense_values.h"
#include "backend/webgpu/vector_axis.h"
#include "backend/webgpu/weights_text.h"
#include "base/bits.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

// Without a barrier of several subgroups a short row takes less time (H200: 768 cols of f16).
constexpr uint32_t kMinSubgroupThreads = 32, kMinPlainThreads = 64;
constexpr uint32_t kSumThreads = 128;
// Workgroup memory beside what choose_group() counts: tables of sixteen codes.
constexpr uint64_t kSmallGroupBytes = 256;

// Shaders whose text has names where others have the numbers of one part, so that parts can be
// twins (bodies.h).
constexpr bool names_places(Shader shader) {
  return shader == Shader::kRows || shader == Shader::kLanes || shader == Shader::kFew;
}

// Builds the shader of some parts.
class DenseShader {
 public:
  DenseShader(std::string_view label, const DenseBatch& batch, const GpuLimits& limits)
      : batch_(batch),
        limits_(limits),
        kernel_{std::string(label), {}, Bindings(limits), 1, 1},
        shape_{batch.num_tokens, limits.has_subgroups ? kMinSubgroupThreads : kMinPlainThreads} {}

  Result<Kernel> make(std::span<const Part> parts);
  // What adds the sums of those parts that have several: a shader of its own.
  Result<Kernel> make_sums(std::span<const Part> parts);

 private:
  Status bind_batch();
  Result<Kernel> finish();
  Status bind_sums(const Part& part, Access access, ShaderValues& values);
  Status bind_outputs(const Part& part, ShaderValues& values);
  Status bind_pairs(const Part& part, ShaderValues& values, Body& body);
  Status add_sums(const Part& part);
  Status join_activations(std::span<const Part> parts, Access access);
  Status bind_weights(std::span<const Part> parts);
  Status add_shared_text(std::span<const Part> parts);
  Status add_part(const Part& part);
  bool reads_quads(const Part& part) const;
  // Returns where x begins in its binding, in what the binding holds.
  Result<uint64_t> bind_activations(const Part& part, ShaderValues& values);
  void set_epilogue(const Part& part, ShaderValues& values) const;
  void add_main();
  void choose_group(std::span<const Part> parts);
  void choose_memory(bool is_fast);
  bool pays_pairs(std::span<const Part> parts) const;

  const DenseBatch& batch_;
  const GpuLimits& limits_;
  Kernel kernel_;
  DenseShape shape_;
  uint32_t token_groups_ = 0;  // of a grid of tiles
  uint32_t splits_ = 1;        // the most of any part
  uint64_t col_sum_quads_ = 0;
  uint64_t num_partials_ = 0;
  uint32_t lane_sums_ = 0;  // of a thread of kLanes
  std::string num_tokens_ = "1u";
  std::vector<DType> dtypes_;
  Bodies bodies_;
};

Status DenseShader::bind_weights(std::span<const Part> parts) {
  std::vector<ByteRange> ranges;
  for (const Part& part : parts) {
    if (part.shader == Shader::kCopy) continue;
    ranges.push_back(part.codes);
    if (is_quantized(part.job->weights->dtype()))
      ranges.push_back(scales_range(*part.job->weights));
    if (part.job->bias != nullptr) ranges.push_back(codes_range(*part.job->bias));
  }
  return kernel_.bindings.add_weights(ranges);
}

// The workgroup that suits all parts: the largest that one of them wants, as far as the sums of
// kCols leave room for it.
void DenseShader::choose_group(std::span<const Part> parts) {
  for (const Part& part : parts) {
    if (part.shader == Shader::kMatmul) {
      shape_.group_threads = part.tile.threads();
      token_groups_ = ceil_div(batch_.num_tokens, part.tile.tokens());
      splits_ = std::max(splits_, part.splits);
      continue;
    }
    shape_.group_threads = std::max({shape_.group_threads, part.lanes, part.threads});
    if (part.shader == Shader::kLanes) {
      shape_.group_x_quads =
          std::max(shape_.group_x_quads, part.job->weights->cols() / 4 * batch_.num_tokens);
      lane_sums_ = std::max(lane_sums_, part.run_rows * batch_.num_tokens);
    }
    if (part.shader == Shader::kFew) {
      shape_.has_few_tail |= part.job->weights->cols() % (4 * part.lanes) != 0;
    }
    if (part.shader == Shader::kCols) {
      col_sum_quads_ =
          std::max<uint64_t>(col_sum_quads_, vector_elems(part.job->weights->dtype()) / 4);
    }
  }
  const uint64_t thread_bytes = col_sum_quads_ * 16 + kMaxRunSums / kMinSubgroup * sizeof(float);
  while (col_sum_quads_ > 0 && shape_.group_threads > kMinPlainThreads &&
         shape_.group_threads * thread_bytes > limits_.max_group_bytes) {
    shape_.group_threads /= 2;
  }
  while (lane_sums_ > 0 && shape_.group_threads > kMinPlainThreads &&
         uint64_t{shape_.group_threads} * lane_sums_ * sizeof(float) >
             limits_.max_group_bytes / 2) {
    shape_.group_threads /= 2;
  }
  num_partials_ =
      std::max(std::max(shape_.group_threads, kMaxRunSums * shape_.group_threads / kMinSubgroup),
               shape_.group_threads * lane_sums_);
  if (lane_sums_ > 0) choose_memory(limits_.is_fast && pays_pairs(parts));
}

// A workgroup fills the table before it multiplies, which its weights must be worth: of 131,072
// each, as at 7.2B, a token takes 0.96 of the time, of half of them or less 1.03 (1.5B, H200).
bool DenseShader::pays_pairs(std::span<const Part> parts) const {
  constexpr uint64_t kMinWeights = 131072;
  uint64_t most = 0;
  for (const Part& part : parts) {
    if (part.shader != Shader::kLanes) continue;
    if (element_bits(part.job->weights->dtype()) != 4) return false;
    most = std::max(most, rows_of_group(part, shape_) * part.job->weights->cols());
  }
  return limits_.is_software || most >= kMinWeights;
}

// What kLanes has in workgroup memory: the first that the device has room for.
void DenseShader::choose_memory(bool is_fast) {
  const auto fits = [&](uint32_t copies, bool has_x) {
    const uint64_t x_bytes = has_x ? shape_.group_x_quads * (copies > 0 ? 8 : 16) : 0;
    return num_partials_ * sizeof(float) + pair_table_bytes(copies) + x_bytes + kSmallGroupBytes <=
           limits_.max_group_bytes;
  };
  // A copy for every bank of memory, or for every other: 16.5 and 17.4 us (16384 x 4096, H200).
  constexpr uint32_t kAllBanks = 32, kHalfOfBanks = 16;
  bool has_x = true;
  if (is_fast && fits(kAllBanks, true)) {
    shape_.pair_copies = kAllBanks;
  } else if (is_fast && fits(kHalfOfBanks, false)) {
    shape_.pair_copies = kHalfOfBanks;
    has_x = fits(kHalfOfBanks, true);
  } else {
    has_x = fits(0, true);
  }
  if (!has_x) shape_.group_x_quads = 0;
}

Status DenseShader::add_shared_text(std::span<const Part> parts) {
  choose_group(parts);
  ShaderValues values;
  values.set("GROUP_THREADS", shape_.group_threads);
  values.set("PARTIALS", num_partials_);
  values.set("HAS_SUBGROUPS", limits_.has_subgroups ? 1 : 0);
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/math.wgsl", values));
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/reduce.wgsl", values));
  const auto is_few = [](const Part& part) { return part.shader == Shader::kFew; };
  if (std::any_of(parts.begin(), parts.end(), is_few)) {
    values.set("PLACES", few_group_bytes(shape_.group_threads, batch_.num_tokens) / 16);
    SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/fold.wgsl", values));
  }
  if (token_groups_ > 0) {
    const MatmulTile& tile = parts.front().tile;
    kernel_.shader.add_text(fmt::format("var<workgroup> weight_tile: array<vec4<f32>, {}>;\n"
                                        "var<workgroup> x_tile: array<vec4<f32>, {}>;\n",
                                        tile.rows() / 4 * kTileCols, tile.tokens() / 4 * kTileCols),
                            "dense.cc");
  }
  if (col_sum_quads_ > 0) {
    kernel_.shader.add_text(fmt::format("var<workgroup> col_sums: array<vec4<f32>, {}>;\n",
                                        shape_.group_threads * col_sum_quads_),
                            "dense.cc");
  }
  if (shape_.group_x_quads > 0) {
    kernel_.shader.add_text(
        fmt::format("var<workgroup> group_x: array<vec4<{}>, {}>;\n",
                    shape_.pair_copies > 0 ? "f16" : "f32", shape_.group_x_quads),
        "dense.cc");
  }
  kernel_.needs_f16 = shape_.pair_copies > 0;
  if (kernel_.needs_f16) {
    SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/half.wgsl", values));
  }
  for (const Part& part : parts) {
    if (part.shader == Shader::kCopy) continue;
    const DType dtype = part.job->weights->dtype();
    if (std::find(dtypes_.begin(), dtypes_.end(), dtype) != dtypes_.end()) continue;
    dtypes_.push_back(dtype);
    SKEIN_RETURN_IF_ERROR(
        add_dtype_text(dtype, {shape_.pair_copies, shape_.group_threads}, kernel_.shader));
  }
  return {};
}

// Where an activation lies, in elements of `unit` floats.
void set_activation(std::string_view name, const Activation& activation,
                    const Bindings::Place& place, uint64_t unit, ShaderValues& values) {
  values.set(name, place.name);
  values.set(fmt::format("{}_OFFSET", name), place.offset_bytes / sizeof(float) / unit);
  values.set(fmt::format("{}_STRIDE", name), activation.stride_elems);
}

bool DenseShader::reads_quads(const Part& part) const {
  if (part.shader == Shader::kRows || part.shader == Shader::kLanes ||
      part.shader == Shader::kFew) {
    return true;
  }
  return part.shader == Shader::kMatmul && in_quads(*part.job->x, batch_.num_tokens) &&
         part.job->weights->cols() % 4 == 0;
}

Result<uint64_t> DenseShader::bind_activations(const Part& part, ShaderValues& values) {
  const DenseJob& job = *part.job;
  const bool quads = reads_quads(part);
  SKEIN_ASSIGN_OR_RETURN(
      const Bindings::Place x,
      kernel_.bindings.activation(*job.x, batch_.num_tokens, Access::kRead, quads));
  const uint64_t unit = quads ? 4 : 1;
  set_activation("X", *job.x, x, unit, values);
  values.set("X_QUADS", quads ? 1 : 0);
  SKEIN_RETURN_IF_ERROR(part.splits > 1 ? bind_sums(part, Access::kWrite, values)
                                        : bind_outputs(part, values));
  return x.offset_bytes / sizeof(float) / unit;
}

Status DenseShader::bind_outputs(const Part& part, ShaderValues& values) {
  const DenseJob& job = *part.job;
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place y,
                         kernel_.bindings.activation(*job.y, batch_.num_tokens, Access::kWrite));
  set_activation("OUT", *job.y, y, 1, values);
  if (job.other != nullptr) {
    SKEIN_ASSIGN_OR_RETURN(
        const Bindings::Place other,
        kernel_.bindings.activation(*job.other, batch_.num_tokens, Access::kRead));
    set_activation("OTHER", *job.other, other, 1, values);
  }
  return {};
}

Status DenseShader::bind_sums(const Part& part, Access access, ShaderValues& values) {
  CHECK(batch_.scratch != nullptr);
  SKEIN_ASSIGN_OR_RETURN(
      const Bindings::Place place,
      kernel_.bindings.range(*batch_.scratch, 0,
                             part.sums_begin + part.sums_bytes(batch_.num_tokens), access,
                             "array<vec4<f32>>"));
  values.set("SUMS", place.name);
  values.set("SUMS_BASE", part.sums_begin / 16);
  values.set("SPLIT_QUADS", part.split_quads());
  return {};
}

// kFew reads four plain weights of sixteen bits two steps before it multiplies by them, where sums
// leave registers for them. Four tokens at 1.5B take 0.95 of the time, eight and sixteen as long
// (H200).
Status DenseShader::bind_pairs(const Part& part, ShaderValues& values, Body& body) {
  const Tensor& weights = *part.job->weights;
  const bool is_by_cols =
      vector_axis(weights.mapping(), vector_elems(weights.dtype())) == VectorAxis::kCols;
  const bool reads_pairs = batch_.num_tokens <= 4 && is_by_cols && !is_quantized(weights.dtype()) &&
                           element_bits(weights.dtype()) == 16;
  values.set("AHEAD", reads_pairs ? 2 : 0);
  if (!reads_pairs) return {};
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place pairs,
                         kernel_.bindings.weights_as(part.codes, "array<vec2<u32>>"));
  values.set("PAIRS", pairs.name);
  body.places.emplace_back("pair_base_JOB", pairs.offset_bytes / 8);
  return {};
}

void DenseShader::set_epilogue(const Part& part, ShaderValues& values) const {
  constexpr std::pair<Epilogue, std::string_view> kNames[] = {
      {Epilogue::kStore, "STORE"},
      {Epilogue::kAdd, "ADD"},
      {Epilogue::kTanh, "TANH"},
      {Epilogue::kSigmoid, "SIGMOID"},
      {Epilogue::kBiasSigmoid, "BIAS_SIGMOID"},
      {Epilogue::kDecay, "DECAY"},
      {Epilogue::kValueResidual, "VALUE_RESIDUAL"},
      {Epilogue::kSquaredRelu, "SQUARED_RELU"}};
  for (const auto& [epilogue, name] : kNames) {
    values.set(fmt::format("IS_{}", name), part.job->epilogue == epilogue ? 1 : 0);
    if (part.job->epilogue == epilogue) values.set("EPILOGUE", name);
  }
  values.set("DECAY_SCALE", number(kDecayScale));
  values.set("HAS_BIAS", part.job->bias != nullptr ? 1 : 0);
  if (part.job->bias != nullptr) {
    const Bindings::Place bias = kernel_.bindings.weights(codes_range(*part.job->bias));
    values.set("BIAS", bias.name);
    values.set("BIAS_BASE", bias.offset_bytes / 16);
  }
}

// Whether activations of one buffer lie side by side in its rows, or the rows of one follow those
// of another without gaps. Then their distances follow from the number of tokens; else from the
// size of the workspace, which is not to be part of a shader's text.
bool are_close(std::span<const Activation* const> activations, uint32_t num_tokens) {
  std::set<uint64_t> offsets;
  for (const Activation* activation : activations) offsets.insert(activation->offset_elems);
  const uint64_t stride = activations.front()->stride_elems;
  const uint64_t distance = *offsets.rbegin() - *offsets.begin();
  return distance < stride || distance == (offsets.size() - 1) * num_tokens * stride;
}

// Activations of one buffer share a binding where they can: the x of products that can be twins
// (then that is no part of their text), and the y that share rows, which would else be bound for
// writing twice.
Status DenseShader::join_activations(std::span<const Part> parts, Access access) {
  const auto one_of = [&](const Part& part) {
    return access == Access::kRead ? part.job->x : part.job->y;
  };
  const auto can_join = [&](const Part& part) {
    return access == Access::kRead ? names_places(part.shader) : part.splits == 1;
  };
  for (const Part& part : parts) {
    if (!can_join(part)) continue;
    std::vector<const Activation*> group;
    for (const Part& other : parts) {
      const bool is_same_buffer = one_of(other)->buffer == one_of(part)->buffer;
      if (can_join(other) && is_same_buffer) group.push_back(one_of(other));
    }
    if (group.size() < 2 || !are_close(group, batch_.num_tokens)) continue;
    SKEIN_RETURN_IF_ERROR(
        kernel_.bindings.join(group, batch_.num_tokens, access, access == Access::kRead));
  }
  return {};
}

Status DenseShader::add_part(const Part& part) {
  ShaderValues values;
  values.set("J", "JOB");
  values.set("NUM_TOKENS", num_tokens_);
  values.set("GROUP_THREADS", shape_.group_threads);
  SKEIN_ASSIGN_OR_RETURN(const uint64_t x_offset, bind_activations(part, values));
  Body body;
  if (part.shader == Shader::kCopy) {
    const uint64_t cols = part.job->y->num_cols;
    values.set("COLS", cols);
    SKEIN_RETURN_IF_ERROR(body.text.add_file(shader_file(part.shader), values));
    body.groups = ceil_div<uint64_t>(cols * batch_.num_tokens, shape_.group_threads);
    body.call = fmt::format("copy_JOB((group - #) * {}u + lane)", shape_.group_threads);
    // A grid of tiles has a row of groups for every few tokens; the first row copies all.
    if (token_groups_ > 0) body.call = fmt::format("if (wg.y + wg.z == 0u) {{ {}; }}", body.call);
    bodies_.add(std::move(body));
    return {};
  }
  const Tensor& weights = *part.job->weights;
  SKEIN_ASSIGN_OR_RETURN(body.places, add_weights_text(weights, "JOB", kernel_.bindings, part.codes,
                                                       part.delta_elems, values, body.text));
  if (names_places(part.shader)) {
    body.places.insert(body.places.end(), {{"x_offset_JOB", x_offset},
                                           {"row_begin_JOB", part.row_begin},
                                           {"rows_JOB", part.row_end}});
    if (part.shader == Shader::kFew) {
      body.places.emplace_back("cols_JOB", weights.cols());
      SKEIN_RETURN_IF_ERROR(bind_pairs(part, values, body));
    }
  }
  if (part.shader == Shader::kMatmul && is_quantized(weights.dtype())) {
    // Sixteen bytes of scales are those of four or eight rows side by side.
    const uint32_t count = 16 / scale_word_bytes(weights.dtype());
    const bool by_quads = vector_axis(weights.scales_mapping(), count) == VectorAxis::kRows;
    values.set("SCALE_QUADS", by_quads ? 1 : 0);
    SKEIN_RETURN_IF_ERROR(body.text.add_file("lib/row_scales.wgsl", values));
  }
  values.set("SPLITS", part.splits);
  values.set("IS_SPLIT", part.splits > 1 ? 1 : 0);
  if (part.splits == 1) {
    set_epilogue(part, values);
    SKEIN_RETURN_IF_ERROR(body.epilogue.add_file("lib/store.wgsl", values));
  }
  set_form(part, shape_, limits_, values);
  SKEIN_RETURN_IF_ERROR(body.text.add_file(shader_file(part.shader), values));
  body.groups = ceil_div<uint64_t>(part.row_end - part.row_begin, rows_of_group(part, shape_));
  body.call = part.shader == Shader::kMatmul ? "run_JOB(group - #, wg.y, wg.z, lane)"
                                             : "run_JOB(group - #, lane)";
  // Products of other dtypes in the dispatch need no tables.
  if (has_start(weights.dtype(), shape_.pair_copies > 0)) {
    body.call = fmt::format("{}_start(lane); {}", to_string(weights.dtype()), body.call);
  }
  if (part.splits < splits_) {
    body.call = fmt::format("if (wg.z < {}u) {{ {}; }}", part.splits, body.call);
  }
  bodies_.add(std::move(body));
  return {};
}

void DenseShader::add_main() {
  const uint64_t num_groups = bodies_.num_groups();
  // Products of one token use the grid's second dimension for groups beyond the first's bound.
  const bool has_tokens = token_groups_ > 0;
  const uint64_t width =
      has_tokens ? num_groups : std::min<uint64_t>(num_groups, limits_.max_groups);
  kernel_.x = static_cast<uint32_t>(width);
  kernel_.y = has_tokens ? token_groups_ : static_cast<uint32_t>(ceil_div(num_groups, width));
  kernel_.z = splits_;
  std::string text = "fn run(wg: vec3<u32>, lane: u32) {\n";
  text += has_tokens ? "  let group = wg.x;\n"
                     : fmt::format("  let group = wg.x + wg.y * {}u;\n", width);
  text += bodies_.finish(kernel_.shader);
  kernel_.shader.add_text(text + "\n}\n", "dense.cc");
}

// The types and layouts of all products, each once.
std::string detail_of(std::span<const Part> parts) {
  std::vector<std::string> texts;
  for (const Part& part : parts) {
    const Tensor* weights = part.job->weights;
    if (weights == nullptr) continue;
    std::string text =
        fmt::format("{} {}", to_string(weights->dtype()), to_string(weights->layout()));
    if (std::find(texts.begin(), texts.end(), text) == texts.end()) {
      texts.push_back(std::move(text));
    }
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

Result<Kernel> DenseShader::make(std::span<const Part> parts) {
  kernel_.detail = detail_of(parts);
  SKEIN_RETURN_IF_ERROR(bind_weights(parts));
  SKEIN_RETURN_IF_ERROR(add_shared_text(parts));
  SKEIN_RETURN_IF_ERROR(bind_batch());
  SKEIN_RETURN_IF_ERROR(join_activations(parts, Access::kRead));
  SKEIN_RETURN_IF_ERROR(join_activations(parts, Access::kWrite));
  for (const Part& part : parts) SKEIN_RETURN_IF_ERROR(add_part(part));
  return finish();
}

Status DenseShader::bind_batch() {
  if (batch_.num_tokens == 1) return {};
  CHECK(batch_.batch != nullptr);
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place place,
                         kernel_.bindings.range(*batch_.batch, 0, batch_.batch->num_bytes(),
                                                Access::kRead, "array<vec4<u32>>"));
  num_tokens_ = place.name + std::string(batch_.count_field);
  return {};
}

Result<Kernel> DenseShader::make_sums(std::span<const Part> parts) {
  shape_.group_threads = kSumThreads;
  std::vector<ByteRange> ranges;
  for (const Part& part : parts) {
    if (part.splits > 1 && part.job->bias != nullptr)
      ranges.push_back(codes_range(*part.job->bias));
  }
  SKEIN_RETURN_IF_ERROR(kernel_.bindings.add_weights(ranges));
  ShaderValues values;
  values.set("GROUP_THREADS", shape_.group_threads);
  values.set("PARTIALS", shape_.group_threads);
  values.set("HAS_SUBGROUPS", limits_.has_subgroups ? 1 : 0);
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/math.wgsl", values));
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/reduce.wgsl", values));
  SKEIN_RETURN_IF_ERROR(bind_batch());
  for (const Part& part : parts) {
    if (part.splits > 1) SKEIN_RETURN_IF_ERROR(add_sums(part));
  }
  return finish();
}

Status DenseShader::add_sums(const Part& part) {
  ShaderValues values;
  values.set("J", "JOB");
  values.set("NUM_TOKENS", num_tokens_);
  values.set("ROW_BEGIN", part.row_begin);
  values.set("ROWS", part.row_end);
  values.set("SPLITS", part.splits);
  SKEIN_RETURN_IF_ERROR(bind_sums(part, Access::kRead, values));
  SKEIN_RETURN_IF_ERROR(bind_outputs(part, values));
  set_epilogue(part, values);
  Body body;
  SKEIN_RETURN_IF_ERROR(body.epilogue.add_file("lib/store.wgsl", values));
  SKEIN_RETURN_IF_ERROR(body.text.add_file("sum_splits.wgsl", values));
  body.groups = ceil_div<uint64_t>(part.split_quads() * batch_.num_tokens, shape_.group_threads);
  body.call = fmt::format("sum_JOB((group - #) * {}u + lane)", shape_.group_threads);
  bodies_.add(std::move(body));
  return {};
}

Result<Kernel> DenseShader::finish() {
  add_main();
  ShaderValues values;
  values.set("GROUP_THREADS", shape_.group_threads);
  values.set("HAS_SUBGROUPS", limits_.has_subgroups ? 1 : 0);
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/main.wgsl", values));
  if (kernel_.bindings.size() > limits_.max_storage_buffers) {
    return error("expected at most {} storage buffers in a shader of this device, found {}",
                 limits_.max_storage_buffers, kernel_.bindings.size());
  }
  return std::move(kernel_);
}

// More than any device needs: weights, scales and bias, x, y, other and the batch, each on its own.
constexpr size_t kBindingsOfPart = 7;

// A software device compiles a shader of seven products in twenty seconds and of one in half a
// second (nf4, lavapipe, 2026-11-30), and dispatches cost it little.
constexpr size_t kSoftwareParts = 3;

// How many parts from the first on one dispatch takes. Arenas need far fewer bindings than this
// counts; only where the count may not fit is it taken at its word.
size_t parts_of_dispatch(std::span<const Part> parts, const GpuLimits& limits,
                         std::string_view label, const DenseBatch& batch) {
  if (limits.is_software && batch.num_tokens > 1) {
    parts = parts.first(std::min(parts.size(), kSoftwareParts));
  }
  for (size_t count = parts.size(); count > 1; --count) {
    if (count * kBindingsOfPart <= limits.max_storage_buffers) return count;
    DenseShader shader(label, batch, limits);
    if (shader.make(parts.first(count))) return count;
  }
  return 1;
}

}  // namespace

Result<uint64_t> dense_scratch_bytes(std::span<const DenseJob> jobs, uint32_t num_tokens,
                                     const GpuLimits& limits) {
  SKEIN_ASSIGN_OR_RETURN(const std::vector<Part> parts, make_parts(jobs, num_tokens, limits));
  uint64_t num_bytes = 0;
  for (const Part& part : parts) num_bytes += part.sums_bytes(num_tokens);
  return num_bytes;
}

Result<std::vector<Kernel>> dense_kernels(std::string_view label, std::span<const DenseJob> jobs,
                                          const DenseBatch& batch, const GpuLimits& limits) {
  SKEIN_ASSIGN_OR_RETURN(const std::vector<Part> parts, make_parts(jobs, batch.num_tokens, limits));
  std::vector<Kernel> kernels;
  for (std::span<const Part> rest = parts; !rest.empty();) {
    // Parts of one matrix that is too large for a binding are two bindings of its buffer.
    const size_t count = parts_of_dispatch(rest, limits, label, batch);
    SKEIN_ASSIGN_OR_RETURN(Kernel kernel,
                           DenseShader(label, batch, limits).make(rest.first(count)));
    kernels.push_back(std::move(kernel));
    const auto is_split = [](const Part& part) { return part.splits > 1; };
    if (std::any_of(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(count), is_split)) {
      SKEIN_ASSIGN_OR_RETURN(Kernel sums,
                             DenseShader(label, batch, limits).make_sums(rest.first(count)));
      kernels.push_back(std::move(sums));
    }
    rest = rest.subspan(count);
  }
  return kernels;
}

}  // namespace skein::webgpu
