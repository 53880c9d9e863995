#include "backend/webgpu/dense.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "backend/webgpu/dense_parts.h"
#include "backend/webgpu/vector_axis.h"
#include "backend/webgpu/weights_text.h"
#include "base/bits.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

// Without a barrier of several subgroups a short row takes less time (H200: 768 cols of f16).
constexpr uint32_t kMinSubgroupThreads = 32, kMinPlainThreads = 64;
// The smallest subgroup that the places of sums are made for.
constexpr uint32_t kMinSubgroup = 4;
constexpr uint32_t kSumThreads = 128;
// Workgroup memory beside what choose_group() counts: tables of sixteen codes.
constexpr uint64_t kSmallGroupBytes = 256;

// Builds the shader of some parts.
class DenseShader {
 public:
  DenseShader(std::string_view label, const DenseBatch& batch, const GpuLimits& limits)
      : batch_(batch),
        limits_(limits),
        kernel_{std::string(label), {}, Bindings(limits), 1, 1},
        group_threads_(limits.has_subgroups ? kMinSubgroupThreads : kMinPlainThreads) {}

  Result<Kernel> make(std::span<const Part> parts);
  // What adds the sums of those parts that have several: a shader of its own.
  Result<Kernel> make_sums(std::span<const Part> parts);

 private:
  Status bind_batch();
  Result<Kernel> finish();
  Status bind_sums(const Part& part, Access access, ShaderValues& values);
  Status bind_outputs(const Part& part, ShaderValues& values);
  Status add_sums(const Part& part, uint32_t index);
  Status bind_weights(std::span<const Part> parts);
  Status add_shared_text(std::span<const Part> parts);
  Status add_part(const Part& part, uint32_t index);
  bool reads_quads(const Part& part) const;
  Status bind_activations(const Part& part, ShaderValues& values);
  void set_form(const Part& part, ShaderValues& values) const;
  void set_epilogue(const Part& part, ShaderValues& values) const;
  void add_branch(uint64_t groups, std::string_view call);
  void add_main();
  uint64_t rows_of_group(const Part& part) const;
  void choose_group(std::span<const Part> parts);
  // Of a row, in the workgroup that all parts share.
  uint32_t lanes_of(const Part& part) const { return std::min(part.lanes, group_threads_); }

  void set_rows(const Part& part, ShaderValues& values) const;
  void set_lanes(const Part& part, ShaderValues& values) const;
  void set_few(const Part& part, ShaderValues& values) const;
  void set_matmul(const Part& part, ShaderValues& values) const;

  const DenseBatch& batch_;
  const GpuLimits& limits_;
  Kernel kernel_;
  uint32_t group_threads_;
  uint32_t token_groups_ = 0;  // of a grid of tiles
  uint32_t splits_ = 1;        // the most of any part
  uint64_t col_sum_quads_ = 0;
  uint64_t num_partials_ = 0;
  uint64_t group_x_quads_ = 0;  // of x in workgroup memory, for kLanes; 0: it is read as it lies
  uint32_t lane_sums_ = 0;      // of a thread of kLanes
  bool is_fast_ = false;        // kLanes multiplies pairs of f16
  std::string num_tokens_ = "1u";
  std::vector<DType> dtypes_;
  std::string branches_;
  uint64_t num_groups_ = 0;
};

uint64_t DenseShader::rows_of_group(const Part& part) const {
  if (part.shader == Shader::kMatmul) return part.tile.rows();
  if (part.shader == Shader::kCols) {
    return uint64_t{lanes_of(part)} * vector_elems(part.job->weights->dtype());
  }
  return uint64_t{group_threads_} / lanes_of(part) * part.run_rows;
}

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
  is_fast_ =
      limits_.is_fast && std::all_of(parts.begin(), parts.end(), [](const Part& part) {
        return part.shader != Shader::kLanes || element_bits(part.job->weights->dtype()) == 4;
      });
  for (const Part& part : parts) {
    if (part.shader == Shader::kMatmul) {
      group_threads_ = part.tile.threads();
      token_groups_ = ceil_div(batch_.num_tokens, part.tile.tokens());
      splits_ = std::max(splits_, part.splits);
      continue;
    }
    group_threads_ = std::max({group_threads_, part.lanes, part.threads});
    if (part.shader == Shader::kLanes) {
      group_x_quads_ = std::max(group_x_quads_, part.job->weights->cols() / 4 * batch_.num_tokens);
      lane_sums_ = std::max(lane_sums_, part.run_rows * batch_.num_tokens);
    }
    if (part.shader == Shader::kCols) {
      col_sum_quads_ =
          std::max<uint64_t>(col_sum_quads_, vector_elems(part.job->weights->dtype()) / 4);
    }
  }
  const uint64_t thread_bytes = col_sum_quads_ * 16 + kMaxRunSums / kMinSubgroup * sizeof(float);
  while (col_sum_quads_ > 0 && group_threads_ > kMinPlainThreads &&
         group_threads_ * thread_bytes > limits_.max_group_bytes) {
    group_threads_ /= 2;
  }
  while (lane_sums_ > 0 && group_threads_ > kMinPlainThreads &&
         uint64_t{group_threads_} * lane_sums_ * sizeof(float) > limits_.max_group_bytes / 2) {
    group_threads_ /= 2;
  }
  is_fast_ = is_fast_ && lane_sums_ > 0;
  num_partials_ = std::max(std::max(group_threads_, kMaxRunSums * group_threads_ / kMinSubgroup),
                           group_threads_ * lane_sums_);
  // Some devices have no room for the table.
  is_fast_ = is_fast_ && num_partials_ * sizeof(float) + kPairTableBytes + kSmallGroupBytes <=
                             limits_.max_group_bytes;
  const uint64_t table_bytes = is_fast_ ? kPairTableBytes : 0;
  const uint64_t x_bytes = group_x_quads_ * (is_fast_ ? 8 : 16);
  if (num_partials_ * sizeof(float) + table_bytes + x_bytes + kSmallGroupBytes >
      limits_.max_group_bytes) {
    group_x_quads_ = 0;
  }
}

Status DenseShader::add_shared_text(std::span<const Part> parts) {
  choose_group(parts);
  ShaderValues values;
  values.set("GROUP_THREADS", group_threads_);
  values.set("PARTIALS", num_partials_);
  values.set("HAS_SUBGROUPS", limits_.has_subgroups ? 1 : 0);
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/math.wgsl", values));
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/reduce.wgsl", values));
  const auto is_few = [](const Part& part) { return part.shader == Shader::kFew; };
  if (std::any_of(parts.begin(), parts.end(), is_few)) {
    values.set("PLACES", kFewThreads / kFewFold * kFewRows * ceil_div(batch_.num_tokens, 4u));
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
                                        group_threads_ * col_sum_quads_),
                            "dense.cc");
  }
  if (group_x_quads_ > 0) {
    kernel_.shader.add_text(fmt::format("var<workgroup> group_x: array<vec4<{}>, {}>;\n",
                                        is_fast_ ? "f16" : "f32", group_x_quads_),
                            "dense.cc");
  }
  if (is_fast_) SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/half.wgsl", values));
  kernel_.needs_f16 = is_fast_;
  for (const Part& part : parts) {
    if (part.shader == Shader::kCopy) continue;
    const DType dtype = part.job->weights->dtype();
    if (std::find(dtypes_.begin(), dtypes_.end(), dtype) != dtypes_.end()) continue;
    dtypes_.push_back(dtype);
    SKEIN_RETURN_IF_ERROR(add_dtype_text(dtype, {is_fast_, group_threads_}, kernel_.shader));
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

Status DenseShader::bind_activations(const Part& part, ShaderValues& values) {
  const DenseJob& job = *part.job;
  const bool quads = reads_quads(part);
  SKEIN_ASSIGN_OR_RETURN(
      const Bindings::Place x,
      kernel_.bindings.activation(*job.x, batch_.num_tokens, Access::kRead, quads));
  set_activation("X", *job.x, x, quads ? 4 : 1, values);
  values.set("X_QUADS", quads ? 1 : 0);
  return part.splits > 1 ? bind_sums(part, Access::kWrite, values) : bind_outputs(part, values);
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

void DenseShader::set_form(const Part& part, ShaderValues& values) const {
  values.set("ROW_BEGIN", part.row_begin);
  values.set("ROWS", part.row_end);
  values.set("GROUP_ROWS", rows_of_group(part));
  values.set("RUN_ROWS", part.run_rows);
  if (part.shader == Shader::kMatmul) return set_matmul(part, values);
  if (part.shader == Shader::kLanes) return set_lanes(part, values);
  part.shader == Shader::kFew ? set_few(part, values) : set_rows(part, values);
}

void DenseShader::set_rows(const Part& part, ShaderValues& values) const {
  const DenseJob& job = *part.job;
  values.set("TOKENS", part.shader == Shader::kRows ? batch_.num_tokens : 1);
  values.set("BY_SUBGROUPS", limits_.has_subgroups && lanes_of(part) == group_threads_ ? 1 : 0);
  values.set("MAX_SUBGROUPS", std::max(group_threads_ / kMinSubgroup, 1u));
  values.set("SPARSE", job.is_sparse ? 1 : 0);
  const uint64_t cols = job.weights->cols();
  const DType dtype = job.weights->dtype();
  const bool by_words = load_elems(dtype) < vector_elems(dtype);
  values.set("LOAD_COLS", load_elems(dtype));
  values.set("LOAD_QUADS", load_elems(dtype) / 4);
  values.set("LOAD", by_words ? "word" : "words");
  values.set("QUAD", fmt::format("{}_{}", to_string(dtype), by_words ? "word" : "quad"));
  const uint32_t lanes = lanes_of(part);
  values.set("LANES", lanes);
  values.set("ROW_LANES", lanes);
  values.set("COL_LANES", group_threads_ / lanes);
  // Cols that the threads of a row read at once.
  const uint64_t pass = uint64_t{lanes} * load_elems(dtype);
  const uint64_t chunks = std::min<uint64_t>(cols / pass, std::max(part.loads / part.run_rows, 1u));
  const uint64_t full_cols = chunks == 0 ? 0 : cols / (pass * chunks) * (pass * chunks);
  values.set("CHUNKS", chunks);
  values.set("LOOPS", chunks == 0 ? 0 : 1);
  values.set("LOOP_COLS", pass * chunks);
  values.set("FULL_COLS", full_cols);
  values.set("TAIL", full_cols < cols ? 1 : 0);
}

void DenseShader::set_lanes(const Part& part, ShaderValues& values) const {
  const DType dtype = part.job->weights->dtype();
  const uint32_t vec = vector_elems(dtype), step = std::min(step_cols(dtype), kLaneUnitCols);
  const uint32_t step_loads = step / vec, steps = kLaneUnitCols / step;
  values.set("TOKENS", batch_.num_tokens);
  values.set("UNIT_COLS", kLaneUnitCols);
  values.set("UNIT_STEPS", steps);
  values.set("UNIT_LOADS", kLaneUnitCols / vec);
  values.set("STEP_LOADS", step_loads);
  for (uint32_t s = 0; s < steps; ++s) {
    for (uint32_t l = 0; l < step_loads; ++l) {
      values.set(fmt::format("LOAD_{}_{}", s, l), s * step_loads + l);
    }
  }
  values.set("PARTS", lanes_of(part));
  values.set("ROW_LANES", group_threads_ / lanes_of(part));
  values.set("COL_QUADS", part.job->weights->cols() / 4);
  values.set("FAST", is_fast_ ? 1 : 0);
  // How four of x are read, from where they lie.
  const bool in_group = group_x_quads_ > 0;
  const std::string& x = *values.find("X");
  const std::string_view open = is_fast_ ? "half_quad(" : "", close = is_fast_ ? ")" : "";
  values.set("X_IN_GROUP", in_group ? 1 : 0);
  values.set("FILL_OPEN", fmt::format("{}{}[", open, x));
  values.set("FILL_CLOSE", fmt::format("]{}", close));
  values.set("X_OPEN", in_group ? "group_x[" : fmt::format("{}{}[", open, x));
  values.set("X_CLOSE", in_group ? "]" : fmt::format("]{}", close));
}

void DenseShader::set_few(const Part& part, ShaderValues& values) const {
  const uint32_t lanes = lanes_of(part), quads = ceil_div(batch_.num_tokens, 4u);
  values.set("LANES", lanes);
  values.set("PASS_COLS", lanes * 4);
  values.set("TAIL", part.job->weights->cols() % (lanes * 4) == 0 ? 0 : 1);
  values.set("TOKEN_QUADS", quads);
  values.set("GROUPS", group_threads_ / lanes);
  values.set("FOLDS", lanes / kFewFold);
  values.set("SUMS", quads * 4 * kFewRows);
}

void DenseShader::set_matmul(const Part& part, ShaderValues& values) const {
  const Tensor& weights = *part.job->weights;
  const uint32_t vec = vector_elems(weights.dtype());
  const MatmulTile& tile = part.tile;
  const VectorAxis axis = vector_axis(weights.mapping(), vec);
  const bool is_by_cols = axis == VectorAxis::kCols;
  const bool is_by_vectors = axis != VectorAxis::kNone;
  const uint32_t item_rows = is_by_vectors && !is_by_cols ? vec : 1;
  const uint32_t items = tile.rows() * kTileCols / (is_by_vectors ? vec : 1);
  values.set("IS_BY_COLS", is_by_cols ? 1 : 0);
  values.set("IS_BY_VECTORS", is_by_vectors ? 1 : 0);
  values.set("SCALED_BY_COLS", is_by_cols && is_quantized(weights.dtype()) ? 1 : 0);
  values.set("LAST_QUAD", (part.row_end - 1) / 4 * 4);
  values.set("ITEM_ROWS", item_rows);
  values.set("ROW_ITEMS", tile.rows() / item_rows);
  values.set("WEIGHT_LOADS", ceil_div(items, tile.threads()));
  const uint32_t x_vec = reads_quads(part) ? 4 : 1;
  values.set("X_VEC", x_vec);
  values.set("X_LOADS", tile.tokens() * kTileCols / x_vec / tile.threads());
  values.set("TILE_ROWS", tile.rows());
  values.set("TILE_TOKENS", tile.tokens());
  values.set("TILE_COLS", kTileCols);
  values.set("TILE_TOKEN_QUADS", tile.tokens() / 4);
  values.set("TOKEN_QUADS", tile.token_quads);
  values.set("ROW_THREADS", tile.row_threads);
  values.set("ROW_QUADS", tile.row_quads);
  values.set("TILE_ROW_QUADS", tile.rows() / 4);
  const uint64_t steps = ceil_div<uint64_t>(weights.cols(), kTileCols);
  values.set("STEPS", steps);
  values.set("SPLIT_STEPS", ceil_div<uint64_t>(steps, part.splits));
  values.set("UNROLL", limits_.is_software ? 2 : 8);
}

Status DenseShader::add_part(const Part& part, uint32_t index) {
  ShaderValues values;
  values.set("J", index);
  values.set("NUM_TOKENS", num_tokens_);
  values.set("GROUP_THREADS", group_threads_);
  SKEIN_RETURN_IF_ERROR(bind_activations(part, values));
  uint64_t groups = 0;
  std::string call;
  if (part.shader == Shader::kCopy) {
    const uint64_t cols = part.job->y->num_cols;
    values.set("COLS", cols);
    SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file(shader_file(part.shader), values));
    groups = ceil_div<uint64_t>(cols * batch_.num_tokens, group_threads_);
    call = fmt::format("copy_{}((group - {}u) * {}u + lane)", index, num_groups_, group_threads_);
    // A grid of tiles has a row of groups for every few tokens; the first row copies all.
    if (token_groups_ > 0) call = fmt::format("if (wg.y + wg.z == 0u) {{ {}; }}", call);
  } else {
    SKEIN_RETURN_IF_ERROR(add_weights_text(*part.job->weights, index, kernel_.bindings, part.codes,
                                           part.delta_elems, values, kernel_.shader));
    const Tensor& weights = *part.job->weights;
    if (part.shader == Shader::kMatmul && is_quantized(weights.dtype())) {
      // Sixteen bytes of scales are those of four or eight rows side by side.
      const uint32_t count = 16 / scale_word_bytes(weights.dtype());
      const bool by_quads = vector_axis(weights.scales_mapping(), count) == VectorAxis::kRows;
      values.set("SCALE_QUADS", by_quads ? 1 : 0);
      SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/row_scales.wgsl", values));
    }
    values.set("SPLITS", part.splits);
    values.set("IS_SPLIT", part.splits > 1 ? 1 : 0);
    if (part.splits == 1) {
      set_epilogue(part, values);
      SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/store.wgsl", values));
    }
    set_form(part, values);
    SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file(shader_file(part.shader), values));
    groups = ceil_div<uint64_t>(part.row_end - part.row_begin, rows_of_group(part));
    call = fmt::format("run_{}(group - {}u, {}lane)", index, num_groups_,
                       part.shader == Shader::kMatmul ? "wg.y, wg.z, " : "");
    // Products of other dtypes in the dispatch need no tables.
    const DType dtype = weights.dtype();
    if (has_start(dtype, is_fast_)) {
      call = fmt::format("{}_start(lane); {}", to_string(dtype), call);
    }
    if (part.splits < splits_) call = fmt::format("if (wg.z < {}u) {{ {}; }}", part.splits, call);
  }
  add_branch(groups, call);
  return {};
}

void DenseShader::add_main() {
  // Products of one token use the grid's second dimension for groups beyond the first's bound.
  const bool has_tokens = token_groups_ > 0;
  const uint64_t width =
      has_tokens ? num_groups_ : std::min<uint64_t>(num_groups_, limits_.max_groups);
  kernel_.x = static_cast<uint32_t>(width);
  kernel_.y = has_tokens ? token_groups_ : static_cast<uint32_t>(ceil_div(num_groups_, width));
  kernel_.z = splits_;
  std::string text = "fn run(wg: vec3<u32>, lane: u32) {\n";
  text += has_tokens ? "  let group = wg.x;\n"
                     : fmt::format("  let group = wg.x + wg.y * {}u;\n", width);
  kernel_.shader.add_text(text + branches_ + "\n}\n", "dense.cc");
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
  for (uint32_t i = 0; i < parts.size(); ++i) SKEIN_RETURN_IF_ERROR(add_part(parts[i], i));
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
  group_threads_ = kSumThreads;
  std::vector<ByteRange> ranges;
  for (const Part& part : parts) {
    if (part.splits > 1 && part.job->bias != nullptr)
      ranges.push_back(codes_range(*part.job->bias));
  }
  SKEIN_RETURN_IF_ERROR(kernel_.bindings.add_weights(ranges));
  ShaderValues values;
  values.set("GROUP_THREADS", group_threads_);
  values.set("PARTIALS", group_threads_);
  values.set("HAS_SUBGROUPS", limits_.has_subgroups ? 1 : 0);
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/math.wgsl", values));
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/reduce.wgsl", values));
  SKEIN_RETURN_IF_ERROR(bind_batch());
  for (uint32_t i = 0; i < parts.size(); ++i) {
    if (parts[i].splits > 1) SKEIN_RETURN_IF_ERROR(add_sums(parts[i], i));
  }
  return finish();
}

Status DenseShader::add_sums(const Part& part, uint32_t index) {
  ShaderValues values;
  values.set("J", index);
  values.set("NUM_TOKENS", num_tokens_);
  values.set("ROW_BEGIN", part.row_begin);
  values.set("ROWS", part.row_end);
  values.set("SPLITS", part.splits);
  SKEIN_RETURN_IF_ERROR(bind_sums(part, Access::kRead, values));
  SKEIN_RETURN_IF_ERROR(bind_outputs(part, values));
  set_epilogue(part, values);
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/store.wgsl", values));
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("sum_splits.wgsl", values));
  add_branch(ceil_div<uint64_t>(part.split_quads() * batch_.num_tokens, group_threads_),
             fmt::format("sum_{}((group - {}u) * {}u + lane)", index, num_groups_, group_threads_));
  return {};
}

// The workgroups of one job, which do `call`.
void DenseShader::add_branch(uint64_t groups, std::string_view call) {
  const char* before = num_groups_ == 0 ? "  " : " else ";
  num_groups_ += groups;
  branches_ += fmt::format("{}if (group < {}u) {{\n    {};\n  }}", before, num_groups_, call);
}

Result<Kernel> DenseShader::finish() {
  add_main();
  ShaderValues values;
  values.set("GROUP_THREADS", group_threads_);
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

// How many parts from the first on one dispatch takes. Arenas need far fewer bindings than this
// counts; only where the count may not fit is it taken at its word.
size_t parts_of_dispatch(std::span<const Part> parts, const GpuLimits& limits,
                         std::string_view label, const DenseBatch& batch) {
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
