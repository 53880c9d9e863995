// Which elements of a layout a sixteen-byte load brings: cols of one row, rows of one col, or
// neither. Kernels choose their form by it and find the load's place with the emitted index
// function of the layout, so that no shader knows a layout.
#pragma once

#include "layout/any_mapping.h"
#include "tensor/dtype.h"

namespace skein::webgpu {

// Elements of a dtype that a sixteen-byte load brings.
constexpr uint32_t vector_elems(DType dtype) noexcept { return 128 / element_bits(dtype); }

enum class VectorAxis : uint8_t {
  kNone,  // load element by element
  kCols,  // (row, c) to (row, c + count - 1) for every c that is a multiple of count; count divides
          // the cols
  kRows,  // (r, col) to (r + count - 1, col) for every r that is a multiple of count; of the last
          // ones, rows that are none are padding
};

// Law: where it says kCols or kRows, `count` elements from every such place lie side by side in
// that order, and the first at an offset that is a multiple of `count` (vector_axis_test.cc).
VectorAxis vector_axis(const AnyMapping& mapping, uint32_t count);

}  // namespace skein::webgpu
