// The kernels of pack() on every instruction set of this machine, against base/float16.h.
#include "tensor/pack_kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/float16.h"
#include "hwy/targets.h"

namespace skein {
namespace {

class PackKernels : public testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

std::vector<uint32_t> targets() {
  std::vector<uint32_t> all;
  for (auto target : hwy::SupportedAndGeneratedTargets()) {
    all.push_back(static_cast<uint32_t>(target));
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Targets, PackKernels, testing::ValuesIn(targets()),
                         [](const auto& info) { return std::string(hwy::TargetName(info.param)); });

template <class To, class From>
std::vector<To> converted(const std::vector<From>& from, DType from_dtype, DType to_dtype) {
  std::vector<To> to(from.size());
  convert_run(reinterpret_cast<const std::byte*>(from.data()), from_dtype,
              reinterpret_cast<std::byte*>(to.data()), to_dtype, from.size());
  return to;
}

std::vector<uint16_t> all_16_bits() {
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  return all;
}

TEST_P(PackKernels, WideningIsThatOfFloat16ForAllBits) {
  const std::vector<uint16_t> all = all_16_bits();
  const auto from_f16 = converted<uint32_t>(all, DType::kF16, DType::kF32);
  const auto from_bf16 = converted<uint32_t>(all, DType::kBF16, DType::kF32);
  const auto f16_to_bf16 = converted<uint16_t>(all, DType::kF16, DType::kBF16);
  const auto bf16_to_f16 = converted<uint16_t>(all, DType::kBF16, DType::kF16);
  for (size_t i = 0; i < all.size(); ++i) {
    const float f16 = f32_from(F16{all[i]});
    const float bf16 = f32_from(BF16{all[i]});
    ASSERT_EQ(from_f16[i], std::bit_cast<uint32_t>(f16)) << i;
    ASSERT_EQ(from_bf16[i], std::bit_cast<uint32_t>(bf16)) << i;
    ASSERT_EQ(f16_to_bf16[i], bf16_from(f16).bits) << i;
    ASSERT_EQ(bf16_to_f16[i], f16_from(bf16).bits) << i;
  }
}

TEST_P(PackKernels, NarrowingIsThatOfFloat16) {
  // All signs and exponents with the mantissas at which rounding turns, for both targets, then
  // random bits.
  std::vector<uint32_t> from;
  for (uint32_t top = 0; top < 1u << 16; ++top) {
    for (uint32_t low : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      from.push_back((top << 16) | low);
    }
  }
  std::mt19937 random(20261123);
  for (int i = 0; i < 500'000; ++i) from.push_back(static_cast<uint32_t>(random()));
  const auto f16 = converted<uint16_t>(from, DType::kF32, DType::kF16);
  const auto bf16 = converted<uint16_t>(from, DType::kF32, DType::kBF16);
  for (size_t i = 0; i < from.size(); ++i) {
    ASSERT_EQ(f16[i], f16_from(std::bit_cast<float>(from[i])).bits) << std::hex << from[i];
    ASSERT_EQ(bf16[i], bf16_from(std::bit_cast<float>(from[i])).bits) << std::hex << from[i];
  }
}

// All shapes around the sizes of blocks; strides that are odd, so that all is misaligned.
TEST_P(PackKernels, TransposeMovesEachElementAndNothingElse) {
  for (uint32_t elem_bytes : {2u, 4u}) {
    for (uint64_t rows = 1; rows <= 21; ++rows) {
      for (uint64_t cols = 1; cols <= 21; ++cols) {
        // Both orders of the two strides, and dense ones for every other shape.
        const uint64_t gap = (rows + cols) % 2;
        const uint64_t src_stride = cols * elem_bytes + gap * 3;
        const uint64_t dst_stride = rows * elem_bytes + gap * (rows % 3 == 0 ? 55 : 5);
        std::vector<std::byte> src(rows * src_stride);
        for (size_t i = 0; i < src.size(); ++i) src[i] = static_cast<std::byte>(i * 31 + i / 251);
        std::vector<std::byte> want(cols * dst_stride, std::byte{0xa5});
        for (uint64_t i = 0; i < rows; ++i) {
          for (uint64_t j = 0; j < cols; ++j) {
            std::memcpy(&want[j * dst_stride + i * elem_bytes],
                        &src[i * src_stride + j * elem_bytes], elem_bytes);
          }
        }
        std::vector<std::byte> dst(cols * dst_stride, std::byte{0xa5});
        transpose(src.data(), src_stride, dst.data(), dst_stride, rows, cols, elem_bytes);
        ASSERT_EQ(dst, want) << rows << 'x' << cols << " of " << elem_bytes;
      }
    }
  }
}

TEST(CopyGridTest, CopiesRunsOfEveryLength) {
  for (uint64_t run_bytes : {1u, 2u, 3u, 4u, 6u, 8u, 16u, 32u, 33u, 64u, 100u, 128u}) {
    constexpr uint64_t kRows = 5;
    constexpr uint64_t kChunks = 3;
    const GridStrides from = {run_bytes, run_bytes * kRows + 1};
    const GridStrides to = {run_bytes * kChunks + 2, run_bytes};
    std::vector<std::byte> src(from.chunk * kChunks);
    for (size_t i = 0; i < src.size(); ++i) src[i] = static_cast<std::byte>(i * 7 + 1);
    std::vector<std::byte> want(to.row * kRows, std::byte{0xa5});
    for (uint64_t i = 0; i < kRows; ++i) {
      for (uint64_t j = 0; j < kChunks; ++j) {
        for (uint64_t b = 0; b < run_bytes; ++b) {
          want[i * to.row + j * to.chunk + b] = src[i * from.row + j * from.chunk + b];
        }
      }
    }
    std::vector<std::byte> dst(to.row * kRows, std::byte{0xa5});
    copy_grid(src.data(), from, dst.data(), to, kRows, kChunks, run_bytes);
    EXPECT_EQ(dst, want) << run_bytes;
  }
}

}  // namespace
}  // namespace skein
