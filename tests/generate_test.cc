// generate(): what is shown, when it ends, and what the session has seen afterwards.
//
// The model is a reciter (tiny_model.h): its greedy text is known, token by token, and its state
// tells every token that it has seen. So the law can be tested as it stands: afterwards the session
// is where a session is that was given the tokens of the prompt and of the text that was shown.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/utf8_stream.h"
#include "skein/skein.h"
#include "tiny_model.h"

namespace skein {
namespace {

using ::testing::HasSubstr;

class GenerateTest : public ::testing::Test {
 protected:
  // `script` is what the model says after end of text.
  void load(const std::vector<std::string>& script) {
    script_ = script;
    const testing::Reciter reciter = testing::make_reciter(script);
    const std::string path = folder_.path("reciter.safetensors");
    reciter.model.write(path);
    testing::write_file(folder_.path("vocab.txt"), reciter.vocabulary);
    model_ = Model::load({.model_path = path, .num_threads = 1}).value();
  }

  struct Outcome {
    std::string text;
    std::vector<std::string> pieces;
    GenerateStats stats;
    Session session;
  };

  // Greedy, on a fresh session; stops after `max_pieces` calls of the callback.
  Outcome run(std::vector<std::string> stop, uint32_t max_tokens = 100, size_t max_pieces = 1000) {
    GenerateOptions options{.max_tokens = max_tokens, .stop = std::move(stop)};
    options.sampler.temperature = 0;
    Outcome outcome{{}, {}, {}, Session::create(model_).value()};
    const auto stats = generate(outcome.session, "", options, [&](std::string_view piece) {
      outcome.pieces.emplace_back(piece);
      outcome.text += piece;
      return outcome.pieces.size() < max_pieces;
    });
    EXPECT_TRUE(stats);
    if (stats) outcome.stats = *stats;
    for (const std::string& piece : outcome.pieces) EXPECT_TRUE(is_valid_utf8(piece)) << piece;
    return outcome;
  }

  // The session has seen end of text, the first `num_tokens` of the script, and `extra` as its own
  // tokens.
  void expect_seen(Session& session, uint32_t num_tokens, std::string_view extra = "") {
    Session expected = Session::create(model_).value();
    for (uint32_t id = 0; id <= num_tokens; ++id) ASSERT_TRUE(expected.step(id));
    // In one piece, as generate() does: another cut is the same but for rounding.
    if (!extra.empty()) {
      ASSERT_TRUE(expected.prefill(model_->encode(extra).value()));
    }
    EXPECT_EQ(session.num_tokens(), expected.num_tokens());
    const std::string a = folder_.path("a"), b = folder_.path("b");
    ASSERT_TRUE(session.save(a));
    ASSERT_TRUE(expected.save(b));
    EXPECT_TRUE(testing::read_file(a) == testing::read_file(b)) << "another state";
  }

  TempFolder folder_;
  std::vector<std::string> script_;
  std::shared_ptr<Model> model_;
};

TEST_F(GenerateTest, RecitesToTheEndOfText) {
  load({"One", " goose", ",", " two", " geese"});
  Outcome outcome = run({});
  EXPECT_EQ(outcome.text, "One goose, two geese");
  EXPECT_EQ(outcome.pieces, script_);
  EXPECT_EQ(outcome.stats.reason, StopReason::kEndOfText);
  EXPECT_EQ(outcome.stats.num_prompt_tokens, 1u);
  EXPECT_EQ(outcome.stats.num_tokens, 5u);
  expect_seen(outcome.session, 5);
}

TEST_F(GenerateTest, EndsAfterMaxTokensAndGoesOn) {
  load({"One", " goose", ",", " two", " geese"});
  Outcome outcome = run({}, 2);
  EXPECT_EQ(outcome.text, "One goose");
  EXPECT_EQ(outcome.stats.reason, StopReason::kMaxTokens);
  expect_seen(outcome.session, 2);
  // An empty prompt goes on where the session is, without end of text.
  GenerateOptions options{.max_tokens = 2};
  options.sampler.temperature = 0;
  std::string text;
  const auto stats = generate(outcome.session, "", options, [&](std::string_view piece) {
    text += piece;
    return true;
  });
  EXPECT_EQ(text, ", two");
  EXPECT_EQ(stats->num_prompt_tokens, 0u);
  EXPECT_EQ(run({}, 0).text, "");
}

TEST_F(GenerateTest, StopTextAcrossTokensLeavesNoTrace) {
  load({"Hello", ".", "\n\n", "Us", "er", ":", " more"});
  Outcome outcome = run({"\n\nUser:"});
  EXPECT_EQ(outcome.text, "Hello.");
  EXPECT_EQ(outcome.stats.reason, StopReason::kStopText);
  expect_seen(outcome.session, 2);
}

TEST_F(GenerateTest, StopTextInTheMidstOfATokenKeepsWhatWasShown) {
  load({"Hello", " the", "re stop", "per", " more"});
  Outcome inside = run({"stopper"});
  EXPECT_EQ(inside.text, "Hello there ");
  expect_seen(inside.session, 2, "re ");
  Outcome at_the_end = run({"stop"});
  EXPECT_EQ(at_the_end.text, "Hello there ");
  expect_seen(at_the_end.session, 2, "re ");
  Outcome across_three = run({"e stopper m"});
  EXPECT_EQ(across_three.text, "Hello ther");
  expect_seen(across_three.session, 2, "r");
}

TEST_F(GenerateTest, WhatLooksLikeAStopTextIsShownWhenItIsNone) {
  load({"a", "aa", "b", "ab", "aac", "!"});
  Outcome outcome = run({"aaac", "aabaax"});
  EXPECT_EQ(outcome.text, "aaababaac!");
  EXPECT_EQ(outcome.stats.reason, StopReason::kEndOfText);
  expect_seen(outcome.session, 6);
  // "aaab" was held back as a beginning of "aaac"; its second half begins the stop text.
  Outcome overlap = run({"aaac", "aabab"});
  EXPECT_EQ(overlap.text, "a");
  expect_seen(overlap.session, 1);
}

// Every stop text at every place: the text ends before the first of them, and nothing more has been
// seen.
TEST_F(GenerateTest, EveryStopTextAtEveryPlace) {
  load({"ab", "c", "abc", "a", "bca", "bcd", "\xf0\x9f", "\x99", "\x82", "e"});
  std::string whole;
  for (const std::string& token : script_) whole += token;
  for (size_t begin = 0; begin < whole.size(); ++begin) {
    for (const size_t length : {size_t{1}, size_t{2}, size_t{4}, size_t{7}}) {
      const std::string stop = whole.substr(begin, length);
      if (!is_valid_utf8(stop)) continue;
      const size_t end = whole.find(stop);
      Outcome outcome = run({stop});
      ASSERT_EQ(outcome.text, whole.substr(0, end)) << stop;
      uint32_t num_tokens = 0;
      size_t seen = 0;
      while (seen + script_[num_tokens].size() <= end) seen += script_[num_tokens++].size();
      expect_seen(outcome.session, num_tokens, whole.substr(seen, end - seen));
    }
  }
}

TEST_F(GenerateTest, CharactersComeWhole) {
  load({"\xf0", "\x9f\xa6", "\x86", " gee", "se \xc3", "\xa4"});
  Outcome outcome = run({});
  EXPECT_EQ(outcome.pieces,
            (std::vector<std::string>{"\xf0\x9f\xa6\x86", " gee", "se ", "\xc3\xa4"}));
  // Half a character at the end is shown as such.
  Outcome half = run({}, 2);
  EXPECT_EQ(half.text, "\xef\xbf\xbd");
  expect_seen(half.session, 2);
  // Its tokens are gone too where the character is a stop text.
  Outcome stopped = run({"\xf0\x9f\xa6\x86"});
  EXPECT_EQ(stopped.text, "");
  expect_seen(stopped.session, 0);
}

TEST_F(GenerateTest, CallbackStops) {
  load({"One", " goose", ",", " two", " geese"});
  Outcome outcome = run({}, 100, 2);
  EXPECT_EQ(outcome.text, "One goose");
  EXPECT_EQ(outcome.stats.reason, StopReason::kCallback);
  expect_seen(outcome.session, 2);
}

TEST_F(GenerateTest, CallbackStopLeavesOutWhatWasHeldBack) {
  load({"aa", "a", "b", "c"});
  // After the second token "a" is shown and "aa" held back: of the second token nothing was seen.
  Outcome outcome = run({"aaX"}, 100, 1);
  EXPECT_EQ(outcome.text, "a");
  EXPECT_EQ(outcome.stats.reason, StopReason::kCallback);
  expect_seen(outcome.session, 1);
}

TEST_F(GenerateTest, StoppedPrefillSaysSo) {
  load({"One", " goose"});
  Session session = Session::create(model_).value();
  ASSERT_TRUE(session.set_chunk(1));
  GenerateOptions options;
  options.on_prefill = [](uint64_t done, uint64_t total) {
    EXPECT_EQ(total, 4u);
    return done < 2;
  };
  const auto stats = generate(session, "xyz", options, [](std::string_view) { return true; });
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->reason, StopReason::kCallback);
  EXPECT_EQ(stats->num_prompt_tokens, 2u);
  EXPECT_EQ(stats->num_tokens, 0u);
  EXPECT_EQ(session.num_tokens(), 2u);
}

TEST_F(GenerateTest, ErrorsRunNothing) {
  load({"One", " goose"});
  Session session = Session::create(model_).value();
  GenerateOptions options;
  options.sampler.temperature = -1;
  EXPECT_THAT(generate(session, "x", options, {}).error().message, HasSubstr("temperature"));
  EXPECT_EQ(session.num_tokens(), 0u);
}

TEST_F(GenerateTest, NoCallbackIsFine) {
  load({"One", " goose"});
  Session session = Session::create(model_).value();
  GenerateOptions options;
  options.sampler.temperature = 0;
  EXPECT_EQ(generate(session, "", options, {})->num_tokens, 2u);
  EXPECT_EQ(session.num_tokens(), 3u);
}

TEST_F(GenerateTest, SeedsReproduceTheText) {
  load({"One", " goose"});
  const auto text_of = [&](uint64_t seed) {
    Session session = Session::create(model_).value();
    GenerateOptions options{.max_tokens = 30};
    options.sampler = {.temperature = 20, .top_p = 1, .seed = seed};
    std::string text;
    EXPECT_TRUE(generate(session, "Q", options, [&](std::string_view piece) {
      text += piece;
      return true;
    }));
    return text;
  };
  EXPECT_EQ(text_of(1), text_of(1));
  EXPECT_NE(text_of(1), text_of(2));
}

}  // namespace
}  // namespace skein
