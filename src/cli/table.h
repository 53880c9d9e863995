// Table: text in columns, as Markdown that also reads well on a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace skein::cli {

enum class Align { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns);

  // One cell a column. A `|` or a line break inside a cell is replaced, so that a row stays a row.
  void add_row(std::vector<std::string> cells);

  // Title, rule and rows, each line ended by a newline:  | model | tokens/s |
  std::string to_text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Characters of UTF-8 text, taken as one terminal column each.
size_t num_characters(std::string_view text) noexcept;

// "1.41 GB", "11.3 MB", "512 B": powers of 1000, three digits.
std::string bytes_text(double num_bytes);

// "1.5 B", "5.66 M", "837": a count of parameters or tokens, three digits.
std::string count_text(double count);

}  // namespace skein::cli
