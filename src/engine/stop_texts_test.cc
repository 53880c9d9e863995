#include "engine/stop_texts.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

TEST(StopTextsTest, FindsTheEarliest) {
  const StopTexts stops({"User:", "\n\n"});
  EXPECT_EQ(stops.find("hello\n\nUser:"), 5u);
  EXPECT_EQ(stops.find("User: x\n\n"), 0u);
  EXPECT_EQ(stops.find("hello\n"), std::nullopt);
}

TEST(StopTextsTest, HoldsBackWhatMayBecomeAStop) {
  const StopTexts stops({"\n\nUser:", "ab", ""});
  EXPECT_EQ(stops.held_back("hello"), 0u);
  EXPECT_EQ(stops.held_back("hello\n"), 1u);
  EXPECT_EQ(stops.held_back("hello\n\nUs"), 4u);
  EXPECT_EQ(stops.held_back("hello\n\n\n"), 2u);
  EXPECT_EQ(stops.held_back("a"), 1u);
  EXPECT_EQ(stops.held_back(""), 0u);
}

// However the text is cut, what is shown is the text before the first stop text.
TEST(StopTextsTest, ShownTextNeverHoldsAStop) {
  const StopTexts stops({"aab", "ba"});
  for (uint32_t bits = 0; bits < (1u << 10); ++bits) {
    std::string text;
    for (uint32_t i = 0; i < 10; ++i) text += (bits >> i & 1u) != 0 ? 'b' : 'a';
    std::string shown, pending;
    bool stopped = false;
    for (char c : text) {
      pending += c;
      if (const auto stop = stops.find(pending)) {
        shown += pending.substr(0, *stop);
        stopped = true;
        break;
      }
      const size_t safe = pending.size() - stops.held_back(pending);
      shown += pending.substr(0, safe);
      pending.erase(0, safe);
    }
    if (!stopped) shown += pending;
    const auto stop = stops.find(text);
    EXPECT_EQ(stopped, stop.has_value()) << text;
    // A longer stop text that begins earlier may still be growing when a shorter one ends.
    if (!stop) {
      EXPECT_EQ(shown, text);
    } else {
      EXPECT_FALSE(stops.find(shown)) << text;
      EXPECT_TRUE(text.starts_with(shown)) << text;
    }
  }
}

}  // namespace
}  // namespace skein
