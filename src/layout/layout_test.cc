#include "layout/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "layout/test_cases.h"

namespace skein {
namespace {

using ::testing::HasSubstr;

TEST(LayoutText, PrintOfParseIsTheText) {
  for (const std::string_view text : kTestLayouts) {
    const Result<Layout> layout = parse_layout(text);
    ASSERT_TRUE(layout.has_value()) << layout.error().message;
    EXPECT_EQ(to_string(*layout), text);
  }
}

TEST(LayoutText, ParseOfPrintIsTheValue) {
  std::mt19937 random(7);
  const auto pick = [&](uint32_t max) {
    return std::uniform_int_distribution<uint32_t>(1, max)(random);
  };
  const auto dim = [&] { return pick(kMaxBlockDim); };
  for (int i = 0; i < 2000; ++i) {
    const uint32_t align = i % 3 == 0 ? 0 : 1u << (pick(22) - 1);
    const uint32_t chunk = pick(256);
    const uint32_t block_cols = chunk * pick(kMaxBlockDim / chunk);
    const Layout layouts[] = {Layout::row_major(align),
                              Layout::col_major(align),
                              Layout::interleave(dim(), block_cols, chunk, align),
                              Layout::interleave(dim(), dim(), 0, align),
                              Layout::tile(dim(), dim(), align),
                              Layout::morton(dim(), align)};
    for (const Layout& layout : layouts) {
      ASSERT_TRUE(validate(layout).has_value()) << to_string(layout);
      EXPECT_EQ(parse_layout(to_string(layout)).value(), layout) << to_string(layout);
    }
  }
}

TEST(LayoutText, KindsAndFields) {
  EXPECT_EQ(parse_layout("row_major@128B").value(), Layout::row_major(128));
  EXPECT_EQ(parse_layout("col_major").value(), Layout::col_major());
  EXPECT_EQ(parse_layout("interleave(16,64,1)@256B").value(), Layout::interleave(16, 64, 1, 256));
  EXPECT_EQ(parse_layout("tile(16,32)").value(), Layout::tile(16, 32));
  EXPECT_EQ(parse_layout("morton(65536)@2097152B").value(), Layout::morton(65536, 2097152));
}

TEST(LayoutText, TheDefaultChunkIsNotPrinted) {
  const Layout layout = parse_layout("interleave(4,64,64)").value();
  EXPECT_EQ(layout, Layout::interleave(4, 64));
  EXPECT_EQ(to_string(layout), "interleave(4,64)");
}

TEST(LayoutText, TileIsNotInterleave) { EXPECT_NE(Layout::tile(4, 64), Layout::interleave(4, 64)); }

struct Refused {
  std::string_view text;
  std::string_view reason;  // a part of the message
};

constexpr Refused kRefused[] = {
    {"", "expected row_major"},
    {"row", "expected row_major"},
    {"ROW_MAJOR", "expected row_major"},
    {"row_majorx", "expected row_major"},
    {"row_major()", "a parameter"},
    {"row_major(1)", "found 1 parameters"},
    {"row_major@", "alignment in bytes"},
    {"row_major@128", "alignment in bytes"},
    {"row_major@B", "the alignment"},
    {"row_major@0B", "the alignment"},
    {"row_major@96B", "power of two"},
    {"row_major@4194304B", "the alignment"},
    {"row_major@99999999999999999999B", "the alignment"},
    {"row_major@128BB", "the alignment"},
    {"row_major@64B@64B", "the alignment"},
    {"row_major ", "no spaces"},
    {" row_major", "no spaces"},
    {"row_major\n", "no spaces"},
    {"interleave", "found 0 parameters"},
    {"interleave(4)", "found 1 parameters"},
    {"interleave(4,64,4,4)", "found 4 parameters"},
    {"interleave(4, 64)", "no spaces"},
    {"interleave(4,64", "expected '(numbers)'"},
    {"interleave(4,64))", "a parameter"},
    {"interleave(4,64)x", "expected '(numbers)'"},
    {"interleave(4,64,5)", "K to divide B"},
    {"interleave(4,64,128)", "K to divide B"},
    {"interleave(0,64)", "a parameter"},
    {"interleave(4,0)", "a parameter"},
    {"interleave(4,64,0)", "a parameter"},
    {"interleave(,)", "a parameter"},
    {"interleave(4,)", "a parameter"},
    {"tile(65537,1)", "1 to 65536"},
    {"tile(4294967297,1)", "1 to 65536"},
    {"tile(-1,1)", "a parameter"},
    {"tile(+1,1)", "a parameter"},
    {"tile(0x4,1)", "a parameter"},
    {"tile(04,1)", "a parameter"},
    {"tile(1,2,2)", "found 3 parameters"},
    {"tile(", "expected '(numbers)'"},
    {"tile)", "expected row_major"},
    {"morton(4,4)", "found 2 parameters"},
    {"morton", "found 0 parameters"},
    {"@64B", "expected row_major"},
    {"morton(1111111111111111111111111111111111111111111111111111111111111111)", "at most 64"},
};

TEST(LayoutText, RefusesWithOneLineThatQuotesTheText) {
  for (const Refused& refused : kRefused) {
    const Result<Layout> layout = parse_layout(refused.text);
    ASSERT_FALSE(layout.has_value()) << refused.text;
    const std::string& message = layout.error().message;
    EXPECT_THAT(message, HasSubstr(refused.reason)) << refused.text;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_THAT(message, HasSubstr("layout '"));
  }
}

TEST(LayoutText, EveryPrefixOfATextIsRefusedOrPrintsItself) {
  for (const std::string_view text : kTestLayouts) {
    for (size_t length = 0; length < text.size(); ++length) {
      const Result<Layout> layout = parse_layout(text.substr(0, length));
      if (layout) {
        EXPECT_EQ(to_string(*layout), text.substr(0, length));
      }
    }
  }
}

TEST(LayoutValidate, RefusesFieldsThatTheTextFormCannotSay) {
  EXPECT_FALSE(validate({LayoutKind::kRowMajor, 1, 0, 0, 0}).has_value());
  EXPECT_FALSE(validate({LayoutKind::kTile, 4, 8, 4, 0}).has_value());
  EXPECT_FALSE(validate({LayoutKind::kMorton, 4, 8, 8, 0}).has_value());
  EXPECT_FALSE(validate({LayoutKind::kInterleave, 4, 8, 0, 0}).has_value());
  EXPECT_FALSE(validate(Layout::morton(0)).has_value());
  EXPECT_FALSE(validate(Layout::tile(kMaxBlockDim + 1, 1)).has_value());
  EXPECT_FALSE(validate(Layout::row_major(3)).has_value());
}

}  // namespace
}  // namespace skein
