// pack: a matrix in host memory from any (dtype, layout) to any other.
//
// Goals: the speed of memory for every pair of layouts that a model file or a plan uses; no
// allocation, so that a matrix of gigabytes can go from a mapped file straight to its place; the
// same bytes for every number of threads and on every machine. Non-goals: in-place conversion,
// quantization (a codec's business), device memory.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "layout/any_mapping.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace skein {

// A matrix to write to: the span of `mapping` from `data` on, at any alignment.
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

// dst gets src's values. Unpacking is the same call with the roles exchanged: src packed, dst
// row_major.
//
// Laws: dst(row, col) = narrow(widen(src(row, col))), widening exact, narrowing to the nearest with
// ties to even (base/float16.h, bit for bit; of the same dtype: the same bits, NaN too); every
// other element of dst's span, its padding, is zero; nothing outside the span is written, nothing
// outside src's span is read, and src's padding is ignored.
//
// Preconditions: equal extents; each mapping was made for its dtype's element_bits; the spans do
// not overlap. Not inside a run of `pool`.
//
// Cost, in memcpy's time for as many bytes (bench/pack_bench.cc, one and 16 threads): 1 to 1.7
// between row_major, interleave and morton, to 2.5 with a conversion, 2.5 to 4 to and from
// col_major.
void pack(const ConstHostMatrix& src, const HostMatrix& dst, ThreadPool& pool) noexcept;

}  // namespace skein
