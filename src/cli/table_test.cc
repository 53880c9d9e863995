#include "cli/table.h"

#include <gtest/gtest.h>

namespace skein::cli {
namespace {

TEST(Table, IsMarkdownWithAlignedColumns) {
  Table table({{"model"}, {"t/s", Align::kRight}});
  table.add_row({"tiny", "12.50 ± 0.25"});
  table.add_row({"a-longer-name", "7"});
  EXPECT_EQ(table.to_text(),
            "| model         |          t/s |\n"
            "| ------------- | -----------: |\n"
            "| tiny          | 12.50 ± 0.25 |\n"
            "| a-longer-name |            7 |\n");
}

TEST(Table, CellsCannotBreakARow) {
  Table table({{"name"}});
  table.add_row({"a|b\nc"});
  EXPECT_EQ(table.to_text(), "| name  |\n| ----- |\n| a/b c |\n");
}

TEST(Table, CharactersAreCountedNotBytes) {
  EXPECT_EQ(num_characters(""), 0u);
  EXPECT_EQ(num_characters("abc"), 3u);
  EXPECT_EQ(num_characters("±é漢🦢"), 4u);
}

TEST(Table, ScaledNumbersHaveThreeDigits) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1000), "1.00 kB");
  EXPECT_EQ(bytes_text(99'940), "99.9 kB");
  EXPECT_EQ(bytes_text(11'321'872), "11.3 MB");
  EXPECT_EQ(bytes_text(999'600), "1.00 MB");
  EXPECT_EQ(bytes_text(2.79e9), "2.79 GB");
  EXPECT_EQ(count_text(837), "837");
  EXPECT_EQ(count_text(5'660'000), "5.66 M");
  EXPECT_EQ(count_text(1.5e9), "1.50 B");
}

}  // namespace
}  // namespace skein::cli
