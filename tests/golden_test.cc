// The logits of goose-tiny against those that PyTorch computed (tools/train.py): every backend, any
// cut of the prompt, any number of threads, both precisions, several layouts.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "format/safetensors.h"
#include "skein/skein.h"

namespace skein {
namespace {

// Absolute, of logits from -15 to 20. f16 weights are the same on both sides; what differs is the
// order of f32 sums.
constexpr float kTolerance = 2e-3f;
// Inputs of the products of longer chunks rounded to bf16, 8 bits: measured 0.037 (Zen 4, 2026-11),
// with room.
constexpr float kFastTolerance = 0.15f;

constexpr const char* kModel = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";
constexpr const char* kGolden = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.golden.safetensors";

struct Golden {
  std::vector<uint32_t> ids;  // [T]
  std::vector<float> logits;  // [T][N]
};

const Golden& golden() {
  static const Golden instance = [] {
    Golden golden;
    const Safetensors file = Safetensors::open(kGolden).value();
    const TensorInfo &ids = *file.find("ids"), &logits = *file.find("logits");
    golden.ids.resize(ids.data.size() / sizeof(uint32_t));
    std::memcpy(golden.ids.data(), ids.data.data(), ids.data.size());
    golden.logits.resize(logits.data.size() / sizeof(float));
    std::memcpy(golden.logits.data(), logits.data.data(), logits.data.size());
    return golden;
  }();
  return instance;
}

std::shared_ptr<Model> load(const LoadOptions& changes) {
  LoadOptions options = changes;
  options.model_path = kModel;
  auto model = Model::load(options);
  EXPECT_TRUE(model) << model.error().message;
  return model ? *model : nullptr;
}

// [T][N] of the golden ids, in chunks of `chunk` tokens.
std::vector<float> logits_of(const std::shared_ptr<Model>& model, uint32_t chunk) {
  Session session = Session::create(model).value();
  EXPECT_TRUE(session.set_chunk(chunk));
  std::vector<float> all;
  uint64_t next = 0;
  const Status status =
      session.evaluate(golden().ids, [&](uint64_t token, std::span<const float> logits) {
        EXPECT_EQ(token, next++);
        all.insert(all.end(), logits.begin(), logits.end());
      });
  EXPECT_TRUE(status);
  EXPECT_EQ(next, golden().ids.size());
  return all;
}

// The largest difference; NaN where either side has one.
float max_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST(GoldenTest, FileIsWhatTheTestsExpect) {
  EXPECT_EQ(golden().ids.size(), 14u);
  EXPECT_EQ(golden().logits.size(), 14u * 837u);
  EXPECT_EQ(golden().ids.front(), 0u);
}

TEST(GoldenTest, ReferenceInEveryChunking) {
  const auto model = load({.backend = "reference"});
  ASSERT_TRUE(model);
  const std::vector<float> one_by_one = logits_of(model, 1);
  EXPECT_LE(max_difference(one_by_one, golden().logits), kTolerance);
  // The oracle computes each token alone, so the cut cannot matter at all.
  for (uint32_t chunk = 2; chunk <= 17; ++chunk) {
    EXPECT_TRUE(same_bits(logits_of(model, chunk), one_by_one)) << "chunk " << chunk;
  }
}

TEST(GoldenTest, CpuInEveryChunking) {
  for (const uint32_t num_threads : {1u, 2u}) {
    const auto model = load({.backend = "cpu", .num_threads = num_threads});
    ASSERT_TRUE(model);
    for (uint32_t chunk = 1; chunk <= 17; ++chunk) {
      EXPECT_LE(max_difference(logits_of(model, chunk), golden().logits), kTolerance)
          << num_threads << " threads, chunk " << chunk;
    }
  }
}

// prefill() and step(), which ask for the last token's logits only, give what evaluate() gives.
TEST(GoldenTest, PrefillAndStepGiveTheLastLogits) {
  const size_t num_vocab = 837, num_ids = golden().ids.size();
  const auto expected = std::span(golden().logits).last(num_vocab);
  for (const char* backend : {"reference", "cpu"}) {
    const auto model = load({.backend = backend, .num_threads = 2});
    ASSERT_TRUE(model);
    for (const size_t num_stepped : {size_t{0}, size_t{1}, num_ids - 1}) {
      Session session = Session::create(model).value();
      ASSERT_TRUE(session.prefill(std::span(golden().ids).first(num_ids - num_stepped)));
      for (const uint32_t id : std::span(golden().ids).last(num_stepped)) {
        ASSERT_TRUE(session.step(id));
      }
      EXPECT_LE(max_difference(session.logits(), expected), kTolerance)
          << backend << ", " << num_stepped << " steps";
    }
  }
}

TEST(GoldenTest, ThreadsDoNotChangeABit) {
  for (const Precision precision : {Precision::kExact, Precision::kFast}) {
    for (const char* layout : {"", "row_major"}) {
      std::vector<std::vector<float>> first;
      for (const uint32_t num_threads : {1u, 2u, 3u}) {
        const auto model = load({.backend = "cpu",
                                 .num_threads = num_threads,
                                 .precision = precision,
                                 .layout = layout});
        ASSERT_TRUE(model);
        std::vector<std::vector<float>> logits;
        for (const uint32_t chunk : {1u, 5u, 14u}) logits.push_back(logits_of(model, chunk));
        if (first.empty()) first = logits;
        for (size_t i = 0; i < logits.size(); ++i) {
          EXPECT_TRUE(same_bits(logits[i], first[i]))
              << num_threads << " threads, layout '" << layout << "', chunking " << i;
        }
      }
    }
  }
}

// Single tokens are exact in either precision; chunks may round.
TEST(GoldenTest, FastPrecisionIsNear) {
  const auto model = load({.backend = "cpu", .num_threads = 2, .precision = Precision::kFast});
  ASSERT_TRUE(model);
  EXPECT_LE(max_difference(logits_of(model, 1), golden().logits), kTolerance);
  for (const uint32_t chunk : {2u, 4u, 7u, 8u, 14u}) {
    const float difference = max_difference(logits_of(model, chunk), golden().logits);
    EXPECT_LE(difference, kFastTolerance) << "chunk " << chunk;
    RecordProperty("difference_of_chunk_" + std::to_string(chunk), std::to_string(difference));
  }
}

TEST(GoldenTest, CpuInOtherLayouts) {
  for (const char* layout :
       {"row_major", "row_major@128B", "col_major", "col_major@64B", "interleave(16,64,1)",
        "ffn=col_major,att=row_major@64B", "interleave(4,64)", "interleave(8,64,4)",
        "interleave(16,64,4)", "tile(16,32)", "morton(32)", "ffn.value=tile(16,32)",
        "ffn=morton(32)", "ffn.value=interleave(16,64,4)@128B"}) {
    const auto model = load({.backend = "cpu", .num_threads = 2, .layout = layout});
    ASSERT_TRUE(model);
    for (const uint32_t chunk : {1u, 3u, 14u}) {
      EXPECT_LE(max_difference(logits_of(model, chunk), golden().logits), kTolerance)
          << layout << ", chunk " << chunk;
    }
  }
}

// Three tokens, since the oracle is slow.
TEST(GoldenTest, ReferenceInOtherLayouts) {
  for (const char* layout : {"row_major", "tile(16,32)@128B", "morton(32)", "col_major@256B"}) {
    const auto model = load({.backend = "reference", .layout = layout});
    ASSERT_TRUE(model);
    Session session = Session::create(model).value();
    ASSERT_TRUE(session.prefill(std::span(golden().ids).first(3)));
    EXPECT_LE(max_difference(session.logits(), std::span(golden().logits).subspan(2 * 837, 837)),
              kTolerance)
        << layout;
  }
}

}  // namespace
}  // namespace skein
