// Random models of odd shapes: vocabularies and ranks that fill no vector, dtypes mixed tensor by
// tensor, every layout that the CPU backend has. The oracle is the reference backend, one token
// after the other.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "skein/skein.h"
#include "tiny_model.h"

namespace skein {
namespace {

using testing::random_model;
using testing::tiny_dimensions;

constexpr FileDType kF32 = FileDType::kF32, kF16 = FileDType::kF16, kBF16 = FileDType::kBF16;
constexpr size_t kNumTokens = 21;  // more than one block of every matrix kernel, and no multiple

struct OddModel {
  uint32_t num_emb, num_vocab;
  std::vector<FileDType> dtypes;  // of the tensors in turn
};

std::vector<OddModel> odd_models() {
  return {{64, 65, {kF16}},
          {128, 259, {kBF16}},
          {192, 1001, {kF32}},
          {64, 1001, {kF32, kF16, kBF16}},
          {128, 65, {kF16, kBF16, kF32, kF16, kBF16}}};
}

std::vector<uint32_t> some_ids(uint32_t num_vocab) {
  std::vector<uint32_t> ids(kNumTokens);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<uint32_t>(i * i * 7 + 3) % num_vocab;
  ids.back() = num_vocab - 1;
  return ids;
}

std::vector<float> logits_of(const LoadOptions& options, uint32_t chunk) {
  const auto model = Model::load(options);
  EXPECT_TRUE(model) << model.error().message;
  if (!model) return {};
  Session session = Session::create(*model).value();
  EXPECT_TRUE(session.set_chunk(chunk));
  std::vector<float> all;
  EXPECT_TRUE(session.evaluate(some_ids((*model)->info().num_vocab),
                               [&](uint64_t, std::span<const float> row) {
                                 all.insert(all.end(), row.begin(), row.end());
                               }));
  return all;
}

// The largest difference by the largest expected value; NaN where either side has one.
float relative_error(std::span<const float> found, std::span<const float> expected) {
  EXPECT_EQ(found.size(), expected.size());
  float worst = 0, scale = 0;
  for (size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
    const float difference = std::abs(found[i] - expected[i]);
    if (!(difference <= worst)) worst = difference;
    scale = std::max(scale, std::abs(expected[i]));
  }
  return worst / scale;
}

class OddModelsTest : public ::testing::TestWithParam<OddModel> {
 protected:
  void SetUp() override {
    const OddModel& odd = GetParam();
    random_model(tiny_dimensions(odd.num_emb, odd.num_vocab), odd.dtypes, 17).write(path_);
    expected_ = logits_of({.model_path = path_, .backend = "reference"}, 1);
    ASSERT_EQ(expected_.size(), kNumTokens * odd.num_vocab);
  }

  TempFolder folder_;
  std::string path_ = folder_.path("model.safetensors");
  std::vector<float> expected_;
};

// Two layers of products of up to 768 inputs, summed in f32: errors of some ten eps, and the
// recurrence over 21 tokens.
constexpr float kTolerance = 2e-4f;

TEST_P(OddModelsTest, CpuAgreesInEveryLayoutAndChunking) {
  for (const char* layout : {"", "row_major", "row_major@128B", "interleave(16,64,1)", "col_major",
                             "interleave(8,12,4)", "tile(5,7)", "att=morton(8),ffn=morton(32)"}) {
    for (const uint32_t chunk : {1u, 2u, 4u, 7u, 16u, 21u}) {
      const auto logits = logits_of(
          {.model_path = path_, .backend = "cpu", .num_threads = 2, .layout = layout}, chunk);
      EXPECT_LE(relative_error(logits, expected_), kTolerance)
          << "layout '" << layout << "', chunk " << chunk;
    }
  }
}

TEST_P(OddModelsTest, ThreadsDoNotChangeABit) {
  for (const char* layout : {"", "row_major", "col_major", "morton(32)", "tile(48,8)"}) {
    for (const uint32_t chunk : {1u, 7u, 21u}) {
      std::vector<float> first;
      for (const uint32_t num_threads : {1u, 2u, 3u}) {
        const auto logits = logits_of(
            {.model_path = path_, .backend = "cpu", .num_threads = num_threads, .layout = layout},
            chunk);
        if (first.empty()) first = logits;
        EXPECT_TRUE(logits.size() == first.size() &&
                    std::memcmp(logits.data(), first.data(), logits.size() * sizeof(float)) == 0)
            << "layout '" << layout << "', chunk " << chunk << ", " << num_threads << " threads";
      }
    }
  }
}

TEST_P(OddModelsTest, ReferenceAgreesInEveryLayoutAndChunking) {
  for (const char* layout : {"row_major@128B", "interleave(16,64,1)", "morton(8)"}) {
    const auto logits =
        logits_of({.model_path = path_, .backend = "reference", .layout = layout}, 8);
    EXPECT_LE(relative_error(logits, expected_), kTolerance) << layout;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, OddModelsTest, ::testing::ValuesIn(odd_models()),
                         [](const auto& info) {
                           return fmt::format("C{}N{}I{}", info.param.num_emb, info.param.num_vocab,
                                              info.index);
                         });

// A model of one layer has no v1 to read a rank off; a rank of one is a matrix that looks like a
// vector.
TEST(SmallestModelsTest, OneLayerAndRanksOfOne) {
  const TempFolder folder;
  const std::string path = folder.path("model.safetensors");
  for (const uint32_t num_layers : {1u, 2u}) {
    Dimensions dims = tiny_dimensions(64, 1 + num_layers, num_layers);
    dims.rank_w = dims.rank_a = dims.rank_g = 1;
    if (num_layers > 1) dims.rank_v = 1;
    random_model(dims, {&kF16, 1}, 23).write(path);
    const auto expected = logits_of({.model_path = path, .backend = "reference"}, 1);
    for (const char* layout : {"", "row_major", "col_major"}) {
      for (const uint32_t chunk : {1u, 21u}) {
        const auto logits = logits_of(
            {.model_path = path, .backend = "cpu", .num_threads = 3, .layout = layout}, chunk);
        EXPECT_LE(relative_error(logits, expected), kTolerance) << layout << ", chunk " << chunk;
      }
    }
  }
}

}  // namespace
}  // namespace skein
