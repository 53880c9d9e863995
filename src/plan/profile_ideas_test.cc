#include "plan/profile_ideas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "plan/profile.h"

namespace skein {
namespace {

using ::testing::Each;
using ::testing::Lt;

TEST(ProfileIdeas, TheBaselineIsTheDocumentsCurrentStateInMemoryOrder) {
  EXPECT_EQ(plan_of(Switches(), {}).text(),
            "att=col_major low_rank=col_major ffn.key=col_major ffn.value=row_major head=col_major "
            "activations=separate placement=file");
}

// Written out, so that a change of one idea is seen here.
TEST(ProfileIdeas, EachIdeaAloneChangesOneThing) {
  const auto text = [](Idea idea) { return plan_of(with_idea(Switches(), idea), {}).text(); };
  const std::string tail = " activations=separate placement=file";
  EXPECT_EQ(text(Idea::kTransposed),
            "att=row_major low_rank=row_major ffn.key=row_major ffn.value=row_major "
            "head=row_major" +
                tail);
  EXPECT_EQ(text(Idea::kSwizzled),
            "att=morton(32) low_rank=morton(32) ffn.key=morton(32) ffn.value=row_major "
            "head=morton(32)" +
                tail);
  EXPECT_EQ(text(Idea::kAlignedDimensions),
            "att=col_major@128B low_rank=col_major@128B ffn.key=col_major@128B "
            "ffn.value=row_major@128B head=col_major@128B" +
                tail);
  const std::string columns =
      "att=col_major low_rank=col_major ffn.key=col_major ffn.value=row_major head=col_major";
  EXPECT_EQ(text(Idea::kPackedActivations), columns + " placement=file");
  EXPECT_EQ(text(Idea::kHotCold), columns + " activations=separate");
}

TEST(ProfileIdeas, InterleavedIsTheDefaultOfTheDtype) {
  const WeightPlan quant = parse_quant("att=int8,ffn=nf4").value();
  for (const bool aligned : {false, true}) {
    Switches switches = with_idea(Switches(), Idea::kBlockInterleaved);
    switches.aligned = aligned;
    const WeightPlan plan = plan_of(switches, quant);
    const auto expect = [&](WeightGroup group, DType dtype, uint32_t align_bytes) {
      Layout layout = default_layout(group, dtype);
      if (aligned) layout.align_bytes = align_bytes;
      EXPECT_EQ(plan.layout_of(group, dtype), layout);
    };
    expect(WeightGroup::kAttention, DType::kInt8, 256);
    expect(WeightGroup::kFfnKey, DType::kNF4, 256);
    expect(WeightGroup::kHead, DType::kF16, 128);
    EXPECT_EQ(plan.quant, quant.quant);
  }
  // Rules for layers: each matrix has the layout of its own dtype.
  const WeightPlan layers =
      plan_of(with_idea(Switches(), Idea::kBlockInterleaved), parse_quant("blocks.0=nf4").value());
  EXPECT_EQ(layers.layout_of(WeightGroup::kAttention, DType::kNF4),
            default_layout(WeightGroup::kAttention, DType::kNF4));
  EXPECT_EQ(layers.layout_of(WeightGroup::kAttention, DType::kF16),
            default_layout(WeightGroup::kAttention, DType::kF16));
}

TEST(ProfileIdeas, QuantizedMatricesAlignTo256Bytes) {
  Switches switches;
  switches.aligned = true;
  const WeightPlan plan = plan_of(switches, parse_quant("att=int8,head=nf4").value());
  EXPECT_EQ(plan.attention, Layout::col_major(256));
  EXPECT_EQ(plan.head, Layout::col_major(256));
  EXPECT_EQ(plan.ffn_key, Layout::col_major(128));
}

TEST(ProfileIdeas, AddedGoesInTheDocumentsOrder) {
  const Experiment experiment = make_experiment({}, 16);
  ASSERT_EQ(experiment.ideas.size(), 6u);
  Switches all;
  all.morton_side = 16;
  const std::vector<std::string> replaces = {"", "", "", "row_major", "interleave", ""};
  for (size_t i = 0; i < 6; ++i) {
    const IdeaRow& row = experiment.ideas[i];
    EXPECT_EQ(row.idea, kExperimentOrder[i]);
    EXPECT_EQ(row.replaces, replaces[i]) << i;
    all = with_idea(all, row.idea);
    EXPECT_EQ(experiment.variants[row.added].plan, plan_of(all, {})) << i;
    Switches alone = with_idea(Switches(), row.idea);
    alone.morton_side = 16;
    EXPECT_EQ(experiment.variants[row.alone].plan, plan_of(alone, {})) << i;
  }
  // The first idea added is the first idea alone.
  EXPECT_EQ(experiment.ideas[0].alone, experiment.ideas[0].added);
  EXPECT_EQ(experiment.variants[experiment.skein_default].plan, WeightPlan());
  DenseLayouts dense;
  dense.fill(Layout::row_major());
  const WeightPlan rows = default_plan(dense);
  const Experiment of_rows = make_experiment({}, 16, rows);
  EXPECT_EQ(of_rows.variants[of_rows.skein_default].plan, rows);
  EXPECT_NE(rows, WeightPlan());
}

TEST(ProfileIdeas, NoPlanIsMeasuredTwice) {
  for (const char* quant : {"", "int8", "nf4", "ffn=nf4,att=int8"}) {
    const Experiment experiment = make_experiment(parse_quant(quant).value(), 64);
    std::set<std::string> plans, names;
    for (const Variant& variant : experiment.variants) {
      EXPECT_TRUE(plans.insert(variant.plan.text()).second) << variant.name;
      EXPECT_TRUE(names.insert(variant.name).second) << variant.name;
    }
    EXPECT_THAT(experiment.layouts, Each(Lt(experiment.variants.size())));
    EXPECT_EQ(experiment.variants.front().name, "baseline");
    // Every kind of layout is there.
    std::set<LayoutKind> kinds;
    for (const size_t i : experiment.layouts) {
      kinds.insert(attention_layout(experiment.variants[i].plan).kind);
    }
    EXPECT_EQ(kinds.size(), 5u);
  }
}

TEST(ProfileRatio, IsTakenWithinARound) {
  // The machine halves its speed in the third round: the ratios do not see it.
  const auto ratio = ratio_of({110, 120, 65}, {100, 100, 50});
  ASSERT_TRUE(ratio);
  EXPECT_DOUBLE_EQ(ratio->median, 1.2);
  EXPECT_DOUBLE_EQ(ratio->low, 1.15);
  EXPECT_DOUBLE_EQ(ratio->high, 1.25);
  EXPECT_FALSE(ratio_of({}, {}));
  EXPECT_FALSE(ratio_of({1}, {0}));
}

}  // namespace
}  // namespace skein
