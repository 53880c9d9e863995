// Whole forward passes of the CPU backend: against the reference, and against themselves in other
// chunks.
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/cpu_target.h"
#include "backend/reference/reference_backend.h"
#include "backend/test_model.h"

namespace skein {
namespace {

using namespace testing;

constexpr uint64_t kSeed = 77;
constexpr uint32_t kNumTokens = 40;
constexpr float kEps = std::numeric_limits<float>::epsilon();

// Logits of every token and the state after them.
struct Outcome {
  std::vector<float> logits;
  std::vector<float> state;
};

// kNumTokens tokens of one sequence in slot 1 of 3, in passes of the given number of tokens each.
Outcome run(Result<std::unique_ptr<Backend>> made, const Dimensions& dims,
            const WeightFormat& format, uint32_t tokens_per_pass) {
  CHECK(made.has_value());
  Backend& backend = **made;
  const Weights weights = random_weights(backend, dims, format, kSeed);
  const State state = zero_state(backend, dims, 3);
  const Workspace work = poisoned_workspace(backend, dims, tokens_per_pass, tokens_per_pass);
  const TestBatch all = random_batch(std::array{kNumTokens}, dims.num_vocab, kSeed);
  Outcome outcome;
  for (uint32_t first = 0; first < kNumTokens; first += tokens_per_pass) {
    const uint32_t count = std::min(tokens_per_pass, kNumTokens - first);
    const std::vector<Run> runs = {{1, 0, count}};
    const Batch batch{std::span(all.ids).subspan(first, count), runs,
                      std::span(all.logit_tokens).first(count)};
    forward(backend, dims, weights, state, batch, work);
    EXPECT_TRUE(backend.finish().has_value());
    const std::vector<float> logits = download_rows(backend, work.logits, count);
    outcome.logits.insert(outcome.logits.end(), logits.begin(), logits.end());
  }
  outcome.state = download_state(backend, state);
  return outcome;
}

void expect_near(const std::vector<float>& expected, const std::vector<float>& actual,
                 float relative) {
  ASSERT_EQ(expected.size(), actual.size());
  float largest = 0, worst = 0;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < expected.size(); ++i) {
    const float err = std::abs(expected[i] - actual[i]);
    if (!(err <= relative * largest)) {
      FAIL() << i << ": expected " << expected[i] << ", found " << actual[i] << ", tolerance "
             << relative * largest;
    }
    worst = std::max(worst, err / largest);
  }
  ::testing::Test::RecordProperty("worst_relative_error", std::to_string(worst));
}

void expect_near(const Outcome& expected, const Outcome& actual, float relative) {
  expect_near(expected.logits, actual.logits, relative);
  expect_near(expected.state, actual.state, relative);
}

class ModelParityTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  static Result<std::unique_ptr<Backend>> cpu(Precision precision = Precision::kExact,
                                              uint32_t num_threads = 2) {
    return make_cpu_backend({num_threads, precision, std::string(GetParam())});
  }

  static inline const Dimensions kDims = test_dimensions(128, 3);
  // The longest sum of a layer, in each of the layers.
  static inline const float kTolerance =
      kEps * static_cast<float>(kDims.num_layers * kDims.num_hidden);
};

TEST_P(ModelParityTest, AgreesWithTheReferenceInAnyChunks) {
  for (const DType dtype : kDTypes) {
    WeightFormat format;
    format.dtype = dtype;
    const Outcome expected = run(make_reference_backend(), kDims, format, kNumTokens);
    for (const uint32_t tokens_per_pass : {1u, 2u, 7u, kNumTokens}) {
      SCOPED_TRACE(fmt::format("{}, {} tokens a pass", to_string(dtype), tokens_per_pass));
      expect_near(expected, run(cpu(), kDims, format, tokens_per_pass), kTolerance);
    }
  }
}

TEST_P(ModelParityTest, LayoutsChangeNothingButRounding) {
  const Outcome expected = run(make_reference_backend(), kDims, {}, kNumTokens);
  WeightFormat format;
  format.emb = Layout::row_major(128);
  format.dense = Layout::interleave(16, 64, 1);
  format.ffn_value = Layout::col_major(64);
  for (const uint32_t tokens_per_pass : {1u, kNumTokens}) {
    expect_near(expected, run(cpu(), kDims, format, tokens_per_pass), kTolerance);
  }
}

WeightFormat quantized(DType dtype) {
  WeightFormat format;
  format.dtype = dtype;
  format.dense =
      dtype == DType::kInt8 ? Layout::interleave(16, 128, 4) : Layout::interleave(16, 64, 8);
  return format;
}

TEST_P(ModelParityTest, QuantizedWeightsAreTheirDecodedValues) {
  for (const DType dtype : kQuantDTypes) {
    WeightFormat plain;
    plain.dtype = dtype;
    const Outcome expected = run(make_reference_backend(), kDims, plain, kNumTokens);
    for (const uint32_t tokens_per_pass : {1u, 7u, kNumTokens}) {
      SCOPED_TRACE(fmt::format("{}, {} tokens a pass", to_string(dtype), tokens_per_pass));
      expect_near(expected, run(cpu(), kDims, quantized(dtype), tokens_per_pass), kTolerance);
    }
  }
}

// Where there are no products of int8 or bf16, fast is exact; where there are, threads and chunks
// change nothing but the rounding of what is not quantized.
TEST_P(ModelParityTest, FastPrecisionOfQuantizedWeightsIsThatOfInt8) {
  for (const DType dtype : kQuantDTypes) {
    const WeightFormat format = quantized(dtype);
    const Outcome exact = run(cpu(), kDims, format, kNumTokens);
    // A block's largest input is rounded to a 254th, and so are 4-bit codes; a layer passes through
    // five products in a row, whose errors add up at worst.
    const float tolerance = 2.0f / 254 * 5 * static_cast<float>(kDims.num_layers);
    for (const uint32_t tokens_per_pass : {1u, kNumTokens}) {
      const Outcome one = run(cpu(Precision::kFast, 1), kDims, format, tokens_per_pass);
      expect_near(exact, one, tolerance);
      const Outcome more = run(cpu(Precision::kFast, 2), kDims, format, tokens_per_pass);
      EXPECT_EQ(one.logits, more.logits);
      EXPECT_EQ(one.state, more.state);
    }
  }
}

TEST_P(ModelParityTest, ThreadsChangeNothing) {
  for (const uint32_t tokens_per_pass : {1u, kNumTokens}) {
    const Outcome one = run(cpu(Precision::kExact, 1), kDims, {}, tokens_per_pass);
    for (const uint32_t num_threads : {2u, 3u}) {
      const Outcome more = run(cpu(Precision::kExact, num_threads), kDims, {}, tokens_per_pass);
      EXPECT_EQ(one.logits, more.logits);
      EXPECT_EQ(one.state, more.state);
    }
  }
}

TEST_P(ModelParityTest, FastPrecisionIsThatOfBf16) {
  const Outcome expected = run(make_reference_backend(), kDims, {}, kNumTokens);
  // Each input of a product is off by at most half a unit of bf16's 8 bits; a layer passes through
  // five products in a row, whose errors add up at worst.
  const float tolerance = 0x1p-9f * 2 * 5 * static_cast<float>(kDims.num_layers);
  expect_near(expected, run(cpu(Precision::kFast), kDims, {}, kNumTokens), tolerance);
}

INSTANTIATE_TEST_SUITE_P(Targets, ModelParityTest, ::testing::ValuesIn(supported_cpu_targets()),
                         [](const auto& info) { return std::string(info.param); });

TEST(CpuBackendTest, DescribesItself) {
  const auto backend = make_cpu_backend({2, Precision::kExact, "scalar"});
  ASSERT_TRUE(backend.has_value());
  EXPECT_EQ((*backend)->name(), "cpu");
  EXPECT_EQ((*backend)->num_threads(), 2u);
  const std::string description = (*backend)->description();
  EXPECT_TRUE(description.ends_with(", scalar kernels, 2 threads")) << description;
}

TEST(CpuBackendTest, RefusesWhatTheMachineHasNot) {
  const auto target = make_cpu_backend({1, Precision::kExact, "abacus"});
  ASSERT_FALSE(target.has_value());
  EXPECT_NE(target.error().message.find("abacus"), std::string::npos) << target.error().message;
  EXPECT_FALSE(make_cpu_backend({1u << 30, Precision::kExact, ""}).has_value());
}

}  // namespace
}  // namespace skein
