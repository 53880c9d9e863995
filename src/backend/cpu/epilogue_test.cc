// The epilogues against double arithmetic, on every target, over the whole range of f32.
#include "backend/cpu/epilogue.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "backend/cpu/cpu_target.h"

namespace skein {
namespace {

constexpr double kEps = static_cast<double>(std::numeric_limits<float>::epsilon());
constexpr float kInf = std::numeric_limits<float>::infinity();

class EpilogueTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override { ASSERT_TRUE(select_cpu_target(GetParam()).has_value()); }
  void TearDown() override { ASSERT_TRUE(select_default_cpu_target().has_value()); }

  // A grid that is fine around 0, every size of exponent, and the ends.
  static std::vector<float> arguments() {
    std::vector<float> xs = {0.0f, -0.0f, 1e-45f, -1e-45f, kInf, -kInf};
    for (int i = -5000; i <= 5000; ++i) xs.push_back(static_cast<float>(i) * 0.025f);
    for (float x = 1e-30f; x < 1e30f; x *= 3) xs.insert(xs.end(), {x, -x});
    return xs;
  }

  static std::vector<float> apply(const Epilogue& epilogue, std::vector<float> y) {
    epilogue.apply(epilogue.context, y.data(), 0, 0, y.size());
    return y;
  }

  // |f(x) - expected| <= ulps * eps * |expected|, or both below the smallest normal f32.
  static void expect_close(const std::vector<float>& xs, const std::vector<float>& ys,
                           double (*expected)(double), double ulps) {
    for (size_t i = 0; i < xs.size(); ++i) {
      const double want = expected(static_cast<double>(xs[i]));
      const double err = std::abs(static_cast<double>(ys[i]) - want);
      const double tol = std::max(ulps * kEps * std::abs(want), 2e-38);
      if (!(err <= tol)) FAIL() << "x " << xs[i] << ": expected " << want << ", found " << ys[i];
    }
  }
};

double exact_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST_P(EpilogueTest, Sigmoid) {
  const std::vector<float> xs = arguments();
  expect_close(xs, apply(sigmoid_epilogue(), xs), exact_sigmoid, 4);
}

TEST_P(EpilogueTest, BiasedSigmoidAddsTheBias) {
  const std::vector<float> xs = arguments();
  const std::vector<float> bias(xs.size(), 0.5f);
  std::vector<float> sums;
  sums.reserve(xs.size());
  for (const float x : xs) sums.push_back(x + 0.5f);
  EXPECT_EQ(apply(sigmoid_epilogue(bias.data()), xs), apply(sigmoid_epilogue(), sums));
}

TEST_P(EpilogueTest, Tanh) {
  const std::vector<float> xs = arguments();
  expect_close(
      xs, apply(tanh_epilogue(), xs), [](double x) { return std::tanh(x); }, 8);
}

TEST_P(EpilogueTest, Decay) {
  const std::vector<float> xs = arguments();
  const std::vector<float> bias(xs.size(), 0.0f);
  const auto expected = [](double x) {
    return std::exp(static_cast<double>(kDecayScale) * exact_sigmoid(x));
  };
  const std::vector<float> ys = apply(decay_epilogue(bias.data()), xs);
  expect_close(xs, ys, expected, 4);
  for (const float y : ys) EXPECT_TRUE(y > 0.545f && y <= 1) << y;
}

TEST_P(EpilogueTest, SquaredRelu) {
  std::vector<float> xs = arguments();
  std::erase_if(xs, [](float x) { return std::abs(x) > 1e18f; });  // squares that are finite
  expect_close(
      xs, apply(squared_relu_epilogue(), xs), [](double x) { return x > 0 ? x * x : 0; }, 1);
}

TEST_P(EpilogueTest, NanStaysNan) {
  const std::vector<float> nans(37, std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> bias(37, 0.0f);
  for (const Epilogue& epilogue :
       {tanh_epilogue(), sigmoid_epilogue(), sigmoid_epilogue(bias.data()),
        decay_epilogue(bias.data()), squared_relu_epilogue()}) {
    for (const float y : apply(epilogue, nans)) EXPECT_TRUE(std::isnan(y));
  }
}

// The promise of dense.h: a result is a function of the element alone, so how rows are cut does not
// matter.
TEST_P(EpilogueTest, RangesDoNotMatter) {
  const std::vector<float> xs = arguments();
  const std::vector<float> bias(xs.size(), 0.25f);
  for (const Epilogue& epilogue : {tanh_epilogue(), sigmoid_epilogue(bias.data()),
                                   decay_epilogue(bias.data()), squared_relu_epilogue()}) {
    const std::vector<float> whole = apply(epilogue, xs);
    for (const size_t step : {1u, 5u, 64u}) {
      std::vector<float> parts = xs;
      for (size_t begin = 0; begin < parts.size(); begin += step) {
        epilogue.apply(epilogue.context, parts.data(), 0, begin,
                       std::min(begin + step, parts.size()));
      }
      EXPECT_EQ(parts, whole) << "in steps of " << step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, EpilogueTest, ::testing::ValuesIn(supported_cpu_targets()),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace skein
