// What a KernelForm means here: workgroups, threads of a row and tiles of the product's shaders,
// the rules where nobody named a form, and the forms that are worth measuring.
//
// Goals: every form that a device has room for gives the same results but for rounding; what a
// product is too small for is cut down, never refused. Non-goals: shader text.
#pragma once

#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/kernel_form.h"
#include "backend/kernel_registry.h"
#include "backend/webgpu/gpu.h"
#include "backend/webgpu/vector_axis.h"
#include "base/bits.h"
#include "layout/any_mapping.h"
#include "tensor/codec.h"

namespace skein::webgpu {

// What a product runs on; each has a .wgsl file: dense_rows.wgsl and so on.
enum class Shader : uint8_t {
  kCopy,
  // One token or few, a sum for each: loads bring cols of a row, rows of a col, or one weight.
  kRows,
  kCols,
  kAny,
  // One token or few of quantized weights, where threads side by side load the same cols of rows
  // side by side.
  kLanes,
  // Up to sixteen tokens, where loads bring cols of a row or eight rows of a col: a thread has
  // eight rows of all of them.
  kFew,
  // Many tokens: tiles, in a grid with dimensions for tokens and for parts of the cols.
  kMatmul,
};

struct MatmulTile {
  // A thread has so many quads of rows and of tokens.
  uint32_t row_threads, token_threads, row_quads, token_quads;
  constexpr uint32_t threads() const { return row_threads * token_threads; }
  constexpr uint32_t rows() const { return 4 * row_threads * row_quads; }
  constexpr uint32_t tokens() const { return 4 * token_threads * token_quads; }
};
inline constexpr uint32_t kTileCols = 32;

// kFew: so many threads, of which 32, 64 or 128 share eight rows. Sums of eight neighbours meet by
// shuffles, those of such eights in workgroup memory.
inline constexpr uint32_t kMinFewLanes = 32, kMaxFewLanes = 128, kMaxFewTokens = 16;
inline constexpr uint32_t kFewRows = 8, kFewFold = 8;
// By cols all threads may share their rows; by rows two runs of threads at least have rows side by
// side.
constexpr uint32_t few_threads(VectorAxis axis) {
  return axis == VectorAxis::kRows ? 2 * kMaxFewLanes : kMaxFewLanes;
}
constexpr uint64_t few_group_bytes(uint32_t threads, uint32_t num_tokens) {
  return uint64_t{threads} / kFewFold * kFewRows * ceil_div(num_tokens, 4u) * 16;
}
// Of the threads, those that share rows. `rows`: of all such products of the dispatch.
uint32_t few_lanes(uint64_t rows, uint64_t cols, uint32_t num_tokens);

// Sums of rows and tokens that meet in one barrier of kRows.
inline constexpr uint32_t kMaxRunSums = 8;

// kLanes: cols that a thread reads of a row at a time, whose loads are all in flight.
inline constexpr uint32_t kLaneUnitCols = 64;
// Whether quantized weights lie so that kLanes reads whole lines of memory: rows side by side, each
// with the cols of one sixteen-byte load, as in interleave(32,64,32) of four-bit codes.
bool suits_lanes(DType dtype, const AnyMapping& mapping);

// Backend::dense_layouts().
DenseLayouts dense_layouts_of(const GpuLimits& limits);

// Numbers of a product that a form is cut down to.
struct ProductShape {
  DType dtype = DType::kF16;
  uint64_t rows = 0, cols = 0;
  const Layout* layout = nullptr;
  uint32_t num_tokens = 1;
  // Of all products that share the dispatch and its shader; 0: this one's.
  uint64_t dispatch_rows = 0;
};

// The elements of a row that a thread of kRows loads at once. Of four-bit codes those are eight, so
// that threads side by side read x side by side; sixteen bytes of them took 1.4 of the time (H200).
constexpr uint32_t load_elems(DType dtype) {
  return element_bits(dtype) == 4 ? 8 : vector_elems(dtype);
}

// `wanted` for such a product on kRows, kCols, kAny or kLanes, or the rules where it has no group.
KernelForm group_of(const KernelForm& wanted, Shader shader, const ProductShape& shape,
                    const GpuLimits& limits);
// The same for kMatmul. Up to 16 tokens have a tile of their own whatever is wanted.
MatmulTile tile_of(const KernelForm& wanted, uint32_t num_tokens, const GpuLimits& limits);

// Errors, one line: more threads or more workgroup memory than the device has, a tile that leaves
// threads without work.
Status check_form(const KernelForm& form, const GpuLimits& limits);

Status check_forms(const KernelForms& forms, const GpuLimits& limits);

// Backend::list_forms().
std::vector<KernelForm> list_forms(MatrixOp op, DType dtype, const AnyMapping& mapping,
                                   uint32_t num_tokens, const GpuLimits& limits);

}  // namespace skein::webgpu
