#include "plan/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/temp_folder.h"

namespace skein {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

PlanKey example_key() {
  return {"cpu", "Some CPU, zen4 kernels, 2 threads", "exact", 2, {"L1d 48 KiB", "L2 1024 KiB"}};
}

PlanKey gpu_key() {
  PlanKey key{"webgpu", "Some GPU (Vulkan, discrete GPU, driver 1)", "exact", 0, {}};
  key.features = {"subgroups"};
  return key;
}

PlanFile example() {
  PlanFile file;
  file.key = example_key();
  file.version = "0.1.0";
  file.date = "2026-11-23T09:00:00Z";
  file.bandwidth_gb_s = 36.25;
  file.activations = ActivationLayout::kSeparate;
  MatrixPlan att;
  att.kind = {WeightGroup::kAttention, DType::kF16, {{1024, 1024, 96}}};
  att.layout = Layout::interleave(16, 128, 1);
  att.tried = {{att.layout, {}, 1, 5500.25, 36.5, 99.5, 7},
               {Layout::row_major(), {}, 1, 6000, 33.5, 91.25, 2},
               {att.layout, {}, 128, 90'000, 2.25, 6.5, 7},
               {Layout::row_major(), {}, 128, 80'000, 2.5, 7, 2}};
  MatrixPlan low_rank;
  low_rank.kind = {WeightGroup::kLowRank, DType::kInt8, {{64, 1024, 24}, {1024, 64, 24}}};
  low_rank.layout = Layout::row_major(64);
  file.matrices = {att, low_rank};
  file.checks = {{"model.safetensors", 30.5, 31.25, 200, 210.5}};
  return file;
}

// Of a GPU, whose plan has forms too.
PlanFile gpu_example() {
  PlanFile file = example();
  file.key = gpu_key();
  file.matrices.resize(1);
  file.matrices[0].form = group_form(128, 32, 2, 16).with(tile_form(64, 64, 4, 4));
  file.matrices[0].tried[1].form = group_form(64, 64, 1, 16);
  return file;
}

std::string error_of(std::string_view text) {
  const Result<PlanFile> file = parse_plan_file(text, "p.json");
  return file ? "" : file.error().message;
}

// The example's text with one piece of it exchanged.
std::string changed(std::string_view from, std::string_view to) {
  std::string text = to_text(example());
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(PlanFile, TextAndBack) {
  const std::string text = to_text(example());
  const PlanFile file = parse_plan_file(text, "p.json").value();
  EXPECT_EQ(to_text(file), text);
  EXPECT_EQ(file.key, example_key());
  EXPECT_EQ(file.activations, ActivationLayout::kSeparate);
  EXPECT_EQ(file.placement, Placement::kHot);
  ASSERT_EQ(file.matrices.size(), 2u);
  EXPECT_EQ(file.matrices[0].layout, Layout::interleave(16, 128, 1));
  ASSERT_EQ(file.matrices[0].tried.size(), 4u);
  EXPECT_EQ(file.matrices[0].tried[1].microseconds, 6000);
  EXPECT_EQ(file.matrices[1].kind.shapes[1].rows, 1024u);
  EXPECT_EQ(file.checks.at(0).tuned_prefill, 210.5);
}

TEST(PlanFile, PlansOfGpusHaveForms) {
  const std::string text = to_text(gpu_example());
  EXPECT_THAT(text, HasSubstr("\"form\": \"group(128,32,2,16)+tile(64,64,4,4)\""));
  const PlanFile file = parse_plan_file(text, "p.json").value();
  EXPECT_EQ(to_text(file), text);
  EXPECT_EQ(file.key, gpu_key());
  EXPECT_EQ(file.matrices[0].form, gpu_example().matrices[0].form);
  EXPECT_EQ(file.matrices[0].tried[1].form, group_form(64, 64, 1, 16));
  EXPECT_TRUE(file.matrices[0].tried[0].form.is_auto());
  EXPECT_THAT(to_string(gpu_key()), HasSubstr("exact; subgroups"));
  PlanKey plain = gpu_key();
  plain.features.clear();
  EXPECT_NE(plan_file_name(plain), plan_file_name(gpu_key()));
}

TEST(PlanFile, FormsThatNoDeviceHasAreOneLine) {
  const std::string good = to_text(gpu_example()), form = "group(128,32,2,16)+tile(64,64,4,4)";
  for (const std::string_view bad :
       {"group(0,32,2,16)", "group(128,32,1000000000,16)", "group(128,0,2,16)", "tile(0,0,4,0)",
        "group(127,1,1,1)", "group(1e9,1,1,1)", "cake", "", "group(64,128,1,1)",
        "tile(64,64,4,4)+tile(64,64,4,4)"}) {
    std::string text = good;
    text.replace(text.find(form), form.size(), bad);
    const std::string message = error_of(text);
    EXPECT_THAT(message, StartsWith("p.json: matrices[0].form: expected ")) << bad;
    EXPECT_LT(message.size(), 400u);
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  for (const std::string_view bad : {"7", "[]", "null", "{\"a\": 1}"}) {
    std::string text = good;
    text.replace(text.find('"' + form + '"'), form.size() + 2, bad);
    EXPECT_THAT(error_of(text), HasSubstr("p.json: matrices[0].form: expected a text")) << bad;
  }
}

TEST(PlanFile, SaysWhatEachNumberOfTokensLikesBest) {
  EXPECT_THAT(
      to_text(example()),
      HasSubstr(R"x("fastest": {"1 token":"interleave(16,128,1)","128 tokens":"row_major"})x"));
}

TEST(PlanFile, FindsMatricesByGroupTypeAndShapes) {
  const PlanFile file = example();
  MatrixKind kind{WeightGroup::kAttention, DType::kF16, {{1024, 1024, 12}}};
  EXPECT_EQ(file.find(kind), &file.matrices[0]);
  kind.dtype = DType::kBF16;
  EXPECT_EQ(file.find(kind), nullptr);
  kind = {WeightGroup::kLowRank, DType::kInt8, {{64, 1024, 24}}};
  EXPECT_EQ(file.find(kind), nullptr);
}

TEST(PlanFile, ShapesMayStandInAnyOrder) {
  PlanFile file = example();
  std::swap(file.matrices[1].kind.shapes[0], file.matrices[1].kind.shapes[1]);
  const PlanFile read = parse_plan_file(to_text(file), "p.json").value();
  EXPECT_NE(read.find(example().matrices[1].kind), nullptr);
}

TEST(PlanFile, MergingKeepsOtherModels) {
  PlanFile file = example(), newer = example();
  newer.date = "2027-01-01T00:00:00Z";
  newer.matrices.resize(1);
  newer.matrices[0].layout = Layout::morton(32);
  newer.checks[0].model = "other.safetensors";
  file.merge(newer);
  EXPECT_EQ(file.date, newer.date);
  ASSERT_EQ(file.matrices.size(), 2u);
  EXPECT_EQ(file.find(example().matrices[0].kind)->layout, Layout::morton(32));
  EXPECT_EQ(file.find(example().matrices[1].kind)->layout, Layout::row_major(64));
  EXPECT_EQ(file.checks.size(), 2u);
  file.merge(newer);
  EXPECT_EQ(file.checks.size(), 2u);
}

TEST(PlanFile, ErrorsNameThePlaceAndWhatWasFound) {
  EXPECT_EQ(error_of(changed("\"version\": 1", "\"version\": 2")),
            "p.json: version: expected 1, found 2");
  EXPECT_EQ(error_of(changed("skein-plan", "cake")),
            "p.json: format: expected 'skein-plan', found 'cake'");
  EXPECT_EQ(error_of(changed("\"rows\":1024", "\"rows\":0")),
            "p.json: matrices[0].shapes[0].rows: expected a whole number from 1 to 16777216, "
            "found 0");
  EXPECT_EQ(error_of(changed("\"placement\": \"hot\"", "\"placement\": \"lukewarm\"")),
            "p.json: placement: expected hot or file, found 'lukewarm'");
  EXPECT_THAT(error_of(changed("\"layout\": \"row_major@64B\"", "\"layout\": \"spiral\"")),
              StartsWith("p.json: matrices[1].layout: "));
  EXPECT_THAT(error_of(changed("\"group\": \"att\"", "\"group\": \"emb\"")), HasSubstr("'emb'"));
  EXPECT_THAT(error_of(changed("\"type\": \"f16\"", "\"type\": \"f8\"")), HasSubstr("'f8'"));
  EXPECT_THAT(error_of(changed("\"samples\":7", "\"samples\":-7")), HasSubstr("samples"));
  EXPECT_THAT(error_of(changed("\"gb_s\":36.5", "\"gb_s\":-1")), HasSubstr("gb_s"));
  EXPECT_THAT(error_of(changed("\"gb_s\":36.5", "\"gb_s\":1e400")), StartsWith("p.json: "));
  EXPECT_THAT(error_of(changed("\"date\"", "\"dates\"")), HasSubstr("\"dates\""));
  EXPECT_THAT(error_of(changed("\"cores\":2", "\"cores\":\"two\"")), HasSubstr("device.cores"));
  EXPECT_THAT(error_of(changed("\"samples\":7", "\"sample\":7")), HasSubstr("tried[0]"));
}

TEST(PlanFile, HostileTextIsOneLine) {
  const std::string good = to_text(example());
  std::vector<std::string> texts = {
      "",
      "{}",
      "[]",
      "null",
      "7",
      "\"\"",
      "{\"format\": []}",
      "\xff\xfe",
      std::string(100'000, '['),
      std::string(100'000, '{'),
      good + "x",
      changed("\"date\": \"", "\"date\": \"" + std::string(2000, 'x')),
      changed("0.1.0", "\\ud800")};
  for (size_t i = 1; i < 40; ++i) texts.push_back(good.substr(0, good.size() * i / 40));
  for (const std::string& text : texts) {
    const std::string message = error_of(text);
    EXPECT_THAT(message, StartsWith("p.json: ")) << text.substr(0, 80);
    EXPECT_LT(message.size(), 400u);
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(PlanFile, EveryByteMayBeAnotherOne) {
  const std::string good = to_text(example());
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char c : {'"', '{', ']', '0', '-', '\x01', '\x80'}) {
      std::string text = good;
      text[i] = c;
      // Whatever it says now: it is read, or refused; what is read can be written and read again.
      if (const auto file = parse_plan_file(text, "p.json")) {
        const std::string again = to_text(*file);
        ASSERT_TRUE(parse_plan_file(again, "p.json")) << i << ' ' << c;
      }
    }
  }
}

TEST(PlanFile, WritesAndReadsFiles) {
  const TempFolder folder;
  const std::string path = folder.path("a/b.json");
  ASSERT_TRUE(write_plan_file(example(), path));
  EXPECT_EQ(to_text(read_plan_file(path).value()), to_text(example()));
  EXPECT_THAT(read_plan_file(folder.path("none.json")).error().message, HasSubstr("none.json"));
  EXPECT_THAT(write_plan_file(example(), path + "/c.json").error().message, HasSubstr("b.json"));
}

TEST(PlanKey, FileNamesDifferWhereKeysDo) {
  const PlanKey key = example_key();
  EXPECT_THAT(plan_file_name(key), StartsWith("cpu-some-cpu-zen4-kernels-2-threads-exact-"));
  PlanKey other = key;
  other.caches[1] = "L2 2048 KiB";
  EXPECT_NE(plan_file_name(other), plan_file_name(key));
  other = key;
  other.num_cores = 4;
  EXPECT_NE(plan_file_name(other), plan_file_name(key));
  other.device = "../../\n\xff" + std::string(5000, '/');
  const std::string name = plan_file_name(other);
  EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-."), std::string::npos);
  EXPECT_LT(name.size(), 120u);
}

}  // namespace
}  // namespace skein
