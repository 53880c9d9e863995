#include "format/file_dtype.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

struct Known {
  const char* name;
  FileDType dtype;
  uint64_t bytes;
};

// The format's own list.
constexpr Known kKnown[] = {{"BOOL", FileDType::kBool, 1},      {"U8", FileDType::kU8, 1},
                            {"I8", FileDType::kI8, 1},          {"F8_E5M2", FileDType::kF8E5M2, 1},
                            {"F8_E4M3", FileDType::kF8E4M3, 1}, {"F8_E8M0", FileDType::kF8E8M0, 1},
                            {"I16", FileDType::kI16, 2},        {"U16", FileDType::kU16, 2},
                            {"F16", FileDType::kF16, 2},        {"BF16", FileDType::kBF16, 2},
                            {"I32", FileDType::kI32, 4},        {"U32", FileDType::kU32, 4},
                            {"F32", FileDType::kF32, 4},        {"C64", FileDType::kC64, 8},
                            {"F64", FileDType::kF64, 8},        {"I64", FileDType::kI64, 8},
                            {"U64", FileDType::kU64, 8}};

TEST(FileDTypeTest, NamesAndSizesAreTheFormats) {
  for (const Known& known : kKnown) {
    EXPECT_EQ(file_dtype_name(known.dtype), known.name);
    EXPECT_EQ(file_dtype_bytes(known.dtype), known.bytes) << known.name;
    EXPECT_EQ(parse_file_dtype(known.name), known.dtype) << known.name;
  }
}

// Of ggml: elements, and bytes of scales and codes.
TEST(FileDTypeTest, BlocksAreGgmls) {
  struct Block {
    const char* name;
    FileDType dtype;
    uint64_t elems, bytes;
  };
  constexpr Block kBlocks[] = {{"Q8_0", FileDType::kQ8_0, 32, 2 + 32},
                               {"Q4_0", FileDType::kQ4_0, 32, 2 + 16},
                               {"Q4_1", FileDType::kQ4_1, 32, 4 + 16},
                               {"Q5_0", FileDType::kQ5_0, 32, 2 + 4 + 16},
                               {"Q5_1", FileDType::kQ5_1, 32, 4 + 4 + 16},
                               {"Q4_K", FileDType::kQ4K, 256, 4 + 12 + 128},
                               {"Q5_K", FileDType::kQ5K, 256, 4 + 12 + 32 + 128},
                               {"Q6_K", FileDType::kQ6K, 256, 128 + 64 + 16 + 2}};
  for (const Block& block : kBlocks) {
    EXPECT_EQ(file_dtype_name(block.dtype), block.name);
    EXPECT_EQ(file_dtype_block(block.dtype).elems, block.elems) << block.name;
    EXPECT_EQ(file_dtype_block(block.dtype).bytes, block.bytes) << block.name;
    EXPECT_TRUE(is_block_coded(block.dtype));
    EXPECT_EQ(parse_file_dtype(block.name), std::nullopt) << "no type of .safetensors";
  }
  EXPECT_EQ(file_dtype_block(FileDType::kF16).elems, 1u);
  EXPECT_EQ(file_dtype_block(FileDType::kF16).bytes, 2u);
  EXPECT_FALSE(is_block_coded(FileDType::kU64));
}

TEST(FileDTypeTest, OtherTextsAreNoDType) {
  for (const char* text : {"", "f32", "F32 ", "F", "F4", "F6_E2M3", "float32"}) {
    EXPECT_EQ(parse_file_dtype(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace skein
