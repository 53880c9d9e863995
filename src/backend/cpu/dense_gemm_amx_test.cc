// gemm_amx() by itself against a double-precision oracle: edges of its tiles, chunks and passes.
// What dense() makes of it is tested where dense() is (dense_test.cc, dense_quant_test.cc).
#include "backend/cpu/dense_gemm_amx.h"

#include <fmt/format.h>

#include "backend/cpu/cpu_features.h"
#include "backend/cpu/matmul_testing.h"

namespace skein {
namespace {

class DenseGemmAmxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cpu_has_amx_bf16()) GTEST_SKIP() << "this CPU, or its system, has no AMX with bf16";
    ASSERT_TRUE(select_cpu_target("zen4").has_value());
  }
  void TearDown() override { ASSERT_TRUE(select_default_cpu_target().has_value()); }

  TestRows multiply(const TestWeights& weights, const TestRows& x, const TestRows& start,
                    uint32_t num_tokens, bool add, Range rows, Epilogue epilogue = {}) {
    TestRows y = start;
    // NaN and canaries: no scratch is zero by itself, and nothing behind it is written.
    const uint64_t num_elems = amx_scratch_elems();
    auto buffer = allocate_host_buffer((num_elems + 64) * sizeof(float)).value();
    std::memset(buffer->host_data(), 0xff, buffer->num_bytes());
    auto* scratch = reinterpret_cast<float*>(buffer->host_data());
    const DenseJob job{&weights.tensor, x.row(0), x.stride(), y.row(0), y.stride(), add, epilogue};
    gemm_amx(dense_kernel_of(weights.tensor), job, rows, num_tokens, scratch);
    for (uint64_t i = num_elems; i < num_elems + 64; ++i) {
      EXPECT_EQ(std::bit_cast<uint32_t>(scratch[i]), ~0u) << "wrote behind the scratch";
    }
    return y;
  }

  void check(DType dtype, const std::string& layout, uint64_t rows, uint64_t cols,
             uint32_t num_tokens) {
    const std::string what =
        fmt::format("{} {} {}x{}, {} tokens", to_string(dtype), layout, rows, cols, num_tokens);
    const TestWeights weights = random_weights(rng_, dtype, layout, rows, cols);
    TestRows x(num_tokens, cols, kNaN), start(num_tokens, rows, kCanary);
    x.fill(rng_, 1.0);
    start.fill(rng_, 1.0);
    for (const bool add : {false, true}) {
      const TestRows before = add ? start : TestRows(num_tokens, rows, kCanary);
      const TestRows y = multiply(weights, x, before, num_tokens, add, {0, rows});
      // Both factors are rounded to 8 bits, each by at most 2^-8 of itself.
      expect_product(weights, x, before, y, num_tokens, add, {.relative = 0x1.02p-7}, what);
    }
  }

  std::mt19937 rng_{kSeed};
};

TEST_F(DenseGemmAmxTest, AnyShape) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {
      {1, 1}, {15, 2}, {16, 31}, {17, 32}, {31, 33}, {32, 128}, {33, 257}, {64, 300}, {97, 511}};
  for (const DType dtype : kAllDTypes) {
    for (const auto& [rows, cols] : kShapes) {
      for (const uint32_t num_tokens : {1u, 16u, 17u, 32u, 33u, 65u}) {
        check(dtype, "row_major", rows, cols, num_tokens);
      }
    }
  }
}

TEST_F(DenseGemmAmxTest, SeveralChunksBlocksAndPasses) {
  check(DType::kF16, "interleave(16,64,1)", 600, 100, 34);   // chunks of 256 rows
  check(DType::kF16, "interleave(16,64,1)", 40, 2600, 515);  // passes of tokens and of cols
  check(DType::kBF16, "col_major", 65, 9000, 130);           // passes of cols
  check(DType::kInt8, "interleave(16,128,4)", 300, 1000, 40);
  check(DType::kNF4, "interleave(16,64,8)", 70, 2100, 512);
}

// Whatever rows are asked for, and however many tokens come along, a result is the same.
TEST_F(DenseGemmAmxTest, RowsAreIndependent) {
  const TestWeights weights = random_weights(rng_, DType::kF16, "interleave(16,64,1)", 330, 700);
  TestRows x(50, 700, kNaN);
  x.fill(rng_, 1.0);
  const TestRows start(50, 330, kCanary);
  const TestRows all = multiply(weights, x, start, 50, false, {0, 330});
  for (const Range rows : {Range{0, 32}, Range{64, 330}, Range{320, 330}}) {
    const TestRows part = multiply(weights, x, start, 50, false, rows);
    for (uint32_t t = 0; t < 50; ++t) {
      for (uint64_t row = 0; row < 330; ++row) {
        const bool is_asked_for = row >= rows.begin && row < rows.end;
        ASSERT_EQ(part.row(t)[row], is_asked_for ? all.row(t)[row] : kCanary);
      }
    }
  }
}

TEST_F(DenseGemmAmxTest, EpilogueSeesEachOutputOnceWhenItIsFinished) {
  constexpr uint64_t kRows = 75;
  for (const auto& [num_tokens, cols] : {std::pair{30u, 600u}, {65u, 9000u}, {515u, 3u}}) {
    const TestWeights weights =
        random_weights(rng_, DType::kF16, "interleave(16,64,1)", kRows, cols);
    TestRows x(num_tokens, cols, kNaN), start(num_tokens, kRows, kCanary);
    x.fill(rng_, 1.0);
    start.fill(rng_, 1.0);
    TestRows plain = multiply(weights, x, start, num_tokens, true, {0, kRows});
    std::vector<int> calls(num_tokens * kRows);
    const Epilogue epilogue = {
        [](void* context, float* y, uint64_t token, uint64_t begin, uint64_t end) {
          for (uint64_t row = begin; row < end; ++row) {
            ++(*static_cast<std::vector<int>*>(context))[token * kRows + row];
            y[row] = 2.0f * y[row];  // exact
          }
        },
        &calls};
    const TestRows y = multiply(weights, x, start, num_tokens, true, {0, kRows}, epilogue);
    for (const int count : calls) ASSERT_EQ(count, 1);
    for (uint32_t t = 0; t < num_tokens; ++t) {
      for (uint64_t row = 0; row < kRows; ++row) plain.row(t)[row] *= 2.0f;
    }
    EXPECT_TRUE(y.same_bits(plain)) << num_tokens << " tokens";
  }
}

// A CPU that has them must have reason to take them.
TEST_F(DenseGemmAmxTest, Pays) { EXPECT_TRUE(amx_pays()); }

}  // namespace
}  // namespace skein
