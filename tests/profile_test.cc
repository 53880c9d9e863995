// The profiler on real backends: what it measures, that it measures the model it says, and the
// caches of whole tokens.
#include "plan/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "engine/backends.h"
#include "plan/profile_cache.h"
#include "plan/profile_runner.h"
#include "tiny_model.h"

namespace skein {
namespace {

using ::testing::HasSubstr;
using testing::random_model;
using testing::tiny_dimensions;

constexpr const char* kGoose = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";
constexpr FileDType kF16[] = {FileDType::kF16};
const CacheConfig kCaches = {64, {{"L1d", 49152, 12}, {"L2", 1 << 20, 16}, {"L3", 1 << 25, 16}}};

ProfileOptions quick() {
  ProfileOptions options;
  options.num_decode = 4;
  options.num_prefill = 16;
  options.budget_seconds = 0.1;
  return options;
}

std::unique_ptr<Backend> cpu(uint32_t num_threads = 2) {
  return make_backend("cpu", num_threads, Precision::kExact).value();
}

std::vector<float> logits_of(const Rwkv7& model, const Workspace& work) {
  std::vector<float> logits(model.dims().num_vocab);
  EXPECT_TRUE(
      model.backend().download(*work.logits.buffer, 0, std::as_writable_bytes(std::span(logits))));
  return logits;
}

// A step that run_steps() left out or did in another order would give other logits.
TEST(ProfileSteps, AreTheForwardPass) {
  const auto backend = cpu();
  const auto loaded = load_variant(kGoose, *backend, {}, 5).value();
  const std::vector<uint32_t> ids = profile_ids(5, loaded.model->dims().num_vocab);
  const skein::Run run{0, 0, 5};
  const uint32_t last = 4;
  const Batch batch{ids, {&run, 1}, {&last, 1}};
  ASSERT_TRUE(loaded.model->forward(batch, loaded.state, loaded.prefill_work));
  const std::vector<float> expected = logits_of(*loaded.model, loaded.prefill_work);
  const State state = loaded.model->make_state(1).value();
  StepSeconds seconds{};
  ASSERT_TRUE(run_steps(*loaded.model, batch, state, loaded.prefill_work, seconds));
  EXPECT_EQ(logits_of(*loaded.model, loaded.prefill_work), expected);
  for (const double s : seconds) EXPECT_GT(s, 0);
}

// The list of step matrices against the model's own count.
TEST(ProfileSteps, BytesAreThoseOfTheModel) {
  const auto backend = cpu();
  const auto loaded = load_variant(kGoose, *backend, {}, 1).value();
  const auto bytes = bytes_by_step(*loaded.model);
  uint64_t expected = 0;
  for (const WeightReport& report : loaded.model->reports()) {
    const bool is_matrix =
        report.group != WeightGroup::kVector && report.group != WeightGroup::kEmbedding;
    if (is_matrix) expected += report.num_bytes;
  }
  EXPECT_EQ(std::accumulate(bytes.begin(), bytes.end(), 0.0), static_cast<double>(expected));
}

TEST(ProfileSteps, SparsityCountsTheZerosOfF) {
  const auto backend = cpu();
  const auto loaded = load_variant(kGoose, *backend, {}, 1).value();
  const Sparsity sparsity =
      measure_sparsity(*loaded.model, profile_ids(8, loaded.model->dims().num_vocab)).value();
  const double density = summarize(*loaded.model, sparsity.counts).density;
  EXPECT_GT(density, 0.01);
  EXPECT_LT(density, 0.4);
  ASSERT_EQ(sparsity.nonzero_cols.size(), loaded.model->dims().num_layers);
  for (const auto& cols : sparsity.nonzero_cols) {
    EXPECT_TRUE(std::is_sorted(cols.begin(), cols.end()));
    EXPECT_LT(cols.size(), loaded.model->dims().num_hidden / 2);
  }
}

TEST(ProfileCache, TheShippedModelFitsTheOutermostLevel) {
  const auto backend = cpu(1);
  const auto loaded = load_variant(kGoose, *backend, {}, 1).value();
  const Sparsity sparsity = measure_sparsity(*loaded.model, std::vector<uint32_t>{1}).value();
  const auto report = simulate_token(*loaded.model, loaded.decode_work, sparsity, kCaches).value();
  ASSERT_EQ(report.level_hit_percent.size(), 3u);
  EXPECT_EQ(report.level_hit_percent[2], 100);
  EXPECT_EQ(report.memory_bytes, 0);
  EXPECT_LT(report.level_hit_percent[0], report.level_hit_percent[1]);
}

// With caches that hold nothing of the model every line of the weights comes from memory.
TEST(ProfileCache, SmallCachesReadTheWeightsFromMemory) {
  const auto backend = cpu(1);
  const CacheConfig small = {64, {{"L1d", 16384, 8}, {"L2", 65536, 8}}};
  for (const bool sparse : {false, true}) {
    Switches switches;
    switches.order = MatrixOrder::kRowMajor;
    switches.sparse = sparse;
    const auto loaded = load_variant(kGoose, *backend, plan_of(switches, {}), 1).value();
    const Sparsity sparsity = measure_sparsity(*loaded.model, profile_ids(8, 800)).value();
    const auto report = simulate_token(*loaded.model, loaded.decode_work, sparsity, small).value();
    const auto steps = bytes_by_step(*loaded.model);
    double bytes = 0;
    for (const double step : steps) bytes += step;
    if (sparse) {
      bytes += summarize(*loaded.model, sparsity.counts).value_bytes -
               steps[static_cast<size_t>(Step::kFfnValue)];
    }
    EXPECT_GT(report.memory_bytes, 0.95 * bytes) << sparse;
    EXPECT_LT(report.memory_bytes, 1.4 * bytes) << sparse;
  }
}

TEST(Profile, MeasuresEveryVariant) {
  const auto backend = cpu();
  ProfileOptions options = quick();
  options.simulate_cache = true;
  double last = 0;
  const auto report = profile_model(kGoose, *backend, options, [&](double fraction, auto) {
    EXPECT_GE(fraction, last - 1e-9);
    EXPECT_LE(fraction, 1 + 1e-9);
    last = fraction;
  });
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->bandwidth, 1e9);
  ASSERT_EQ(report->variants.size(), report->experiment.variants.size());
  for (const VariantFigures& figures : report->variants) {
    EXPECT_EQ(figures.skipped, "") << figures.variant.name;
    ASSERT_FALSE(figures.decode.empty()) << figures.variant.name;
    EXPECT_EQ(figures.decode.size(), figures.decode_baseline.size());
    EXPECT_EQ(figures.steps.size(), kNumSteps);
    EXPECT_GT(figures.bytes_per_token, 5e6);
    EXPECT_TRUE(figures.cache) << report->cache_note;
  }
  // Only what skips zeros reads less than the weights.
  const auto bytes = [&](size_t i) { return report->variants[i].bytes_per_token; };
  EXPECT_LT(bytes(report->experiment.sparse_alone), 0.9 * bytes(0));
}

TEST(Profile, AVariantWithoutAKernelIsSkippedWithItsReason) {
  const auto backend = cpu();
  // No kernel takes a block that is longer than any; the runner marks it and goes on.
  VariantFigures figures;
  figures.variant = {"strange", plan_of(Switches(), {})};
  figures.variant.plan.head = Layout::row_major();
  figures.variant.plan.head->align_bytes = 3;
  ProfileRunner runner =
      ProfileRunner::create(kGoose, *backend, quick(), plan_of(Switches(), {})).value();
  std::vector<VariantFigures*> all = {&figures};
  ASSERT_TRUE(runner.run(
      all, 0.1, [](const LoadedVariant&, VariantFigures&) { return Status(); },
      [](double, std::string_view) {}));
  EXPECT_THAT(figures.skipped, HasSubstr("align"));
  EXPECT_TRUE(figures.decode.empty());
}

TEST(Profile, OddDimensionsAndTheReferenceBackend) {
  const TempFolder folder;
  const std::string path = folder.path("odd.safetensors");
  random_model(tiny_dimensions(64, 67), kF16, 5).write(path);
  for (const char* name : {"cpu", "reference"}) {
    const auto backend = make_backend(name, 1, Precision::kExact).value();
    const auto report = profile_model(path, *backend, quick(), [](double, std::string_view) {});
    ASSERT_TRUE(report) << report.error().message;
    for (const VariantFigures& figures : report->variants) {
      EXPECT_EQ(figures.skipped, "") << name << " " << figures.variant.name;
    }
    // Ranks that are no multiple of 64: alignment has something to pad.
    const IdeaRow& aligned = report->experiment.ideas.front();
    EXPECT_GT(report->variants[aligned.alone].padding_bytes, 0);
  }
}

TEST(Profile, AFileThatIsNoModelIsAnError) {
  const auto backend = cpu();
  const auto report =
      profile_model("/nonexistent.safetensors", *backend, quick(), [](double, std::string_view) {});
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("/nonexistent.safetensors"));
}

}  // namespace
}  // namespace skein
