// The three families of names; files of each are in tests/model_formats_test.py.
#include "model/tensor_names.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "model/weight_list.h"

namespace skein {
namespace {

std::vector<WeightSpec> all_weights(Weights& weights) {
  return list_weights({3, 128, 512, 2, 64, 100, 8, 8, 8, 8}, weights);
}

TEST(TensorNamesTest, EveryWeightHasANameOfGgmlThatLeadsBack) {
  Weights weights;
  std::set<std::string> seen;
  for (const WeightSpec& spec : all_weights(weights)) {
    if (spec.names.size() > 1) continue;
    const std::string& name = spec.names.front();
    const std::string ggml = ggml_name_of(name);
    EXPECT_EQ(blink_name(Naming::kGgml, ggml), name);
    EXPECT_TRUE(seen.insert(ggml).second) << ggml;
  }
  EXPECT_EQ(ggml_name_of("blocks.12.att.x_?"), "blk.12.time_mix_lerp_fused.weight");
  EXPECT_EQ(ggml_name_of("blocks.0.ln0.weight"), "token_embd_norm.weight");
}

TEST(TensorNamesTest, HuggingFacesNames) {
  const std::pair<const char*, const char*> names[] = {
      {"model.embeddings.weight", "emb.weight"},
      {"lm_head.weight", "head.weight"},
      {"model.norm.bias", "ln_out.bias"},
      {"norm.bias", "ln_out.bias"},
      {"model.layers.0.pre_norm.weight", "blocks.0.ln0.weight"},
      {"model.layers.11.attn.r_proj.weight", "blocks.11.att.receptance.weight"},
      {"layers.11.attn.x_w", "blocks.11.att.x_w"},
      {"layers.1.attn.w_lora.lora.0.weight", "blocks.1.att.w1"},
      {"layers.1.attn.g_lora.lora.2.weight", "blocks.1.att.g2"},
      {"layers.1.attn.a_lora.lora.2.bias", "blocks.1.att.a0"},
      {"layers.1.ffn.x_k", "blocks.1.ffn.x_k"},
  };
  for (const auto& [from, to] : names) EXPECT_EQ(blink_name(Naming::kHuggingFace, from), to);
}

TEST(TensorNamesTest, OtherNamesHaveNone) {
  for (const char* name :
       {"", "model", "model.layers.", "model.layers.0", "model.layers.0.",
        "model.layers.x.attn.x_r", "model.layers.0.attn.x_q", "model.layers.0.attn.x_rr",
        "model.layers.0.attn.q_lora.lora.0.weight", "model.layers.0.attn.w_lora.lora.1.weight",
        "model.layers.0.attn.w_lora.lora.0.bias", "layers.99999999999999999999.x", "emb.weight"}) {
    EXPECT_EQ(blink_name(Naming::kHuggingFace, name), "") << name;
  }
  for (const char* name :
       {"", "blk", "blk.0", "blk.0.", "blk.0.time_mix_w3.weight", "blk.0.time_mix_x1.weight",
        "blk.0.time_mix_w1.bias", "blk..attn_norm.weight"}) {
    EXPECT_EQ(blink_name(Naming::kGgml, name), "") << name;
  }
}

}  // namespace
}  // namespace skein
