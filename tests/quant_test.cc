// Quantized weights end to end on the reference: the logits are those of the decoded weights, the
// quality of goose-tiny stays, what cannot be quantized is refused by name.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "skein/skein.h"
#include "tensor/codec.h"
#include "tiny_model.h"

namespace skein {
namespace {

using testing::TinyModel;
using testing::TinyTensor;

constexpr const char* kModel = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";

std::shared_ptr<Model> load(const std::string& path, const std::string& quant,
                            const std::string& layout = {}) {
  LoadOptions options;
  options.model_path = path;
  options.backend = "reference";
  options.num_threads = 2;
  options.layout = layout;
  options.quant = quant;
  auto model = Model::load(options);
  EXPECT_TRUE(model) << model.error().message;
  return model ? *model : nullptr;
}

// [T][N]
std::vector<float> logits_of(const std::shared_ptr<Model>& model, std::span<const uint32_t> ids) {
  Session session = Session::create(model).value();
  std::vector<float> all;
  EXPECT_TRUE(session.evaluate(ids, [&](uint64_t, std::span<const float> logits) {
    all.insert(all.end(), logits.begin(), logits.end());
  }));
  return all;
}

// What the model itself says, word by word the likeliest.
std::vector<uint32_t> greedy_ids(const std::shared_ptr<Model>& model, size_t count) {
  Session session = Session::create(model).value();
  std::vector<uint32_t> ids = {0};
  while (ids.size() < count) {
    EXPECT_TRUE(session.step(ids.back()));
    const auto logits = session.logits();
    const auto best = std::max_element(logits.begin(), logits.end());
    ids.push_back(static_cast<uint32_t>(best - logits.begin()));
  }
  return ids;
}

std::vector<double> softmax(std::span<const float> logits) {
  std::vector<double> p(logits.begin(), logits.end());
  const double most = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (double& value : p) sum += value = std::exp(value - most);
  for (double& value : p) value /= sum;
  return p;
}

// Mean over the tokens of KL(p of a || p of b).
double mean_kl(std::span<const float> a, std::span<const float> b, size_t num_vocab) {
  double kl = 0;
  for (size_t at = 0; at < a.size(); at += num_vocab) {
    const auto p = softmax(a.subspan(at, num_vocab)), q = softmax(b.subspan(at, num_vocab));
    for (size_t i = 0; i < num_vocab; ++i) kl += p[i] * std::log(p[i] / q[i]);
  }
  const size_t num_tokens = a.size() / num_vocab;
  return kl / static_cast<double>(num_tokens);
}

// The values of a matrix after a round trip through the scalar codec.
void round_trip(TinyTensor& tensor, DType dtype) {
  const uint64_t cols = tensor.shape[1], block = block_cols(dtype);
  for (uint64_t row = 0; row < tensor.shape[0]; ++row) {
    for (uint64_t begin = 0; begin < cols; begin += block) {
      float* values = tensor.values.data() + row * cols + begin;
      const uint64_t count = std::min(block, cols - begin);
      std::array<uint8_t, 256> codes;
      std::array<std::byte, 16> scale;
      CHECK(encode_block(dtype, {values, count}, codes.data(), scale.data()));
      for (uint32_t i = 0; i < count; ++i) {
        values[i] = decode_in_block(dtype, scale.data(), i, codes[i]);
      }
    }
  }
}

bool is_quantized_by_a_lone_type(const std::string& name) {
  for (const char* part : {"att.receptance.", "att.key.", "att.value.", "att.output.", "ffn.key.",
                           "ffn.value.", "head."}) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}

TEST(QuantTest, LogitsAreThoseOfTheDecodedWeights) {
  const TempFolder folder;
  // 192 cols: one int8 block and a short one.
  const FileDType f32 = FileDType::kF32;
  const TinyModel original =
      testing::random_model(testing::tiny_dimensions(192, 101), {&f32, 1}, 5);
  original.write(folder.path("original.safetensors"));
  const std::vector<uint32_t> ids = {0, 3, 100, 42, 42, 7};
  for (const DType dtype : kQuantDTypes) {
    TinyModel decoded = original;
    for (TinyTensor& tensor : decoded.tensors) {
      if (is_quantized_by_a_lone_type(tensor.name)) round_trip(tensor, dtype);
    }
    decoded.write(folder.path("decoded.safetensors"));
    const auto want = logits_of(load(folder.path("decoded.safetensors"), ""), ids);
    EXPECT_NE(want, logits_of(load(folder.path("original.safetensors"), ""), ids));
    for (const char* layout : {"", "row_major@64B", "col_major", "interleave(3,5)", "morton(8)"}) {
      const auto got = logits_of(
          load(folder.path("original.safetensors"), std::string(to_string(dtype)), layout), ids);
      EXPECT_EQ(got, want) << to_string(dtype) << ' ' << layout;
    }
  }
}

TEST(QuantTest, GooseTinyKeepsItsDistribution) {
  const auto plain = load(kModel, "");
  ASSERT_TRUE(plain);
  const std::vector<uint32_t> ids = greedy_ids(plain, 64);
  const std::vector<float> want = logits_of(plain, ids);
  // Measured 0.000006, 0.0010 and 0.0012 (2026-11-23); ten times that.
  struct Bound {
    const char* quant;
    double kl;
  };
  for (const Bound& bound : {Bound{"int8", 6e-5}, Bound{"nf4", 0.01}, Bound{"sf4", 0.012}}) {
    const double kl = mean_kl(want, logits_of(load(kModel, bound.quant), ids), 837);
    fmt::print("{}: mean KL of {} tokens against f16: {:.6f} nats\n", bound.quant, ids.size(), kl);
    EXPECT_FALSE(!(kl <= bound.kl)) << bound.quant;
    EXPECT_GT(kl, 0) << bound.quant;
  }
}

TEST(QuantTest, RefusesWhatItCannotHoldByName) {
  const TempFolder folder;
  const FileDType f32 = FileDType::kF32;
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 7e4f}) {
    TinyModel model = testing::random_model(testing::tiny_dimensions(128, 64), {&f32, 1}, 6);
    model.at("blocks.1.ffn.key.weight").values[5 * 128 + 70] = bad;
    model.write(folder.path("model.safetensors"));
    LoadOptions options;
    options.model_path = folder.path("model.safetensors");
    options.backend = "reference";
    options.quant = "nf4";
    const auto loaded = Model::load(options);
    ASSERT_FALSE(loaded);
    EXPECT_NE(
        loaded.error().message.find("tensor 'blocks.1.ffn.key.weight': cannot quantize to nf4"),
        std::string::npos)
        << loaded.error().message;
    EXPECT_NE(loaded.error().message.find("row 5, col 64 "), std::string::npos);
    options.quant = "att=nf4";
    EXPECT_TRUE(Model::load(options));
  }
}

TEST(QuantTest, LayersThatTheModelLacksAreRefused) {
  LoadOptions options;
  options.model_path = kModel;
  options.backend = "reference";
  options.quant = "blocks.2-6=nf4";
  const auto loaded = Model::load(options);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("expected layers 0 to 5, found blocks.2-6"),
            std::string::npos);
}

}  // namespace
}  // namespace skein
