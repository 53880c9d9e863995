#include "cli/text_score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace skein::cli {
namespace {

TEST(TextScore, LogSoftmaxSumsToOneAndIsShiftInvariant) {
  const std::vector<float> logits = {1.5f, -2.0f, 0.0f, 7.25f};
  std::vector<double> a, b;
  log_softmax(logits, a);
  double sum = 0;
  for (const double value : a) sum += std::exp(value);
  EXPECT_NEAR(sum, 1.0, 1e-12);
  std::vector<float> shifted = logits;
  for (float& value : shifted) value += 512.0f;
  log_softmax(shifted, b);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-12);
}

TEST(TextScore, LogSoftmaxOfEqualLogitsIsUniform) {
  std::vector<double> out;
  log_softmax(std::vector<float>(8, 1e30f), out);
  for (const double value : out) EXPECT_NEAR(value, -std::log(8.0), 1e-12);
}

TEST(TextScore, DivergenceOfTwoCoins) {
  // p = (1/2, 1/2), q = (1/4, 3/4): by hand, 1/2 log 2 + 1/2 log 2/3.
  const std::vector<double> p = {std::log(0.5), std::log(0.5)};
  const std::vector<double> q = {std::log(0.25), std::log(0.75)};
  EXPECT_NEAR(divergence(p, q), 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3.0), 1e-15);
  EXPECT_EQ(divergence(p, p), 0.0);
  EXPECT_GT(divergence(q, p), 0.0);
}

TEST(TextScore, DivergenceIgnoresWhatIsImpossible) {
  const double minus_infinity = -std::numeric_limits<double>::infinity();
  const std::vector<double> p = {0.0, minus_infinity};
  EXPECT_EQ(divergence(p, p), 0.0);
}

TEST(TextScore, TopTokenIsTheFirstOfTheLargest) {
  EXPECT_EQ(top_token(std::vector<float>{1, 3, 3, 2}), 1u);
}

}  // namespace
}  // namespace skein::cli
