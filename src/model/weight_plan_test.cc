#include "model/weight_plan.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

TEST(WeightPlanTest, EmptyTextIsTheDefault) {
  EXPECT_EQ(parse_weight_plan("").value(), WeightPlan{});
  EXPECT_EQ(WeightPlan{}.layout_of(WeightGroup::kFfnValue), Layout::col_major(128));
  EXPECT_EQ(WeightPlan{}.layout_of(WeightGroup::kVector), Layout::row_major());
}

TEST(WeightPlanTest, ALoneLayoutIsForTheDenseMatrices) {
  const WeightPlan plan = parse_weight_plan("row_major@128B").value();
  for (WeightGroup group :
       {WeightGroup::kAttention, WeightGroup::kLowRank, WeightGroup::kFfnKey, WeightGroup::kHead}) {
    EXPECT_EQ(plan.layout_of(group), Layout::row_major(128)) << to_string(group);
  }
  EXPECT_EQ(plan.layout_of(WeightGroup::kFfnValue), Layout::col_major(128));
  EXPECT_EQ(parse_weight_plan("col_major").value().ffn_value, Layout::col_major());
}

TEST(WeightPlanTest, GroupsAreAssignedOneByOne) {
  const WeightPlan plan =
      parse_weight_plan("ffn=tile(8,8),att=interleave(16,64,1),ffn.value=col_major@64B").value();
  EXPECT_EQ(plan.ffn_key, Layout::tile(8, 8));
  EXPECT_EQ(plan.ffn_value, Layout::col_major(64));
  EXPECT_EQ(plan.attention, Layout::interleave(16, 64, 1));
  EXPECT_EQ(plan.head, WeightPlan{}.head);
}

TEST(WeightPlanTest, TheTextOfAPlanParsesToThePlan) {
  const WeightPlan plan =
      parse_weight_plan("att=morton(4)@64B,head=row_major,low_rank=col_major").value();
  std::string text = plan.text();
  for (char& c : text) c = c == ' ' ? ',' : c;
  EXPECT_EQ(parse_weight_plan(text).value(), plan);
}

TEST(WeightPlanTest, ErrorsNameWhatWasFound) {
  EXPECT_NE(parse_weight_plan("attention=row_major").error().message.find("found 'attention'"),
            std::string::npos);
  EXPECT_NE(parse_weight_plan("att=row_major,").error().message.find("GROUP=LAYOUT"),
            std::string::npos);
  EXPECT_FALSE(parse_weight_plan("zigzag"));
  EXPECT_FALSE(parse_weight_plan("att=interleave(0,4)"));
}

}  // namespace
}  // namespace skein
