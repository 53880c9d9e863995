// Reports of measurements that were made up, so that every figure is known beforehand.
#include "cli/profile_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace skein::cli {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// Every variant is 1.5 times the baseline in decode and half of it in prefill; a token reads 10 MB
// at 100 GB/s of bandwidth.
ProfileReport make_report() {
  ProfileReport report;
  report.experiment = make_experiment({}, 32);
  for (const Variant& variant : report.experiment.variants) {
    VariantFigures figures;
    figures.variant = variant;
    const double factor = report.variants.empty() ? 1 : 1.5;
    figures.decode_baseline = {1000, 2000, 4000};
    figures.prefill_baseline = {8000, 8000, 8000};
    for (const double base : figures.decode_baseline) figures.decode.push_back(base * factor);
    figures.prefill.assign(3, 4000);
    figures.bytes_per_token = 1e7;
    for (size_t step = 0; step < kNumSteps; ++step) {
      figures.steps.push_back({static_cast<Step>(step), 12.5, 3.25, 1e6, 98.0});
    }
    figures.cache = CacheFigures{true, 95, {{"L1d", 80}, {"L2", 95}}, 640};
    report.variants.push_back(std::move(figures));
  }
  report.variants.front().cache->hit_percent = 90;
  report.bandwidth = 100e9;
  report.weight_bytes = 50'000'000;
  report.cache_bytes = 32u << 20;
  report.num_threads = 2;
  report.cache_note = "cache hit rates: made up";
  return report;
}

Machine make_machine() {
  Machine machine;
  machine.cpu = "Test <CPU> & more";
  return machine;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(ProfileJson, HasTheFieldsOfEveryIdea) {
  const Json json = profile_json(make_report(), make_machine(), "goose.safetensors");
  EXPECT_EQ(json["bandwidth_gb_s"], 100.0);
  EXPECT_EQ(json["machine"]["cpu"], "Test <CPU> & more");
  ASSERT_EQ(json["ideas"].size(), 6u);
  const Json& idea = json["ideas"][2];
  EXPECT_EQ(idea["name"], "transposed");
  EXPECT_EQ(idea["tokens_per_s"], 3000.0);
  EXPECT_EQ(idea["baseline_tokens_per_s"], 2000.0);
  EXPECT_EQ(idea["gb_s"], 30.0);
  EXPECT_EQ(idea["bandwidth_percent"], 30.0);
  EXPECT_EQ(idea["cache_hit_percent"], 95.0);
  EXPECT_EQ(idea["cache_source"], "simulated");
  EXPECT_EQ(idea["seed_bandwidth_percent"], Json::array({10.0, 20.0}));
  EXPECT_EQ(idea["seed_cache_percent"], 5.0);
  EXPECT_EQ(idea["ratio"], 1.5);
  EXPECT_EQ(idea["prefill_ratio"], 0.5);
  EXPECT_EQ(idea["added"]["ratio"], 1.5);
  EXPECT_EQ(json["ideas"][4]["added"]["replaces"], "interleave");
  EXPECT_EQ(json["ops"].size(), make_report().variants.size() * kNumSteps);
  EXPECT_EQ(json["ops"][0]["gb_s"], 80.0);
  std::vector<std::string> names;
  for (const Json& entry : json["ideas"]) names.push_back(entry["name"]);
  EXPECT_THAT(names, testing::ElementsAre("aligned", "packed", "transposed", "interleaved",
                                          "swizzled", "hot_cold"));
}

TEST(ProfileJson, WhatWasNotMeasuredIsNullAndSaysWhy) {
  ProfileReport report = make_report();
  VariantFigures& figures = report.variants[report.experiment.ideas[4].alone];
  const std::string name = figures.variant.name;
  figures = {figures.variant, "no kernel for that", {}, {}, {}, {}, 0, 0, {}, {}};
  const Json json = profile_json(report, make_machine(), "m");
  const Json& idea = json["ideas"][4];
  EXPECT_EQ(idea["name"], "swizzled");
  for (const char* field : {"tokens_per_s", "baseline_tokens_per_s", "gb_s", "bandwidth_percent",
                            "cache_hit_percent", "cache_source", "ratio"}) {
    EXPECT_TRUE(idea[field].is_null()) << field;
  }
  EXPECT_EQ(idea["skipped"], "no kernel for that");
  EXPECT_FALSE(json["ideas"][3].contains("skipped"));
  EXPECT_THAT(profile_notes(report), Contains(name + " was not measured: no kernel for that"));
  // The plot and the tables live without it.
  EXPECT_THAT(profile_svg(report, make_machine(), "m"), HasSubstr("not measured"));
  EXPECT_THAT(profile_text(report, make_machine(), "m"), HasSubstr("Swizzled Layout"));
}

TEST(ProfileText, PutsTheEstimateBesideTheMeasurement) {
  const std::string text = profile_text(make_report(), make_machine(), "dir/goose.safetensors");
  const size_t begin = text.find("| Block-Interleaved (for row_major)");
  ASSERT_NE(begin, std::string::npos) << text;
  const std::string row = text.substr(begin, text.find('\n', begin) - begin);
  for (const char* cell : {"+15 to 25 %", "+50.0 % (+50 to +50)", "-50.0 %", "3000.0", "30.00",
                           "+15", "80.0 / 95.0"}) {
    EXPECT_THAT(row, HasSubstr(cell));
  }
  EXPECT_THAT(text, HasSubstr("goose on Test <CPU> & more"));
  EXPECT_THAT(text, HasSubstr("hits L1d / L2, %"));
  EXPECT_THAT(text, Not(HasSubstr("Steps, prefill")));
}

TEST(ProfileMarkdown, EveryTableIsWellFormed) {
  const std::string text = profile_markdown(make_report(), make_machine(), "m");
  EXPECT_EQ(count(text, "\n## "), 5u);
  EXPECT_EQ(count(text, "\n# "), 0u);
  EXPECT_TRUE(text.starts_with("# "));
  // All rows of one table have as many cells.
  size_t bars = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    const auto cells = static_cast<size_t>(std::count(line.begin(), line.end(), '|'));
    if (cells != 0 && bars != 0) {
      EXPECT_EQ(cells, bars) << line;
    }
    bars = cells;
    at = end + 1;
  }
}

TEST(ProfileNotes, SayWhatTheFiguresCannot) {
  ProfileReport report = make_report();
  const auto has = [&](const char* part) {
    const auto notes = profile_notes(report);
    return std::any_of(notes.begin(), notes.end(), [&](const std::string& note) {
      return note.find(part) != std::string::npos;
    });
  };
  EXPECT_FALSE(has("fit the outermost cache"));
  report.weight_bytes = 11'000'000;
  EXPECT_TRUE(has("fit the outermost cache"));
  EXPECT_TRUE(has("change no address"));
  report.variants[report.experiment.ideas[0].alone].padding_bytes = 4096;
  EXPECT_FALSE(has("change no address"));
  EXPECT_TRUE(has("3 rounds only"));
  EXPECT_TRUE(has("noise: half of the rounds gave the baseline +0.0 to +0.0 %"));
  EXPECT_TRUE(has("'swizzled' is in place of interleave"));
}

TEST(ProfileSvg, ShowsTheIdeasAndEscapesTheirWorld) {
  const std::string svg = profile_svg(make_report(), make_machine(), "m");
  EXPECT_TRUE(svg.starts_with("<svg") || svg.starts_with("<?xml"));
  EXPECT_THAT(svg, HasSubstr("Test &lt;CPU&gt; &amp; more"));
  EXPECT_THAT(svg, HasSubstr("Hot/Cold Separation"));
  EXPECT_THAT(svg, HasSubstr("1.50"));
}

}  // namespace
}  // namespace skein::cli
