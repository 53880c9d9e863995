// Model::load(): which vocabulary is taken, what it must fit, what the options must name, what
// ModelInfo says. Broken files are in hostile_model_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "skein/skein.h"
#include "tiny_model.h"

namespace skein {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::random_model;
using testing::tiny_dimensions;

constexpr const char* kGoose = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";
constexpr FileDType kF16[] = {FileDType::kF16};

std::shared_ptr<Model> load(const std::string& path) {
  auto model = Model::load({.model_path = path, .backend = "cpu", .num_threads = 2});
  EXPECT_TRUE(model) << model.error().message;
  return model ? *model : nullptr;
}

TEST(VocabularyTest, IsFoundBesideTheModel) {
  const TempFolder folder;
  const std::string path = folder.path("m.safetensors");
  random_model(tiny_dimensions(64, 65), kF16, 3).write(path);
  EXPECT_THAT(load(path)->encode("a").error().message, HasSubstr("vocab"));
  EXPECT_EQ(load(path)->decode(std::vector<uint32_t>{1}), "");
  // The later ones win over those written before.
  const std::string tokens[] = {"x", "y", "z"};
  size_t first = 3;
  for (const char* name : {"rwkv_vocab_v20230424.txt", "vocab.txt", "m.vocab.txt"}) {
    testing::write_file(folder.path(name),
                        testing::vocabulary_text(std::span(tokens).first(first--)));
    const auto model = load(path);
    EXPECT_EQ(model->decode(std::vector<uint32_t>{1, 2, 3}),
              std::string("xyz").substr(0, first + 1));
  }
  testing::write_file(folder.path("named"), testing::vocabulary_text(std::span(tokens).last(1)));
  const auto model = Model::load({.model_path = path, .vocab_path = folder.path("named")});
  ASSERT_TRUE(model);
  EXPECT_EQ((*model)->encode("zz").value(), (std::vector<uint32_t>{1, 1}));
}

TEST(VocabularyTest, MustFitTheModel) {
  const TempFolder folder;
  const std::string path = folder.path("m.safetensors"), vocabulary = folder.path("vocab.txt");
  random_model(tiny_dimensions(64, 65), kF16, 3).write(path);
  std::vector<std::string> tokens;
  for (char c = 1; c <= 64; ++c) tokens.emplace_back(1, c);
  testing::write_file(vocabulary, testing::vocabulary_text(tokens));
  EXPECT_TRUE(load(path)) << "ids up to 64 fit 65 logits";
  tokens.emplace_back("too many");
  testing::write_file(vocabulary, testing::vocabulary_text(tokens));
  const auto refused = Model::load({.model_path = path});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, AllOf(HasSubstr(vocabulary), HasSubstr("below 65"),
                                             HasSubstr("up to 65"), Not(HasSubstr("\n"))));
  for (const char* text : {"", "no vocabulary", "1 'a'"}) {
    testing::write_file(vocabulary, text);
    EXPECT_FALSE(Model::load({.model_path = path})) << text;
  }
  EXPECT_THAT(Model::load({.model_path = path, .vocab_path = folder.path("none")}).error().message,
              HasSubstr("none"));
}

TEST(LoadTest, UnknownNamesAreListed) {
  EXPECT_THAT(Model::load({.model_path = kGoose, .backend = "abacus"}).error().message,
              AllOf(HasSubstr("'abacus'"), HasSubstr("cpu"), HasSubstr("reference")));
  EXPECT_THAT(Model::load({.model_path = kGoose, .layout = "zigzag"}).error().message,
              HasSubstr("'zigzag'"));
  for (const char* backend : {"cpu", "reference"}) {
    EXPECT_THAT(Model::load({.model_path = kGoose, .backend = backend, .num_threads = 1u << 20})
                    .error()
                    .message,
                AllOf(HasSubstr("threads"), HasSubstr("1048576")));
  }
}

TEST(LoadTest, ProgressGoesFromZeroToOne) {
  std::vector<double> fractions;
  ASSERT_TRUE(Model::load(
      {.model_path = kGoose, .on_progress = [&](double f) { fractions.push_back(f); }}));
  ASSERT_GE(fractions.size(), 2u);
  EXPECT_EQ(fractions.front(), 0);
  EXPECT_EQ(fractions.back(), 1);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
}

TEST(LoadTest, InfoDescribesTheModel) {
  const ModelInfo info = load(kGoose)->info();
  EXPECT_EQ(info.num_layers, 6u);
  EXPECT_EQ(info.num_emb, 256u);
  EXPECT_EQ(info.num_hidden, 1024u);
  EXPECT_EQ(info.num_heads, 4u);
  EXPECT_EQ(info.num_vocab, 837u);
  EXPECT_EQ(info.dtype, "f16");
  EXPECT_EQ(info.backend, "cpu");
  EXPECT_TRUE(info.warnings.empty());
  EXPECT_NEAR(static_cast<double>(info.num_parameters), 5.65e6, 0.01e6);
  EXPECT_NE(info.model_hash, 0u);
}

}  // namespace
}  // namespace skein
