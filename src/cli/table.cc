#include "cli/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace skein::cli {
namespace {

std::string padded(std::string_view text, size_t width, Align align) {
  const size_t length = num_characters(text);
  const std::string fill(width > length ? width - length : 0, ' ');
  return align == Align::kLeft ? fmt::format("{}{}", text, fill) : fmt::format("{}{}", fill, text);
}

std::string rule(size_t width, Align align) {
  std::string dashes(width, '-');
  if (align == Align::kRight) dashes.back() = ':';
  return dashes;
}

// `value` in the largest unit that leaves it at 1 or more; units ascend by 1000.
template <size_t N>
std::string scaled(double value, const std::array<std::string_view, N>& units) {
  size_t unit = 0;
  while (unit + 1 < N && value >= 999.5) {
    value /= 1000.0;
    ++unit;
  }
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  const std::string number = fmt::format("{:.{}f}", value, digits);
  return units[unit].empty() ? number : fmt::format("{} {}", number, units[unit]);
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  CHECK(!columns_.empty());
}

void Table::add_row(std::vector<std::string> cells) {
  CHECK(cells.size() == columns_.size());
  for (std::string& cell : cells) {
    std::replace(cell.begin(), cell.end(), '\n', ' ');
    std::replace(cell.begin(), cell.end(), '|', '/');
  }
  rows_.push_back(std::move(cells));
}

std::string Table::to_text() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = std::max<size_t>(3, num_characters(columns_[i].title));
    for (const auto& row : rows_) width = std::max(width, num_characters(row[i]));
    widths.push_back(width);
  }
  std::string titles = "|", rules = "|", body;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Align align = columns_[i].align;
    titles += fmt::format(" {} |", padded(columns_[i].title, widths[i], align));
    rules += fmt::format(" {} |", rule(widths[i], align));
  }
  for (const auto& row : rows_) {
    body += "|";
    for (size_t i = 0; i < row.size(); ++i) {
      body += fmt::format(" {} |", padded(row[i], widths[i], columns_[i].align));
    }
    body += "\n";
  }
  return fmt::format("{}\n{}\n{}", titles, rules, body);
}

size_t num_characters(std::string_view text) noexcept {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
  }));
}

std::string bytes_text(double num_bytes) {
  static constexpr std::array<std::string_view, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  return scaled(num_bytes, kUnits);
}

std::string count_text(double count) {
  static constexpr std::array<std::string_view, 4> kUnits = {"", "k", "M", "B"};
  return scaled(count, kUnits);
}

}  // namespace skein::cli
