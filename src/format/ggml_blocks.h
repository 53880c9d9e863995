// The block codecs of ggml that .gguf files hold, decoded to f32.
//
// Goals: the values that ggml's own reference decoding gives, bit for bit (the package `gguf` is
// the oracle); three of them also taken apart into codes and scales as they are. Non-goals:
// encoding, computing with codes, the other codecs of ggml (Q2_K, Q3_K, IQ*).
//
// Blocks, little-endian; d, m and dmin are f16, q are codes:
//   Q8_0  32 elements, 34 bytes:   d, 32 i8                               w = d q
//   Q4_0  32 elements, 18 bytes:   d, 16 bytes                            w = d (q - 8)
//   Q4_1  32 elements, 20 bytes:   d, m, 16 bytes                         w = d q + m
//   Q5_0  32 elements, 22 bytes:   d, u32 of fifth bits, 16 bytes         w = d (q - 16)
//   Q5_1  32 elements, 24 bytes:   d, m, u32 of fifth bits, 16 bytes      w = d q + m
//   Q4_K  256 elements, 144 bytes: d, dmin, 12 bytes of scales, 128 bytes          w = d s q - dmin
//   t Q5_K  256 elements, 176 bytes: d, dmin, 12 bytes of scales, 32, 128 bytes      w = d s q -
//   dmin t Q6_K  256 elements, 210 bytes: 128 bytes, 64 bytes, 16 i8 scales, d            w = d s
//   (q - 32)
// In the blocks of 32, byte i has the code of element i in its low nibble and that of element i +
// 16 in its high one; in Q4_K and Q5_K each 32 bytes hold two runs of 32 elements in the same way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "format/file_dtype.h"

namespace skein {

// Writes out.size() elements, whole blocks of `dtype` (which is block coded) from `blocks` on.
// Cost: some 1 to 2 ns an element.
void decode_ggml_blocks(FileDType dtype, const std::byte* blocks, std::span<float> out) noexcept;

// Of num_blocks blocks of Q8_0, Q4_0 or Q4_K, nothing else: the codes in the order of the elements,
// a byte each or, of four bits, the even element in the low nibble; and what stands in front of
// them, block after block (2, 2 and 16 bytes).
void split_ggml_blocks(FileDType dtype, const std::byte* blocks, uint64_t num_blocks,
                       std::byte* codes, std::byte* scales) noexcept;

}  // namespace skein
