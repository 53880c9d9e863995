#include "backend/webgpu/dense_values.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/webgpu/vector_axis.h"
#include "base/bits.h"
#include "tensor/codec.h"

namespace skein::webgpu {
namespace {

void set_rows(const Part& part, const DenseShape& shape, const GpuLimits& limits,
              ShaderValues& values) {
  const DenseJob& job = *part.job;
  values.set("TOKENS", part.shader == Shader::kRows ? shape.num_tokens : 1);
  values.set("BY_SUBGROUPS",
             limits.has_subgroups && shape.lanes_of(part) == shape.group_threads ? 1 : 0);
  values.set("MAX_SUBGROUPS", std::max(shape.group_threads / kMinSubgroup, 1u));
  values.set("SPARSE", job.is_sparse ? 1 : 0);
  const uint64_t cols = job.weights->cols();
  const DType dtype = job.weights->dtype();
  const bool by_words = load_elems(dtype) < vector_elems(dtype);
  values.set("LOAD_COLS", load_elems(dtype));
  values.set("LOAD_QUADS", load_elems(dtype) / 4);
  values.set("LOAD", by_words ? "word" : "words");
  values.set("QUAD", fmt::format("{}_{}", to_string(dtype), by_words ? "word" : "quad"));
  const uint32_t lanes = shape.lanes_of(part);
  values.set("LANES", lanes);
  values.set("ROW_LANES", lanes);
  values.set("COL_LANES", shape.group_threads / lanes);
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

void set_lanes(const Part& part, const DenseShape& shape, ShaderValues& values) {
  const DType dtype = part.job->weights->dtype();
  const uint32_t vec = vector_elems(dtype), step = std::min(step_cols(dtype), kLaneUnitCols);
  const uint32_t step_loads = step / vec, steps = kLaneUnitCols / step;
  values.set("TOKENS", shape.num_tokens);
  values.set("UNIT_COLS", kLaneUnitCols);
  values.set("UNIT_STEPS", steps);
  values.set("UNIT_LOADS", kLaneUnitCols / vec);
  values.set("STEP_LOADS", step_loads);
  for (uint32_t s = 0; s < steps; ++s) {
    for (uint32_t l = 0; l < step_loads; ++l) {
      values.set(fmt::format("LOAD_{}_{}", s, l), s * step_loads + l);
    }
  }
  values.set("PARTS", shape.lanes_of(part));
  values.set("ROW_LANES", shape.group_threads / shape.lanes_of(part));
  values.set("COL_QUADS", part.job->weights->cols() / 4);
  values.set("PAIR_COPIES", shape.pair_copies);
  // How four of x are read, from where they lie.
  const bool in_group = shape.group_x_quads > 0;
  const std::string& x = *values.find("X");
  const std::string_view open = shape.pair_copies > 0 ? "half_quad(" : "";
  const std::string_view close = shape.pair_copies > 0 ? ")" : "";
  values.set("X_IN_GROUP", in_group ? 1 : 0);
  values.set("FILL_OPEN", fmt::format("{}{}[", open, x));
  values.set("FILL_CLOSE", fmt::format("]{}", close));
  values.set("X_OPEN", in_group ? "group_x[" : fmt::format("{}{}[", open, x));
  values.set("X_CLOSE", in_group ? "]" : fmt::format("]{}", close));
}

void set_few(const Part& part, const DenseShape& shape, ShaderValues& values) {
  const Tensor& weights = *part.job->weights;
  const uint32_t lanes = shape.lanes_of(part), quads = ceil_div(shape.num_tokens, 4u);
  values.set("LANES", lanes);
  values.set("MAX_TOKENS", shape.num_tokens);
  const bool is_by_rows =
      vector_axis(weights.mapping(), vector_elems(weights.dtype())) == VectorAxis::kRows;
  values.set("BY_ROWS", is_by_rows ? 1 : 0);
  for (uint32_t r = 0; r < kFewRows; ++r) {
    values.set(fmt::format("HALF_{}", r), r / 4);
    values.set(fmt::format("PLACE_{}", r), r % 4);
  }
  values.set("PASS_COLS", lanes * 4);
  values.set("TAIL", shape.has_few_tail ? 1 : 0);
  values.set("TOKEN_QUADS", quads);
  values.set("GROUPS", shape.group_threads / lanes);
  values.set("FOLDS", lanes / kFewFold);
  values.set("SUMS", quads * 4 * kFewRows);
}

void set_matmul(const Part& part, const GpuLimits& limits, ShaderValues& values) {
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
  const uint32_t x_vec = *values.find("X_QUADS") == "1" ? 4 : 1;
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
  values.set("UNROLL", limits.is_software ? 2 : 8);
}

}  // namespace

uint64_t rows_of_group(const Part& part, const DenseShape& shape) {
  if (part.shader == Shader::kMatmul) return part.tile.rows();
  if (part.shader == Shader::kCols) {
    return uint64_t{shape.lanes_of(part)} * vector_elems(part.job->weights->dtype());
  }
  return uint64_t{shape.group_threads} / shape.lanes_of(part) * part.run_rows;
}

void set_form(const Part& part, const DenseShape& shape, const GpuLimits& limits,
              ShaderValues& values) {
  values.set("ROW_BEGIN", part.row_begin);
  values.set("ROWS", part.row_end);
  values.set("GROUP_ROWS", rows_of_group(part, shape));
  values.set("RUN_ROWS", part.run_rows);
  if (part.shader == Shader::kMatmul) return set_matmul(part, limits, values);
  if (part.shader == Shader::kLanes) return set_lanes(part, shape, values);
  part.shader == Shader::kFew ? set_few(part, shape, values)
                              : set_rows(part, shape, limits, values);
}

}  // namespace skein::webgpu
