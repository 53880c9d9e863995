// The block codecs against values worked out by hand, and, where ggml_blocks_reference_test.py has
// written them, against the package gguf.
#include "format/ggml_blocks.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace skein {
namespace {

constexpr FileDType kCodecs[] = {FileDType::kQ8_0, FileDType::kQ4_0, FileDType::kQ4_1,
                                 FileDType::kQ5_0, FileDType::kQ5_1, FileDType::kQ4K,
                                 FileDType::kQ5K,  FileDType::kQ6K};

// f16 of 1 and of 0.5.
constexpr char kOne[] = "\x00\x3c", kHalf[] = "\x00\x38";

std::string f16(const char* bits) { return {bits, 2}; }

std::vector<float> decode(FileDType dtype, const std::string& blocks) {
  const FileBlock block = file_dtype_block(dtype);
  EXPECT_EQ(blocks.size() % block.bytes, 0u);
  std::vector<float> out(blocks.size() / block.bytes * block.elems);
  decode_ggml_blocks(dtype, reinterpret_cast<const std::byte*>(blocks.data()), out);
  return out;
}

TEST(GgmlBlocksTest, SmallBlocksAreWhatTheirFormulasSay) {
  std::string bytes = f16(kHalf) + std::string(32, '\x00');
  bytes[2] = -128;
  bytes[33] = 127;
  const auto q8_0 = decode(FileDType::kQ8_0, bytes + bytes);
  EXPECT_EQ(q8_0[0], -64.f);
  EXPECT_EQ(q8_0[31], 63.5f);
  EXPECT_EQ(q8_0[32], -64.f);

  const std::string nibbles = "\xf1" + std::string(15, '\x00');  // codes 1 and 15
  const auto q4_0 = decode(FileDType::kQ4_0, f16(kHalf) + nibbles);
  EXPECT_EQ(q4_0[0], -3.5f);
  EXPECT_EQ(q4_0[16], 3.5f);
  EXPECT_EQ(q4_0[1], -4.f);
  const auto q4_1 = decode(FileDType::kQ4_1, f16(kHalf) + f16(kOne) + nibbles);
  EXPECT_EQ(q4_1[0], 1.5f);
  EXPECT_EQ(q4_1[16], 8.5f);

  const std::string high("\x00\x00\x01\x00", 4);  // the fifth bit of element 16
  const auto q5_0 = decode(FileDType::kQ5_0, f16(kHalf) + high + nibbles);
  EXPECT_EQ(q5_0[0], -7.5f);
  EXPECT_EQ(q5_0[16], 7.5f);
  const auto q5_1 = decode(FileDType::kQ5_1, f16(kHalf) + f16(kOne) + high + nibbles);
  EXPECT_EQ(q5_1[0], 1.5f);
  EXPECT_EQ(q5_1[16], 16.5f);
}

TEST(GgmlBlocksTest, SuperBlocksFindTheirScales) {
  // Run 0: scale 3, minimum 2. Run 5: scale 0x21, minimum 0x12, in both halves of their bits.
  std::string scales(12, '\x00');
  scales[0] = 3;
  scales[4] = 2;
  scales[9] = '\x21';
  scales[1] = static_cast<char>(0x2 << 6);
  scales[5] = static_cast<char>(0x1 << 6);
  std::string codes(128, '\x00');
  codes[0] = 5;        // element 0 of run 0
  codes[64] = '\x70';  // element 0 of run 5
  const auto q4 = decode(FileDType::kQ4K, f16(kHalf) + f16(kOne) + scales + codes);
  EXPECT_EQ(q4[0], 0.5f * 3 * 5 - 2);
  EXPECT_EQ(q4[1], -2.f);
  EXPECT_EQ(q4[160], 0.5f * 0x21 * 7 - 0x12);
  std::string high(32, '\x00');
  high[0] = 1 << 5;
  const auto q5 = decode(FileDType::kQ5K, f16(kHalf) + f16(kOne) + scales + high + codes);
  EXPECT_EQ(q5[0], 0.5f * 3 * 5 - 2);
  EXPECT_EQ(q5[160], 0.5f * 0x21 * 23 - 0x12);

  std::string q6(210, '\x00');
  q6[64] = '\x50';        // half 1, run 2, element 0: low bits
  q6[128 + 32] = 3 << 4;  // its high bits
  q6[192 + 12] = -2;      // its scale
  std::memcpy(q6.data() + 208, kHalf, 2);
  EXPECT_EQ(decode(FileDType::kQ6K, q6)[128 + 64], 0.5f * -2 * (0x35 - 32));
}

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// CODEC.blocks are random blocks, CODEC.f32 what the reference makes of them.
TEST(GgmlBlocksReferenceTest, EveryCodecIsTheReferencesBitForBit) {
  const char* folder = std::getenv("SKEIN_REFERENCE_FOLDER");
  if (folder == nullptr) GTEST_SKIP() << "run by ggml_blocks_reference_test.py";
  for (const FileDType codec : kCodecs) {
    const std::string stem = std::string(folder) + "/" + std::string(file_dtype_name(codec));
    const std::string blocks = read_all(stem + ".blocks"), expected = read_all(stem + ".f32");
    ASSERT_FALSE(blocks.empty()) << stem;
    const std::vector<float> found = decode(codec, blocks);
    ASSERT_EQ(found.size() * sizeof(float), expected.size()) << stem;
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), expected.size()), 0) << stem;
  }
}

}  // namespace
}  // namespace skein
