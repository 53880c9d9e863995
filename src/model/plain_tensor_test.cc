// What read_plain() makes of ggml's blocks: the codes and scales of a kept codec are worth the very
// values that decoding gives.
#include "model/plain_tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/float16.h"
#include "format/ggml_blocks.h"
#include "tensor/pack.h"

namespace skein {
namespace {

constexpr FileDType kKept[] = {FileDType::kQ8_0, FileDType::kQ4_0, FileDType::kQ4K};

// Blocks of any bytes whose f16 numbers are finite: of either sign, subnormal, zero.
std::vector<std::byte> random_blocks(std::mt19937& random, FileDType type, uint64_t num_blocks) {
  const FileBlock block = file_dtype_block(type);
  std::vector<std::byte> bytes(num_blocks * block.bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  const uint32_t num_scales = type == FileDType::kQ4K ? 2 : 1;
  for (uint64_t i = 0; i < num_blocks; ++i) {
    for (uint32_t j = 0; j < num_scales; ++j) {
      auto bits = static_cast<uint16_t>(random());
      if (i % 7 == 0) bits &= 0x83ffu;                   // subnormal
      if (i % 31 == 0) bits &= 0x8000u;                  // zero
      if ((bits & 0x7c00u) == 0x7c00u) bits ^= 0x4000u;  // not finite
      std::memcpy(bytes.data() + i * block.bytes + 2 * uint64_t{j}, &bits, sizeof bits);
    }
  }
  return bytes;
}

TensorInfo tensor_of(FileDType type, const std::vector<std::byte>& bytes, Extents extents) {
  TensorInfo tensor;
  tensor.name = "blocks";
  tensor.dtype = type;
  tensor.shape = {extents.rows, extents.cols};
  tensor.data = bytes;
  return tensor;
}

AnyMapping mapping_of(const std::string& layout, Extents extents, DType dtype) {
  return make_mapping(parse_layout(layout).value(), extents, element_bits(dtype)).value();
}

TEST(PlainTensorTest, KeptCodesAreWorthWhatDecodingGives) {
  std::mt19937 random(20261123);
  const auto pool = ThreadPool::create(3).value();
  const Extents extents{37, 768};
  for (const FileDType type : kKept) {
    const FileBlock block = file_dtype_block(type);
    const std::vector<std::byte> bytes =
        random_blocks(random, type, extents.num_elems() / block.elems);
    const TensorInfo tensor = tensor_of(type, bytes, extents);
    std::vector<float> want(extents.num_elems());
    decode_ggml_blocks(type, bytes.data(), want);

    const DType dtype = *kept_dtype(type);
    std::vector<std::byte> room;
    const PlainTensor kept = read_plain(tensor, dtype, room, *pool);
    ASSERT_EQ(kept.dtype, dtype);
    const AnyMapping rows = mapping_of("row_major", extents, dtype);
    ASSERT_EQ(kept.bytes.size(), Tensor::span_bytes_of(rows, dtype));
    // As many bytes as in the file, but for the gap between the sections.
    EXPECT_LT(kept.bytes.size(), bytes.size() + kSectionAlignBytes);
    for (const std::string layout :
         {"row_major", "col_major@128B", "interleave(16,32,8)", "interleave(16,32,4)",
          "interleave(16,512,8)", "interleave(5,7)", "tile(16,32)", "morton(16)", "morton(5)"}) {
      const AnyMapping mapping = mapping_of(layout, extents, dtype);
      std::vector<std::byte> packed(Tensor::span_bytes_of(mapping, dtype));
      ASSERT_FALSE(
          skein::pack({kept.bytes.data(), dtype, rows}, {packed.data(), dtype, mapping}, *pool));
      std::vector<float> got(extents.num_elems());
      ASSERT_FALSE(skein::pack({packed.data(), dtype, mapping},
                               {reinterpret_cast<std::byte*>(got.data()), DType::kF32,
                                mapping_of("row_major", extents, DType::kF32)},
                               *pool));
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
            << file_dtype_name(type) << ' ' << layout << ' ' << i << ": " << got[i] << " for "
            << want[i];
      }
    }
  }
}

TEST(PlainTensorTest, OtherTypesAreDecoded) {
  std::mt19937 random(7);
  const auto pool = ThreadPool::create(2).value();
  const Extents extents{3, 512};
  for (const FileDType type : kKept) {
    const std::vector<std::byte> bytes =
        random_blocks(random, type, extents.num_elems() / file_dtype_block(type).elems);
    const TensorInfo tensor = tensor_of(type, bytes, extents);
    std::vector<float> want(extents.num_elems());
    decode_ggml_blocks(type, bytes.data(), want);
    for (const DType to : {DType::kF32, DType::kF16, DType::kInt8, DType::kNF4}) {
      std::vector<std::byte> room;
      const PlainTensor plain = read_plain(tensor, to, room, *pool);
      ASSERT_EQ(plain.dtype, to == DType::kF16 ? to : DType::kF32);
      ASSERT_EQ(plain.bytes.size(), want.size() * element_bits(plain.dtype) / 8);
      if (plain.dtype == DType::kF32) {
        EXPECT_EQ(std::memcmp(plain.bytes.data(), want.data(), plain.bytes.size()), 0);
      }
    }
  }
  for (const FileDType type : {FileDType::kQ6K, FileDType::kQ5_0, FileDType::kF16}) {
    EXPECT_FALSE(kept_dtype(type));
  }
}

}  // namespace
}  // namespace skein
