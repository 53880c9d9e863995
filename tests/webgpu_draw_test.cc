// Tokens drawn on the device against those that the sampler draws from the same logits, and
// generation with them against generation on the host.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "engine/backends.h"
#include "engine/device_drawer.h"
#include "engine/impl.h"
#include "engine/sampler.h"
#include "skein/skein.h"
#include "tiny_model.h"
#ifdef SKEIN_HAS_WEBGPU
#include "backend/webgpu/webgpu_backend.h"
#endif

namespace skein {
namespace {

constexpr const char* kModel = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";

bool is_ci() {
  const char* ci = std::getenv("CI");
  return ci != nullptr && std::string_view(ci) == "true";
}

#define SKEIN_NEED_WEBGPU(made)                               \
  do {                                                        \
    if (!(made) && is_ci()) FAIL() << (made).error().message; \
    if (!(made)) GTEST_SKIP() << (made).error().message;      \
  } while (false)

// Logits of `num_vocab` tokens, the larger `spread` the surer; some tie.
std::vector<float> random_logits(uint32_t num_vocab, float spread, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> logits(num_vocab);
  for (float& value : logits) {
    value = std::round(static_cast<float>(next_uniform(random) + next_uniform(random)) * 64) / 64 *
            spread;
  }
  return logits;
}

// As if the device had no feature, and little room if `max_binding_bytes` is not 0.
Result<std::unique_ptr<Backend>> make_plain([[maybe_unused]] uint64_t max_binding_bytes = 0) {
#ifdef SKEIN_HAS_WEBGPU
  return make_webgpu_backend(
      {.adapter = {}, .is_plain = true, .max_binding_bytes = max_binding_bytes});
#else
  return error("built without webgpu");
#endif
}

struct Case {
  const char* name;
  SamplerOptions options;
  uint32_t num_vocab;
  float spread;
};

SamplerOptions options_of(float temperature, uint32_t top_k, float top_p, float min_p,
                          float presence = 0, float frequency = 0) {
  SamplerOptions options;
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  options.min_p = min_p;
  options.presence_penalty = presence;
  options.frequency_penalty = frequency;
  options.penalty_decay = 0.9f;
  options.seed = 7;
  return options;
}

// The same numbers drawn, the same tokens: but for a sum that rounds the other way at the very
// border between two of them.
void expect_draws_of_the_sampler(Backend& backend) {
  const Case cases[] = {
      {"greedy", options_of(0, 0, 0.9f, 0), 2777, 3},
      {"greedy with penalties", options_of(0, 0, 1, 0, 0.5f, 0.25f), 300, 3},
      {"all", options_of(1, 0, 1, 0), 2777, 4},
      {"top_p", options_of(0.8f, 0, 0.7f, 0), 2777, 9},
      {"top_p of flat logits", options_of(1, 0, 0.9f, 0), 4999, 0.5f},
      {"top_k", options_of(1.5f, 5, 1, 0), 2777, 9},
      {"top_k among ties", options_of(1, 40, 1, 0), 4999, 0.1f},
      {"min_p", options_of(1, 0, 1, 0.2f), 2777, 9},
      {"top_k and min_p of flat logits", options_of(1, 9, 1, 0.5f), 4999, 0.1f},
      {"everything", options_of(1.1f, 50, 0.8f, 0.05f, 0.3f, 0.2f), 1300, 12},
  };
  for (const Case& c : cases) {
    Dimensions dims;
    dims.num_vocab = c.num_vocab;
    const auto emb = backend.allocate(1024).value();
    Weights weights;
    weights.emb =
        Tensor(emb, 0, DType::kF16, make_mapping(Layout::row_major(), {4, 64}, 16).value());
    const Draws draws = backend.make_draws(dims, weights).value();
    const auto buffer = backend.allocate(c.num_vocab * sizeof(float)).value();
    const Activation logits{buffer, 0, c.num_vocab, c.num_vocab};
    Sampler sampler(c.options, c.num_vocab);
    std::mt19937_64 random(c.options.seed);
    uint32_t num_different = 0;
    constexpr uint32_t kDraws = 60;
    for (uint32_t i = 0; i < kDraws; ++i) {
      const std::vector<float> values = random_logits(c.num_vocab, c.spread, i + 1);
      const uint32_t expected = sampler.sample(values);
      ASSERT_TRUE(backend.upload(*buffer, 0, std::as_bytes(std::span(values))));
      const auto uniform = static_cast<float>(next_uniform(random));
      const uint64_t slot = i % draws.num_slots * sizeof(uint32_t);
      ASSERT_TRUE(backend.upload(*draws.buffer, draws.uniforms_at + slot,
                                 std::as_bytes(std::span(&uniform, 1))));
      backend.draw(dims, c.options, logits, draws);
      uint32_t found = 0;
      const Status status = backend.download(*draws.buffer, draws.ids_at + slot,
                                             std::as_writable_bytes(std::span(&found, 1)));
      ASSERT_TRUE(status) << c.name << ": " << status.error().message;
      ASSERT_LT(found, c.num_vocab);
      if (found != expected) ++num_different;
      sampler.accept(expected);
      // With penalties a difference would go on.
      if (found != expected && c.options.presence_penalty != 0) break;
    }
    EXPECT_LE(num_different, 1u) << c.name;
  }
}

TEST(WebGpuDrawTest, DrawsWhatTheSamplerDraws) {
  auto made = make_backend("webgpu", 1, Precision::kExact);
  SKEIN_NEED_WEBGPU(made);
  expect_draws_of_the_sampler(**made);
}

TEST(WebGpuDrawTest, AndWithoutAnyFeature) {
  auto made = make_plain();
  SKEIN_NEED_WEBGPU(made);
  expect_draws_of_the_sampler(**made);
}

// Then the host draws.
TEST(WebGpuDrawTest, RefusesAnEmbeddingThatNoBindingHolds) {
  auto made = make_plain(65536);
  SKEIN_NEED_WEBGPU(made);
  Backend& backend = **made;
  const auto emb = backend.allocate(1024 * 64 * 2).value();
  Weights weights;
  weights.emb =
      Tensor(emb, 0, DType::kF16, make_mapping(Layout::row_major(), {1024, 64}, 16).value());
  Dimensions dims;
  dims.num_vocab = 1024;
  const auto draws = backend.make_draws(dims, weights);
  ASSERT_FALSE(draws);
  EXPECT_EQ(draws.error().message,
            "webgpu: expected an embedding of at most 65536 bytes, found 131072");
}

// NaN and infinities as the sampler takes them.
TEST(WebGpuDrawTest, OddLogits) {
  auto made = make_backend("webgpu", 1, Precision::kExact);
  SKEIN_NEED_WEBGPU(made);
  Backend& backend = **made;
  Dimensions dims;
  dims.num_vocab = 70;
  Weights weights;
  weights.emb = Tensor(backend.allocate(1024).value(), 0, DType::kF16,
                       make_mapping(Layout::row_major(), {4, 64}, 16).value());
  const float inf = INFINITY, nan = NAN;
  const std::vector<std::vector<float>> cases = {
      std::vector<float>(70, -inf), std::vector<float>(70, nan), std::vector<float>(70, -1e30f)};
  for (size_t i = 0; i < cases.size() + 2; ++i) {
    std::vector<float> values = i < cases.size() ? cases[i] : std::vector<float>(70, 1.0f);
    if (i == cases.size()) values[33] = values[44] = inf;
    if (i == cases.size() + 1) values.assign(70, nan), values[12] = -5;
    const SamplerOptions options = options_of(0, 0, 1, 0);
    const Draws draws = backend.make_draws(dims, weights).value();
    const auto buffer = backend.allocate(70 * sizeof(float)).value();
    ASSERT_TRUE(backend.upload(*buffer, 0, std::as_bytes(std::span(values))));
    backend.draw(dims, options, {buffer, 0, 70, 70}, draws);
    uint32_t found = 99;
    ASSERT_TRUE(backend.download(*draws.buffer, draws.ids_at,
                                 std::as_writable_bytes(std::span(&found, 1))));
    EXPECT_EQ(found, Sampler(options, 70).sample(values)) << "case " << i;
  }
}

constexpr const char* kNever = "\x01 never \x02";

// With the logits and the number of tokens.
std::string state_of(const Session& session) {
  const TempFolder folder;
  EXPECT_TRUE(session.save(folder.path("state")));
  return testing::read_file(folder.path("state"));
}

// A continuation, and all that is left behind.
struct Outcome {
  std::string text;
  std::vector<std::string> pieces;
  GenerateStats stats;
  std::string state;  // the file
  uint64_t num_dispatches = 0;
};

struct End {
  const char* name;
  SamplerOptions sampler;
  uint32_t max_tokens;
  size_t max_pieces = 1000;
};

// Twice on one session: the second goes on where the first ended. A stop text, although it never
// comes, has the host draw.
Outcome run(const std::shared_ptr<Model>& model, const End& end, bool on_host) {
  Session session = Session::create(model).value();
  GenerateOptions options;
  options.max_tokens = end.max_tokens;
  options.sampler = end.sampler;
  if (on_host) options.stop = {kNever};
  Outcome outcome;
  const uint64_t before = model->impl().backend->num_dispatches();
  for (const char* prompt : {"One", ""}) {
    size_t num_pieces = 0;
    const auto stats = generate(session, prompt, options, [&](std::string_view text) {
      outcome.pieces.emplace_back(text);
      outcome.text += text;
      return ++num_pieces < end.max_pieces;
    });
    EXPECT_TRUE(stats) << stats.error().message;
    if (stats) outcome.stats = *stats;
  }
  outcome.num_dispatches = model->impl().backend->num_dispatches() - before;
  outcome.state = state_of(session);
  return outcome;
}

void expect_same(const std::shared_ptr<Model>& model, const End& end) {
  const Outcome host = run(model, end, true);
  const Outcome device = run(model, end, false);
  EXPECT_EQ(device.text, host.text) << end.name;
  EXPECT_EQ(device.pieces, host.pieces) << end.name;
  EXPECT_EQ(device.stats.reason, host.stats.reason) << end.name;
  EXPECT_EQ(device.stats.num_tokens, host.stats.num_tokens) << end.name;
  EXPECT_TRUE(device.state == host.state) << end.name << ": another state";
  EXPECT_GT(device.num_dispatches, host.num_dispatches) << end.name << ": the host has drawn";
}

// However it ends, the session is where it is when the host draws.
TEST(WebGpuDrawTest, GenerationIsThatOfTheHost) {
  auto made = Model::load({.model_path = kModel, .backend = "webgpu"});
  SKEIN_NEED_WEBGPU(made);
  const SamplerOptions greedy = options_of(0, 0, 1, 0);
  expect_same(*made, {"max tokens", greedy, 20});
  expect_same(*made, {"callback", greedy, 60, 6});
  expect_same(*made, {"penalties", options_of(0, 0, 1, 0, 0.4f, 0.2f), 20});
  expect_same(*made, {"sampled", options_of(1, 40, 0.9f, 0.01f), 20});
  // Here the embedding is on the device already.
  auto file = Model::load({.model_path = kModel, .backend = "webgpu", .placement = "file"});
  ASSERT_TRUE(file) << file.error().message;
  expect_same(*file, {"placement file", greedy, 10});
}

TEST(WebGpuDrawTest, EndsAtTheEndOfText) {
  // More tokens than are drawn at once, ends in the midst of them.
  for (const uint32_t num_texts : {1u, 6u, 75u}) {
    std::vector<std::string> script = {"One"};
    for (uint32_t i = 0; i < num_texts; ++i) script.push_back(" goose " + std::to_string(i));
    const testing::Reciter reciter = testing::make_reciter(script);
    const TempFolder folder;
    reciter.model.write(folder.path("reciter.safetensors"));
    testing::write_file(folder.path("vocab.txt"), reciter.vocabulary);
    auto made =
        Model::load({.model_path = folder.path("reciter.safetensors"), .backend = "webgpu"});
    SKEIN_NEED_WEBGPU(made);
    const End end{"end of text", options_of(0, 0, 1, 0), 200};
    expect_same(*made, end);
    const Outcome outcome = run(*made, end, false);
    EXPECT_EQ(outcome.stats.reason, StopReason::kEndOfText);
    EXPECT_EQ(outcome.pieces.size(), num_texts);
  }
}

// Many at once, and back into the midst of them.
TEST(WebGpuDrawTest, RewindsToWhereTheHostIs) {
  auto made = Model::load({.model_path = kModel, .backend = "webgpu"});
  SKEIN_NEED_WEBGPU(made);
  const SamplerOptions sampled = options_of(0.9f, 0, 0.95f, 0, 0.2f, 0.1f);
  const std::vector<uint32_t> prompt = {0, 510, 33, 7};
  for (const uint32_t kept : {0u, 7u, 20u}) {
    Session host = Session::create(*made).value(), device = Session::create(*made).value();
    ASSERT_TRUE(host.prefill(prompt));
    ASSERT_TRUE(device.prefill(prompt));
    Sampler sampler(sampled, (*made)->info().num_vocab);
    auto drawer = internal::DeviceDrawer::create(device, sampled);
    ASSERT_TRUE(drawer) << drawer.error().message;
    for (const uint32_t count : {12u, kept}) {
      const auto ids = drawer->draw(count == kept ? 20 : count);
      ASSERT_TRUE(ids) << ids.error().message;
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t expected = sampler.sample(host.logits());
        ASSERT_EQ((*ids)[i], expected) << "token " << i << " of " << count;
        sampler.accept(expected);
        ASSERT_TRUE(host.step(expected));
      }
    }
    ASSERT_TRUE(drawer->rewind(kept));
    EXPECT_EQ(device.num_tokens(), host.num_tokens());
    EXPECT_TRUE(state_of(device) == state_of(host)) << kept << " kept: another state";
  }
}

// The same seed, the same text, however many tokens are drawn at once; another seed, another text.
TEST(WebGpuDrawTest, SeedsReproduceTheText) {
  auto made = Model::load({.model_path = kModel, .backend = "webgpu"});
  SKEIN_NEED_WEBGPU(made);
  End end{"seed", options_of(1, 0, 0.95f, 0), 20};
  const Outcome first = run(*made, end, false);
  EXPECT_EQ(run(*made, end, false).text, first.text);
  end.sampler.seed = 8;
  EXPECT_NE(run(*made, end, false).text, first.text);
}

}  // namespace
}  // namespace skein
