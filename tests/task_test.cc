// goose-tiny answers the questions that it was asked after training (tools/make_tasks.py), greedily
// and to the letter.
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "skein/skein.h"

namespace skein {
namespace {

constexpr size_t kNumTasks = 200;
constexpr size_t kMinRight = 190;

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

TEST(TaskTest, AnswersAreExact) {
  const std::vector<Task> tasks = read_tasks();
  ASSERT_EQ(tasks.size(), kNumTasks);
  const auto model =
      Model::load({.model_path = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors",
                   .num_threads = 1});
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
  EXPECT_GE(num_right, kMinRight);
}

}  // namespace
}  // namespace skein
