// What the tests of the matrix kernels share: poisoned weights and activations, an oracle in
// double, and a fixture that runs each test once per CPU target and proves that the target ran.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "backend/cpu/cpu_target.h"
#include "backend/test_quant.h"
#include "base/float16.h"
#include "base/thread_pool.h"
#include "layout/any_mapping.h"
#include "tensor/tensor.h"

namespace skein {

// Where a test's failure must be replayed from.
inline constexpr uint32_t kSeed = 20261123;

// All names; a test of one that this CPU lacks is skipped, loudly.
inline const std::vector<std::string> kAllCpuTargets = {"scalar", "sse4", "avx2", "avx512", "zen4"};

class CpuTargetTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const Status status = select_cpu_target(GetParam()); !status) {
      GTEST_SKIP() << status.error().message;
    }
    clear_executed_cpu_target();
  }
  void TearDown() override {
    if (IsSkipped()) return;
    EXPECT_EQ(executed_cpu_target(), GetParam()) << "another target ran than the one forced";
    ASSERT_TRUE(select_default_cpu_target().has_value());
  }
};

inline std::unique_ptr<ThreadPool> make_pool(uint32_t num_threads) {
  return ThreadPool::create(num_threads).value();
}

// Weights in some layout and the same values in double, [rows][cols]. Padding is NaN; of quantized
// ones, whose codes are no numbers, that of the scales.
struct TestWeights {
  Tensor tensor;
  std::vector<double> values;
  // How large the terms are whose sum an element of int8 or q4_k is, |min| + |w - min|; empty for
  // other dtypes, where an element is one term.
  std::vector<double> terms = {};

  double at(uint64_t row, uint64_t col) const { return values[row * tensor.cols() + col]; }

  void set(uint64_t row, uint64_t col, float value) {
    std::byte* to =
        tensor.host_data() + tensor.mapping()(row, col) * (element_bits(tensor.dtype()) / 8);
    switch (tensor.dtype()) {
      case DType::kF32: {
        std::memcpy(to, &value, 4);
        values[row * tensor.cols() + col] = static_cast<double>(value);
        return;
      }
      case DType::kF16: {
        const F16 f16 = f16_from(value);
        std::memcpy(to, &f16, 2);
        values[row * tensor.cols() + col] = static_cast<double>(f32_from(f16));
        return;
      }
      case DType::kBF16: {
        const BF16 bf16 = bf16_from(value);
        std::memcpy(to, &bf16, 2);
        values[row * tensor.cols() + col] = static_cast<double>(f32_from(bf16));
        return;
      }
      default:
        CHECK(false && "a plain dtype");
    }
  }
};

// Fills quantized weights: most blocks lie in (-1, 1.5), some are constant, zero or so small that
// their scales are subnormal in f16.
inline void fill_blocks(std::mt19937& rng, TestWeights& weights) {
  const Tensor& tensor = weights.tensor;
  const DType dtype = tensor.dtype();
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  const bool has_min = dtype == DType::kInt8 || dtype == DType::kQ4K;
  if (has_min) weights.terms.resize(weights.values.size());
  std::vector<float> block;
  for (uint64_t row = 0; row < tensor.rows(); ++row) {
    for (uint64_t col = 0; col < tensor.cols(); col += block_cols(dtype)) {
      block.resize(std::min<uint64_t>(block_cols(dtype), tensor.cols() - col));
      const auto kind = rng() % 10;
      const float centre = kind == 0 ? uniform(rng) : 0.5f * static_cast<float>(rng() % 2);
      const float spread = kind <= 1 ? 0.0f : kind == 2 ? 0x1p-17f : 1.0f;
      for (float& value : block) {
        value = (kind == 1 || kind == 2 ? 0.0f : centre) + spread * uniform(rng);
      }
      const testing::BlockScale scale =
          testing::store_block(tensor.host_data(), tensor.mapping(), dtype, row, col, block);
      for (uint32_t i = 0; i < block.size(); ++i) {
        const uint64_t at = row * tensor.cols() + col + i;
        weights.values[at] = static_cast<double>(block[i]);
        if (!has_min) continue;
        const auto min = static_cast<double>(testing::offset_in_block(dtype, scale.data(), i));
        weights.terms[at] = std::abs(min) + std::abs(weights.values[at] - min);
      }
    }
  }
}

// Random weights in (-1, 1), some of them subnormal in f16, from `offset_bytes` of their buffer on
// (a mapped file promises no alignment).
inline TestWeights random_weights(std::mt19937& rng, DType dtype, const std::string& layout,
                                  uint64_t rows, uint64_t cols, uint64_t offset_bytes = 0) {
  const AnyMapping mapping =
      make_mapping(parse_layout(layout).value(), {rows, cols}, element_bits(dtype)).value();
  auto buffer = allocate_host_buffer(offset_bytes + Tensor::span_bytes_of(mapping, dtype)).value();
  std::memset(buffer->host_data(), 0xff, buffer->num_bytes());  // NaN in each dtype
  TestWeights weights{Tensor(buffer, offset_bytes, dtype, mapping),
                      std::vector<double>(rows * cols)};
  if (is_quantized(dtype)) {
    fill_blocks(rng, weights);
    return weights;
  }
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (uint64_t row = 0; row < rows; ++row) {
    for (uint64_t col = 0; col < cols; ++col) {
      const float value = uniform(rng);
      weights.set(row, col, (row + col) % 13 == 0 ? value * 0x1p-15f : value);
    }
  }
  return weights;
}

// [num_rows][stride] floats, more than num_cols a row; everything else, before and behind it too,
// holds `poison`.
class TestRows {
 public:
  TestRows(uint32_t num_rows, uint64_t num_cols, float poison)
      : num_rows_(num_rows),
        num_cols_(num_cols),
        stride_(num_cols + 5),
        poison_(poison),
        data_(2 * kMargin + num_rows * stride_, poison) {}

  uint64_t stride() const { return stride_; }
  float* row(uint64_t i) { return data_.data() + kMargin + i * stride_; }
  const float* row(uint64_t i) const { return data_.data() + kMargin + i * stride_; }

  void fill(std::mt19937& rng, double density) {
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    std::bernoulli_distribution is_set(density);
    for (uint32_t i = 0; i < num_rows_; ++i) {
      for (uint64_t c = 0; c < num_cols_; ++c) row(i)[c] = is_set(rng) ? uniform(rng) : 0.0f;
    }
  }

  // Whether all that is no row still holds the poison, bit for bit.
  bool poison_is_intact() const {
    for (uint64_t i = 0; i < data_.size(); ++i) {
      const uint64_t place = i - kMargin;  // wraps for the margin before
      if (place < num_rows_ * stride_ && place % stride_ < num_cols_) continue;
      if (std::bit_cast<uint32_t>(data_[i]) != std::bit_cast<uint32_t>(poison_)) return false;
    }
    return true;
  }

  bool same_bits(const TestRows& other) const {
    return data_.size() == other.data_.size() &&
           std::memcmp(data_.data(), other.data_.data(), data_.size() * sizeof(float)) == 0;
  }

 private:
  static constexpr uint64_t kMargin = 37;
  uint32_t num_rows_;
  uint64_t num_cols_;
  uint64_t stride_;
  float poison_;
  std::vector<float> data_;
};

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kCanary = -12345.678f;

// How far a sum may be off because kernels round x to int8, by at most half of a 127th of its
// block's largest (and 4-bit codes likewise): sum over the blocks of |w| * max|x| / 254.
inline double int8_slack(const TestWeights& weights, const float* x, uint64_t row) {
  const DType dtype = weights.tensor.dtype();
  const uint64_t cols = weights.tensor.cols();
  const double* w = weights.values.data() + row * cols;
  double slack = 0;
  for (uint64_t begin = 0; begin < cols; begin += step_cols(dtype)) {
    const uint64_t end = std::min<uint64_t>(begin + step_cols(dtype), cols);
    double max_x = 0, sum_x = 0, max_w = 0, sum_w = 0;
    for (uint64_t col = begin; col < end; ++col) {
      const double abs_x = std::abs(static_cast<double>(x[col]));
      const double abs_w = std::abs(w[col]);
      max_x = std::max(max_x, abs_x);
      max_w = std::max(max_w, abs_w);
      sum_x += abs_x;
      sum_w += abs_w;
    }
    slack += sum_w * max_x / 254;
    // The rounded codes meet the rounded x.
    if (element_bits(dtype) == 4) {
      slack += max_w / 254 * (sum_x + static_cast<double>(end - begin) * max_x / 254);
    }
  }
  return slack;
}

// What a product may be off beside the rounding of f32 sums.
struct ProductError {
  double relative = 0;  // of each product
  bool int8_x = false;  // int8_slack()
};

// Checks y[t][row] against start + W x in double. The bound of a sum of n products in f32, any
// order, is n * eps * sum of magnitudes; each int8 weight adds a handful of roundings of its scale,
// here and in the oracle.
inline void expect_product(const TestWeights& weights, const TestRows& x, const TestRows& start,
                           const TestRows& y, uint32_t num_tokens, bool add, ProductError error,
                           const std::string& what) {
  constexpr double kEps = 0x1p-24;
  const uint64_t rows = weights.tensor.rows(), cols = weights.tensor.cols();
  const uint64_t num_roundings = cols + (weights.terms.empty() ? 4 : 12);
  for (uint32_t t = 0; t < num_tokens; ++t) {
    const float* x_row = x.row(t);
    for (uint64_t row = 0; row < rows; ++row) {
      // Pointers, since sanitizers spend most of their time here.
      const double* w = weights.values.data() + row * cols;
      const double* terms =
          (weights.terms.empty() ? weights.values : weights.terms).data() + row * cols;
      double sum = add ? static_cast<double>(start.row(t)[row]) : 0.0;
      double magnitude = std::abs(sum);
      for (uint64_t col = 0; col < cols; ++col) {
        const double x_col = static_cast<double>(x_row[col]);
        if (x_col == 0.0) continue;
        sum += w[col] * x_col;
        magnitude += std::abs(terms[col] * x_col);
      }
      const double err = std::abs(static_cast<double>(y.row(t)[row]) - sum);
      const double slack = error.int8_x ? int8_slack(weights, x.row(t), row) : 0;
      const double tol =
          (static_cast<double>(num_roundings) * kEps + error.relative) * magnitude + slack;
      if (!(err <= tol)) {
        FAIL() << what << ": token " << t << " row " << row << ": expected " << sum << ", found "
               << y.row(t)[row] << ", tolerance " << tol << ", seed " << kSeed;
      }
    }
  }
  EXPECT_TRUE(y.poison_is_intact()) << what << ": wrote outside of y";
}

}  // namespace skein
