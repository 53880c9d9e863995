// sparse() against a double-precision oracle: dtypes, targets, densities, numbers of tokens and
// threads.
#include "backend/cpu/sparse.h"

#include <fmt/format.h>

#include "backend/cpu/dense_gemm_amx.h"
#include "backend/cpu/matmul_testing.h"

namespace skein {
namespace {

class SparseTest : public CpuTargetTest {
 protected:
  TestRows multiply(const TestWeights& weights, const TestRows& x, const TestRows& start,
                    uint32_t num_tokens, uint32_t max_tokens, ThreadPool& pool,
                    Precision precision = Precision::kExact) {
    TestRows y = start;
    // Room for more than this matrix, as a model's scratch has.
    SparseScratch scratch =
        SparseScratch::create(pool.num_threads(), max_tokens, weights.tensor.rows() + 19,
                              weights.tensor.cols() + 23)
            .value();
    sparse(weights.tensor, x.row(0), x.stride(), y.row(0), y.stride(), num_tokens, precision, pool,
           scratch);
    return y;
  }

  void check(DType dtype, const std::string& layout, uint64_t rows, uint64_t cols,
             uint32_t num_tokens, double density, uint32_t max_tokens, uint64_t offset_bytes = 0) {
    const std::string what = fmt::format("{} {} {}x{}, {} tokens, density {}", to_string(dtype),
                                         layout, rows, cols, num_tokens, density);
    const TestWeights weights = random_weights(rng_, dtype, layout, rows, cols, offset_bytes);
    TestRows x(num_tokens, cols, kNaN), start(num_tokens, rows, kCanary);
    x.fill(rng_, density);
    start.fill(rng_, 1.0);
    const TestRows y = multiply(weights, x, start, num_tokens, max_tokens, *pools_[0]);
    expect_product(weights, x, start, y, num_tokens, true, {}, what);
    for (size_t i = 1; i < pools_.size(); ++i) {
      const TestRows other = multiply(weights, x, start, num_tokens, max_tokens, *pools_[i]);
      EXPECT_TRUE(y.same_bits(other)) << what << ": differs with " << i + 1 << " threads";
    }
  }

  std::mt19937 rng_{kSeed};
  std::vector<std::unique_ptr<ThreadPool>> pools_ = [] {
    std::vector<std::unique_ptr<ThreadPool>> pools;
    for (const uint32_t n : {1u, 2u, 3u, 11u}) pools.push_back(make_pool(n));
    return pools;
  }();
};

TEST_P(SparseTest, AnyShapeAndDensity) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 1},   {1, 13},  {19, 1},   {16, 64},
                                                       {47, 50}, {96, 97}, {259, 131}};
  for (const DType dtype : kDTypes) {
    for (const auto& [rows, cols] : kShapes) {
      for (const double density : {0.0, 0.1, 0.5, 1.0}) {
        for (const uint32_t num_tokens : {1u, 3u, 7u}) {
          check(dtype, "col_major", rows, cols, num_tokens, density, num_tokens);
        }
      }
    }
  }
}

// Layouts that skip nothing: the sum is the same.
TEST_P(SparseTest, AnyLayout) {
  for (const DType dtype : kDTypes) {
    for (const char* layout : {"row_major@64B", "interleave(16,32,1)", "interleave(8,64,4)",
                               "interleave(4,64)", "tile(16,32)", "morton(8)", "morton(32)"}) {
      for (const uint32_t num_tokens : {1u, 5u, 21u}) {
        for (const double density : {0.1, 1.0}) {
          check(dtype, layout, 47, 131, num_tokens, density, 8);
        }
      }
    }
  }
}

// Blocks that end with the matrix, several of them, columns that begin in the middle of a byte (an
// odd number of rows) or at an address of any alignment.
TEST_P(SparseTest, Quantized) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 1},    {1, 65},    {17, 259},
                                                       {64, 128}, {131, 200}, {274, 579}};
  for (const DType dtype : kQuantDTypes) {
    for (const auto& [rows, cols] : kShapes) {
      for (const double density : {0.0, 0.02, 0.2, 1.0}) {
        for (const uint32_t num_tokens : {1u, 3u, 7u}) {
          check(dtype, "col_major", rows, cols, num_tokens, density, num_tokens);
        }
      }
    }
    check(dtype, "col_major@128B", 143, 1100, 1, 0.1, 1);
    check(dtype, "col_major@128B", 143, 1100, 21, 0.1, 8);
    check(dtype, "col_major", 46, 300, 9, 0.2, 9, 3);
    for (const char* layout : {"row_major", "interleave(16,128,4)", "interleave(16,64,8)",
                               "interleave(8,16,2)", "tile(16,32)", "morton(32)"}) {
      check(dtype, layout, 47, 131, 1, 0.1, 1);
      check(dtype, layout, 47, 131, 21, 0.5, 21);
    }
  }
}

// Fast rounds to bf16 where dense() would multiply in tiles, and is exact otherwise.
TEST_P(SparseTest, Fast) {
  for (const DType dtype : kAllDTypes) {
    for (const double density : {0.0, 0.01, 0.2, 1.0}) {
      for (const uint32_t num_tokens : {1u, 19u, 41u}) {
        const TestWeights weights = random_weights(rng_, dtype, "col_major@128B", 75, 300);
        TestRows x(num_tokens, 300, kNaN), start(num_tokens, 75, kCanary);
        x.fill(rng_, density);
        start.fill(rng_, 1.0);
        const auto run = [&](Precision precision, ThreadPool& pool) {
          return multiply(weights, x, start, num_tokens, 41, pool, precision);
        };
        const TestRows fast = run(Precision::kFast, *pools_[0]);
        expect_product(
            weights, x, start, fast, num_tokens, true, {.relative = 0x1.02p-7},
            fmt::format("{}, {} tokens, density {}, fast", to_string(dtype), num_tokens, density));
        EXPECT_TRUE(fast.same_bits(run(Precision::kFast, *pools_[2])));
        const bool tiles = amx_pays() && num_tokens == 41 && density >= 0.2;
        EXPECT_EQ(!fast.same_bits(run(Precision::kExact, *pools_[1])), tiles);
      }
    }
  }
}

TEST_P(SparseTest, SeveralBlocksAndPasses) {
  for (const double density : {0.1, 0.8}) {
    check(DType::kF16, "col_major@64B", 143, 1100, 1, density, 1);
    check(DType::kF16, "col_major@64B", 143, 1100, 21, density, 21);
    check(DType::kBF16, "col_major", 33, 520, 21, density, 8);  // passes of 8, 8 and 5 tokens
    check(DType::kBF16, "col_major", 33, 520, 7, density, 2);   // one token at a time
    check(DType::kF32, "col_major", 35, 50, 9, density, 9, 3);  // misaligned
  }
}

// Columns whose x is zero are not read: a NaN there must not show.
TEST_P(SparseTest, ZeroColumnsAreSkipped) {
  TestWeights weights = random_weights(rng_, DType::kF16, "col_major", 50, 90);
  for (const uint32_t num_tokens : {1u, 6u}) {
    TestRows x(num_tokens, 90, kNaN), start(num_tokens, 50, kCanary);
    x.fill(rng_, 0.3);
    start.fill(rng_, 1.0);
    for (uint64_t col = 0; col < 90; col += 4) {
      for (uint32_t t = 0; t < num_tokens; ++t) x.row(t)[col] = t % 2 == 0 ? 0.0f : -0.0f;
      for (uint64_t row = 0; row < 50; ++row) weights.set(row, col, kNaN);
    }
    const TestRows y = multiply(weights, x, start, num_tokens, num_tokens, *pools_[1]);
    expect_product(weights, x, start, y, num_tokens, true, {}, "NaN in columns of zeros");
  }
}

// Nor are the scales of blocks of zeros, nor the codes of a zero's column in a block of others.
TEST_P(SparseTest, BlocksOfZerosAreSkipped) {
  for (const DType dtype : kQuantDTypes) {
    const uint64_t block = block_cols(dtype), rows = 50, cols = 5 * block;
    TestWeights weights = random_weights(rng_, dtype, "col_major", rows, cols);
    for (const uint64_t b : {uint64_t{0}, uint64_t{2}, uint64_t{3}}) {
      for (uint64_t row = 0; row < rows; ++row) {
        std::memset(weights.tensor.scales_data() +
                        weights.tensor.scales_mapping()(row, b) * scale_bytes(dtype),
                    0xff, scale_bytes(dtype));  // NaN
      }
    }
    for (const uint32_t num_tokens : {1u, 6u}) {
      TestRows x(num_tokens, cols, kNaN), start(num_tokens, rows, kCanary);
      x.fill(rng_, 0.3);
      start.fill(rng_, 1.0);
      for (uint32_t t = 0; t < num_tokens; ++t) {
        for (uint64_t col = 0; col < cols; ++col) {
          if (col / block != 1 && col / block != 4) x.row(t)[col] = t % 2 == 0 ? 0.0f : -0.0f;
        }
        // One block has a single non-zero.
        std::fill(x.row(t) + block, x.row(t) + 2 * block, 0.0f);
        x.row(t)[block + (7 * t + 3) % block] = 0.75f;
      }
      const TestRows y = multiply(weights, x, start, num_tokens, num_tokens, *pools_[1]);
      expect_product(weights, x, start, y, num_tokens, true, {},
                     fmt::format("{}: NaN in scales of zeros", to_string(dtype)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, SparseTest, ::testing::ValuesIn(kAllCpuTargets),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace skein
