#include "layout/draw.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "layout/print.h"

namespace skein {
namespace {

// All lengths are SVG user units, which browsers show as pixels.
constexpr uint64_t kMargin = 20;
constexpr uint64_t kHeading = 52;      // title and caption above the cells
constexpr uint64_t kMinWidth = 320;    // so that the caption fits
constexpr uint64_t kNumberedDim = 16;  // up to 16 x 16 the cells are wide enough for their offsets
constexpr size_t kNumColors = 48;      // steps of the gradient

struct Cell {
  uint64_t offset;
  uint64_t row;
  uint64_t col;
};

struct Rgb {
  int r, g, b;
};

// Dark blue over green to yellow: rising lightness, so that the order survives a grey printer and
// colour blindness.
constexpr std::array<Rgb, 5> kStops = {
    {{68, 32, 110}, {52, 94, 156}, {28, 146, 140}, {110, 190, 84}, {238, 196, 40}}};

std::string color_at(size_t step) {
  const size_t scaled = step * (kStops.size() - 1) * 256 / kNumColors;
  const Rgb a = kStops[scaled / 256];
  const Rgb b = kStops[scaled / 256 + 1];
  const int t = static_cast<int>(scaled % 256);
  const auto mix = [t](int x, int y) { return x + (y - x) * t / 256; };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b));
}

class Drawing {
 public:
  explicit Drawing(const AnyMapping& mapping) : mapping_(mapping) {
    const Extents e = mapping.extents();
    for (uint64_t row = 0; row < e.rows; ++row) {
      for (uint64_t col = 0; col < e.cols; ++col) walk_.push_back({mapping(row, col), row, col});
    }
    std::sort(walk_.begin(), walk_.end(),
              [](const Cell& a, const Cell& b) { return a.offset < b.offset; });
    is_numbered_ = std::max(e.rows, e.cols) <= kNumberedDim;
    side_ = is_numbered_ ? 34 : 14;
  }

  std::string svg(std::string_view dtype) {
    const uint64_t width = std::max(kMinWidth, mapping_.extents().cols * side_ + 2 * kMargin);
    const uint64_t height = mapping_.extents().rows * side_ + 2 * kMargin + kHeading;
    put("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
        "{1}\" "
        "font-family=\"system-ui, sans-serif\">\n",
        width, height);
    put("<title>{}</title>\n", to_string(mapping_.layout()));
    put("<rect width=\"{}\" height=\"{}\" rx=\"10\" fill=\"#fbfbf8\"/>\n", width, height);
    put("<text x=\"{}\" y=\"36\" font-size=\"17\" font-weight=\"600\" fill=\"#20242c\">{}</text>\n",
        kMargin, to_string(mapping_.layout()));
    put("<text x=\"{}\" y=\"56\" font-size=\"12\" fill=\"#6a7180\">{}</text>\n", kMargin,
        describe(mapping_, dtype));
    add_cells();
    add_walk();
    add_ends();
    if (is_numbered_) add_numbers();
    put("</svg>\n");
    return std::move(text_);
  }

 private:
  template <typename... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }

  uint64_t left(const Cell& cell) const { return kMargin + cell.col * side_; }
  uint64_t top(const Cell& cell) const { return kMargin + kHeading + cell.row * side_; }
  // The path command 'M' or 'L' to the cell's centre.
  std::string path_to(char command, const Cell& cell) const {
    return fmt::format("{}{} {}", command, left(cell) + side_ / 2, top(cell) + side_ / 2);
  }
  size_t color_of(size_t step) const { return step * kNumColors / walk_.size(); }

  // Calls f(begin, end) for each run of the walk that has one colour.
  template <class F>
  void for_each_color(F f) const {
    for (size_t begin = 0, end = 0; begin < walk_.size(); begin = end) {
      while (end < walk_.size() && color_of(end) == color_of(begin)) ++end;
      f(begin, end);
    }
  }

  // One path a colour, here and in the walk, keeps a 64 x 64 drawing below 100 kB.
  void add_cells() {
    put("<g fill-opacity=\"0.2\">\n");
    for_each_color([&](size_t begin, size_t end) {
      put("<path fill=\"{}\" d=\"", color_at(color_of(begin)));
      for (size_t i = begin; i < end; ++i) {
        put("M{} {}h{}v{}h-{}z", left(walk_[i]) + 1, top(walk_[i]) + 1, side_ - 2, side_ - 2,
            side_ - 2);
      }
      put("\"/>\n");
    });
    put("</g>\n");
  }

  void add_walk() {
    constexpr std::array<std::string_view, 3> kStyles = {
        "stroke-width=\"3\"", "stroke-width=\"1\" stroke-opacity=\"0.6\"",
        "stroke-width=\"1\" stroke-opacity=\"0.6\" stroke-dasharray=\"3 3\""};
    put("<g fill=\"none\" stroke-linecap=\"round\" stroke-linejoin=\"round\">\n");
    for_each_color([&](size_t begin, size_t end) {
      std::array<std::string, kStyles.size()> paths;
      size_t last_kind = kStyles.size();
      for (size_t i = begin; i < end && i + 1 < walk_.size(); ++i) {
        const size_t kind = kind_of_step(walk_[i], walk_[i + 1]);
        if (kind != last_kind) paths[kind] += path_to('M', walk_[i]);
        paths[kind] += path_to('L', walk_[i + 1]);
        last_kind = kind;
      }
      for (size_t kind = 0; kind < paths.size(); ++kind) {
        if (paths[kind].empty()) continue;
        put("<path stroke=\"{}\" {} d=\"{}\"/>\n", color_at(color_of(begin)), kStyles[kind],
            paths[kind]);
      }
    });
    put("</g>\n");
  }

  // 0 to a neighbour, 1 a jump, 2 over padding.
  static size_t kind_of_step(const Cell& from, const Cell& to) {
    if (to.offset != from.offset + 1) return 2;
    const uint64_t rows = std::max(from.row, to.row) - std::min(from.row, to.row);
    const uint64_t cols = std::max(from.col, to.col) - std::min(from.col, to.col);
    return rows + cols == 1 ? 0 : 1;
  }

  // The walk begins at the full dot and ends at the ring.
  void add_ends() {
    const uint64_t radius = is_numbered_ ? 5 : 4;
    put("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>\n", left(walk_.front()) + side_ / 2,
        top(walk_.front()) + side_ / 2, radius, color_at(0));
    put("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"#fbfbf8\" stroke=\"{}\" "
        "stroke-width=\"2\"/>\n",
        left(walk_.back()) + side_ / 2, top(walk_.back()) + side_ / 2, radius,
        color_at(kNumColors - 1));
  }

  void add_numbers() {
    put("<g font-size=\"8\" fill=\"#3c4250\" text-anchor=\"end\">\n");
    for (const Cell& cell : walk_) {
      put("<text x=\"{}\" y=\"{}\">{}</text>\n", left(cell) + side_ - 3, top(cell) + side_ - 4,
          cell.offset);
    }
    put("</g>\n");
  }

  const AnyMapping& mapping_;
  std::vector<Cell> walk_;  // in the order of the offsets
  bool is_numbered_ = false;
  uint64_t side_ = 0;  // of a cell
  std::string text_;
};

}  // namespace

Result<std::string> draw_svg(const AnyMapping& mapping, std::string_view dtype) {
  SKEIN_RETURN_IF_ERROR(check_shown_elems(mapping, kMaxDrawnElems));
  return Drawing(mapping).svg(dtype);
}

}  // namespace skein
