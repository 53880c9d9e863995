#include "backend/webgpu/forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "base/bits.h"

namespace skein::webgpu {
namespace {

// A thread has so many loads in flight; a CPU, which has none in flight, compiles less.
constexpr uint32_t kMaxChunks = 16, kSoftwareChunks = 4;
// One row a group of 128 threads is the best from 2048 cols of f16 on (H200, 2026-11-23): in a
// chain of dependent dispatches few rows a group win, since the last group is done sooner.
constexpr uint32_t kMaxRowLanes = 128;
constexpr uint64_t kManyRows = 32768;
constexpr uint32_t kColsGroupThreads = 128;

// From here on threads have so many sums that adding them up counts: then eight rows have no more
// threads than keep the GPU busy. 16 sequences at 1.5B, tokens/s by 32, 64 and 128 threads (H200,
// 2026-11-28): 8192 rows 4,217, 3,981, 3,794; 6656 rows 4,292, 4,204, 4,127; 2048 rows 3,895,
// 4,108, 4,216.
constexpr uint32_t kManyFewTokens = 12;
constexpr uint64_t kWantedFewThreads = 32768;
// The first that the device has memory for. Eight rows of eight tokens a thread take 0.93 of the
// time of four (H200, 1.5B); software compiles them for longer and gains nothing.
constexpr MatmulTile kFewTokensTiles[] = {{32, 4, 1, 1}, {16, 4, 1, 1}};
constexpr MatmulTile kManyTokensTiles[] = {{16, 8, 2, 2}, {16, 8, 1, 2}, {8, 8, 1, 1}};
constexpr uint32_t kLaneThreads[] = {512, 256, 1024}, kSoftwareLaneThreads[] = {64};
constexpr std::span kSoftwareTiles = std::span(kManyTokensTiles).subspan(1);

uint32_t power_up_to(uint64_t value, uint64_t max) {
  return static_cast<uint32_t>(std::bit_floor(std::clamp<uint64_t>(value, 1, max)));
}

// The most threads that a row, or the rows of one col, can keep busy.
uint64_t most_row_threads(Shader shader, const ProductShape& shape) {
  if (shader == Shader::kCols) return ceil_div<uint64_t>(shape.rows, vector_elems(shape.dtype));
  if (shader == Shader::kLanes) return shape.cols / kLaneUnitCols;
  return shape.cols / (shader == Shader::kRows ? load_elems(shape.dtype) : 1);
}

uint32_t row_threads_by_rule(Shader shader, const ProductShape& shape) {
  const uint64_t most = most_row_threads(shader, shape);
  if (shader == Shader::kCols) {
    // 64 B of a col, or all of an interleaved block: then other threads take other cols.
    const uint32_t vec = vector_elems(shape.dtype);
    const uint64_t side_by_side =
        shape.layout->kind == LayoutKind::kColMajor ? 4 * vec : uint64_t{shape.layout->rows};
    return power_up_to(side_by_side / vec, std::max<uint64_t>(most, 1));
  }
  const uint64_t max_lanes = most >= 2048 ? 2 * kMaxRowLanes : kMaxRowLanes;
  // Threads with several rows have loads enough.
  return power_up_to(element_bits(shape.dtype) == 8 ? most : most / 2, max_lanes);
}

// Codes cost more than their bytes: several rows share the loads of x. (Four rows of eight bits
// took 1.1 of a token's time, H200.)
uint32_t thread_rows_by_rule(Shader shader, const ProductShape& shape, const GpuLimits& limits) {
  if (shader != Shader::kRows) return 1;
  const uint32_t bits = element_bits(shape.dtype);
  if (bits == 4 && limits.is_software) return 1;
  // A matrix with workgroups to spare, as a head: two rows take 0.8 of the time (H200).
  const uint32_t plain = shape.rows >= kManyRows && !limits.is_software ? 2 : 1;
  return bits == 4 ? 4 : bits == 8 ? 2 : plain;
}

// 0.71 of the time of kRows (nf4, 16384 x 4096 and 4096 x 4096, H200, 2026-11-28, each dispatch
// with its code cold): threads as rows, two rows a thread, and as many rows a workgroup as leave
// every core of a large GPU one.
KernelForm lanes_by_rule(const ProductShape& shape, const GpuLimits& limits) {
  constexpr uint64_t kManyLaneRows = 8192, kSomeLaneRows = 4096;
  const uint64_t all = std::max(shape.dispatch_rows, shape.rows);
  const uint32_t rows = all >= kManyLaneRows ? 32 : all >= kSomeLaneRows ? 16 : 8;
  const uint32_t most_parts = limits.is_software ? 4 : all >= kManyLaneRows ? 16 : 32;
  const uint32_t parts = power_up_to(shape.cols / kLaneUnitCols, most_parts);
  const uint32_t most = std::bit_floor(limits.max_group_threads);
  return group_form(std::clamp(rows * parts, kMinGroupThreads, most), parts, 2, 1);
}

// Workgroup memory: of weights and x, and what lib/reduce.wgsl declares.
uint64_t num_bytes(const MatmulTile& tile) {
  return uint64_t{tile.rows() + tile.tokens()} * kTileCols * sizeof(float) +
         uint64_t{tile.threads()} * 8;
}

MatmulTile first_that_fits(std::span<const MatmulTile> tiles, const GpuLimits& limits) {
  const auto fits = [&](const MatmulTile& tile) {
    return num_bytes(tile) <= limits.max_group_bytes && tile.threads() <= limits.max_group_threads;
  };
  const auto found = std::find_if(tiles.begin(), tiles.end(), fits);
  return found == tiles.end() ? tiles.back() : *found;
}

using Forms = std::vector<KernelForm>;

// Threads for one row: from a few, whose sums need no barrier, to a workgroup of their own.
Forms row_forms(const GpuLimits& limits) {
  Forms forms;
  if (limits.is_software) {
    for (const uint32_t lanes : {1u, 4u, 8u, 16u, 64u}) {
      for (const uint32_t rows : {1u, 4u}) forms.push_back(group_form(64, lanes, rows, 4 * rows));
    }
    return forms;
  }
  for (const uint32_t lanes : {128u, 64u, 32u, 256u, 16u, 8u}) {
    for (const uint32_t rows : {1u, 2u, 4u}) {
      forms.push_back(group_form(std::max(lanes, 64u), lanes, rows, 16));
    }
  }
  for (const uint32_t lanes : {256u, 128u, 64u, 32u}) {
    for (const uint32_t rows : {1u, 2u}) forms.push_back(group_form(lanes, lanes, rows, 8));
  }
  for (const uint32_t lanes : {32u, 16u}) {
    for (const uint32_t rows : {1u, 2u}) forms.push_back(group_form(128, lanes, rows, 16));
  }
  return forms;
}

// Threads of a workgroup that has 8 to 64 rows side by side.
Forms lane_forms(const GpuLimits& limits) {
  Forms forms;
  for (const uint32_t threads : limits.is_software ? std::span<const uint32_t>(kSoftwareLaneThreads)
                                                   : std::span<const uint32_t>(kLaneThreads)) {
    for (const uint32_t rows : {32u, 16u, 8u, 64u}) {
      for (const uint32_t thread_rows : {2u, 1u, 4u}) {
        forms.push_back(group_form(threads, threads / rows, thread_rows, 1));
      }
    }
  }
  return forms;
}

Forms one_token_forms(MatrixOp op, VectorAxis axis, const GpuLimits& limits) {
  Forms forms;
  if (axis == VectorAxis::kCols) return row_forms(limits);
  if (axis == VectorAxis::kNone) {
    for (const uint32_t lanes : {128u, 64u, 32u, 8u}) {
      forms.push_back(group_form(std::max(lanes, 64u), lanes, 1, 1));
    }
    return forms;
  }
  const bool is_sparse = op == MatrixOp::kSparse;
  for (const uint32_t threads : {64u, 128u, 256u, 512u}) {
    for (const uint32_t lanes : {4u, 8u, 16u, 32u}) {
      forms.push_back(group_form(threads, lanes, 1, 4));
      if (is_sparse && !limits.is_software) forms.push_back(group_form(threads, lanes, 1, 8));
    }
  }
  return forms;
}

Forms tile_forms(const GpuLimits& limits) {
  if (limits.is_software) {
    return {tile_form(64, 64, 4, 4), tile_form(32, 64, 4, 8), tile_form(64, 32, 4, 8),
            tile_form(32, 32, 4, 4)};
  }
  return {tile_form(128, 64, 8, 8), tile_form(128, 128, 8, 8),  tile_form(64, 64, 4, 8),
          tile_form(128, 64, 4, 8), tile_form(128, 128, 4, 16), tile_form(64, 128, 8, 8),
          tile_form(64, 64, 8, 8),  tile_form(128, 128, 4, 8),  tile_form(64, 64, 4, 4),
          tile_form(64, 128, 4, 8), tile_form(64, 32, 4, 4),    tile_form(32, 64, 4, 4),
          tile_form(32, 32, 4, 4),  tile_form(128, 32, 8, 4),   tile_form(256, 64, 8, 8)};
}

}  // namespace

bool suits_lanes(DType dtype, const AnyMapping& mapping) {
  // Of q4_k sixteen bytes of scale belong to every run of 32 cols, which row_major has at hand.
  if (!is_quantized(dtype) || dtype == DType::kQ4K) return false;
  const Layout& layout = mapping.layout();
  constexpr uint32_t kLeastRows = 8;  // whose sixteen bytes are a line of memory
  return layout.kind == LayoutKind::kInterleave && layout.rows >= kLeastRows &&
         layout.chunk == vector_elems(dtype) && layout.cols % kLaneUnitCols == 0 &&
         mapping.extents().cols % kLaneUnitCols == 0 &&
         vector_axis(mapping, vector_elems(dtype)) == VectorAxis::kCols;
}

// Cols of a row side by side for a thread's sixteen bytes. Of four-bit codes those of 32 rows side
// by side: then threads are rows, which reads a scale once for its 64 weights (dense_lanes.wgsl).
DenseLayouts dense_layouts_of(const GpuLimits& limits) {
  DenseLayouts layouts;
  for (const DType dtype : kAllDTypes) {
    const bool by_lanes = element_bits(dtype) == 4 && dtype != DType::kQ4K;
    layouts[static_cast<size_t>(dtype)] =
        by_lanes && !limits.is_software ? Layout::interleave(32, kLaneUnitCols, vector_elems(dtype))
                                        : Layout::row_major();
  }
  return layouts;
}

KernelForm group_of(const KernelForm& wanted, Shader shader, const ProductShape& shape,
                    const GpuLimits& limits) {
  const bool has_thread_rows = shader == Shader::kRows || shader == Shader::kLanes;
  const uint32_t most_rows =
      has_thread_rows ? power_up_to(kMaxRunSums / shape.num_tokens, kMaxRunSums) : 1;
  if (wanted.has_group()) {
    const uint32_t row_threads =
        power_up_to(std::max<uint64_t>(most_row_threads(shader, shape), 1), wanted.row_threads);
    return group_form(wanted.group_threads, row_threads, std::min(wanted.thread_rows, most_rows),
                      wanted.loads);
  }
  if (shader == Shader::kLanes) {
    const KernelForm form = lanes_by_rule(shape, limits);
    return group_form(form.group_threads, form.row_threads, std::min(form.thread_rows, most_rows),
                      form.loads);
  }
  const uint32_t row_threads = row_threads_by_rule(shader, shape);
  return group_form(shader == Shader::kCols ? kColsGroupThreads : row_threads, row_threads,
                    std::min(thread_rows_by_rule(shader, shape, limits), most_rows),
                    limits.is_software ? kSoftwareChunks : kMaxChunks);
}

uint32_t few_lanes(uint64_t rows, uint64_t cols, uint32_t num_tokens) {
  const uint32_t most = std::max(power_up_to(cols / 4, kMaxFewLanes), kMinFewLanes);
  if (num_tokens <= kManyFewTokens) return most;
  const uint64_t wanted =
      std::bit_floor(std::max<uint64_t>(kWantedFewThreads * kFewRows / rows, 1));
  return static_cast<uint32_t>(std::clamp<uint64_t>(wanted, kMinFewLanes, most));
}

MatmulTile tile_of(const KernelForm& wanted, uint32_t num_tokens, const GpuLimits& limits) {
  if (num_tokens <= kMaxFewTokens) return first_that_fits(kFewTokensTiles, limits);
  if (!wanted.has_tile()) {
    return first_that_fits(limits.is_software ? kSoftwareTiles : std::span(kManyTokensTiles),
                           limits);
  }
  return {wanted.tile_rows / wanted.tile_thread_rows, wanted.tile_tokens / wanted.thread_tokens,
          wanted.tile_thread_rows / 4, wanted.thread_tokens / 4};
}

Status check_form(const KernelForm& form, const GpuLimits& limits) {
  const auto check = [&](std::string_view what, uint64_t found, uint64_t min, uint64_t max) {
    if (found >= min && found <= max) return Status();
    return Status(error("form {}: expected {} to {} {} on this device, found {}", to_string(form),
                        min, max, what, found));
  };
  if (form.has_group()) {
    SKEIN_RETURN_IF_ERROR(check("threads of a workgroup", form.group_threads, kMinGroupThreads,
                                limits.max_group_threads));
  }
  if (!form.has_tile()) return {};
  const MatmulTile tile = tile_of(form, kMaxFewTokens + 1, limits);
  // Every thread loads four cols of x at a time.
  const uint32_t most = std::min(limits.max_group_threads, tile.tokens() * kTileCols / 4);
  SKEIN_RETURN_IF_ERROR(check("threads of a workgroup", tile.threads(), kMinGroupThreads, most));
  return check("bytes of workgroup memory", num_bytes(tile), 1, limits.max_group_bytes);
}

Status check_forms(const KernelForms& forms, const GpuLimits& limits) {
  for (const KernelForm* form :
       {&forms.attention, &forms.low_rank, &forms.ffn_key, &forms.ffn_value, &forms.head}) {
    SKEIN_RETURN_IF_ERROR(check_form(*form, limits));
  }
  return {};
}

std::vector<KernelForm> list_forms(MatrixOp op, DType dtype, const AnyMapping& mapping,
                                   uint32_t num_tokens, const GpuLimits& limits) {
  const VectorAxis axis = vector_axis(mapping, vector_elems(dtype));
  const bool is_by_lanes = op == MatrixOp::kDense && suits_lanes(dtype, mapping);
  Forms forms = num_tokens == 1 && is_by_lanes ? lane_forms(limits)
                : num_tokens == 1              ? one_token_forms(op, axis, limits)
                : num_tokens > kMaxFewTokens   ? tile_forms(limits)
                                               : Forms();
  std::erase_if(forms, [&](const KernelForm& form) { return !check_form(form, limits); });
  return forms;
}

}  // namespace skein::webgpu
