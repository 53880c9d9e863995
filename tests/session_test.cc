// Sessions through the public API: where they stand, how they are copied, saved and restored, and
// what their errors leave behind. Text is in generate_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "format/safetensors.h"
#include "format/safetensors_writer.h"
#include "skein/skein.h"
#include "tiny_model.h"

namespace skein {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::random_model;
using testing::tiny_dimensions;

constexpr const char* kGoose = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";
constexpr FileDType kF16[] = {FileDType::kF16};

std::shared_ptr<Model> load(const std::string& path, const std::string& backend = "cpu") {
  auto model = Model::load({.model_path = path, .backend = backend, .num_threads = 2});
  EXPECT_TRUE(model) << model.error().message;
  return model ? *model : nullptr;
}

std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }

// A random model in a folder of its own, and a session of it.
class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    random_model(tiny_dimensions(64, 65), kF16, 3).write(model_path_);
    model_ = load(model_path_);
    ASSERT_TRUE(model_);
  }

  Session session() { return Session::create(model_).value(); }

  // A session that has seen `ids`.
  Session session_after(std::vector<uint32_t> ids) {
    Session session = Session::create(model_).value();
    EXPECT_TRUE(session.prefill(ids));
    return session;
  }

  // Both stand at the same place: now, and after another token.
  static void expect_same_place(Session& a, Session& b) {
    EXPECT_EQ(a.num_tokens(), b.num_tokens());
    EXPECT_EQ(copy_of(a.logits()), copy_of(b.logits()));
    ASSERT_TRUE(a.step(7));
    ASSERT_TRUE(b.step(7));
    EXPECT_EQ(copy_of(a.logits()), copy_of(b.logits()));
  }

  TempFolder folder_;
  std::string model_path_ = folder_.path("model.safetensors");
  std::string state_path_ = folder_.path("state.safetensors");
  std::shared_ptr<Model> model_;
};

TEST_F(SessionTest, CountsTokensAndKeepsTheLastLogits) {
  Session session = this->session();
  EXPECT_EQ(session.num_tokens(), 0u);
  EXPECT_TRUE(session.logits().empty());
  ASSERT_TRUE(session.prefill(std::vector<uint32_t>{1, 2, 3}));
  EXPECT_EQ(session.num_tokens(), 3u);
  EXPECT_EQ(session.logits().size(), 65u);
  ASSERT_TRUE(session.step(4));
  EXPECT_EQ(session.num_tokens(), 4u);
  std::vector<float> last;
  Session other = session_after({1, 2});
  ASSERT_TRUE(other.evaluate(std::vector<uint32_t>{3, 4},
                             [&](uint64_t, std::span<const float> row) { last = copy_of(row); }));
  EXPECT_EQ(other.num_tokens(), 4u);
  EXPECT_EQ(last, copy_of(other.logits()));
}

TEST_F(SessionTest, PrefillReportsChunksAndStopsWhereAsked) {
  Session session = this->session();
  ASSERT_TRUE(session.set_chunk(4));
  const std::vector<uint32_t> ids(10, 5);
  std::vector<uint64_t> done;
  ASSERT_TRUE(session.prefill(ids, [&](uint64_t count, uint64_t total) {
    EXPECT_EQ(total, 10u);
    done.push_back(count);
    return true;
  }));
  EXPECT_EQ(done, (std::vector<uint64_t>{4, 8, 10}));
  Session stopped = this->session();
  ASSERT_TRUE(stopped.set_chunk(4));
  ASSERT_TRUE(stopped.prefill(ids, [](uint64_t count, uint64_t) { return count < 8; }));
  EXPECT_EQ(stopped.num_tokens(), 8u);
  ASSERT_TRUE(stopped.prefill(std::span(ids).subspan(8)));
  expect_same_place(session, stopped);
}

TEST_F(SessionTest, BadInputChangesNothing) {
  Session session = session_after({1, 2, 3}), untouched = session_after({1, 2, 3});
  ASSERT_TRUE(session.set_chunk(2));
  const auto ignore = [](uint64_t, std::span<const float>) { FAIL(); };
  EXPECT_THAT(session.step(65).error().message, AllOf(HasSubstr("64"), HasSubstr("65")));
  // The bad id is in the last chunk; no chunk has run.
  const std::vector<uint32_t> ids = {1, 2, 3, 4, 5, 4000000000};
  EXPECT_THAT(session.prefill(ids).error().message, HasSubstr("4000000000"));
  EXPECT_THAT(session.evaluate(ids, ignore).error().message, HasSubstr("4000000000"));
  EXPECT_THAT(session.prefill({}).error().message, HasSubstr("at least one"));
  EXPECT_THAT(session.evaluate({}, ignore).error().message, HasSubstr("at least one"));
  expect_same_place(session, untouched);
}

TEST_F(SessionTest, ChunkHasBounds) {
  Session session = this->session();
  for (const uint32_t chunk : {0u, (1u << 16) + 1, ~0u}) {
    EXPECT_THAT(session.set_chunk(chunk).error().message,
                AllOf(HasSubstr("1 to 65536"), HasSubstr(std::to_string(chunk))));
  }
  EXPECT_TRUE(session.set_chunk(1));
  EXPECT_TRUE(session.set_chunk(1u << 16));
}

TEST_F(SessionTest, ResetIsTheEmptySequence) {
  Session used = session_after({9, 8, 7}), fresh = session_after({1});
  ASSERT_TRUE(used.reset());
  EXPECT_EQ(used.num_tokens(), 0u);
  EXPECT_TRUE(used.logits().empty());
  ASSERT_TRUE(used.prefill(std::vector<uint32_t>{1}));
  expect_same_place(used, fresh);
}

TEST_F(SessionTest, CloneGoesOnByItself) {
  Session original = session_after({1, 2, 3});
  Session copy = original.clone().value();
  ASSERT_TRUE(copy.prefill(std::vector<uint32_t>{30, 31, 32}));
  Session untouched = session_after({1, 2, 3});
  expect_same_place(original, untouched);
  Session same = session_after({1, 2, 3});
  ASSERT_TRUE(same.prefill(std::vector<uint32_t>{30, 31, 32}));
  expect_same_place(copy, same);
}

TEST_F(SessionTest, SavedAndRestoredIsTheSamePlace) {
  Session session = session_after({1, 2, 3});
  ASSERT_TRUE(session.save(state_path_));
  Session restored = session_after({50, 51});
  ASSERT_TRUE(restored.restore(state_path_));
  expect_same_place(session, restored);
  // Saving what was restored gives the same file.
  Session again = this->session();
  ASSERT_TRUE(again.restore(state_path_));
  ASSERT_TRUE(again.save(folder_.path("again")));
  EXPECT_EQ(testing::read_file(folder_.path("again")), testing::read_file(state_path_));
}

TEST_F(SessionTest, EmptySequencesCanBeSaved) {
  ASSERT_TRUE(session().save(state_path_));
  Session session = session_after({4, 4});
  ASSERT_TRUE(session.restore(state_path_));
  EXPECT_EQ(session.num_tokens(), 0u);
  EXPECT_TRUE(session.logits().empty());
}

TEST_F(SessionTest, SavingReplacesTheFileOrLeavesIt) {
  Session first = session_after({1}), second = session_after({2, 2});
  ASSERT_TRUE(first.save(state_path_));
  ASSERT_TRUE(second.save(state_path_));
  Session restored = session();
  ASSERT_TRUE(restored.restore(state_path_));
  expect_same_place(restored, second);
  for (const std::string& path : {std::string("/dev/full"), folder_.path("no/such/folder/state"),
                                  folder_.path(""), std::string("/proc/skein-state")}) {
    const Status status = first.save(path);
    ASSERT_FALSE(status) << path;
    EXPECT_THAT(status.error().message, AllOf(HasSubstr(path), Not(HasSubstr("\n"))));
  }
  size_t num_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_.path(""))) {
    ++num_files;
  }
  EXPECT_EQ(num_files, 2u) << "the model and the state, no temporary file";
}

// A state file rewritten with other metadata or tensors.
class StateFileTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    ASSERT_TRUE(session_after({1, 2, 3}).save(state_path_));
    const Safetensors file = Safetensors::open(state_path_).value();
    metadata_ = file.metadata();
    for (const TensorInfo& tensor : file.tensors()) {
      declarations_.push_back({tensor.name, tensor.dtype, tensor.shape});
      data_.push_back({tensor.data.begin(), tensor.data.end()});
    }
    ASSERT_EQ(declarations_.size(), 2u);
  }

  // Restores what the members hold, finds it refused in one line, and the session as it was.
  std::string refusal() {
    const std::string path = folder_.path("changed");
    auto writer = SafetensorsWriter::create(path, declarations_, metadata_).value();
    for (size_t i = 0; i < declarations_.size(); ++i) {
      EXPECT_TRUE(writer.write(declarations_[i].name, data_[i]));
    }
    EXPECT_TRUE(writer.commit());
    return refusal_of(path);
  }

  std::string refusal_of(const std::string& path) {
    Session session = session_after({40, 41}), untouched = session_after({40, 41});
    const Status status = session.restore(path);
    expect_same_place(session, untouched);
    EXPECT_FALSE(status) << path;
    if (status) return "";
    EXPECT_THAT(status.error().message, AllOf(HasSubstr(path), Not(HasSubstr("\n"))));
    return status.error().message;
  }

  std::map<std::string, std::string> metadata_;
  std::vector<TensorDeclaration> declarations_;  // state, logits
  std::vector<std::vector<std::byte>> data_;
};

TEST_F(StateFileTest, RefusesOtherMetadata) {
  const auto saved = metadata_;
  metadata_["version"] = "2";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("version 1"), HasSubstr("'2'")));
  metadata_ = saved;
  metadata_["model_hash"] = "0123456789abcdef";
  EXPECT_THAT(refusal(), AllOf(HasSubstr(saved.at("model_hash")), HasSubstr("0123456789abcdef")));
  metadata_ = saved;
  metadata_["state_layout"] = "head\nvalue\nkey";
  EXPECT_THAT(refusal(), HasSubstr("state layout"));
  for (const char* count : {"", "three", "3 ", "-1", "99999999999999999999"}) {
    metadata_ = saved;
    metadata_["num_tokens"] = count;
    EXPECT_THAT(refusal(), HasSubstr("number of tokens"));
  }
  metadata_.clear();
  EXPECT_THAT(refusal(), HasSubstr("skein-state"));
}

TEST_F(StateFileTest, RefusesOtherTensors) {
  const auto declarations = declarations_;
  declarations_[0].shape = {1, declarations[0].shape[0] * declarations[0].shape[1], 64};
  EXPECT_THAT(refusal(), HasSubstr("'state'"));
  declarations_ = declarations;
  declarations_[0].dtype = FileDType::kI32;
  EXPECT_THAT(refusal(), AllOf(HasSubstr("'state'"), HasSubstr("I32")));
  declarations_ = declarations;
  declarations_[1].name = "logit";
  EXPECT_THAT(refusal(), HasSubstr("'logits'"));
  declarations_ = declarations;
  const auto data = data_;
  std::fill_n(data_[0].begin() + 400, 4, std::byte{0xff});  // a NaN
  EXPECT_THAT(refusal(), AllOf(HasSubstr("'state'"), HasSubstr("nan")));
  data_ = data;
  std::fill_n(data_[1].begin(), 4, std::byte{0xff});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("'logits'"), HasSubstr("nan")));
}

TEST_F(StateFileTest, RefusesWhatIsNoStateFile) {
  EXPECT_THAT(refusal_of(model_path_), HasSubstr("skein-state"));
  EXPECT_THAT(refusal_of(folder_.path("nothing")), HasSubstr("cannot open"));
  EXPECT_THAT(refusal_of(folder_.path("")), HasSubstr("folder"));
  EXPECT_THAT(refusal_of(SKEIN_SOURCE_DIR "/LICENSE"), HasSubstr("safetensors"));
  const std::string whole = testing::read_file(state_path_), cut = folder_.path("cut");
  for (size_t i = 0; i < 16; ++i) {
    testing::write_file(cut, whole.substr(0, whole.size() * i / 16));
    refusal_of(cut);
  }
}

TEST_F(StateFileTest, RefusesTheStateOfAnotherModel) {
  const std::string other = folder_.path("other.safetensors");
  random_model(tiny_dimensions(64, 65), kF16, 4).write(other);
  const auto model = load(other);
  Session session = Session::create(model).value();
  EXPECT_THAT(session.restore(state_path_).error().message, HasSubstr("model"));
}

// The same text goes on from a saved state, on either backend.
TEST(ResumeTest, TextGoesOnAcrossBackends) {
  const TempFolder folder;
  const std::string path = folder.path("state");
  GenerateOptions options{.max_tokens = 6};
  options.sampler.temperature = 0;
  const auto continue_text = [&](Session& session, std::string_view prompt) {
    std::string text;
    EXPECT_TRUE(generate(session, prompt, options, [&](std::string_view piece) {
      text += piece;
      return true;
    }));
    return text;
  };
  const auto cpu = load(kGoose, "cpu"), reference = load(kGoose, "reference");
  ASSERT_TRUE(cpu && reference);
  for (const auto& first : {cpu, reference}) {
    Session session = Session::create(first).value();
    continue_text(session, "Once upon a time");
    ASSERT_TRUE(session.save(path));
    const std::string expected = continue_text(session, "");
    EXPECT_FALSE(expected.empty());
    for (const auto& second : {cpu, reference}) {
      Session resumed = Session::create(second).value();
      ASSERT_TRUE(resumed.restore(path));
      EXPECT_EQ(continue_text(resumed, ""), expected)
          << first->info().backend << " to " << second->info().backend;
    }
  }
}

}  // namespace
}  // namespace skein
