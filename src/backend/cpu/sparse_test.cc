// sparse() against a double-precision oracle: dtypes, targets, densities, numbers of tokens and
// threads.
#include "backend/cpu/sparse.h"

#include <fmt/format.h>

#include "backend/cpu/matmul_testing.h"

namespace skein {
namespace {

class SparseTest : public CpuTargetTest {
 protected:
  TestRows multiply(const TestWeights& weights, const TestRows& x, const TestRows& start,
                    uint32_t num_tokens, uint32_t max_tokens, ThreadPool& pool) {
    TestRows y = start;
    // Room for more than this matrix, as a model's scratch has.
    SparseScratch scratch =
        SparseScratch::create(pool.num_threads(), max_tokens, weights.tensor.rows() + 19,
                              weights.tensor.cols() + 23)
            .value();
    sparse(weights.tensor, x.row(0), x.stride(), y.row(0), y.stride(), num_tokens, pool, scratch);
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

INSTANTIATE_TEST_SUITE_P(Targets, SparseTest, ::testing::ValuesIn(kAllCpuTargets),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace skein
