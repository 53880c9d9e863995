// The elements of a file's tensor as plain numbers: as they lie in the file, or decoded where they
// are in one of ggml's block codecs.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "format/tensor_info.h"
#include "tensor/dtype.h"

namespace skein {

// What a tensor of that type is in memory unless it is to be quantized: itself where it is plain,
// f16 where it is in blocks (rounding to f16 adds less than a hundredth of what the codecs lost);
// nothing for what are no weights.
std::optional<DType> plain_dtype(FileDType dtype) noexcept;

struct PlainTensor {
  std::span<const std::byte> bytes;  // in the order of the file, the last axis fastest
  DType dtype = DType::kF32;
};

// `tensor` has a plain_dtype(). A block-coded one is decoded to f32, or to f16 where `to` is that,
// into `room`; of a plain one the bytes are the file's and `room` is not touched.
PlainTensor read_plain(const TensorInfo& tensor, DType to, std::vector<std::byte>& room,
                       ThreadPool& pool);

}  // namespace skein
