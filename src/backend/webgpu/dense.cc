#include "backend/webgpu/dense.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "backend/webgpu/halves.h"
#include "backend/webgpu/vector_axis.h"
#include "base/bits.h"
#include "layout/wgsl.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

// Up to here a job whose rows are read by vectors keeps a sum per token; beyond, tiles pay.
constexpr uint32_t kMaxVectorTokens = 4;
// A thread has so many sixteen-byte loads in flight.
constexpr uint32_t kMaxChunks = 16;
// One row a group of 128 threads is the best from 2048 cols of f16 on (H200, 2026-11-23): in a
// chain of dependent dispatches few rows a group win, since the last group is done sooner.
constexpr uint32_t kMaxRowLanes = 128;
constexpr uint32_t kMinGroupThreads = 64;
// Without a barrier of several subgroups a short row takes less time (H200: 768 cols of f16).
constexpr uint32_t kMinSubgroupThreads = 32;
// Sums that meet in one barrier, and the smallest subgroup that their places are made for.
constexpr uint32_t kMaxRunSums = 8, kMinSubgroup = 4;
constexpr uint32_t kColsGroupThreads = 128;
// The tile of many tokens: 256 threads, each 4 rows by 4 tokens (or 1 of few tokens).
constexpr uint32_t kTileRows = 64, kTileCols = 32, kTileThreads = 256;
constexpr uint32_t kFewTokens = 16;

uint32_t vector_elems(DType dtype) { return 128 / element_bits(dtype); }

// The tiles of tensor.wgsl, 256 threads: few tokens share the cols between subgroups, so that many
// loads of weights are in flight; many tokens share what is loaded.
struct TensorTile {
  uint32_t token_tiles, row_tiles;             // of a subgroup, 16 x 16 each
  uint32_t token_warps, row_warps, col_warps;  // 8 in all
  uint32_t unroll;
  uint32_t tokens() const { return 16 * token_tiles * token_warps; }
  uint32_t rows() const { return 16 * row_tiles * row_warps; }
};
constexpr TensorTile kFewTokensTile = {1, 2, 1, 1, 8, 2};
constexpr TensorTile kManyTokensTile = {2, 2, 2, 4, 1, 2};
constexpr const TensorTile& tensor_tile(uint32_t num_tokens) {
  return num_tokens <= kFewTokens ? kFewTokensTile : kManyTokensTile;
}

enum class Form : uint8_t { kCopy, kRows, kCols, kAny, kMatmul, kTensor };

// A job, or the rows of it that one binding can hold.
struct Part {
  const DenseJob* job;
  Form form = Form::kCopy;
  ByteRange codes;
  uint64_t row_begin = 0, row_end = 0;
  uint64_t delta_elems = 0;
  uint32_t lanes = 1;     // kRows, kAny: threads a row; kCols: threads that read rows of one col
  uint32_t run_rows = 1;  // kRows: rows that share what is loaded of x
};

bool in_quads(const Activation& x, uint32_t num_tokens) {
  return x.offset_elems % 4 == 0 && (num_tokens == 1 || x.stride_elems % 4 == 0);
}

Form form_of(const DenseJob& job, uint32_t num_tokens) {
  if (job.weights == nullptr) return Form::kCopy;
  const VectorAxis axis = vector_axis(job.weights->mapping(), vector_elems(job.weights->dtype()));
  if (axis == VectorAxis::kCols && num_tokens <= kMaxVectorTokens && in_quads(*job.x, num_tokens)) {
    return Form::kRows;
  }
  if (num_tokens > 1) return Form::kMatmul;
  return axis == VectorAxis::kRows ? Form::kCols : Form::kAny;
}

uint32_t lanes_of(const DenseJob& job, Form form) {
  if (form == Form::kCopy || form == Form::kMatmul || form == Form::kTensor) return 1;
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
  const uint64_t loads = job.weights->cols() / (form == Form::kRows ? vec : 1);
  const uint64_t max_lanes = loads >= 2048 ? 2 * kMaxRowLanes : kMaxRowLanes;
  // Threads with several rows have loads enough.
  if (is_quantized(job.weights->dtype())) {
    return static_cast<uint32_t>(std::clamp<uint64_t>(std::bit_floor(loads), 1, max_lanes));
  }
  return static_cast<uint32_t>(
      std::clamp<uint64_t>(std::bit_floor(std::max<uint64_t>(loads / 2, 1)), 1, max_lanes));
}

// Codes of four bits cost more than their bytes: several rows share the loads of x.
uint32_t run_rows_of(const DenseJob& job, Form form, uint32_t num_tokens, const GpuLimits& limits) {
  if (form != Form::kRows) return 1;
  const uint32_t bits = element_bits(job.weights->dtype());
  if (bits == 4 && limits.is_software) return 1;
  const uint32_t wanted = bits == 4 ? 4 : bits == 8 ? 2 : 1;
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

// The job in parts that fit into bindings.
Status add_parts(const DenseJob& job, Form form, uint32_t num_tokens, const GpuLimits& limits,
                 std::vector<Part>& out) {
  Part part{
      &job, form, {}, 0, 0, 0, lanes_of(job, form), run_rows_of(job, form, num_tokens, limits)};
  if (form == Form::kCopy) {
    out.push_back(part);
    return {};
  }
  const Tensor& weights = *job.weights;
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

std::string number(float value) { return fmt::format("{:.9e}", value); }

// Builds the shader of some parts.
class DenseShader {
 public:
  DenseShader(std::string_view label, const DenseBatch& batch, const GpuLimits& limits)
      : batch_(batch),
        limits_(limits),
        kernel_{std::string(label), {}, Bindings(limits), 1, 1},
        group_threads_(limits.has_subgroups ? kMinSubgroupThreads : kMinGroupThreads) {}

  Result<Kernel> make(std::span<const Part> parts);

 private:
  Status bind_weights(std::span<const Part> parts);
  Status add_shared_text(std::span<const Part> parts);
  Status add_part(const Part& part, uint32_t index);
  Status bind_activations(const Part& part, ShaderValues& values);
  void set_form(const Part& part, ShaderValues& values) const;
  void set_epilogue(const Part& part, ShaderValues& values) const;
  void add_main();
  uint64_t group_rows(const Part& part) const;

  bool is_matmul() const { return has_tiles_; }
  uint32_t tile_tokens() const;
  Status bind_tensor(const Part& part, uint32_t index, ShaderValues& values);

  const DenseBatch& batch_;
  const GpuLimits& limits_;
  Kernel kernel_;
  uint32_t group_threads_;
  bool has_tiles_ = false, is_tensor_ = false;
  uint64_t col_sum_quads_ = 0;
  std::string num_tokens_ = "1u";
  std::vector<DType> dtypes_;
  std::string branches_;
  uint64_t num_groups_ = 0;
};

uint32_t DenseShader::tile_tokens() const {
  if (is_tensor_) return tensor_tile(batch_.num_tokens).tokens();
  return batch_.num_tokens <= kFewTokens ? 16 : 64;
}

uint64_t DenseShader::group_rows(const Part& part) const {
  switch (part.form) {
    case Form::kMatmul:
      return kTileRows;
    case Form::kTensor:
      return tensor_tile(batch_.num_tokens).rows();
    case Form::kCols:
      return uint64_t{part.lanes} * vector_elems(part.job->weights->dtype());
    default:
      return uint64_t{group_threads_} / part.lanes * part.run_rows;
  }
}

Status DenseShader::bind_weights(std::span<const Part> parts) {
  std::vector<ByteRange> ranges;
  for (const Part& part : parts) {
    if (part.form == Form::kCopy) continue;
    ranges.push_back(part.codes);
    if (is_quantized(part.job->weights->dtype()))
      ranges.push_back(scales_range(*part.job->weights));
    if (part.job->bias != nullptr) ranges.push_back(codes_range(*part.job->bias));
  }
  return kernel_.bindings.add_weights(ranges);
}

Status DenseShader::add_shared_text(std::span<const Part> parts) {
  for (const Part& part : parts) {
    if (part.form == Form::kMatmul || part.form == Form::kTensor) {
      has_tiles_ = true;
      is_tensor_ = is_tensor_ || part.form == Form::kTensor;
      group_threads_ = kTileThreads;
    } else if (part.form == Form::kCols) {
      group_threads_ = std::max(group_threads_, kColsGroupThreads);
      col_sum_quads_ =
          std::max<uint64_t>(col_sum_quads_, vector_elems(part.job->weights->dtype()) / 4);
    } else {
      group_threads_ = std::max(group_threads_, part.lanes);
    }
  }
  ShaderValues values;
  values.set("GROUP_THREADS", group_threads_);
  values.set("PARTIALS", std::max(group_threads_, kMaxRunSums * group_threads_ / kMinSubgroup));
  values.set("HAS_SUBGROUPS", limits_.has_subgroups ? 1 : 0);
  if (is_tensor_) kernel_.enables = {"f16", "wgpu_cooperative_matrix"};
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/math.wgsl", values));
  SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/reduce.wgsl", values));
  if (is_tensor_) {
    const TensorTile& tile = tensor_tile(batch_.num_tokens);
    kernel_.shader.add_text(fmt::format("var<workgroup> sum_tile: array<f32, {}>;\n",
                                        tile.tokens() * tile.rows() * tile.col_warps),
                            "dense.cc");
  } else if (has_tiles_) {
    kernel_.shader.add_text(
        fmt::format("var<workgroup> weight_tile: array<f32, {}>;\n"
                    "var<workgroup> x_tile: array<f32, {}>;\n",
                    kTileRows * kTileCols, (batch_.num_tokens <= kFewTokens ? 16 : 64) * kTileCols),
        "dense.cc");
  }
  if (col_sum_quads_ > 0) {
    kernel_.shader.add_text(fmt::format("var<workgroup> col_sums: array<vec4<f32>, {}>;\n",
                                        group_threads_ * col_sum_quads_),
                            "dense.cc");
  }
  for (const Part& part : parts) {
    if (part.form == Form::kCopy) continue;
    const DType dtype = part.job->weights->dtype();
    if (std::find(dtypes_.begin(), dtypes_.end(), dtype) != dtypes_.end()) continue;
    dtypes_.push_back(dtype);
    SKEIN_RETURN_IF_ERROR(add_dtype_text(dtype, kernel_.shader));
  }
  return {};
}

Status DenseShader::bind_activations(const Part& part, ShaderValues& values) {
  const DenseJob& job = *part.job;
  const bool quads = part.form == Form::kRows;
  const bool has_halves = part.form == Form::kTensor;
  const auto set = [&](std::string_view name, const Activation& activation,
                       const Bindings::Place& place, uint64_t unit) {
    values.set(name, place.name);
    values.set(fmt::format("{}_OFFSET", name), place.offset_bytes / sizeof(float) / unit);
    values.set(fmt::format("{}_STRIDE", name), activation.stride_elems);
  };
  if (!has_halves) {
    SKEIN_ASSIGN_OR_RETURN(
        const Bindings::Place x,
        kernel_.bindings.activation(*job.x, batch_.num_tokens, Access::kRead, quads));
    set("X", *job.x, x, quads ? 4 : 1);
  }
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place y,
                         kernel_.bindings.activation(*job.y, batch_.num_tokens, Access::kWrite));
  set("OUT", *job.y, y, 1);
  if (job.other != nullptr) {
    SKEIN_ASSIGN_OR_RETURN(
        const Bindings::Place other,
        kernel_.bindings.activation(*job.other, batch_.num_tokens, Access::kRead));
    set("OTHER", *job.other, other, 1);
  }
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
  const DenseJob& job = *part.job;
  values.set("ROW_BEGIN", part.row_begin);
  values.set("ROWS", part.row_end);
  values.set("GROUP_ROWS", group_rows(part));
  values.set("TOKENS", part.form == Form::kRows ? batch_.num_tokens : 1);
  values.set("RUN_ROWS", part.run_rows);
  values.set("BY_SUBGROUPS", limits_.has_subgroups && part.lanes == group_threads_ ? 1 : 0);
  values.set("MAX_SUBGROUPS", std::max(group_threads_ / kMinSubgroup, 1u));
  values.set("HAS_LOW", job.weights->dtype() == DType::kInt8 ? 1 : 0);
  values.set("SPARSE", job.is_sparse ? 1 : 0);
  const uint64_t vec = vector_elems(job.weights->dtype()), cols = job.weights->cols();
  values.set("LANES", part.lanes);
  values.set("ROW_LANES", part.lanes);
  values.set("COL_LANES", group_threads_ / part.lanes);
  const uint64_t pass = part.lanes * vec;  // cols that the threads of a row read at once
  const uint64_t chunks = std::min<uint64_t>(cols / pass, kMaxChunks / part.run_rows);
  const uint64_t full_cols = chunks == 0 ? 0 : cols / (pass * chunks) * (pass * chunks);
  values.set("CHUNKS", chunks);
  values.set("LOOPS", chunks == 0 ? 0 : 1);
  values.set("LOOP_COLS", pass * chunks);
  values.set("FULL_COLS", full_cols);
  values.set("TAIL", full_cols < cols ? 1 : 0);

  const VectorAxis axis = vector_axis(job.weights->mapping(), static_cast<uint32_t>(vec));
  values.set("FROM_ROWS", axis == VectorAxis::kCols ? 1 : 0);
  values.set("ROWS_FIRST", axis == VectorAxis::kRows ? 1 : 0);
  const uint32_t thread_tokens = batch_.num_tokens <= kFewTokens ? 1 : 4;
  values.set("THREAD_TOKENS", thread_tokens);
  values.set("TILE_TOKENS", kTileThreads / (kTileRows / 4) * thread_tokens);
  values.set("TILE_ROWS", kTileRows);
  values.set("TILE_COLS", kTileCols);
  values.set("ROW_THREADS", kTileRows / 4);
  values.set("ROW_VECS", std::max<uint64_t>(kTileCols / vec, 1));
  values.set("TILE_VECS", kTileRows * kTileCols / vec);
}

Status DenseShader::add_part(const Part& part, uint32_t index) {
  ShaderValues values;
  values.set("J", index);
  values.set("NUM_TOKENS", num_tokens_);
  values.set("GROUP_THREADS", group_threads_);
  SKEIN_RETURN_IF_ERROR(bind_activations(part, values));
  uint64_t groups = 0;
  std::string call;
  if (part.form == Form::kCopy) {
    const uint64_t cols = part.job->y->num_cols;
    values.set("COLS", cols);
    SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("copy.wgsl", values));
    groups = ceil_div<uint64_t>(cols * batch_.num_tokens, group_threads_);
    call = fmt::format("copy_{}((group - {}u) * {}u + lane)", index, num_groups_, group_threads_);
    // A grid of tiles has a row of groups for every few tokens; the first row copies all.
    if (is_matmul()) call = fmt::format("if (wg.y == 0u) {{ {}; }}", call);
  } else {
    SKEIN_RETURN_IF_ERROR(add_weights_text(*part.job->weights, index, kernel_.bindings, part.codes,
                                           part.delta_elems, values, kernel_.shader));
    set_epilogue(part, values);
    SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file("lib/store.wgsl", values));
    set_form(part, values);
    if (part.form == Form::kTensor) SKEIN_RETURN_IF_ERROR(bind_tensor(part, index, values));
    const char* file = part.form == Form::kRows     ? "dense_rows.wgsl"
                       : part.form == Form::kCols   ? "dense_cols.wgsl"
                       : part.form == Form::kAny    ? "dense_any.wgsl"
                       : part.form == Form::kTensor ? "tensor.wgsl"
                                                    : "matmul.wgsl";
    SKEIN_RETURN_IF_ERROR(kernel_.shader.add_file(file, values));
    groups = ceil_div<uint64_t>(part.row_end - part.row_begin, group_rows(part));
    call =
        fmt::format("run_{}(group - {}u, {}lane)", index, num_groups_, is_matmul() ? "wg.y, " : "");
  }
  num_groups_ += groups;
  branches_ += fmt::format("{}if (group < {}u) {{\n    {};\n  }}", index == 0 ? "  " : " else ",
                           num_groups_, call);
  return {};
}

// What tensor.wgsl needs beyond the other forms.
Status DenseShader::bind_tensor(const Part& part, uint32_t index, ShaderValues& values) {
  const Tensor& weights = *part.job->weights;
  const TensorTile& tile = tensor_tile(batch_.num_tokens);
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place codes,
                         kernel_.bindings.range(*part.codes.buffer, part.codes.begin,
                                                part.codes.end, Access::kRead, "array<f16>"));
  values.set("W16", codes.name);
  values.set("W16_BASE", codes.offset_bytes / 2);
  const ByteRange halves = batch_.halves->range_of(*part.job->x);
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place x,
                         kernel_.bindings.range(*halves.buffer, halves.begin, halves.end,
                                                Access::kRead, "array<f16>"));
  CHECK(x.offset_bytes == 0);
  values.set("X16", x.name);
  const bool is_by_rows = weights.layout().kind == LayoutKind::kRowMajor;
  values.set("WEIGHT_LOAD", is_by_rows ? "coopLoad" : "coopLoadT");
  values.set("WEIGHT_STRIDE", is_by_rows ? weights.mapping()(1, 0) : weights.mapping()(0, 1));
  const uint64_t steps = weights.cols() / 16;
  const uint64_t steps_each = uint64_t{tile.unroll} * tile.col_warps;
  values.set("STEPS", steps);
  values.set("FULL_STEPS", steps / steps_each * steps_each);
  values.set("TAIL", steps % steps_each != 0 ? 1 : 0);
  values.set("UNROLL", tile.unroll);
  values.set("TOKEN_TILES", tile.token_tiles);
  values.set("ROW_TILES", tile.row_tiles);
  values.set("TOKEN_WARPS", tile.token_warps);
  values.set("ROW_WARPS", tile.row_warps);
  values.set("COL_WARPS", tile.col_warps);
  values.set("MORE_COL_WARPS", tile.col_warps - 1);
  values.set("TILE_TOKENS", tile.tokens());
  values.set("TILE_ROWS", tile.rows());
  values.set("J", index);
  return {};
}

void DenseShader::add_main() {
  // Products of one token use the grid's second dimension for groups beyond the first's bound.
  const uint64_t width =
      is_matmul() ? num_groups_ : std::min<uint64_t>(num_groups_, limits_.max_groups);
  kernel_.x = static_cast<uint32_t>(width);
  kernel_.y = static_cast<uint32_t>(is_matmul() ? ceil_div(batch_.num_tokens, tile_tokens())
                                                : ceil_div<uint64_t>(num_groups_, width));
  std::string text = "fn run(wg: vec3<u32>, lane: u32) {\n";
  for (const DType dtype : dtypes_) {
    if (element_bits(dtype) == 4) text += fmt::format("  {}_start(lane);\n", to_string(dtype));
  }
  text += is_matmul() ? "  let group = wg.x;\n"
                      : fmt::format("  let group = wg.x + wg.y * {}u;\n", width);
  kernel_.shader.add_text(text + branches_ + "\n}\n", "dense.cc");
}

Result<Kernel> DenseShader::make(std::span<const Part> parts) {
  SKEIN_RETURN_IF_ERROR(bind_weights(parts));
  SKEIN_RETURN_IF_ERROR(add_shared_text(parts));
  if (batch_.num_tokens > 1) {
    CHECK(batch_.batch != nullptr);
    SKEIN_ASSIGN_OR_RETURN(const Bindings::Place place,
                           kernel_.bindings.range(*batch_.batch, 0, batch_.batch->num_bytes(),
                                                  Access::kRead, "array<vec4<u32>>"));
    num_tokens_ = place.name + std::string(batch_.count_field);
  }
  for (uint32_t i = 0; i < parts.size(); ++i) SKEIN_RETURN_IF_ERROR(add_part(parts[i], i));
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

Status add_dtype_text(DType dtype, ShaderText& shader) {
  ShaderValues values;
  values.set("DTYPE", to_string(dtype));
  values.set("IS_F32", dtype == DType::kF32 ? 1 : 0);
  values.set("IS_F16", dtype == DType::kF16 ? 1 : 0);
  values.set("IS_BF16", dtype == DType::kBF16 ? 1 : 0);
  if (dtype == DType::kInt8) return shader.add_file("lib/int8.wgsl", values);
  if (!is_quantized(dtype)) return shader.add_file("lib/plain.wgsl", values);
  std::string codes;
  for (const float code : code_table(dtype)) {
    codes += (codes.empty() ? "" : ", ") + number(code);
  }
  values.set("CODES", codes);
  return shader.add_file("lib/code4.wgsl", values);
}

Status add_weights_text(const Tensor& tensor, uint32_t job, const Bindings& bindings,
                        const ByteRange& codes, uint64_t delta_elems, ShaderValues& values,
                        ShaderText& shader) {
  const DType dtype = tensor.dtype();
  const uint32_t vec = vector_elems(dtype);
  SKEIN_ASSIGN_OR_RETURN(const std::string offset,
                         emit_wgsl(tensor.mapping(), fmt::format("offset_{}", job)));
  shader.add_text(offset, "layout " + to_string(tensor.layout()));
  const Bindings::Place place = bindings.weights(codes);
  values.set("J", job);
  values.set("DTYPE", to_string(dtype));
  values.set("LAYOUT", to_string(tensor.layout()));
  values.set("ROWS", tensor.rows());
  values.set("COLS", tensor.cols());
  values.set("VEC", vec);
  values.set("QUADS", vec / 4);
  values.set("PER_WORD", vec / 4);
  values.set("W", place.name);
  values.set("BASE", place.offset_bytes / 16);
  values.set("DELTA", delta_elems);
  values.set("SCALED", is_quantized(dtype) ? 1 : 0);
  values.set("IS_INT8", dtype == DType::kInt8 ? 1 : 0);
  values.set("BLOCK", block_cols(dtype));
  if (is_quantized(dtype)) {
    SKEIN_ASSIGN_OR_RETURN(const std::string scale_offset,
                           emit_wgsl(tensor.scales_mapping(), fmt::format("scale_offset_{}", job)));
    shader.add_text(scale_offset, "scales of layout " + to_string(tensor.layout()));
    const Bindings::Place scales = bindings.weights(scales_range(tensor));
    values.set("S", scales.name);
    values.set("SCALE_BASE", scales.offset_bytes / 16);
  }
  return shader.add_file("lib/weights.wgsl", values);
}

bool takes_tensor_cores(const DenseJob& job) {
  if (job.weights == nullptr) return true;
  const Tensor& weights = *job.weights;
  const LayoutKind kind = weights.layout().kind;
  return weights.dtype() == DType::kF16 && weights.rows() % 16 == 0 && weights.cols() % 16 == 0 &&
         (kind == LayoutKind::kRowMajor || kind == LayoutKind::kColMajor);
}

bool wants_tensor_cores(std::span<const DenseJob> jobs, uint32_t num_tokens,
                        const GpuLimits& limits) {
  return limits.has_tensor_cores && num_tokens > kMaxVectorTokens &&
         std::all_of(jobs.begin(), jobs.end(), takes_tensor_cores);
}

Result<std::vector<Kernel>> dense_kernels(std::string_view label, std::span<const DenseJob> jobs,
                                          const DenseBatch& batch, const GpuLimits& limits) {
  // One form of grid for all: if one job needs tiles, all have them.
  const bool tensor = wants_tensor_cores(jobs, batch.num_tokens, limits);
  const bool tiles = std::any_of(jobs.begin(), jobs.end(), [&](const DenseJob& job) {
    return form_of(job, batch.num_tokens) == Form::kMatmul;
  });
  std::vector<Kernel> kernels;
  if (tensor) {
    SKEIN_ASSIGN_OR_RETURN(Kernel kernel, halves_kernel(*batch.halves, batch.num_tokens, limits));
    kernels.push_back(std::move(kernel));
  }
  std::vector<Part> parts;
  for (const DenseJob& job : jobs) {
    Form form = form_of(job, batch.num_tokens);
    if (form != Form::kCopy && tensor) form = Form::kTensor;
    if (form != Form::kCopy && tiles && !tensor) form = Form::kMatmul;
    SKEIN_RETURN_IF_ERROR(add_parts(job, form, batch.num_tokens, limits, parts));
  }
  for (std::span<const Part> rest = parts; !rest.empty();) {
    // Parts of one matrix that is too large for a binding are two bindings of its buffer.
    const size_t count = parts_of_dispatch(rest, limits, label, batch);
    SKEIN_ASSIGN_OR_RETURN(Kernel kernel,
                           DenseShader(label, batch, limits).make(rest.first(count)));
    kernels.push_back(std::move(kernel));
    rest = rest.subspan(count);
  }
  return kernels;
}

}  // namespace skein::webgpu
