// The WebGPU backend through the public interface: the golden logits, models of odd shapes, every
// quantized type. The oracle is the reference. Where the program was built without the backend or
// the machine has no adapter the tests skip, in CI they fail.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/backends.h"
#include "engine/impl.h"
#include "format/safetensors.h"
#include "plan/profile.h"
#include "plan/profile_runner.h"
#include "skein/skein.h"
#include "tiny_model.h"

namespace skein {
namespace {

using testing::random_model;
using testing::tiny_dimensions;

constexpr const char* kModel = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";
constexpr const char* kGolden = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.golden.safetensors";
constexpr float kGoldenTolerance = 2e-3f;  // of golden_test.cc
constexpr float kTolerance = 2e-4f;        // of odd_models_test.cc

std::vector<float> logits_of(const LoadOptions& options, std::span<const uint32_t> ids,
                             uint32_t chunk) {
  const auto model = Model::load(options);
  EXPECT_TRUE(model) << model.error().message;
  if (!model) return {};
  Session session = Session::create(*model).value();
  EXPECT_TRUE(session.set_chunk(chunk));
  std::vector<float> all;
  const Status status = session.evaluate(ids, [&](uint64_t, std::span<const float> row) {
    all.insert(all.end(), row.begin(), row.end());
  });
  EXPECT_TRUE(status) << status.error().message;
  return all;
}

float max_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

float largest(std::span<const float> values) {
  float result = 0;
  for (const float value : values) result = std::max(result, std::abs(value));
  return result;
}

class WebGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto model = Model::load({.model_path = kModel, .backend = "webgpu"});
    const char* ci = std::getenv("CI");
    const bool is_ci = ci != nullptr && std::string_view(ci) == "true";
    if (!model && is_ci) FAIL() << model.error().message;
    if (!model) GTEST_SKIP() << model.error().message;
  }
};

TEST_F(WebGpuTest, GoldenLogitsInSeveralChunkings) {
  const Safetensors file = Safetensors::open(kGolden).value();
  const TensorInfo &ids_tensor = *file.find("ids"), &logits_tensor = *file.find("logits");
  std::vector<uint32_t> ids(ids_tensor.data.size() / sizeof(uint32_t));
  std::memcpy(ids.data(), ids_tensor.data.data(), ids_tensor.data.size());
  std::vector<float> golden(logits_tensor.data.size() / sizeof(float));
  std::memcpy(golden.data(), logits_tensor.data.data(), logits_tensor.data.size());
  for (const char* layout : {"", "interleave(16,64,1)"}) {
    for (const uint32_t chunk : {1u, 3u, 5u, 14u}) {
      const auto logits =
          logits_of({.model_path = kModel, .backend = "webgpu", .layout = layout}, ids, chunk);
      EXPECT_LE(max_difference(logits, golden), kGoldenTolerance)
          << "layout '" << layout << "', chunk " << chunk;
    }
  }
}

TEST_F(WebGpuTest, OddModelsAgreeWithTheReference) {
  const TempFolder folder;
  const std::string path = folder.path("model.safetensors");
  struct Odd {
    uint32_t num_emb, num_vocab;
    FileDType dtype;
  };
  for (const Odd& odd : {Odd{64, 65, FileDType::kF16}, Odd{128, 259, FileDType::kBF16},
                         Odd{192, 1001, FileDType::kF32}}) {
    random_model(tiny_dimensions(odd.num_emb, odd.num_vocab), {&odd.dtype, 1}, 17).write(path);
    std::vector<uint32_t> ids(21);
    for (size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<uint32_t>(i * i * 7 + 3) % odd.num_vocab;
    }
    const auto expected = logits_of({.model_path = path, .backend = "reference"}, ids, 21);
    // Each number of tokens is more shaders to compile.
    const std::vector<uint32_t> chunks =
        odd.num_vocab == 65 ? std::vector{1u, 4u, 21u} : std::vector{1u, 21u};
    for (const uint32_t chunk : chunks) {
      const auto logits = logits_of({.model_path = path, .backend = "webgpu"}, ids, chunk);
      EXPECT_LE(max_difference(logits, expected), kTolerance * largest(expected))
          << "C " << odd.num_emb << ", N " << odd.num_vocab << ", chunk " << chunk;
    }
  }
}

TEST_F(WebGpuTest, QuantizedModelsAgreeWithTheReference) {
  const std::vector<uint32_t> ids = {0, 510, 33, 7, 400, 12, 99};
  struct Way {
    const char* layout;
    uint32_t chunk;
  };
  const std::vector<Way> all = {{"", 1},
                                {"", 7},
                                {"interleave(16,128,4)", 1},
                                {"interleave(16,128,4)", 7},
                                {"ffn.value=row_major", 1}};
  for (const std::string_view quant : {"int8", "nf4", "sf4"}) {
    const std::string type(quant);
    const auto expected =
        logits_of({.model_path = kModel, .backend = "reference", .quant = type}, ids, 7);
    // sf4 is nf4 with other numbers.
    for (const Way& way : std::span(all).first(quant == "sf4" ? 2 : all.size())) {
      const auto logits = logits_of(
          {.model_path = kModel, .backend = "webgpu", .layout = way.layout, .quant = type}, ids,
          way.chunk);
      EXPECT_LE(max_difference(logits, expected), kTolerance * largest(expected))
          << quant << ", layout '" << way.layout << "', chunk " << way.chunk;
    }
  }
}

// Five hundred tokens of greedy text, drawn from logits that come to the host token by token.
// Beyond the ends of stories, which generate() would stop at.
TEST_F(WebGpuTest, FiveHundredGreedyTokensAreThoseOfTheCpu) {
  std::vector<uint32_t> ids[2];
  for (const bool is_gpu : {false, true}) {
    const auto model = Model::load({.model_path = kModel, .backend = is_gpu ? "webgpu" : "cpu"});
    ASSERT_TRUE(model) << model.error().message;
    Session session = Session::create(*model).value();
    ASSERT_TRUE(session.prefill((*model)->encode("Once upon a time").value()));
    for (int i = 0; i < 500; ++i) {
      ASSERT_TRUE(session.wait());
      const std::span<const float> logits = session.logits();
      const auto best = std::max_element(logits.begin(), logits.end());
      ids[is_gpu ? 1 : 0].push_back(static_cast<uint32_t>(best - logits.begin()));
      ASSERT_TRUE(session.step(ids[is_gpu ? 1 : 0].back()));
    }
  }
  EXPECT_EQ(ids[0], ids[1]);
}

// Eight a layer; the embedding, the last norm and the head. Each costs what a large GPU takes to
// read ten megabytes.
TEST_F(WebGpuTest, ATokenIsEightDispatchesALayerAndThree) {
  for (const char* quant : {"", "int8", "nf4"}) {
    const auto model =
        Model::load({.model_path = kModel, .backend = "webgpu", .quant = quant}).value();
    const Backend& backend = *model->impl().backend;
    Session session = Session::create(model).value();
    ASSERT_TRUE(session.step(1));
    ASSERT_TRUE(session.wait());
    for (uint32_t token = 2; token < 4; ++token) {
      const uint64_t before = backend.num_dispatches();
      ASSERT_TRUE(session.step(token));
      ASSERT_TRUE(session.wait());
      ASSERT_FALSE(session.logits().empty());
      EXPECT_EQ(backend.num_dispatches() - before, 8 * model->info().num_layers + 3) << quant;
    }
  }
}

TEST_F(WebGpuTest, LogitsComeWhenAskedFor) {
  const auto model = Model::load({.model_path = kModel, .backend = "webgpu"}).value();
  Session eager = Session::create(model).value(), lazy = Session::create(model).value();
  for (uint32_t token = 0; token < 9; ++token) {
    ASSERT_TRUE(eager.step(token * 31 + 1));
    ASSERT_EQ(eager.logits().size(), model->info().num_vocab);
    ASSERT_TRUE(lazy.step(token * 31 + 1));
  }
  EXPECT_TRUE(lazy.wait());
  const std::vector<float> logits(lazy.logits().begin(), lazy.logits().end());
  EXPECT_EQ(max_difference(logits, eager.logits()), 0.0f);
  Session copy = lazy.clone().value();
  ASSERT_TRUE(lazy.step(5));
  ASSERT_TRUE(copy.step(5));
  EXPECT_EQ(max_difference(lazy.logits(), copy.logits()), 0.0f);
  ASSERT_TRUE(lazy.reset());
  EXPECT_TRUE(lazy.logits().empty());
}

// The steps' times come from the device's clock.
TEST_F(WebGpuTest, IsProfiled) {
  const auto backend = make_backend("webgpu", 1, Precision::kExact).value();
  const TempFolder folder;
  const std::string path = folder.path("model.safetensors");
  constexpr FileDType kF16[] = {FileDType::kF16};
  random_model(tiny_dimensions(64, 259), kF16, 7).write(path);
  ProfileOptions options;
  options.num_decode = 2;
  options.num_prefill = 5;
  auto runner = ProfileRunner::create(path, *backend, options, {});
  ASSERT_TRUE(runner) << runner.error().message;
  VariantFigures figures;
  figures.variant = {"col_major", {}};
  figures.variant.plan.attention = Layout::col_major();
  VariantFigures* const all[] = {&figures};
  const Status run = runner->run(
      all, 0.01, [](const LoadedVariant&, VariantFigures&) { return Status(); },
      [](double, std::string_view) {});
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(figures.skipped, "");
  ASSERT_FALSE(figures.decode.empty());
  EXPECT_GT(figures.decode.front(), 0);
  ASSERT_EQ(figures.steps.size(), kNumSteps);
  for (const StepFigures& step : figures.steps) {
    EXPECT_GT(step.decode_us, 0) << to_string(step.step);
    EXPECT_GT(step.prefill_us, 0) << to_string(step.step);
  }

  options.simulate_cache = true;
  const auto refused = profile_model(path, *backend, options, [](double, std::string_view) {});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("over host memory"), std::string::npos);
}

TEST_F(WebGpuTest, AutoFallsBackToTheCpuAndSaysSo) {
  const auto model = Model::load({.model_path = kModel, .backend = "auto", .adapter = 99});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ((*model)->info().backend, "cpu");
  ASSERT_FALSE((*model)->info().warnings.empty());
  EXPECT_NE((*model)->info().warnings.front().find("expected an adapter from 0 to"),
            std::string::npos)
      << (*model)->info().warnings.front();
}

TEST_F(WebGpuTest, AnAdapterThatIsNotThereIsOneLine) {
  const auto model = Model::load({.model_path = kModel, .backend = "webgpu", .adapter = 99});
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().message.find('\n'), std::string::npos);
  EXPECT_NE(model.error().message.find("expected an adapter from 0 to"), std::string::npos)
      << model.error().message;
}

}  // namespace
}  // namespace skein
