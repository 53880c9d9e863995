// The elements of a file's tensor as memory wants them: plain numbers as they lie in the file; what
// is in one of ggml's block codecs decoded, or taken apart into codes and scales.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "format/tensor_info.h"
#include "tensor/dtype.h"

namespace skein {

// What a tensor of that type is in memory as plain numbers: itself where it is plain, f16 where it
// is in blocks (rounding to f16 adds less than a hundredth of what the codecs lost); nothing for
// what are no weights.
std::optional<DType> plain_dtype(FileDType dtype) noexcept;

// The dtype in which a tensor of that type stays as it is: its own codec. Nothing for plain types
// and for codecs that are always decoded.
std::optional<DType> kept_dtype(FileDType dtype) noexcept;

struct PlainTensor {
  // In the order of the file, the last axis fastest; of codes and scales the span of `row_major`
  // (tensor/sections.h).
  std::span<const std::byte> bytes;
  DType dtype = DType::kF32;
  uint64_t scales_offset_bytes = 0;  // where the scales begin; 0 for plain numbers
};

// `tensor` has a plain_dtype(). A block-coded one is taken apart where `to` is its kept_dtype(),
// else decoded to f32, or to f16 where `to` is that; into `room`. Of a plain one the bytes are the
// file's and `room` is not touched.
PlainTensor read_plain(const TensorInfo& tensor, DType to, std::vector<std::byte>& room,
                       ThreadPool& pool);

}  // namespace skein
