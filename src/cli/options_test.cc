#include "cli/options.h"

#include <gtest/gtest.h>

#include <limits>

namespace skein::cli {
namespace {

TEST(Options, WholeNumberTakesItsRangeOnly) {
  const ValueCheck check = whole_number(1, 1024);
  for (const char* good : {"1", "2", "1024"}) EXPECT_EQ(check(good), "") << good;
  for (const char* bad : {"", "0", "1025", "4096", "-1", "+1", "1.5", "1e2", "0x10", " 1", "1 ",
                          "two", "18446744073709551617"}) {
    EXPECT_EQ(check(bad),
              std::string("expected a whole number from 1 to 1024, found '") + bad + "'");
  }
  EXPECT_EQ(whole_number(0, std::numeric_limits<uint64_t>::max())("18446744073709551615"), "");
}

TEST(Options, NumberRefusesWhatIsNone) {
  const ValueCheck check = number(0, 1);
  for (const char* good : {"0", "1", "0.5", "1e-3", "-0"}) EXPECT_EQ(check(good), "") << good;
  for (const char* bad : {"", "nan", "inf", "-0.1", "1.01", "0.5x", "half"})
    EXPECT_NE(check(bad), "") << bad;
}

TEST(Options, WholeNumbersSplitAtCommas) {
  const ValueCheck check = whole_numbers(0, 100);
  EXPECT_EQ(check("7"), "");
  EXPECT_EQ(check("1,2,100"), "");
  for (const char* bad : {"", ",", "1,", ",1", "1,,2", "1;2", "1,101", "1, 2"})
    EXPECT_NE(check(bad), "") << bad;
  EXPECT_EQ(split_numbers("1,2,100"), (std::vector<uint32_t>{1, 2, 100}));
}

TEST(Options, OneOfNamesTheWords) {
  const ValueCheck check = one_of({"exact", "fast"});
  EXPECT_EQ(check("fast"), "");
  EXPECT_EQ(check("Fast"), "expected exact or fast, found 'Fast'");
}

// What CLI11's containers would have taken apart.
TEST(Options, TextsArriveAsTheyAre) {
  CLI::App app;
  CLI::Option* prompt = add_texts(app, "prompt", "");
  CLI::Option* model = add_texts(app, "-m,--model", "");
  const std::vector<const char*> arguments = {"test", "[1,2]",  "-m", "[a,b]", "{}", "-m",
                                              "b",    "\xff\n", "",   "--",    "-5"};
  app.parse(static_cast<int>(arguments.size()), arguments.data());
  EXPECT_EQ(texts(*prompt), (std::vector<std::string>{"[1,2]", "{}", "\xff\n", "", "-5"}));
  EXPECT_EQ(texts(*model), (std::vector<std::string>{"[a,b]", "b"}));
}

TEST(Options, GenerateFlagsReachTheirFields) {
  CLI::App app;
  GenerateOptions options;
  add_generate_options(app, options);
  app.parse(
      "--temperature 0.5 --top-k 40 --top-p 0.25 --min-p 0.125 --presence-penalty 0.75 "
      "--frequency-penalty 0.375 --penalty-decay 0.5 --seed 18446744073709551615 --tokens 9 "
      "--stop [x] --stop {}");
  EXPECT_EQ(options.sampler.temperature, 0.5f);
  EXPECT_EQ(options.sampler.top_k, 40u);
  EXPECT_EQ(options.sampler.top_p, 0.25f);
  EXPECT_EQ(options.sampler.min_p, 0.125f);
  EXPECT_EQ(options.sampler.presence_penalty, 0.75f);
  EXPECT_EQ(options.sampler.frequency_penalty, 0.375f);
  EXPECT_EQ(options.sampler.penalty_decay, 0.5f);
  EXPECT_EQ(options.sampler.seed, UINT64_MAX);
  EXPECT_EQ(options.max_tokens, 9u);
  EXPECT_EQ(options.stop, (std::vector<std::string>{"[x]", "{}"}));
}

}  // namespace
}  // namespace skein::cli
