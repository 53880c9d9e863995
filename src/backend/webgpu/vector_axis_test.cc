#include "backend/webgpu/vector_axis.h"

#include <gtest/gtest.h>

#include "layout/test_cases.h"

namespace skein::webgpu {
namespace {

// Whether the elements from (row, col) on along the axis have consecutive offsets, the first a
// multiple of count. Those that are padding have no offset to ask for.
bool lie_side_by_side(const AnyMapping& mapping, uint64_t row, uint64_t col, uint32_t count,
                      VectorAxis axis) {
  const uint64_t first = mapping(row, col);
  if (first % count != 0 || first + count > mapping.required_span_size() + count - 1) return false;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t r = axis == VectorAxis::kRows ? row + i : row;
    const uint64_t c = axis == VectorAxis::kCols ? col + i : col;
    if (r >= mapping.extents().rows || c >= mapping.extents().cols) continue;
    if (mapping(r, c) != first + i) return false;
  }
  return true;
}

TEST(VectorAxisTest, VectorsLieSideBySide) {
  int num_cols = 0, num_rows = 0;
  for (const std::string_view text : kTestLayouts) {
    for (const Extents extents : kTestExtents) {
      for (const uint32_t count : {4u, 8u, 16u, 32u}) {
        const auto mapping = make_mapping(*parse_layout(text), extents, 128 / count);
        ASSERT_TRUE(mapping);
        const VectorAxis axis = vector_axis(*mapping, count);
        if (axis == VectorAxis::kNone) continue;
        ++(axis == VectorAxis::kCols ? num_cols : num_rows);
        ASSERT_TRUE(axis == VectorAxis::kRows || extents.cols % count == 0);
        const uint64_t row_step = axis == VectorAxis::kRows ? count : 1;
        const uint64_t col_step = axis == VectorAxis::kCols ? count : 1;
        for (uint64_t row = 0; row < extents.rows; row += row_step) {
          for (uint64_t col = 0; col < extents.cols; col += col_step) {
            ASSERT_TRUE(lie_side_by_side(*mapping, row, col, count, axis))
                << text << " of " << extents.rows << " x " << extents.cols << ", " << count
                << " from " << row << ", " << col;
          }
        }
      }
    }
  }
  EXPECT_GT(num_cols, 50);
  EXPECT_GT(num_rows, 50);
}

TEST(VectorAxisTest, KnowsTheLayoutsOfThePlans) {
  const auto axis = [](std::string_view layout, uint32_t bits) {
    return vector_axis(*make_mapping(*parse_layout(layout), {256, 256}, bits), 128 / bits);
  };
  EXPECT_EQ(axis("row_major", 16), VectorAxis::kCols);
  EXPECT_EQ(axis("interleave(16,64,1)", 16), VectorAxis::kRows);
  EXPECT_EQ(axis("col_major@128B", 16), VectorAxis::kRows);
  EXPECT_EQ(axis("tile(16,32)", 16), VectorAxis::kCols);
  EXPECT_EQ(axis("morton(32)", 4), VectorAxis::kCols);
  EXPECT_EQ(axis("interleave(16,128,4)", 8), VectorAxis::kNone);
}

}  // namespace
}  // namespace skein::webgpu
