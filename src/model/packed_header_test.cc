// The text of a packed model's metadata: what is written is read back, and nothing else is.
#include "model/packed_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace skein {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

PackedHeader example() {
  PackedHeader header;
  header.dims = {2, 128, 512, 2, 64, 1000, 32, 16, 8, 96};
  header.plan = parse_quant("ffn=nf4,blocks.0-1=int8",
                            parse_weight_plan("head=row_major@64B,ffn.value=col_major").value())
                    .value();
  header.plan.activations = ActivationLayout::kSeparate;
  header.reordered_neurons = true;
  header.source = "model.safetensors";
  header.source_hash = 0x0123456789abcdef;
  header.weights["head.weight"] = {
      DType::kInt8,      DType::kBF16, 1000, 128, Layout::interleave(16, 128, 4, 256),
      0x00000000deadbeef};
  header.weights["blocks.0.att.x_r .. x_g"] = {DType::kF32, DType::kF16,         6,
                                               128,         Layout::row_major(), ~uint64_t{0}};
  return header;
}

std::string refusal(const Metadata& metadata) {
  const auto header = parse_packed_header(metadata, "file");
  EXPECT_FALSE(header);
  if (header) return "";
  EXPECT_THAT(header.error().message, StartsWith("file: "));
  EXPECT_EQ(header.error().message.find_first_of("\r\n\t"), std::string::npos);
  EXPECT_LT(header.error().message.size(), 400u);
  return header.error().message;
}

std::string refusal_with(const std::string& name, const std::string& value) {
  Metadata metadata = to_metadata(example());
  metadata[name] = value;
  return refusal(metadata);
}

TEST(PackedHeaderTest, IsReadBackAsItWasWritten) {
  const PackedHeader want = example();
  const Metadata metadata = to_metadata(want);
  EXPECT_TRUE(is_packed(metadata));
  const auto got = parse_packed_header(metadata, "file");
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->dims, want.dims);
  EXPECT_EQ(got->plan, want.plan);
  EXPECT_EQ(got->plan.quant, want.plan.quant);
  EXPECT_EQ(got->plan.activations, want.plan.activations);
  EXPECT_EQ(got->reordered_neurons, true);
  EXPECT_EQ(got->source, want.source);
  EXPECT_EQ(got->source_hash, want.source_hash);
  EXPECT_EQ(got->weights, want.weights);
  EXPECT_EQ(to_metadata(*got), metadata);
}

TEST(PackedHeaderTest, TheDefaultPlanIsReadBack) {
  PackedHeader header = example();
  header.plan = {};
  const auto got = parse_packed_header(to_metadata(header), "file");
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_FALSE(got->plan.names_layout(WeightGroup::kHead));
  EXPECT_EQ(got->plan, WeightPlan{});
}

// The writer relies on it: checksums are known only when the data are written.
TEST(PackedHeaderTest, ChecksumsDoNotChangeTheLength) {
  PackedHeader header = example();
  for (auto& [name, weight] : header.weights) {
    const size_t length = to_metadata(header).at("weight." + name).size();
    for (const uint64_t checksum : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
      weight.checksum = checksum;
      EXPECT_EQ(to_metadata(header).at("weight." + name).size(), length);
    }
  }
}

TEST(PackedHeaderTest, OtherFilesAreNotPacked) {
  EXPECT_FALSE(is_packed({}));
  EXPECT_FALSE(is_packed({{"format", "pt"}}));
}

TEST(PackedHeaderTest, AnotherVersionIsNamed) {
  EXPECT_THAT(refusal_with("skein_packed", "2"), AllOf(HasSubstr("version 1"), HasSubstr("'2'")));
  EXPECT_THAT(refusal_with("skein_packed", ""), HasSubstr("version 1"));
}

TEST(PackedHeaderTest, WhatIsMissingIsNamed) {
  for (const char* name :
       {"dimensions", "layout", "quant", "activations", "neurons", "source", "source_hash"}) {
    Metadata metadata = to_metadata(example());
    metadata.erase(name);
    EXPECT_THAT(refusal(metadata), HasSubstr(name));
  }
  Metadata metadata = to_metadata(example());
  metadata.erase("plan");  // for people
  EXPECT_TRUE(parse_packed_header(metadata, "file"));
}

TEST(PackedHeaderTest, HostileDimensions) {
  const std::string good = to_metadata(example()).at("dimensions");
  for (const char* bad : {"", "layers=2", "layers=2 emb=128 hidden=512 vocab=1000 rank_w=32",
                          "layers", "layers= emb=", "emb=128 layers=2"}) {
    EXPECT_THAT(refusal_with("dimensions", bad), HasSubstr("dimensions")) << bad;
  }
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return refusal_with("dimensions", text);
  };
  for (const char* number : {"layers=-2", "layers=02", "layers=+2", "layers=2.0", "layers=",
                             "layers=4294967298", "layers=2 ", " layers=2", "layers=0x2"}) {
    EXPECT_THAT(with("layers=2", number), HasSubstr("dimensions")) << number;
  }
  EXPECT_THAT(with("layers=2", "layers=0"), HasSubstr("layers"));
  EXPECT_THAT(with("layers=2", "layers=4000000000"), HasSubstr("layers"));
  EXPECT_THAT(with("emb=128", "emb=100"), HasSubstr("100"));
  EXPECT_THAT(with("emb=128", "emb=0"), HasSubstr("channels"));
  EXPECT_THAT(with("hidden=512", "hidden=4294967295"), HasSubstr("hidden"));
  EXPECT_THAT(with("vocab=1000", "vocab=0"), HasSubstr("vocabulary"));
  EXPECT_THAT(with("rank_v=8", "rank_v=0"), HasSubstr("rank v"));
  EXPECT_THAT(with("rank_g=96", "rank_g=96 x"), HasSubstr("dimensions"));
  EXPECT_THAT(with("rank_g=96", "rank_g=96\n"), HasSubstr("dimensions"));
}

TEST(PackedHeaderTest, HostilePlans) {
  EXPECT_THAT(refusal_with("layout", "att=spiral"), HasSubstr("spiral"));
  EXPECT_THAT(refusal_with("layout", "nose=row_major"), HasSubstr("nose"));
  EXPECT_THAT(refusal_with("layout", "att=interleave(4294967296,1)"), HasSubstr("layout"));
  EXPECT_THAT(refusal_with("layout", std::string(100000, '(')), HasSubstr("layout"));
  EXPECT_THAT(refusal_with("layout", "att=row_major\n,"), HasSubstr("layout"));
  EXPECT_THAT(refusal_with("quant", "int9"), HasSubstr("int9"));
  EXPECT_THAT(refusal_with("quant", "blocks.5-1=int8"), HasSubstr("quant"));
  EXPECT_THAT(refusal_with("activations", "sparse"), HasSubstr("sparse"));
  EXPECT_THAT(refusal_with("neurons", "many"), HasSubstr("many"));
  EXPECT_THAT(refusal_with("source_hash", "123"), HasSubstr("source_hash"));
  EXPECT_THAT(refusal_with("source_hash", "0123456789ABCDEF"), HasSubstr("source_hash"));
}

TEST(PackedHeaderTest, HostileWeights) {
  const std::string name = "weight.head.weight";
  const std::string good = to_metadata(example()).at(name);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return refusal_with(name, text);
  };
  for (const auto& [from, to] : std::initializer_list<std::pair<const char*, std::string>>{
           {"int8", "int7"},
           {"int8", ""},
           {"from=bf16", "from=nf4"},
           {"from=bf16", "bf16"},
           {"1000x128", "1000"},
           {"1000x128", "x"},
           {"1000x128", "-1x128"},
           {"1000x128", "1000x18446744073709551616"},
           {"interleave(16,128,4)", "interleave(0,128,4)"},
           {"interleave(16,128,4)", "interleave(16,128,3)"},
           {"interleave(16,128,4)", "row major"},
           {"@256B", "@3B"},
           {"xxh3=00000000deadbeef", "xxh3=deadbeef"},
           {"xxh3=00000000deadbeef", "xxh3=00000000deadbeef "},
           {"xxh3=00000000deadbeef", "xxh3=00000000deadbeeg"},
           {" xxh3=00000000deadbeef", ""},
           {"dtype=", std::string(100000, 'x')}}) {
    EXPECT_THAT(with(from, to), HasSubstr("weight.head.weight")) << from << " " << to.substr(0, 50);
  }
}

}  // namespace
}  // namespace skein
