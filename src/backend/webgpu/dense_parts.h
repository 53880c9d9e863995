// The parts of a matrix product: what shader each job takes, and where a matrix is cut that is
// larger than one binding may be.
//
// Goals: the shader from what a sixteen-byte load brings (vector_axis.h) and how many tokens share
// it. Non-goals: shader text, how threads divide it (forms.h).
#pragma once

#include <span>
#include <vector>

#include "backend/webgpu/dense.h"
#include "backend/webgpu/forms.h"
#include "backend/webgpu/vector_axis.h"
#include "tensor/codec.h"

namespace skein::webgpu {

std::string_view shader_file(Shader shader);

// A job, or the rows of it that one binding can hold.
struct Part {
  const DenseJob* job;
  Shader shader = Shader::kCopy;
  ByteRange codes;
  uint64_t row_begin = 0, row_end = 0;
  uint64_t delta_elems = 0;
  uint32_t lanes =
      1;  // kRows, kFew, kAny, kLanes: threads a row; kCols: threads that read rows of one col
  uint32_t run_rows = 1;  // kRows, kFew, kLanes: rows of a thread, which share what is loaded of x
  uint32_t loads = 1;     // kRows: of weights that a thread has in flight
  uint32_t threads = 1;   // that the workgroup should have at least
  MatmulTile tile = {};   // kMatmul; the same for all parts
  // kMatmul: parts of the cols, so that there are workgroups enough; with more than one, where in
  // the scratch buffer the parts' sums lie, [splits][tokens][split_quads()] of four floats.
  uint32_t splits = 1;
  uint64_t sums_begin = 0;
  uint64_t split_quads() const { return (row_end - row_begin + 3) / 4; }
  uint64_t sums_bytes(uint32_t num_tokens) const {
    return splits == 1 ? 0 : splits * num_tokens * split_quads() * 16;
  }
};

// Whether x can be read four floats at a time.
bool in_quads(const Activation& x, uint32_t num_tokens);

// All jobs in parts that fit into bindings. If one job takes tiles, all do. Errors: a matrix that
// is too large and cannot be split by rows.
Result<std::vector<Part>> make_parts(std::span<const DenseJob> jobs, uint32_t num_tokens,
                                     const GpuLimits& limits);

}  // namespace skein::webgpu
