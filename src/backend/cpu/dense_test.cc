// dense() against a double-precision oracle: every (plain dtype, layout, target), shapes with 1,
// primes and non-multiples, all ways by number of tokens, with NaN wherever nothing may be read.
#include <algorithm>
#include <atomic>

#include "backend/cpu/dense_gemm.h"
#include "backend/cpu/dense_testing.h"
#include "backend/cpu/matmul_kernels.h"

namespace skein {
namespace {

const std::vector<std::string> kLayouts = {
    "row_major", "row_major@64B", "interleave(16,64,1)", "interleave(16,5,1)",
    "interleave(16,4,1)@256B", "col_major", "col_major@128B",
    // Rows in lanes: each R with some K, blocks with gaps between them.
    "interleave(4,6,1)", "interleave(8,64,1)", "interleave(4,64,2)", "interleave(8,6,2)@128B",
    "interleave(16,4,2)", "interleave(4,8,4)", "interleave(8,64,4)", "interleave(16,64,4)",
    "interleave(16,4,4)@256B", "interleave(4,16,8)", "interleave(8,8,8)", "interleave(16,24,8)",
    // Rows in bands: chunks longer than a vector, shorter, and no part of one; any R.
    "interleave(4,64)", "interleave(8,64,32)@64B", "interleave(16,128,64)", "interleave(3,12,4)",
    "interleave(5,10,1)", "interleave(80,4,2)", "tile(16,32)", "tile(5,7)@64B", "tile(100,8)",
    "tile(1,16)", "tile(16,1)", "tile(7,200)",
    // T below, at and above a vector, of no part of it, and higher than a band.
    "morton(1)", "morton(2)", "morton(4)", "morton(5)@64B", "morton(8)", "morton(16)", "morton(32)",
    "morton(32)@4096B", "morton(100)"};

TEST(DenseKernels, EachIsTested) {
  for (const KernelInfo& kernel : cpu_kernels()) {
    if (kernel.op != MatrixOp::kDense || is_quantized(kernel.dtype)) continue;
    EXPECT_TRUE(std::any_of(
        kLayouts.begin(), kLayouts.end(),
        [&](const std::string& layout) { return kernel.accepts(parse_layout(layout).value()); }))
        << kernel.name << " " << kernel.layouts;
  }
}

TEST_P(DenseTest, AnyShape) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 1},   {1, 7},   {7, 1},   {16, 16},
                                                       {17, 31}, {33, 64}, {65, 97}, {131, 47}};
  for (const DType dtype : kDTypes) {
    for (const std::string& layout : kLayouts) {
      for (const auto& [rows, cols] : kShapes) {
        for (const uint32_t num_tokens : {1u, 2u, 11u, 34u})
          check(dtype, layout, rows, cols, num_tokens);
      }
    }
  }
}

TEST_P(DenseTest, AnyNumberOfTokens) {
  for (const std::string& layout : kLayouts) {
    for (uint32_t num_tokens = 1; num_tokens <= 40; ++num_tokens) {
      check(DType::kF16, layout, 37, 43, num_tokens);
    }
  }
}

// More cols than one block of them, more tokens than one pass.
TEST_P(DenseTest, SeveralBlocks) {
  for (const std::string& layout : kLayouts) {
    check(DType::kBF16, layout, 33, 1031, 37);
    check(DType::kF16, layout, 17, 513, 9);
    check(DType::kF16, layout, 5, 3, kTokenBlock + 7);
  }
}

TEST_P(DenseTest, AnyAlignment) {
  for (const DType dtype : kDTypes) {
    for (const std::string& layout : kLayouts) {
      for (const uint32_t num_tokens : {1u, 4u, 10u, 34u})
        check(dtype, layout, 35, 50, num_tokens, 3);
    }
  }
}

// Several matrices of unlike shapes, dtypes and layouts in one call give what each gives alone.
TEST_P(DenseTest, SeveralJobs) {
  for (const uint32_t num_tokens : {1u, 6u, 14u, 34u}) {
    std::vector<TestWeights> weights;
    weights.push_back(random_weights(rng_, DType::kF16, "interleave(16,32,1)", 96, 64));
    weights.push_back(random_weights(rng_, DType::kF16, "row_major", 7, 64));
    weights.push_back(random_weights(rng_, DType::kF32, "col_major", 130, 33));
    weights.push_back(random_weights(rng_, DType::kBF16, "interleave(16,16,1)", 65, 31));
    std::vector<TestRows> x, start;
    for (const TestWeights& w : weights) {
      x.emplace_back(num_tokens, w.tensor.cols(), kNaN).fill(rng_, 1.0);
      start.emplace_back(num_tokens, w.tensor.rows(), kCanary).fill(rng_, 1.0);
    }
    for (const auto& pool : pools_) {
      std::vector<TestRows> y = start;
      std::vector<DenseJob> jobs;
      for (size_t i = 0; i < weights.size(); ++i) {
        jobs.push_back({&weights[i].tensor, x[i].row(0), x[i].stride(), y[i].row(0), y[i].stride(),
                        i % 2 == 1});
      }
      DenseScratch scratch = DenseScratch::create(pool->num_threads()).value();
      dense(jobs, num_tokens, Precision::kExact, *pool, scratch);
      for (size_t i = 0; i < weights.size(); ++i) {
        const TestRows alone = multiply(weights[i], x[i], start[i], num_tokens, i % 2 == 1,
                                        Precision::kExact, *pools_[0]);
        EXPECT_TRUE(y[i].same_bits(alone)) << "job " << i << ", " << num_tokens << " tokens, "
                                           << pool->num_threads() << " threads";
      }
    }
  }
}

struct EpilogueLog {
  uint64_t num_rows;
  std::vector<std::atomic<int>> calls;  // [token][row]
  static void apply(void* context, float* y, uint64_t token, uint64_t row_begin, uint64_t row_end) {
    auto& log = *static_cast<EpilogueLog*>(context);
    for (uint64_t row = row_begin; row < row_end; ++row) {
      ++log.calls[token * log.num_rows + row];
      y[row] = 2.0f * y[row];  // exact
    }
  }
};

TEST_P(DenseTest, EpilogueSeesEachOutputOnceWhenItIsFinished) {
  for (const uint32_t num_tokens : {1u, 3u, 8u, 9u, 30u, 40u, kTokenBlock + 5}) {
    const uint64_t rows = 75, cols = num_tokens > 100 ? 3 : 600;
    const TestWeights weights =
        random_weights(rng_, DType::kF16, "interleave(16,64,1)", rows, cols);
    TestRows x(num_tokens, cols, kNaN), start(num_tokens, rows, kCanary);
    x.fill(rng_, 1.0);
    start.fill(rng_, 1.0);
    for (const auto& pool : pools_) {
      TestRows plain = multiply(weights, x, start, num_tokens, true, Precision::kExact, *pool);
      TestRows y = start;
      EpilogueLog log{rows, std::vector<std::atomic<int>>(num_tokens * rows)};
      const DenseJob job{
          &weights.tensor,           x.row(0), x.stride(), y.row(0), y.stride(), true,
          {EpilogueLog::apply, &log}};
      DenseScratch scratch = DenseScratch::create(pool->num_threads()).value();
      dense({&job, 1}, num_tokens, Precision::kExact, *pool, scratch);
      for (const std::atomic<int>& calls : log.calls) ASSERT_EQ(calls.load(), 1);
      for (uint32_t t = 0; t < num_tokens; ++t) {
        for (uint64_t row = 0; row < rows; ++row) plain.row(t)[row] *= 2.0f;
      }
      EXPECT_TRUE(y.same_bits(plain)) << num_tokens << " tokens";
    }
  }
}

// Products of bf16, in tiles or not, must differ from exact ones where the target has them and they
// pay, or they did not run.
TEST_P(DenseTest, FastRunsWhereTheTargetHasIt) {
  const TestWeights weights = random_weights(rng_, DType::kF32, "row_major", 40, 300);
  TestRows x(24, 300, kNaN);
  x.fill(rng_, 1.0);
  const TestRows start(24, 40, kCanary);
  const TestRows exact = multiply(weights, x, start, 24, false, Precision::kExact, *pools_[0]);
  const TestRows fast = multiply(weights, x, start, 24, false, Precision::kFast, *pools_[0]);
  EXPECT_EQ(!exact.same_bits(fast),
            GetParam() == "zen4" && (amx_pays() || gemm_ops_bf16() != nullptr));
}

INSTANTIATE_TEST_SUITE_P(Targets, DenseTest, ::testing::ValuesIn(kAllCpuTargets),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace skein
