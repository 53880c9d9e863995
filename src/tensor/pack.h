// pack: a matrix in host memory from any (dtype, layout) to any other.
//
// Goals: the speed of memory for every pair of layouts that a model file or a plan uses; no
// allocation, so that a matrix of gigabytes can go from a mapped file straight to its place; the
// same bytes for every number of threads and on every machine; quantizing and decoding on the way.
// Non-goals: in-place conversion, device memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/thread_pool.h"
#include "layout/any_mapping.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace skein {

// A matrix to write to: the span of `mapping` from `data` on, at any alignment; with its scales
// where the dtype is quantized (sections.h).
struct HostMatrix {
  std::byte* data;
  DType dtype;
  AnyMapping mapping;
};

// A matrix to read: the same, perhaps in a mapped file.
struct ConstHostMatrix {
  ConstHostMatrix(const std::byte* data_in, DType dtype_in, const AnyMapping& mapping_in) noexcept
      : data(data_in), dtype(dtype_in), mapping(mapping_in) {}
  ConstHostMatrix(const HostMatrix& m) noexcept  // NOLINT: a writable matrix is a readable one
      : data(m.data), dtype(m.dtype), mapping(m.mapping) {}

  const std::byte* data;
  DType dtype;
  AnyMapping mapping;
};

// The memory of a tensor that the host can see.
inline HostMatrix host_matrix(const Tensor& tensor) noexcept {
  return {tensor.host_data(), tensor.dtype(), tensor.mapping()};
}

// A block that no codec can hold: one of its values is NaN, infinite or beyond f16.
struct RefusedBlock {
  uint64_t row;
  uint64_t first_col;
};

// dst gets src's values. Unpacking is the same call with the roles exchanged: src packed, dst
// row_major.
//
// Laws: dst(row, col) = narrow(widen(src(row, col))), widening exact, narrowing to the nearest with
// ties to even (base/float16.h, bit for bit; of the same dtype: the same bits, NaN too); every
// other element of dst's span, its padding, is zero; nothing outside the span is written, nothing
// outside src's span is read, and src's padding is ignored. Quantizing and decoding are those of
// codec.h, bit for bit, on values widened to f32; codes of the same dtype move as they are, with
// their scales; padding is padding_code(), and scale bytes of padding and the gap are zero.
//
// Returns the first refused block in the order of rows, whose bytes in dst then are unspecified;
// nothing where dst is not quantized.
//
// Preconditions: equal extents; each mapping was made for its dtype's element_bits; the spans do
// not overlap. Not inside a run of `pool`.
//
// Cost, in memcpy's time for as many bytes (bench/pack_bench.cc, one and 16 threads): 1 to 1.7
// between row_major, interleave and morton, to 2.5 with a conversion, 2.5 to 4 to and from
// col_major.
std::optional<RefusedBlock> pack(const ConstHostMatrix& src, const HostMatrix& dst,
                                 ThreadPool& pool) noexcept;

}  // namespace skein
