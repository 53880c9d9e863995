// dense() of quantized weights against a double-precision oracle that decodes them with the scalar
// codec: shapes with short blocks, constant blocks and such with subnormal scales, NaN in the
// scales of padding.
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_features.h"
#include "backend/cpu/dense_testing.h"

namespace skein {
namespace {

class DenseQuantTest : public DenseTest {};

// Those with special kernels (dense_quant_layouts_test.cc has the others): blocks as long as those
// of scales, longer, shorter, of no part of one, with gaps between them.
std::vector<std::string> layouts_of(DType dtype) {
  return element_bits(dtype) == 8
             ? std::vector<std::string>{"interleave(16,128,4)", "interleave(16,256,4)",
                                        "interleave(16,32,4)",  "interleave(16,4,4)",
                                        "interleave(16,96,4)",  "interleave(16,132,4)@256B"}
             : std::vector<std::string>{"interleave(16,64,8)", "interleave(16,192,8)",
                                        "interleave(16,8,8)", "interleave(16,40,8)",
                                        "interleave(16,72,8)@256B"};
}

// R below 16, whose units of several chunks begin and end anywhere in a block.
std::vector<std::string> narrow_layouts_of(DType dtype) {
  return element_bits(dtype) == 8
             ? std::vector<std::string>{"interleave(8,128,4)",     "interleave(4,128,4)",
                                        "interleave(8,4,4)",       "interleave(4,12,4)",
                                        "interleave(8,36,4)@256B", "interleave(4,20,4)@64B"}
             : std::vector<std::string>{"interleave(8,64,8)",      "interleave(4,64,8)",
                                        "interleave(8,8,8)",       "interleave(4,24,8)",
                                        "interleave(8,40,8)@256B", "interleave(4,72,8)@64B"};
}

TEST_P(DenseQuantTest, AnyShape) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 1},   {1, 65},   {17, 7},  {16, 128},
                                                       {33, 64}, {19, 259}, {47, 131}};
  for (const DType dtype : kQuantDTypes) {
    for (const std::string& layout : layouts_of(dtype)) {
      for (const auto& [rows, cols] : kShapes) {
        for (const uint32_t num_tokens : {1u, 11u, 34u}) {
          check(dtype, layout, rows, cols, num_tokens);
        }
      }
    }
  }
}

TEST_P(DenseQuantTest, AnyNumberOfTokens) {
  for (const DType dtype : kQuantDTypes) {
    for (uint32_t num_tokens = 1; num_tokens <= 40; ++num_tokens) {
      check(dtype, layouts_of(dtype)[0], 37, 200, num_tokens);
    }
  }
}

// Row groups that the matrix ends with, tokens that fill a turn, do not and take two.
TEST_P(DenseQuantTest, NarrowBlocks) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 1}, {5, 65}, {17, 7}, {39, 259}};
  for (const DType dtype : kQuantDTypes) {
    for (const std::string& layout : narrow_layouts_of(dtype)) {
      for (const auto& [rows, cols] : kShapes) {
        for (const uint32_t num_tokens : {1u, 7u}) check(dtype, layout, rows, cols, num_tokens);
      }
      for (const uint32_t num_tokens : {2u, 3u, 4u, 20u}) check(dtype, layout, 30, 131, num_tokens);
      check(dtype, layout, 35, 150, 3, 3);
      check(dtype, layout, 35, 150, 34, 3);
    }
  }
}

// More cols than x in the order of the units has room for, with few tokens and with one.
TEST_P(DenseQuantTest, NarrowBlocksLongRows) {
  for (const DType dtype : kQuantDTypes) {
    for (const size_t i : {0u, 1u, 4u}) {
      check(dtype, narrow_layouts_of(dtype)[i], 5, 4096 + 70, 5);
      check(dtype, narrow_layouts_of(dtype)[i], 5, 16384 + 70, 1);
    }
  }
}

TEST_P(DenseQuantTest, SeveralPassesAndAnyAlignment) {
  for (const DType dtype : kQuantDTypes) {
    for (const std::string& layout : layouts_of(dtype)) {
      check(dtype, layout, 33, 1031, 37);
      check(dtype, layout, 35, 150, 3, 3);
      check(dtype, layout, 35, 150, 34, 3);
    }
  }
}

// int8 products must differ from exact ones where the target has them, or they did not run; one
// token must not see another's.
TEST_P(DenseQuantTest, FastRunsWhereTheTargetHasIt) {
  EXPECT_EQ(cpu_target_has_vnni(),
            cpu_has_avx512_vnni() && (GetParam() == "avx512" || GetParam() == "zen4"));
  for (const DType dtype : kQuantDTypes) {
    const TestWeights weights = random_weights(rng_, dtype, layouts_of(dtype)[0], 53, 300);
    TestRows x(37, 300, kNaN);
    x.fill(rng_, 1.0);
    const TestRows start(37, 53, kCanary);
    const auto run = [&](Precision precision, uint32_t num_tokens) {
      return multiply(weights, x, start, num_tokens, false, precision, *pools_[1]);
    };
    const TestRows exact = run(Precision::kExact, 1), fast = run(Precision::kFast, 1);
    EXPECT_EQ(!exact.same_bits(fast), cpu_target_has_vnni());
    if (!cpu_target_has_vnni()) continue;
    for (const uint32_t num_tokens : {2u, 7u, 8u, 9u, 37u}) {
      const TestRows more = run(Precision::kFast, num_tokens);
      EXPECT_EQ(std::memcmp(fast.row(0), more.row(0), 53 * sizeof(float)), 0) << num_tokens;
    }
  }
}

// More tokens than the scratch of one thread has room for.
TEST_P(DenseQuantTest, FastInSeveralPasses) {
  check(DType::kInt8, "interleave(16,128,4)", 17, 6000, 180);
  check(DType::kNF4, "interleave(16,64,8)", 17, 6000, 180);
  check(DType::kQ4K, "interleave(16,256,8)", 17, 6000, 180);
}

// x of zeros, of one element, and so small that its scale has no reciprocal.
TEST_P(DenseQuantTest, AnyX) {
  for (const DType dtype : kQuantDTypes) {
    const TestWeights weights = random_weights(rng_, dtype, layouts_of(dtype)[0], 40, 260);
    for (const uint32_t num_tokens : {4u, 12u}) {
      TestRows x(num_tokens, 260, kNaN);
      x.fill(rng_, 0.0);
      const TestRows start(num_tokens, 40, kCanary);
      x.row(1)[3] = 2.5f;
      x.row(2)[259] = -0x1p-140f;
      for (uint64_t col = 0; col < 260; ++col) x.row(3)[col] = col % 2 == 0 ? 0x1p90f : -0x1p-90f;
      for (const Precision precision : {Precision::kExact, Precision::kFast}) {
        const TestRows y = multiply(weights, x, start, num_tokens, false, precision, *pools_[2]);
        for (uint64_t row = 0; row < 40; ++row) {
          EXPECT_EQ(y.row(0)[row], 0.0f);
          EXPECT_NEAR(y.row(2)[row], 0.0f, 0x1p-130f);
          EXPECT_TRUE(std::isfinite(y.row(3)[row]));
        }
        expect_product(weights, x, start, y, 2, false, {.int8_x = precision == Precision::kFast},
                       "one element");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, DenseQuantTest, ::testing::ValuesIn(kAllCpuTargets),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace skein
