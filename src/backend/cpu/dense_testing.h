// The fixture of dense()'s tests: one matrix, any dtype and layout, against the oracle of
// matmul_testing.h; exact and fast, adding and storing, with 1, 2 and 3 threads.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/dense.h"
#include "backend/cpu/dense_gemm_amx.h"
#include "backend/cpu/dense_kernel.h"
#include "backend/cpu/matmul_testing.h"

namespace skein {

class DenseTest : public CpuTargetTest {
 protected:
  // y = or += W x with `pool`, from the same start.
  TestRows multiply(const TestWeights& weights, const TestRows& x, const TestRows& start,
                    uint32_t num_tokens, bool add, Precision precision, ThreadPool& pool) {
    TestRows y = start;
    DenseScratch scratch = DenseScratch::create(pool.num_threads()).value();
    const DenseJob job{&weights.tensor, x.row(0), x.stride(), y.row(0), y.stride(), add};
    dense({&job, 1}, num_tokens, precision, pool, scratch);
    return y;
  }

  void check(DType dtype, const std::string& layout, uint64_t rows, uint64_t cols,
             uint32_t num_tokens, uint64_t offset_bytes = 0) {
    const std::string what = fmt::format("{} {} {}x{}, {} tokens, offset {}", to_string(dtype),
                                         layout, rows, cols, num_tokens, offset_bytes);
    const TestWeights weights = random_weights(rng_, dtype, layout, rows, cols, offset_bytes);
    TestRows x(num_tokens, cols, kNaN), start(num_tokens, rows, kCanary);
    x.fill(rng_, 1.0);
    start.fill(rng_, 1.0);
    for (const bool add : {false, true}) {
      // What is stored, not added to, may hold anything before.
      const TestRows before = add ? start : TestRows(num_tokens, rows, kCanary);
      const TestRows y =
          multiply(weights, x, before, num_tokens, add, Precision::kExact, *pools_[0]);
      expect_product(weights, x, before, y, num_tokens, add, {}, what);
      for (size_t i = 1; i < pools_.size(); ++i) {
        const TestRows other =
            multiply(weights, x, before, num_tokens, add, Precision::kExact, *pools_[i]);
        EXPECT_TRUE(y.same_bits(other)) << what << ": differs with " << i + 1 << " threads";
      }
    }
    const TestRows fast =
        multiply(weights, x, start, num_tokens, true, Precision::kFast, *pools_[0]);
    // bf16: both factors are rounded to 8 bits, each by at most 2^-8 of itself.
    expect_product(weights, x, start, fast, num_tokens, true,
                   rounds_x_to_int8(weights.tensor, num_tokens)
                       ? ProductError{.int8_x = true}
                       : ProductError{.relative = 0x1.02p-7},
                   what + ", fast");
    for (size_t i = 1; i < pools_.size(); ++i) {
      const TestRows other =
          multiply(weights, x, start, num_tokens, true, Precision::kFast, *pools_[i]);
      EXPECT_TRUE(fast.same_bits(other)) << what << ": fast differs with " << i + 1 << " threads";
    }
  }

  static bool rounds_x_to_int8(const Tensor& weights, uint32_t num_tokens) {
    if (amx_pays() && num_tokens >= kMinAmxTokensForInt8) return false;
    const DenseKernel& kernel = dense_kernel_of(weights);
    return cpu_target_has_vnni() && kernel.int8_ops != nullptr && kernel.int8_ops() != nullptr;
  }

  std::mt19937 rng_{kSeed};
  std::vector<std::unique_ptr<ThreadPool>> pools_ = [] {
    std::vector<std::unique_ptr<ThreadPool>> pools;
    for (uint32_t n = 1; n <= 3; ++n) pools.push_back(make_pool(n));
    return pools;
  }();
};

}  // namespace skein
