#include "cli/tune_check.h"

#include <gtest/gtest.h>

namespace skein::cli {
namespace {

// A contender whose rounds took so long; all of it decoding.
Contender contender(const std::vector<double>& milliseconds, bool must_be_clear = false) {
  Contender result{"", {}, must_be_clear, false, {}};
  for (const double ms : milliseconds) result.rounds.push_back({1000 / ms, 1e12});
  return result;
}

TEST(TuneCheck, TheBestOfTheRoundsCounts) {
  Contender both{"", {}, false, false, {{10, 400}, {12, 200}, {11, 300}}};
  EXPECT_EQ(both.best().decode, 12);
  EXPECT_EQ(both.best().prefill, 400);
  EXPECT_DOUBLE_EQ(both.best().cost_seconds(), 1.0 / 12 + kPromptTokensPerToken / 400);
}

TEST(TuneCheck, TunedLayoutsAreKeptUnlessSlower) {
  EXPECT_EQ(choose_winner({contender({10, 12})}), 0u);
  EXPECT_EQ(choose_winner({contender({10, 12}), contender({9, 12})}), 1u);
  EXPECT_EQ(choose_winner({contender({10, 12}), contender({10, 12})}), 1u);
  EXPECT_EQ(choose_winner({contender({10, 12}), contender({10.1, 11})}), 0u);
}

// The machine was calm once, when the challenger ran.
TEST(TuneCheck, OneLuckyRunIsNotEnough) {
  EXPECT_EQ(choose_winner({contender({10, 12, 11, 10}), contender({11, 13, 12, 5})}), 0u);
}

TEST(TuneCheck, SomeMustWinClearly) {
  const Contender standard = contender({10, 11, 12, 13}), tuned = contender({9, 10, 11, 12});
  EXPECT_EQ(choose_winner({standard, tuned, contender({8.9, 10, 11, 12}, true)}), 1u);
  EXPECT_EQ(choose_winner({standard, tuned, contender({8, 9, 10, 12.1}, true)}), 2u);
  EXPECT_EQ(choose_winner({standard, tuned, contender({8, 9, 11.1, 12.1}, true)}), 1u);
  EXPECT_EQ(choose_winner({standard, contender({8, 8, 8, 8}, true)}), 1u);
}

TEST(TuneCheck, WithoutRoundsNothingReplaces) {
  EXPECT_FALSE(replaces(contender({}), contender({}), 1, 0.5));
}

}  // namespace
}  // namespace skein::cli
