#include "model/weight_list.h"

#include <gtest/gtest.h>

#include <set>

namespace skein {
namespace {

Dimensions some_dims() {
  return {.num_layers = 2,
          .num_emb = 128,
          .num_hidden = 512,
          .num_heads = 2,
          .head_size = 64,
          .num_vocab = 65,
          .rank_w = 32,
          .rank_a = 16,
          .rank_v = 8,
          .rank_g = 64};
}

TEST(WeightListTest, EveryTargetAndNameIsUnique) {
  Weights weights;
  std::set<std::string> names;
  std::set<const Tensor*> targets;
  for (const WeightSpec& spec : list_weights(some_dims(), weights)) {
    for (const std::string& name : spec.names) EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_TRUE(targets.insert(spec.target).second) << spec.label();
    EXPECT_GT(spec.rows * spec.cols, 0u) << spec.label();
    EXPECT_EQ(spec.rows % spec.names.size(), 0u) << spec.label();
  }
  EXPECT_EQ(weights.layers.size(), 2u);
  EXPECT_TRUE(names.contains("blocks.1.att.v1"));
  EXPECT_FALSE(names.contains("blocks.0.att.v1"));
}

// The count of BlinkDL's formula for these dimensions, written out on its own.
TEST(WeightListTest, ParametersAddUp) {
  Weights weights;
  uint64_t total = 0;
  for (const WeightSpec& spec : list_weights(some_dims(), weights)) total += spec.rows * spec.cols;
  const uint64_t C = 128, F = 512, N = 65;
  const uint64_t layer =
      4 * C * C + 2 * C * F + 2 * C * (32 + 16 + 64) + (6 + 2 + 3 + 2 + 4 + 1) * C;
  EXPECT_EQ(total, 2 * N * C + 2 * layer + (2 * C * 8 + C) + 4 * C);
}

TEST(WeightListTest, StackedWeightsSaySo) {
  Weights weights;
  const auto specs = list_weights(some_dims(), weights);
  const auto mix = std::find_if(specs.begin(), specs.end(),
                                [](const WeightSpec& s) { return s.names.size() > 1; });
  ASSERT_NE(mix, specs.end());
  EXPECT_EQ(mix->label(), "blocks.0.att.x_r .. x_g");
  EXPECT_EQ(mix->rows, 6u);
}

}  // namespace
}  // namespace skein
