#include "cli/measure.h"

#include <gtest/gtest.h>

namespace skein::cli {
namespace {

TEST(Measure, MedianDoesNotCareForOrderOrOutliers) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 2}), 2);
  EXPECT_EQ(median({1e9, 2, 4, 1}), 3);
}

TEST(Measure, DeviationIsTheSamples) {
  EXPECT_EQ(deviation(std::vector<double>{5}), 0);
  // Mean 5, squares 9 + 1 + 1 + 9 over n - 1 = 3.
  EXPECT_DOUBLE_EQ(deviation(std::vector<double>{2, 4, 6, 8}), 2.581988897471611);
}

}  // namespace
}  // namespace skein::cli
