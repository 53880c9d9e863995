#include "plan/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string_view>
#include <utility>

namespace skein {
namespace {

// All lengths are in px of the SVG's own coordinates.
constexpr double kWidth = 860;
constexpr double kMargin = 28;
constexpr double kHeadHeight = 74;  // title, subtitle
constexpr double kFootHeight = 74;  // axis, legend
constexpr double kLabelWidth = 180;
constexpr double kValueWidth = 64;  // room for the text behind the longest bar
constexpr double kBarHeight = 13;
constexpr double kRowGap = 16;
// A glyph of the 12 px sans-serif text is about this wide; fonts differ, so it is generous.
constexpr double kGlyphWidth = 6.6;

// Okabe and Ito's palette: told apart by the colour-blind, and in grey.
constexpr std::array<std::string_view, 4> kSeriesColors = {"#0072b2", "#56b4e9", "#009e73",
                                                           "#cc79a7"};
constexpr std::string_view kBandFill = "#e69f00";
constexpr std::string_view kInk = "#222222", kFaint = "#666666", kGrid = "#e4e4e4";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // XML has no control characters; a line break is a space in a line of text.
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

// The text of an SVG, element by element.
class Svg {
 public:
  Svg(double width, double height, std::string_view title) {
    append(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\" font-family=\"Helvetica, Arial, "
        "'DejaVu Sans', sans-serif\">\n<title>{2}</title>\n",
        width, height, escaped(title));
    rect(0, 0, width, height, "fill=\"#ffffff\"");
  }

  void rect(double x, double y, double width, double height, std::string_view style) {
    append("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" {}/>\n", x, y,
           std::max(width, 0.0), height, style);
  }
  void line(double x1, double y1, double x2, double y2, std::string_view color, double width) {
    append(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
        "stroke-width=\"{:.1f}\"/>\n",
        x1, y1, x2, y2, color, width);
  }
  void circle(double x, double y, double radius, std::string_view color) {
    append("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\"/>\n", x, y, radius, color);
  }
  // anchor: start, middle or end.
  void text(double x, double y, std::string_view anchor, double px, std::string_view color,
            std::string_view content, std::string_view more = "") {
    append(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" font-size=\"{:.0f}\" fill=\"{}\" "
        "{}>{}</text>\n",
        x, y, anchor, px, color, more, escaped(content));
  }
  void head(std::string_view title, std::string_view subtitle) {
    text(kMargin, 34, "start", 18, kInk, title, "font-weight=\"bold\"");
    text(kMargin, 55, "start", 12, kFaint, subtitle);
  }
  std::string finish() && { return std::move(out_) + "</svg>\n"; }

 private:
  template <class... Args>
  void append(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  std::string out_;
};

// A step of 1, 2, 2.5 or 5 times a power of ten that cuts `span` into at most `max_steps`.
double nice_step(double span, int max_steps) {
  const double raw = span / max_steps;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= raw) return factor * power;
  }
  return 10 * power;
}

// Values to px along one axis.
struct Axis {
  double low, high, step;  // low and high are multiples of step
  double from_px, to_px;

  // Covers [low, high], which is widened where it is empty.
  static Axis around(double low, double high, double from_px, double to_px) {
    if (!(high - low > 1e-9 * std::max(std::abs(low), std::abs(high)))) {
      const double half = std::max(std::abs(low) * 0.1, 1e-6);
      low -= half, high += half;
    }
    const double step = nice_step(high - low, 8);
    return {std::floor(low / step) * step, std::ceil(high / step) * step, step, from_px, to_px};
  }

  double px(double value) const {
    return from_px + (value - low) / (high - low) * (to_px - from_px);
  }
  int num_ticks() const { return static_cast<int>(std::lround((high - low) / step)) + 1; }
  double tick(int i) const { return low + i * step; }
};

bool is_measured(const Bar& bar) { return bar.value && std::isfinite(*bar.value); }

bool has_band(const BarRow& row) {
  return std::isfinite(row.band_low) && std::isfinite(row.band_high) &&
         row.band_low <= row.band_high;
}

Axis ratio_axis(const BarPlot& plot) {
  double low = 1, high = 1.05;
  for (const BarRow& row : plot.rows) {
    if (has_band(row)) low = std::min(low, row.band_low), high = std::max(high, row.band_high);
    for (const Bar& bar : row.bars) {
      if (is_measured(bar)) low = std::min(low, *bar.value), high = std::max(high, *bar.value);
    }
  }
  return Axis::around(low, high, kMargin + kLabelWidth, kWidth - kMargin - kValueWidth);
}

double row_height(const BarRow& row) {
  return static_cast<double>(std::max<size_t>(row.bars.size(), 1)) * kBarHeight;
}

void draw_row(Svg& svg, const Axis& axis, const BarRow& row, double y) {
  const double height = row_height(row);
  svg.text(kMargin + kLabelWidth - 12, y + height / 2 + 4.5, "end", 13, kInk, row.label);
  if (has_band(row)) {
    // A band of one value is still to be seen.
    const double from = axis.px(row.band_low) - 1.5, to = axis.px(row.band_high) + 1.5;
    svg.rect(from, y - 5, to - from, height + 10,
             fmt::format("fill=\"{0}\" fill-opacity=\"0.28\" stroke=\"{0}\" stroke-width=\"1\" "
                         "stroke-dasharray=\"3 2\"",
                         kBandFill));
  }
  for (size_t i = 0; i < row.bars.size(); ++i) {
    const Bar& bar = row.bars[i];
    const double top = y + static_cast<double>(i) * kBarHeight;
    const double base = axis.px(1);
    if (!is_measured(bar)) {
      svg.text((has_band(row) ? std::max(base, axis.px(row.band_high)) : base) + 6,
               top + kBarHeight - 3, "start", 11, kFaint, "not measured", "font-style=\"italic\"");
      continue;
    }
    const double end = axis.px(*bar.value);
    svg.rect(std::min(base, end), top + 1.5, std::abs(end - base), kBarHeight - 3,
             fmt::format("fill=\"{}\"", kSeriesColors[i % kSeriesColors.size()]));
    // Behind the bar and, where the row has a band there, behind the band, so that it stays clear.
    double text_at = std::max(end, base);
    if (has_band(row) && text_at + 44 > axis.px(row.band_low)) {
      text_at = std::max(text_at, axis.px(row.band_high) + 1.5);
    }
    svg.text(text_at + 6, top + kBarHeight - 2.5, "start", 11, kInk,
             fmt::format("{:.2f}x", *bar.value));
  }
}

void draw_legend(Svg& svg, const BarPlot& plot, double y) {
  double x = kMargin + kLabelWidth;
  const auto entry = [&](std::string_view name, const std::string& style) {
    svg.rect(x, y - 9, 16, 10, style);
    svg.text(x + 22, y, "start", 12, kInk, name);
    x += 22 + static_cast<double>(name.size()) * kGlyphWidth + 24;
  };
  if (!plot.rows.empty()) {
    const std::vector<Bar>& bars = plot.rows.front().bars;
    for (size_t i = 0; i < bars.size(); ++i) {
      entry(bars[i].name, fmt::format("fill=\"{}\"", kSeriesColors[i % kSeriesColors.size()]));
    }
  }
  entry(plot.band_label,
        fmt::format("fill=\"{0}\" fill-opacity=\"0.28\" stroke=\"{0}\" stroke-dasharray=\"3 2\"",
                    kBandFill));
}

// Tries places around the point until the label covers no other one.
struct Box {
  double x, y, width, height;
  bool meets(const Box& o) const {
    return x < o.x + o.width && o.x < x + width && y < o.y + o.height && o.y < y + height;
  }
};

Box place_label(std::vector<Box>& taken, double x, double y, size_t num_glyphs, double right_edge) {
  const double width = static_cast<double>(num_glyphs) * kGlyphWidth, height = 14;
  const double left = x - 9 - width;
  Box best{x + 9, y - 7, width, height};
  for (const double dy : {0.0, -14.0, 14.0, -28.0, 28.0, -42.0, 42.0}) {
    for (const double at : {x + 9, left}) {
      const Box box{at, y - 7 + dy, width, height};
      const bool inside = box.x >= 0 && box.x + width <= right_edge;
      const bool is_free = std::none_of(taken.begin(), taken.end(),
                                        [&](const Box& other) { return box.meets(other); });
      if (inside && is_free) {
        taken.push_back(box);
        return box;
      }
    }
  }
  if (best.x + width > right_edge) best.x = left;
  taken.push_back(best);
  return best;
}

}  // namespace

std::string to_svg(const BarPlot& plot) {
  double rows_height = kRowGap;
  for (const BarRow& row : plot.rows) rows_height += row_height(row) + kRowGap;
  const double bottom = kHeadHeight + rows_height;
  Svg svg(kWidth, bottom + kFootHeight, plot.title);
  svg.head(plot.title, plot.subtitle);
  const Axis axis = ratio_axis(plot);
  for (int i = 0; i < axis.num_ticks(); ++i) {
    const double x = axis.px(axis.tick(i));
    svg.line(x, kHeadHeight, x, bottom, kGrid, 1);
    svg.text(x, bottom + 16, "middle", 11, kFaint, fmt::format("{:.4g}x", axis.tick(i)));
  }
  double y = kHeadHeight + kRowGap;
  for (const BarRow& row : plot.rows) {
    draw_row(svg, axis, row, y);
    y += row_height(row) + kRowGap;
  }
  svg.line(axis.px(1), kHeadHeight, axis.px(1), bottom, kInk, 1.2);
  svg.text((axis.from_px + axis.to_px) / 2, bottom + 34, "middle", 12, kFaint, plot.axis_label);
  draw_legend(svg, plot, bottom + 58);
  return std::move(svg).finish();
}

std::string to_svg(const ScatterPlot& plot) {
  constexpr double kHeight = 520, kLeft = 92;
  constexpr double kBottom = kHeight - 62;
  std::vector<Point> points = plot.points;
  std::erase_if(points, [](const Point& p) { return !std::isfinite(p.x) || !std::isfinite(p.y); });
  const auto range = [&](double Point::*value) {
    double low = 0, high = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      low = i == 0 ? points[i].*value : std::min(low, points[i].*value);
      high = i == 0 ? points[i].*value : std::max(high, points[i].*value);
    }
    return std::pair(low, high);
  };
  const auto [x_low, x_high] = range(&Point::x);
  const auto [y_low, y_high] = range(&Point::y);
  const Axis x_axis = Axis::around(x_low, x_high, kLeft, kWidth - kMargin);
  const Axis y_axis = Axis::around(y_low, y_high, kBottom, kHeadHeight);

  Svg svg(kWidth, kHeight, plot.title);
  svg.head(plot.title, plot.subtitle);
  for (int i = 0; i < x_axis.num_ticks(); ++i) {
    const double x = x_axis.px(x_axis.tick(i));
    svg.line(x, kHeadHeight, x, kBottom, kGrid, 1);
    svg.text(x, kBottom + 18, "middle", 11, kFaint, fmt::format("{:.4g}", x_axis.tick(i)));
  }
  for (int i = 0; i < y_axis.num_ticks(); ++i) {
    const double y = y_axis.px(y_axis.tick(i));
    svg.line(kLeft, y, kWidth - kMargin, y, kGrid, 1);
    svg.text(kLeft - 8, y + 4, "end", 11, kFaint, fmt::format("{:.4g}", y_axis.tick(i)));
  }
  svg.text((kLeft + kWidth - kMargin) / 2, kBottom + 42, "middle", 12, kFaint, plot.x_label);
  const double middle = (kHeadHeight + kBottom) / 2;
  svg.text(kMargin, middle, "middle", 12, kFaint, plot.y_label,
           fmt::format("transform=\"rotate(-90 {:.1f} {:.1f})\"", kMargin, middle));
  // Labels keep clear of every point, not only of those before them.
  std::vector<Box> taken;
  taken.reserve(2 * points.size());
  for (const Point& p : points) taken.push_back({x_axis.px(p.x) - 5, y_axis.px(p.y) - 5, 10, 10});
  for (const Point& p : points) {
    const double x = x_axis.px(p.x), y = y_axis.px(p.y);
    const Box box = place_label(taken, x, y, p.label.size(), kWidth - 4);
    svg.circle(x, y, p.highlighted ? 6 : 4.5, p.highlighted ? kBandFill : kSeriesColors[0]);
    svg.text(box.x < x ? box.x + box.width : box.x, box.y + 11, box.x < x ? "end" : "start", 12,
             kInk, p.label, p.highlighted ? "font-weight=\"bold\"" : "");
  }
  return std::move(svg).finish();
}

}  // namespace skein
