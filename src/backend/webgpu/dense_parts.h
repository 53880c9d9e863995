// The parts of a matrix product: what form each job takes, and where a matrix is cut that is larger
// than one binding may be.
//
// Goals: the form from what a sixteen-byte load brings (vector_axis.h) and how many tokens share
// it. Non-goals: shader text.
#pragma once

#include <span>
#include <vector>

#include "backend/webgpu/dense.h"
#include "backend/webgpu/vector_axis.h"
#include "tensor/codec.h"

namespace skein::webgpu {

// Each has a shader of its name: dense_rows.wgsl and so on.
enum class Form : uint8_t {
  kCopy,
  // One token or few, a sum for each: loads bring cols of a row, rows of a col, or one weight.
  kRows,
  kCols,
  kAny,
  // Many tokens: tiles, in a grid with dimensions for tokens and for parts of the cols.
  kMatmul,
};
std::string_view shader_file(Form form);

struct MatmulTile {
  // A thread has four rows of so many quads of tokens.
  uint32_t row_threads, token_threads, token_quads;
  constexpr uint32_t threads() const { return row_threads * token_threads; }
  constexpr uint32_t rows() const { return 4 * row_threads; }
  constexpr uint32_t tokens() const { return 4 * token_threads * token_quads; }
};
inline constexpr uint32_t kTileCols = 32;
// Sums of rows and tokens that meet in one barrier of kRows.
inline constexpr uint32_t kMaxRunSums = 8;
const MatmulTile& matmul_tile(uint32_t num_tokens);

// A job, or the rows of it that one binding can hold.
struct Part {
  const DenseJob* job;
  Form form = Form::kCopy;
  ByteRange codes;
  uint64_t row_begin = 0, row_end = 0;
  uint64_t delta_elems = 0;
  uint32_t lanes = 1;     // kRows, kAny: threads a row; kCols: threads that read rows of one col
  uint32_t run_rows = 1;  // kRows: rows of a thread, which share what is loaded of x
  // kMatmul: parts of the cols, so that there are workgroups enough; with more than one, where in
  // the scratch buffer the parts' sums lie, [splits][tokens][split_quads()] of four floats.
  uint32_t splits = 1;
  uint64_t sums_begin = 0;
  uint64_t split_quads() const { return (row_end - row_begin + 3) / 4; }
  uint64_t sums_bytes(uint32_t num_tokens) const {
    return splits == 1 ? 0 : splits * num_tokens * split_quads() * 16;
  }
};

// The elements of a row that a thread of kRows loads at once. Of four-bit codes those are eight, so
// that threads side by side read x side by side; sixteen bytes of them took 1.4 of the time (H200).
constexpr uint32_t load_elems(DType dtype) {
  return element_bits(dtype) == 4 ? 8 : vector_elems(dtype);
}

// Whether x can be read four floats at a time.
bool in_quads(const Activation& x, uint32_t num_tokens);

// All jobs in parts that fit into bindings. If one job takes tiles, all do. Errors: a matrix that
// is too large and cannot be split by rows.
Result<std::vector<Part>> make_parts(std::span<const DenseJob> jobs, uint32_t num_tokens,
                                     const GpuLimits& limits);

}  // namespace skein::webgpu
