#include "model/weight_plan.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

TEST(WeightPlanTest, EmptyTextIsTheDefault) {
  EXPECT_EQ(parse_weight_plan("").value(), WeightPlan{});
  EXPECT_EQ(WeightPlan{}.layout_of(WeightGroup::kFfnValue), Layout::col_major(128));
  EXPECT_EQ(WeightPlan{}.layout_of(WeightGroup::kVector), Layout::row_major());
}

TEST(WeightPlanTest, ALoneLayoutIsForAllMatrices) {
  for (const char* text : {"row_major@128B", "col_major", "tile(4,8)"}) {
    const WeightPlan plan = parse_weight_plan(text).value();
    for (const WeightGroup group : kMatrixGroups) {
      EXPECT_EQ(to_string(plan.layout_of(group)), text) << to_string(group);
      EXPECT_TRUE(plan.names_layout(group));
    }
    EXPECT_EQ(plan.layout_of(WeightGroup::kEmbedding), Layout::row_major());
    EXPECT_FALSE(plan.names_layout(WeightGroup::kEmbedding));
  }
}

TEST(WeightPlanTest, ActivationsAndPlacementHaveNames) {
  for (const char* text : {"packed", "separate"}) {
    EXPECT_EQ(to_string(parse_activations(text).value()), text);
  }
  for (const char* text : {"hot", "file"})
    EXPECT_EQ(to_string(parse_placement(text).value()), text);
  EXPECT_EQ(parse_activations("loose").error().message,
            "activations: expected packed or separate, found 'loose'");
  EXPECT_EQ(parse_placement("").error().message, "placement: expected hot or file, found ''");
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

TEST(WeightPlanTest, TheTextNamesActivationsAndPlacementThatAreNoDefault) {
  WeightPlan plan;
  const std::string text = plan.text();
  plan.activations = ActivationLayout::kSeparate;
  EXPECT_EQ(plan.text(), text + " activations=separate");
  EXPECT_NE(plan, WeightPlan{});
  plan.placement = Placement::kFile;
  EXPECT_EQ(plan.text(), text + " activations=separate placement=file");
  plan.activations = ActivationLayout::kPacked;
  EXPECT_EQ(plan.text(), text + " placement=file");
  plan = parse_forms("head=group(64,8,1,4)", plan).value();
  EXPECT_EQ(plan.text(), text + " placement=file forms=head=group(64,8,1,4)");
  EXPECT_NE(plan, WeightPlan{});
}

TEST(QuantTest, ALoneTypeIsForAttentionFfnAndHead) {
  const WeightPlan plan = parse_quant("int8").value();
  for (WeightGroup group : {WeightGroup::kAttention, WeightGroup::kFfnKey, WeightGroup::kFfnValue,
                            WeightGroup::kHead}) {
    EXPECT_EQ(plan.dtype_of(group, 3), DType::kInt8) << to_string(group);
  }
  for (WeightGroup group : {WeightGroup::kLowRank, WeightGroup::kEmbedding, WeightGroup::kVector}) {
    EXPECT_EQ(plan.dtype_of(group, 3), std::nullopt) << to_string(group);
  }
  EXPECT_EQ(plan.layout_of(WeightGroup::kAttention, DType::kInt8), Layout::interleave(16, 128, 4));
  EXPECT_EQ(plan.layout_of(WeightGroup::kHead, DType::kNF4), Layout::interleave(16, 64, 8));
  EXPECT_EQ(plan.layout_of(WeightGroup::kFfnValue, DType::kSF4), Layout::col_major(128));
  // A layout that was named stays.
  const WeightPlan named = parse_quant("nf4", parse_weight_plan("row_major").value()).value();
  EXPECT_EQ(named.layout_of(WeightGroup::kAttention, DType::kNF4), Layout::row_major());
}

TEST(QuantTest, TheLastRuleThatCoversAMatrixCounts) {
  const WeightPlan plan = parse_quant("ffn=nf4,att=int8,blocks.2-4=sf4,blocks.3=file").value();
  EXPECT_EQ(plan.dtype_of(WeightGroup::kFfnKey, 0), DType::kNF4);
  EXPECT_EQ(plan.dtype_of(WeightGroup::kAttention, 1), DType::kInt8);
  EXPECT_EQ(plan.dtype_of(WeightGroup::kAttention, 2), DType::kSF4);
  EXPECT_EQ(plan.dtype_of(WeightGroup::kFfnValue, 3), std::nullopt);
  EXPECT_EQ(plan.dtype_of(WeightGroup::kFfnValue, 4), DType::kSF4);
  EXPECT_EQ(plan.dtype_of(WeightGroup::kFfnValue, 5), DType::kNF4);
  EXPECT_EQ(plan.dtype_of(WeightGroup::kLowRank, 3), std::nullopt);
  EXPECT_EQ(plan.dtype_of(WeightGroup::kHead, std::nullopt), std::nullopt);
}

TEST(QuantTest, TheTextOfTheRulesParsesToTheRules) {
  for (const char* text :
       {"", "int8", "ffn=nf4,att=int8,head=int8", "blocks.0-5=nf4,low_rank=sf4", "blocks.3=file"}) {
    const WeightPlan plan = parse_quant(text).value();
    EXPECT_EQ(parse_quant(plan.quant_text()).value().quant, plan.quant) << text;
  }
  EXPECT_EQ(parse_quant("sf4").value().quant_text(), "att=sf4,ffn.key=sf4,ffn.value=sf4,head=sf4");
}

TEST(QuantTest, ErrorsNameWhatWasFound) {
  const auto message = [](std::string_view text) { return parse_quant(text).error().message; };
  EXPECT_EQ(message("int4"),
            "quant: expected int8, nf4, sf4, q8_0, q4_0, q4_k, f16 or file, found 'int4'");
  EXPECT_EQ(message("att=f32"),
            "quant: expected int8, nf4, sf4, q8_0, q4_0, q4_k, f16 or file, found 'f32'");
  EXPECT_EQ(message("att=int8,"), "quant: expected GROUP=DTYPE, found '' in 'att=int8,'");
  EXPECT_NE(message("emb=int8").find("found 'emb'"), std::string::npos);
  for (const char* text : {"blocks.=nf4", "blocks.3-1=nf4", "blocks.-1=nf4", "blocks.1-=nf4",
                           "blocks.1-2-3=nf4", "blocks.99999999999=nf4", "blocks.x=nf4"}) {
    EXPECT_NE(message(text).find("expected layers as blocks.FIRST-LAST"), std::string::npos)
        << text;
  }
}

TEST(WeightPlanTest, ErrorsNameWhatWasFound) {
  EXPECT_NE(parse_weight_plan("attention=row_major").error().message.find("found 'attention'"),
            std::string::npos);
  EXPECT_NE(parse_weight_plan("att=row_major,").error().message.find("GROUP=LAYOUT"),
            std::string::npos);
  EXPECT_FALSE(parse_weight_plan("zigzag"));
  EXPECT_FALSE(parse_weight_plan("att=interleave(0,4)"));
}

TEST(WeightPlan, FormsAreReadByGroup) {
  const WeightPlan plan =
      parse_forms("ffn=group(64,8,1,4),att=group(128,128,2,16)+tile(64,64,4,4),ffn.key=auto")
          .value();
  EXPECT_EQ(plan.forms.ffn_value, group_form(64, 8, 1, 4));
  EXPECT_EQ(plan.forms.attention, group_form(128, 128, 2, 16).with(tile_form(64, 64, 4, 4)));
  EXPECT_TRUE(plan.form_of(WeightGroup::kFfnKey).is_auto());
  EXPECT_EQ(plan.forms_text(), "att=group(128,128,2,16)+tile(64,64,4,4),ffn.value=group(64,8,1,4)");
  EXPECT_EQ(parse_forms(plan.forms_text()).value(), plan);
  EXPECT_NE(plan, WeightPlan());
  for (const std::string_view text :
       {"att", "emb=auto", "att=group(0,0,0,0)", "att=auto,", "=auto"}) {
    const auto refused = parse_forms(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().message.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace skein
