#include "base/hash.h"

#include <gtest/gtest.h>

#include <vector>

namespace skein {
namespace {

struct Known {
  size_t length_bytes;
  uint64_t hash, hash_seed_42;
};

// From an independent build of XXH3 (python-xxhash, xxHash 0.8.4), over bytes 7 i + 3; the lengths
// stand on both sides of the algorithm's cases.
constexpr Known kKnown[] = {
    {0, 0x2d06800538d394c2, 0xb029411ff43d84d2},   {1, 0x13e608bc156defed, 0xd0c83c4bdeed078b},
    {3, 0xa9088dda485b481c, 0x3a6eb7a191052c81},   {8, 0x60539db630471163, 0x53a895ca319fab31},
    {16, 0xb8c859b0f030b585, 0x6b1b54f65d114c69},  {17, 0x714a04408e79b80f, 0x148ada809b3845dd},
    {128, 0x67425a03650261bf, 0xeef663431a9bf01d}, {129, 0xc664bf3311c6abc4, 0x4df9521149f6f8c5},
    {240, 0x64556dc6b462a6cf, 0x722964f8a7f16de3}, {241, 0x8beadd3a8874fe17, 0x59fdc74e63a7aee7},
    {1000, 0x6c4f14bd97bd9e82, 0xf0f163846cbf0c33}};

TEST(HashTest, EqualsTheReferenceImplementation) {
  std::vector<std::byte> bytes(1001);
  // One byte in front, so that the input is misaligned.
  for (size_t i = 0; i < 1000; ++i) bytes[i + 1] = static_cast<std::byte>(i * 7 + 3);
  for (const Known& known : kKnown) {
    const auto input = std::span(bytes).subspan(1, known.length_bytes);
    EXPECT_EQ(hash64(input), known.hash) << known.length_bytes;
    EXPECT_EQ(hash64(input, 42), known.hash_seed_42) << known.length_bytes;
  }
}

TEST(HashTest, TextHasSixteenDigits) {
  EXPECT_EQ(hash_text(0), "0000000000000000");
  EXPECT_EQ(hash_text(0x1fedcba987654321), "1fedcba987654321");
}

}  // namespace
}  // namespace skein
