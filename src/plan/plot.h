// Plots as SVG text: bars beside the range that was expected of them, and points with names.
//
// Goals: one self-contained file that a browser, GitHub and rsvg-convert show alike; readable in
// grey and for the colour-blind (blue and orange, and the band is hatched by its outline); no
// script, no font of our own. Non-goals: interaction, logarithmic axes, files (the caller writes
// the text).
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace skein {

// What one bar's length says: "1.12x".
struct Bar {
  std::string name;             // of the series, for the legend: "alone", "added"
  std::optional<double> value;  // a ratio; nothing: the row says "not measured"
};

// One row of the plot: a label, a bar for each series, and the band that was expected.
struct BarRow {
  std::string label;
  std::vector<Bar> bars;
  double band_low = 1;  // ratios; low == high: a line
  double band_high = 1;
};

struct BarPlot {
  std::string title;
  std::string subtitle;    // machine, model, how measured
  std::string axis_label;  // "tokens/s, times the baseline"
  std::string band_label;  // "the document's estimate"
  std::vector<BarRow> rows;
};

// Grouped horizontal bars from the base line at 1: longer to the right is faster. All texts are
// escaped. Values that are not finite are "not measured". The series' names and order are those of
// the first row.
std::string to_svg(const BarPlot& plot);

struct Point {
  std::string label;
  double x = 0, y = 0;
  bool highlighted = false;
};

struct ScatterPlot {
  std::string title;
  std::string subtitle;
  std::string x_label, y_label;
  std::vector<Point> points;  // those that are not finite are left out
};

// Points with their labels beside them, moved apart where they would cover each other.
std::string to_svg(const ScatterPlot& plot);

}  // namespace skein
