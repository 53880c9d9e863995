// goose-tiny answers the questions that it was asked after training (tools/make_tasks.py), greedily
// and to the letter; with quantized weights it loses few of them.
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "skein/skein.h"

namespace skein {
namespace {

constexpr size_t kNumTasks = 200;

struct Case {
  const char* quant;
  Precision precision;
  size_t min_right;
};
// f16 has 193 right. int8 may lose one of them, nf4 and sf4 ten.
constexpr Case kCases[] = {{"", Precision::kExact, 190},    {"int8", Precision::kExact, 192},
                           {"int8", Precision::kFast, 192}, {"nf4", Precision::kExact, 183},
                           {"nf4", Precision::kFast, 183},  {"sf4", Precision::kExact, 183},
                           {"sf4", Precision::kFast, 183}};

struct Task {
  std::string question, answer;
};

std::vector<Task> read_tasks() {
  std::vector<Task> tasks;
  std::ifstream file(SKEIN_SOURCE_DIR "/tests/data/tasks.tsv");
  for (std::string line; std::getline(file, line);) {
    const size_t tab = line.find('\t');
    EXPECT_NE(tab, std::string::npos) << line;
    if (tab != std::string::npos) tasks.push_back({line.substr(0, tab), line.substr(tab + 1)});
  }
  return tasks;
}

// What the model says, until it is as long as the answer or two tokens longer.
std::string answer_of(Session& session, const Task& task) {
  EXPECT_TRUE(session.reset());
  const auto expected_ids = session.model()->encode(" " + task.answer);
  GenerateOptions options{.max_tokens = static_cast<uint32_t>(expected_ids->size()) + 2};
  options.sampler.temperature = 0;
  std::string text;
  const auto stats = generate(session, "User: " + task.question + "\n\nAssistant:", options,
                              [&](std::string_view piece) {
                                text += piece;
                                return text.size() <= task.answer.size();
                              });
  EXPECT_TRUE(stats);
  return text;
}

class TaskTest : public ::testing::TestWithParam<Case> {};

TEST_P(TaskTest, AnswersAreExact) {
#ifdef SKEIN_SANITIZED
  if (*GetParam().quant != '\0') GTEST_SKIP() << "minutes of code that other tests run";
#endif
  const std::vector<Task> tasks = read_tasks();
  ASSERT_EQ(tasks.size(), kNumTasks);
  LoadOptions options;
  options.model_path = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";
  options.num_threads = 1;
  options.quant = GetParam().quant;
  options.precision = GetParam().precision;
  const auto model = Model::load(options);
  ASSERT_TRUE(model) << model.error().message;
  Session session = Session::create(*model).value();
  size_t num_right = 0;
  for (const Task& task : tasks) {
    const std::string text = answer_of(session, task);
    if (text.starts_with(" " + task.answer)) {
      ++num_right;
    } else {
      std::printf("wrong: %s\n  expected ' %s', found '%s'\n", task.question.c_str(),
                  task.answer.c_str(), text.c_str());
    }
  }
  std::printf("right: %zu of %zu\n", num_right, tasks.size());
  RecordProperty("num_right", static_cast<int>(num_right));
  EXPECT_GE(num_right, GetParam().min_right);
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  const std::string type = *info.param.quant == '\0' ? "f16" : info.param.quant;
  return type + (info.param.precision == Precision::kFast ? "_fast" : "_exact");
}

INSTANTIATE_TEST_SUITE_P(Types, TaskTest, ::testing::ValuesIn(kCases), case_name);

}  // namespace
}  // namespace skein
