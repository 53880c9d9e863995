// The tuner against a made-up machine: every layout has a time of its own, plus noise that is the
// same on every run, and a clock that only products move.
#include "plan/tuner.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "plan/candidates.h"

namespace skein {
namespace {

class FakeProbe final : public LayoutProbe {
 public:
  // Seconds of one product of a layout with one token, and a token with many.
  struct Speed {
    double one, many;
  };

  std::map<std::string, Speed> speeds;
  // What a form makes of its layout's speed, by both texts; the backend's rule makes nothing of it.
  std::map<std::string, double> form_factors;
  double first_run_seconds = 0;  // a form or layout compiles
  double noise = 0;              // a product takes up to that much longer
  std::map<std::string, uint32_t> num_samples;
  std::set<uint32_t> token_counts;
  std::string failing;     // a layout, or a layout and a form
  std::string gone_after;  // the same; from then on everything fails

  Result<double> time_product(const ProbeCase& what) override {
    const std::string layout = to_string(what.layout);
    const std::string form =
        what.form.is_auto() ? "" : fmt::format("{} {}", layout, to_string(what.form));
    const std::string& text = form.empty() ? layout : form;
    if (text == gone_after) is_gone_ = true;
    if (is_gone_) return error("the device is gone");
    if (text == failing) return error("shader 'output': no such thing");
    ++num_samples[form.empty() ? layout : form];
    token_counts.insert(what.num_tokens);
    const Speed& speed = speeds.at(layout);
    const double factor = form.empty() ? 1 : form_factors.at(form);
    const double exact =
        factor *
        (what.num_tokens == 1 ? speed.one : speed.many * static_cast<double>(what.num_tokens));
    if (compiled_.insert(fmt::format("{} {} {}", layout, form, what.num_tokens)).second) {
      clock_ += first_run_seconds;
    }
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    const double seconds = exact * (1 + noise * static_cast<double>(state_ >> 40) / (1 << 24));
    clock_ += seconds;
    return seconds;
  }
  double bytes_read(const ProbeCase& what) const override {
    return static_cast<double>(what.shape.rows * what.shape.cols * 2);
  }
  double now() const override { return clock_; }

 private:
  double clock_ = 100;
  bool is_gone_ = false;
  std::set<std::string> compiled_;
  uint64_t state_ = 7;
};

const MatrixKind kKind{WeightGroup::kAttention, DType::kF16, {{64, 64, 3}}};

// row_major@1B .. row_major@2^17B, the first one the default.
std::vector<Layout> many_layouts(size_t count) {
  std::vector<Layout> layouts;
  for (size_t i = 0; i < count; ++i) layouts.push_back(Layout::row_major(1u << i));
  return layouts;
}

TEST(Tuner, FindsTheFastestThroughNoise) {
  const std::vector<Layout> layouts = many_layouts(18);
  FakeProbe probe;
  for (size_t i = 0; i < layouts.size(); ++i) {
    const double slowness = 1 + 0.05 * static_cast<double>((i * 7 + 5) % 18);
    probe.speeds[to_string(layouts[i])] = {slowness * 1e-3, slowness * 1e-4};
  }
  probe.noise = 0.5;
  const TunedKind tuned = tune_kind(kKind, layouts, probe, {.seconds = 30}).value();
  // (i * 7 + 5) % 18 is zero for i = 7.
  EXPECT_EQ(tuned.chosen, layouts[7]);
  EXPECT_EQ(tuned.trials.front().layout, layouts[7]);
  EXPECT_EQ(tuned.trials.size(), layouts.size());
  // Three matrices: a token, and four read ones.
  EXPECT_NEAR(tuned.cost_seconds, 3 * (1e-3 + 4 * 1e-4), 0.05 * tuned.cost_seconds);
  EXPECT_NEAR(tuned.default_cost_seconds / tuned.cost_seconds, 1.25, 0.05);
  EXPECT_EQ(probe.token_counts, (std::set<uint32_t>{1, kTunePrefillTokens}));
  EXPECT_EQ(tuned.trials.front().figures.front().bytes_read, 3 * 64 * 64 * 2);
}

TEST(Tuner, KeepsToItsTime) {
  const std::vector<Layout> layouts = many_layouts(16);
  FakeProbe probe;
  for (const Layout& layout : layouts) probe.speeds[to_string(layout)] = {1e-3, 1e-6};
  const double start = probe.now();
  ASSERT_TRUE(tune_kind(kKind, layouts, probe, {.seconds = 1}));
  EXPECT_NEAR(probe.now() - start, 1, 0.05);
  // The good ones, and the default, are sampled more often than those that were dropped at once.
  const auto [least, most] =
      std::minmax_element(probe.num_samples.begin(), probe.num_samples.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
  EXPECT_GT(most->second, 4 * least->second);
  EXPECT_EQ(probe.num_samples.at(to_string(layouts.front())), most->second);
}

TEST(Tuner, MeasuresEverythingOnceWithoutTime) {
  const std::vector<Layout> layouts = many_layouts(9);
  FakeProbe probe;
  for (const Layout& layout : layouts) probe.speeds[to_string(layout)] = {1, 1};
  const TunedKind tuned = tune_kind(kKind, layouts, probe, {.seconds = 1e-9}).value();
  EXPECT_EQ(probe.num_samples.size(), 9u);
  EXPECT_EQ(tuned.chosen, layouts.front());
}

TEST(Tuner, TheDefaultYieldsToClearGainsOnly) {
  const std::vector<Layout> layouts = many_layouts(2);
  for (const auto& [gain, index] : {std::pair(0.01, 0), std::pair(0.03, 1)}) {
    FakeProbe probe;
    probe.speeds[to_string(layouts[0])] = {1e-3 * (1 + gain), 1e-5 * (1 + gain)};
    probe.speeds[to_string(layouts[1])] = {1e-3, 1e-5};
    EXPECT_EQ(tune_kind(kKind, layouts, probe, {.seconds = 0.1})->chosen,
              layouts[static_cast<size_t>(index)]);
  }
}

TEST(Tuner, DecodeAndPrefillAreWeighed) {
  const std::vector<Layout> layouts = many_layouts(2);
  FakeProbe probe;
  // 10 % slower with one token, half as slow with many: 1.1 + 4 * 0.1 against 1 + 4 * 0.2.
  probe.speeds[to_string(layouts[0])] = {1.0e-3, 0.2e-3};
  probe.speeds[to_string(layouts[1])] = {1.1e-3, 0.1e-3};
  EXPECT_EQ(tune_kind(kKind, layouts, probe, {.seconds = 1})->chosen, layouts[1]);
  // The head multiplies one token of a prompt.
  MatrixKind head = kKind;
  head.group = WeightGroup::kHead;
  probe.token_counts.clear();
  EXPECT_EQ(tune_kind(head, layouts, probe, {.seconds = 1})->chosen, layouts[0]);
  EXPECT_EQ(probe.token_counts, (std::set<uint32_t>{1}));
}

TEST(Tuner, AllShapesOfAKindCount) {
  const std::vector<Layout> layouts = many_layouts(1);
  FakeProbe probe;
  probe.speeds[to_string(layouts[0])] = {1e-3, 1e-6};
  const MatrixKind kind{WeightGroup::kHead, DType::kF16, {{8, 64, 5}, {64, 8, 2}}};
  const TunedKind tuned = tune_kind(kind, layouts, probe, {.seconds = 0.1}).value();
  EXPECT_NEAR(tuned.cost_seconds, 7e-3, 1e-9);
  EXPECT_EQ(tuned.trials[0].figures[0].bytes_read, 7 * 8 * 64 * 2);
}

TEST(Tuner, ReportsProgressAndErrors) {
  const std::vector<Layout> layouts = many_layouts(4);
  FakeProbe probe;
  for (const Layout& layout : layouts) probe.speeds[to_string(layout)] = {1e-3, 1e-6};
  double last = 0;
  ASSERT_TRUE(tune_kind(kKind, layouts, probe, {.seconds = 1, .progress = [&](double fraction) {
                                                  EXPECT_GE(fraction, last);
                                                  EXPECT_LE(fraction, 1);
                                                  last = fraction;
                                                }}));
  EXPECT_GT(last, 0.9);
}

TEST(Tuner, WhatDoesNotRunIsLeftOut) {
  const std::vector<Layout> layouts = many_layouts(4);
  FakeProbe probe;
  for (const Layout& layout : layouts) probe.speeds[to_string(layout)] = {1e-3, 1e-6};
  probe.speeds[to_string(layouts[3])] = {1e-4, 1e-7};
  probe.failing = to_string(layouts[2]);
  const TunedKind tuned = tune_kind(kKind, layouts, probe, {.seconds = 1}).value();
  EXPECT_EQ(tuned.chosen, layouts[3]);
  EXPECT_EQ(tuned.trials.size(), 3u);
  EXPECT_EQ(tuned.num_skipped, 0u);
  ASSERT_EQ(tuned.failed.size(), 1u);
  EXPECT_EQ(tuned.failed[0].candidate, Candidate{layouts[2]});
  EXPECT_EQ(tuned.failed[0].reason, "shader 'output': no such thing");
}

// The default must run, and a device that is gone is no slow layout.
TEST(Tuner, WithoutTheDefaultThereIsNoVerdict) {
  const std::vector<Layout> layouts = many_layouts(4);
  FakeProbe probe;
  for (const Layout& layout : layouts) probe.speeds[to_string(layout)] = {1e-3, 1e-6};
  probe.failing = to_string(layouts[0]);
  EXPECT_EQ(tune_kind(kKind, layouts, probe, {.seconds = 1}).error().message,
            "shader 'output': no such thing");
  probe.failing.clear();
  probe.gone_after = to_string(layouts[2]);
  EXPECT_EQ(tune_kind(kKind, layouts, probe, {.seconds = 1}).error().message, "the device is gone");
}

// One layout has the forms, a chosen one other forms.
std::vector<KernelForm> list_some(const Layout& layout, uint32_t num_tokens) {
  if (num_tokens != 1) return {tile_form(64, 64, 4, 4), tile_form(32, 32, 4, 4)};
  if (layout.kind == LayoutKind::kColMajor) return {group_form(256, 8, 1, 4)};
  return {group_form(64, 64, 1, 16), group_form(128, 32, 2, 16)};
}

// A probe for row_major, the default, and col_major, whose forms all take as long as the rule.
FakeProbe two_layouts(double row_seconds, double col_seconds) {
  FakeProbe probe;
  for (const auto& [layout, seconds] :
       {std::pair(Layout::row_major(), row_seconds), std::pair(Layout::col_major(), col_seconds)}) {
    probe.speeds[to_string(layout)] = {seconds, seconds / 10};
    for (const uint32_t num_tokens : {1u, kTunePrefillTokens}) {
      for (const KernelForm& form : list_some(layout, num_tokens)) {
        probe.form_factors[fmt::format("{} {}", to_string(layout), to_string(form))] = 1;
      }
    }
  }
  return probe;
}

TunedKind tune_both(FakeProbe& probe, const ContestOptions& options,
                    const MatrixKind& kind = kKind) {
  const std::vector<Layout> layouts = {Layout::row_major(), Layout::col_major()};
  TunedKind tuned = tune_kind(kind, layouts, probe, options).value();
  EXPECT_TRUE(tune_forms(tuned, list_some, probe, options));
  return tuned;
}

TEST(TunerForms, EachNumberOfTokensHasItsOwn) {
  FakeProbe probe = two_layouts(1e-3, 2e-3);
  probe.noise = 0.02;
  probe.form_factors["row_major group(128,32,2,16)"] = 0.8;
  probe.form_factors["row_major tile(32,32,4,4)"] = 0.5;
  const TunedKind tuned = tune_both(probe, {.seconds = 20});
  EXPECT_EQ(tuned.chosen, Layout::row_major());
  EXPECT_EQ(to_string(tuned.form), "group(128,32,2,16)+tile(32,32,4,4)");
  EXPECT_NEAR(tuned.default_cost_seconds, 3 * (1e-3 + 4 * 1e-4), 1e-5);
  EXPECT_NEAR(tuned.cost_seconds, 3 * (0.8e-3 + 4 * 0.5e-4), 1e-5);
  // The forms of the layout that lost are not tried; those that are have one number of tokens each.
  EXPECT_EQ(tuned.trials.size(), 2 + 2 + 2u);
  for (const LayoutTrial& trial : tuned.trials) {
    EXPECT_EQ(trial.figures.size(), trial.form.is_auto() ? 2 : 1u);
    EXPECT_GT(trial.default_cost_seconds, 0);
  }
}

TEST(TunerForms, TheRuleYieldsToClearGainsOnly) {
  FakeProbe probe = two_layouts(1e-3, 2e-3);
  probe.form_factors["row_major group(64,64,1,16)"] = 0.99;
  probe.form_factors["row_major tile(64,64,4,4)"] = 0.985;
  const TunedKind tuned = tune_both(probe, {.seconds = 5});
  EXPECT_EQ(tuned.chosen, Layout::row_major());
  EXPECT_TRUE(tuned.form.is_auto());
  EXPECT_EQ(tuned.cost_seconds, tuned.default_cost_seconds);
}

TEST(TunerForms, TheDefaultLayoutInAGoodFormMayBeatTheChosenOne) {
  for (const double factor : {0.7, 0.95}) {
    FakeProbe probe = two_layouts(1e-3, 0.9e-3);
    probe.form_factors["row_major group(64,64,1,16)"] = factor;
    const TunedKind tuned = tune_both(probe, {.seconds = 5});
    EXPECT_EQ(tuned.chosen, factor < 0.9 ? Layout::row_major() : Layout::col_major());
    EXPECT_EQ(to_string(tuned.form), factor < 0.9 ? "group(64,64,1,16)" : "auto");
  }
}

TEST(TunerForms, AFormThatDoesNotCompileIsLeftOut) {
  FakeProbe probe = two_layouts(1e-3, 2e-3);
  probe.failing = "row_major group(64,64,1,16)";
  probe.form_factors["row_major group(128,32,2,16)"] = 0.8;
  const TunedKind tuned = tune_both(probe, {.seconds = 5});
  EXPECT_EQ(to_string(tuned.form), "group(128,32,2,16)");
  ASSERT_EQ(tuned.failed.size(), 1u);
  EXPECT_EQ(to_string(tuned.failed[0].candidate.form), "group(64,64,1,16)");
}

TEST(TunerForms, TheHeadHasNoTiles) {
  FakeProbe probe = two_layouts(1e-3, 2e-3);
  probe.form_factors["row_major tile(32,32,4,4)"] = 0.1;
  MatrixKind head = kKind;
  head.group = WeightGroup::kHead;
  EXPECT_TRUE(tune_both(probe, {.seconds = 5}, head).form.is_auto());
  EXPECT_EQ(probe.token_counts, std::set<uint32_t>{1});
}

// What has had no turn in half of the time has none; the default always has.
TEST(TunerForms, CompilingDoesNotTakeMoreThanTheTime) {
  const std::vector<Layout> layouts = many_layouts(16);
  for (const double budget : {1.0, 1e-9}) {
    FakeProbe probe;
    probe.first_run_seconds = 0.1;
    for (const Layout& layout : layouts) probe.speeds[to_string(layout)] = {1e-3, 1e-6};
    const double start = probe.now();
    const TunedKind tuned =
        tune_kind(kKind, layouts, probe, {.seconds = budget, .may_skip = true}).value();
    EXPECT_LT(probe.now() - start, 1.3);
    EXPECT_EQ(tuned.trials.size() + tuned.num_skipped, layouts.size());
    EXPECT_EQ(tuned.trials.size(), budget == 1 ? 3u : 1u);
    EXPECT_EQ(tuned.chosen, layouts.front());
  }
}

// A backend that has everything.
constexpr KernelInfo kEverything[] = {
    {MatrixOp::kDense, DType::kF16, "*", [](const Layout&) { return true; }, "any"},
    {MatrixOp::kDense, DType::kInt8, "*", [](const Layout&) { return true; }, "any"},
    {MatrixOp::kSparse, DType::kF16, "*", [](const Layout&) { return true; }, "any"},
};

TEST(Candidates, TheDefaultComesFirstAndNothingTwice) {
  for (const MatrixKind& kind :
       {MatrixKind{WeightGroup::kAttention, DType::kF16, {{1024, 1024, 1}}},
        MatrixKind{WeightGroup::kLowRank, DType::kF16, {{32, 96, 1}, {96, 32, 1}}},
        MatrixKind{WeightGroup::kFfnValue, DType::kF16, {{768, 3072, 1}}},
        MatrixKind{WeightGroup::kHead, DType::kInt8, {{65536, 768, 1}}}}) {
    const std::vector<Layout> candidates =
        list_candidates(kind, kEverything, default_layout(kind.group, kind.dtype));
    ASSERT_FALSE(candidates.empty());
    EXPECT_EQ(candidates.front(), default_layout(kind.group, kind.dtype));
    EXPECT_GT(candidates.size(), 10u) << to_string(kind.group);
    std::set<std::string> names;
    for (const Layout& layout : candidates) names.insert(to_string(layout));
    EXPECT_EQ(names.size(), candidates.size());
  }
}

TEST(Candidates, AlignmentsThatChangeNothingAreLeftOut) {
  const Layout kDefault = default_layout(WeightGroup::kAttention, DType::kF16);
  const auto has = [](const std::vector<Layout>& layouts, const Layout& layout) {
    return std::find(layouts.begin(), layouts.end(), layout) != layouts.end();
  };
  // Rows of 2048 B are aligned to all that is tried; rows of 64 B to the first only.
  const auto wide = list_candidates({WeightGroup::kAttention, DType::kF16, {{1024, 1024, 1}}},
                                    kEverything, kDefault);
  EXPECT_TRUE(has(wide, Layout::row_major()));
  EXPECT_FALSE(has(wide, Layout::row_major(64)));
  EXPECT_FALSE(has(wide, Layout::row_major(256)));
  const auto narrow = list_candidates({WeightGroup::kAttention, DType::kF16, {{1024, 32, 1}}},
                                      kEverything, kDefault);
  EXPECT_FALSE(has(narrow, Layout::row_major(64)));
  EXPECT_TRUE(has(narrow, Layout::row_major(128)));
  EXPECT_TRUE(has(narrow, Layout::row_major(256)));
}

TEST(Candidates, OnlyWhatHasAKernel) {
  const KernelInfo kernels[] = {
      {MatrixOp::kDense, DType::kF16, "row_major",
       [](const Layout& layout) { return layout.kind == LayoutKind::kRowMajor; }, "some"}};
  const Layout kDefault = default_layout(WeightGroup::kAttention, DType::kF16);
  const auto candidates =
      list_candidates({WeightGroup::kAttention, DType::kF16, {{64, 128, 1}}}, kernels, kDefault);
  EXPECT_EQ(candidates, std::vector<Layout>{Layout::row_major()});
}

}  // namespace
}  // namespace skein
