#include "model/plain_tensor.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "base/check.h"
#include "format/ggml_blocks.h"
#include "tensor/pack_kernels.h"
#include "tensor/sections.h"

namespace skein {
namespace {

// Elements that are decoded at once: whole blocks of every codec, few enough for the first-level
// cache.
constexpr uint64_t kDecodeElems = 1024;

void decode(const TensorInfo& tensor, uint64_t begin, uint64_t end, DType to, std::byte* out) {
  const FileBlock block = file_dtype_block(tensor.dtype);
  alignas(64) std::array<float, kDecodeElems> piece;
  for (uint64_t i = begin; i < end; i += kDecodeElems) {
    const std::span<float> values(piece.data(), std::min(kDecodeElems, end - i));
    decode_ggml_blocks(tensor.dtype, tensor.data.data() + i / block.elems * block.bytes, values);
    std::byte* target = out + i * element_bits(to) / 8;
    const std::span<const std::byte> bytes = std::as_bytes(std::span<const float>(values));
    if (to == DType::kF32) {
      std::copy(bytes.begin(), bytes.end(), target);
    } else {
      convert_run(bytes.data(), DType::kF32, target, to, values.size());
    }
  }
}

// Codes and scales of all blocks, in two sections; where the second begins.
uint64_t split(const TensorInfo& tensor, DType to, std::vector<std::byte>& room, ThreadPool& pool) {
  const FileBlock block = file_dtype_block(tensor.dtype);
  const uint64_t num_blocks = tensor.data.size() / block.bytes;
  const uint64_t code_bytes = block.elems * element_bits(to) / 8;
  const uint64_t scales = round_up(num_blocks * code_bytes, kSectionAlignBytes);
  room.resize(scales + num_blocks * scale_bytes(to));
  pool.run([&](uint32_t thread) {
    const Range share = share_of(num_blocks, 1, thread, pool.num_threads());
    split_ggml_blocks(tensor.dtype, tensor.data.data() + share.begin * block.bytes, share.length(),
                      room.data() + share.begin * code_bytes,
                      room.data() + scales + share.begin * scale_bytes(to));
  });
  return scales;
}

}  // namespace

std::optional<DType> kept_dtype(FileDType dtype) noexcept {
  switch (dtype) {
    case FileDType::kQ8_0:
      return DType::kQ8_0;
    case FileDType::kQ4_0:
      return DType::kQ4_0;
    case FileDType::kQ4K:
      return DType::kQ4K;
    default:
      return std::nullopt;
  }
}

std::optional<DType> plain_dtype(FileDType dtype) noexcept {
  switch (dtype) {
    case FileDType::kF32:
      return DType::kF32;
    case FileDType::kF16:
      return DType::kF16;
    case FileDType::kBF16:
      return DType::kBF16;
    default:
      return is_block_coded(dtype) ? std::optional(DType::kF16) : std::nullopt;
  }
}

PlainTensor read_plain(const TensorInfo& tensor, DType to, std::vector<std::byte>& room,
                       ThreadPool& pool) {
  const std::optional<DType> dtype = plain_dtype(tensor.dtype);
  CHECK(dtype);
  if (!is_block_coded(tensor.dtype)) return {tensor.data, *dtype, 0};
  if (to == kept_dtype(tensor.dtype)) {
    const uint64_t scales = split(tensor, to, room, pool);
    return {room, to, scales};
  }
  if (to != DType::kF16) to = DType::kF32;
  const FileBlock block = file_dtype_block(tensor.dtype);
  const uint64_t num_elems = tensor.data.size() / block.bytes * block.elems;
  room.resize(num_elems * element_bits(to) / 8);
  pool.run([&](uint32_t thread) {
    const Range range = share_of(num_elems, kDecodeElems, thread, pool.num_threads());
    decode(tensor, range.begin, range.end, to, room.data());
  });
  return {room, to, 0};
}

}  // namespace skein
