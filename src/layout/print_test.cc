#include "layout/print.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "layout/draw.h"
#include "layout/test_cases.h"

namespace skein {
namespace {

using ::testing::HasSubstr;

AnyMapping mapping_of(std::string_view text, Extents extents) {
  return make_mapping(parse_layout(text).value(), extents, 32).value();
}

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

TEST(PrintGrid, AlignsColumnsAndNamesThePadding) {
  EXPECT_EQ(print_grid(mapping_of("tile(2,4)@64B", {3, 5}), "f32").value(),
            "tile(2,4)@64B  3 x 5 f32: 15 elements in a span of 64\n"
            "\n"
            " 0  1  2  3 16\n"
            " 4  5  6  7 20\n"
            "32 33 34 35 48\n"
            "\n"
            "padding: 8-15, 17-19, 21-31, 36-47, 49-63\n");
}

TEST(PrintGrid, SaysWhereThereIsNoPadding) {
  EXPECT_THAT(print_grid(mapping_of("col_major", {1, 1}), "f16").value(),
              HasSubstr("\n0\n\npadding: none\n"));
}

TEST(PrintGrid, CountsThePaddingRunsThatItDoesNotShow) {
  const AnyMapping mapping = mapping_of("row_major@8B", {5, 3});
  EXPECT_EQ(describe_padding(mapping, 5), "3, 7, 11, 15, 19");
  EXPECT_EQ(describe_padding(mapping, 2), "3, 7 and 3 runs more");
}

// The runs, added up, are what the span has beyond the elements.
TEST(PrintGrid, PaddingRunsCoverTheRestOfTheSpan) {
  for (const std::string_view text : kTestLayouts) {
    for (const Extents extents : kTestExtents) {
      const AnyMapping mapping = mapping_of(text, extents);
      std::string runs = describe_padding(mapping, SIZE_MAX);
      uint64_t num_padding = 0;
      for (char* at = runs.data(); runs != "none" && *at != '\0';) {
        const uint64_t first = std::strtoull(at, &at, 10);
        const uint64_t last = *at == '-' ? std::strtoull(at + 1, &at, 10) : first;
        num_padding += last - first + 1;
        while (*at == ',' || *at == ' ') ++at;
      }
      EXPECT_EQ(num_padding + extents.num_elems(), mapping.required_span_size())
          << text << ": " << runs;
    }
  }
}

TEST(PrintJson, HoldsEveryOffset) {
  const AnyMapping mapping = mapping_of("morton(2)@64B", {5, 7});
  const nlohmann::json json = nlohmann::json::parse(print_json(mapping, "f32").value());
  EXPECT_EQ(json["layout"], "morton(2)@64B");
  EXPECT_EQ(json["rows"], 5);
  EXPECT_EQ(json["cols"], 7);
  EXPECT_EQ(json["dtype"], "f32");
  EXPECT_EQ(json["num_elems"], 35);
  EXPECT_EQ(json["span_elems"], mapping.required_span_size());
  ASSERT_EQ(json["offsets"].size(), 5u);
  for (uint64_t row = 0; row < 5; ++row) {
    ASSERT_EQ(json["offsets"][row].size(), 7u);
    for (uint64_t col = 0; col < 7; ++col) EXPECT_EQ(json["offsets"][row][col], mapping(row, col));
  }
}

TEST(DrawSvg, HasACellForEveryElementAndAStepBetweenAnyTwo) {
  for (const std::string_view text :
       {"row_major", "col_major@64B", "interleave(4,8,2)", "morton(4)"}) {
    for (const Extents extents : {Extents{1, 1}, Extents{6, 10}, Extents{37, 61}}) {
      const std::string svg = draw_svg(mapping_of(text, extents), "f32").value();
      EXPECT_EQ(count_of(svg, "z"), extents.num_elems() + count_of(svg, "size")) << text;
      EXPECT_EQ(count_of(svg, "L"), extents.num_elems() - 1) << text;
      EXPECT_THAT(svg, HasSubstr(std::string(text)));
      EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
  }
}

TEST(DrawSvg, DashesTheStepsOverPadding) {
  EXPECT_EQ(count_of(draw_svg(mapping_of("row_major", {4, 5}), "f32").value(), "dasharray"), 0u);
  EXPECT_EQ(count_of(draw_svg(mapping_of("row_major@32B", {4, 5}), "f32").value(), "dasharray"),
            3u);
}

TEST(Print, RefusesWhatNobodyReads) {
  const AnyMapping large = mapping_of("row_major", {1024, 1024});
  EXPECT_THAT(print_grid(large, "f32").error().message, HasSubstr("found 1024 x 1024"));
  EXPECT_FALSE(print_json(large, "f32").has_value());
  EXPECT_FALSE(draw_svg(mapping_of("row_major", {129, 128}), "f32").has_value());
  EXPECT_TRUE(draw_svg(mapping_of("row_major", {128, 128}), "f32").has_value());
}

}  // namespace
}  // namespace skein
