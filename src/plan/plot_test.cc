#include "plan/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <regex>

#include "plan/seed_estimates.h"

namespace skein {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

BarPlot example() {
  BarPlot plot{"The six ideas, measured",
               "made-up figures <&>",
               "tokens/s, times the baseline",
               "the document's estimate",
               {}};
  double ratio = 1.21;
  for (const SeedEstimate& seed : kSeedEstimates) {
    plot.rows.push_back({std::string(seed.name),
                         {{"alone", ratio}, {"added to those before", ratio + 0.02}},
                         1 + seed.bandwidth_low_percent / 100,
                         1 + seed.bandwidth_high_percent / 100});
    ratio -= 0.055;
  }
  plot.rows.back().bars[1].value.reset();
  return plot;
}

// Where SKEIN_PLOT_DIR is set the plots are written there, to be looked at.
void show(const std::string& name, const std::string& svg) {
  if (const char* folder = std::getenv("SKEIN_PLOT_DIR")) {
    std::ofstream(std::string(folder) + "/" + name) << svg;
  }
}

// Attribute `name` of all elements `element`.
std::vector<double> attributes(const std::string& svg, const std::string& element,
                               const std::string& name) {
  std::vector<double> values;
  const std::regex pattern("<" + element + " [^>]*\\b" + name + "=\"([-0-9.]+)\"");
  for (std::sregex_iterator it(svg.begin(), svg.end(), pattern), end; it != end; ++it) {
    values.push_back(std::stod((*it)[1]));
  }
  return values;
}

TEST(BarPlot, SaysEveryRowValueAndSeries) {
  const std::string svg = to_svg(example());
  show("bars.svg", svg);
  for (const SeedEstimate& seed : kSeedEstimates) EXPECT_THAT(svg, HasSubstr(seed.name));
  for (const char* text : {"1.21x", "1.23x", "alone", "added to those before", "not measured",
                           "the document's estimate", "made-up figures &lt;&amp;&gt;"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
  EXPECT_THAT(svg, Not(HasSubstr("<&>")));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

// A background, two boxes of a series and a band in the legend, and for each row a band and its
// measured bars.
TEST(BarPlot, DrawsABandAndABarEach) {
  const std::string svg = to_svg(example());
  EXPECT_EQ(attributes(svg, "rect", "width").size(), 1u + 3 + 6 + 11);
}

TEST(BarPlot, LengthsAreProportional) {
  BarPlot plot;
  plot.rows = {{"a", {{"s", 1.5}}, 1, 1}, {"b", {{"s", 2.0}}, 1, 1}, {"c", {{"s", 0.5}}, 1, 1}};
  const std::vector<double> widths = attributes(to_svg(plot), "rect", "width");
  // Background, then band and bar of each row.
  ASSERT_GE(widths.size(), 7u);
  EXPECT_NEAR(widths[4], 2 * widths[2], 0.11);
  EXPECT_NEAR(widths[6], widths[2], 0.11);
}

TEST(BarPlot, StaysInsideForAnyValues) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double value : {0.0, 1e-9, 1.0, 40.0, 1e9, -3.0, kInfinity, std::nan("")}) {
    BarPlot plot;
    plot.rows = {{"row", {{"s", value}}, value, value}, {"empty", {}, 1.1, 1.2}};
    const std::string svg = to_svg(plot);
    EXPECT_THAT(svg, Not(HasSubstr("nan\""))) << value;
    EXPECT_THAT(svg, Not(HasSubstr("inf"))) << value;
    for (const double x : attributes(svg, "rect", "x")) {
      EXPECT_GE(x, 0.0) << value;
      EXPECT_LE(x, 860.0) << value;
    }
  }
  EXPECT_THAT(to_svg(BarPlot{}), HasSubstr("</svg>"));
}

TEST(ScatterPlot, DrawsFinitePointsInside) {
  ScatterPlot plot{"Layouts: cache hits and bandwidth", "made-up figures", "hits, %", "GB/s", {}};
  plot.points = {{"row_major", 93.8, 31.0},        {"row_major@128B", 93.9, 31.4},
                 {"col_major", 75.2, 24.0},        {"interleave(16,64,1)", 97.1, 36.8, true},
                 {"interleave(4,64)", 95.0, 33.1}, {"morton(32)", 94.0, 31.2},
                 {"tile(16,32)", 94.1, 31.1},      {"lost", std::nan(""), 3}};
  const std::string svg = to_svg(plot);
  show("scatter.svg", svg);
  EXPECT_EQ(attributes(svg, "circle", "cx").size(), 7u);
  EXPECT_THAT(svg, Not(HasSubstr("lost")));
  for (const double x : attributes(svg, "circle", "cx")) {
    EXPECT_GE(x, 92.0);
    EXPECT_LE(x, 860.0);
  }
  plot.points = {{"alone", 0, 0}};
  EXPECT_THAT(to_svg(plot), Not(HasSubstr("nan")));
  EXPECT_THAT(to_svg(ScatterPlot{}), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace skein
