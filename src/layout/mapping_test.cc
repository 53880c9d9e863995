// The laws of the mappings, over every layout, shape and element width of test_cases.h, and an
// oracle for each order that shares nothing with mapping.h.
#include "layout/mapping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "layout/any_mapping.h"
#include "layout/test_cases.h"

namespace skein {
namespace {

// Calls f(mapping) for every case that is one: an alignment that holds no whole element is not.
template <class F>
void for_each_mapping(F f) {
  for (const std::string_view text : kTestLayouts) {
    for (const Extents extents : kTestExtents) {
      for (const uint32_t element_bits : kTestElementBits) {
        const Result<AnyMapping> mapping =
            make_mapping(parse_layout(text).value(), extents, element_bits);
        ASSERT_TRUE(mapping.has_value()) << mapping.error().message;
        SCOPED_TRACE(
            fmt::format("{} {} x {}, {} bits", text, extents.rows, extents.cols, element_bits));
        f(*mapping);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

std::vector<uint64_t> offsets_of(const AnyMapping& mapping) {
  std::vector<uint64_t> offsets;
  for (uint64_t row = 0; row < mapping.extents().rows; ++row) {
    for (uint64_t col = 0; col < mapping.extents().cols; ++col)
      offsets.push_back(mapping(row, col));
  }
  return offsets;
}

TEST(MappingLaws, OffsetsAreUniqueAndBelowTheSpan) {
  for_each_mapping([](const AnyMapping& mapping) {
    std::vector<uint64_t> offsets = offsets_of(mapping);
    std::sort(offsets.begin(), offsets.end());
    EXPECT_TRUE(mapping.is_unique());
    ASSERT_EQ(std::adjacent_find(offsets.begin(), offsets.end()), offsets.end());
    ASSERT_LT(offsets.back(), mapping.required_span_size());
    EXPECT_EQ(offsets.front(), 0u);
  });
}

TEST(MappingLaws, ExhaustiveMeansEveryOffsetBelowTheSpanIsAnElements) {
  for_each_mapping([](const AnyMapping& mapping) {
    const std::vector<uint64_t> offsets = offsets_of(mapping);
    const bool has_no_padding = offsets.size() == mapping.required_span_size();
    EXPECT_EQ(mapping.is_exhaustive(), has_no_padding);
    if (has_no_padding) {
      EXPECT_EQ(*std::max_element(offsets.begin(), offsets.end()),
                mapping.required_span_size() - 1);
    }
    mapping.visit([&](const auto& typed) {
      EXPECT_EQ(typed.is_exhaustive(), has_no_padding);
      EXPECT_EQ(typed.required_span_size(), mapping.required_span_size());
      EXPECT_EQ(typed.extents(), mapping.extents());
    });
  });
}

TEST(MappingLaws, PackThenUnpackIsTheIdentity) {
  for_each_mapping([](const AnyMapping& mapping) {
    const Extents extents = mapping.extents();
    constexpr uint64_t kPadding = std::numeric_limits<uint64_t>::max();
    std::vector<uint64_t> packed(mapping.required_span_size(), kPadding);
    for (uint64_t i = 0; i < extents.num_elems(); ++i)
      packed[mapping(i / extents.cols, i % extents.cols)] = i;
    for (uint64_t i = 0; i < extents.num_elems(); ++i) {
      ASSERT_EQ(packed[mapping(i / extents.cols, i % extents.cols)], i);
    }
    const auto num_padding =
        static_cast<uint64_t>(std::count(packed.begin(), packed.end(), kPadding));
    EXPECT_EQ(num_padding + extents.num_elems(), mapping.required_span_size());
  });
}

TEST(MappingLaws, EveryIndexTypeGivesTheSameOffset) {
  for_each_mapping([](const AnyMapping& mapping) {
    mapping.visit([&](const auto& typed) {
      for (uint32_t row = 0; row < typed.extents().rows; ++row) {
        for (uint32_t col = 0; col < typed.extents().cols; ++col) {
          ASSERT_EQ(typed(row, col), typed(uint64_t{row}, uint64_t{col}));
        }
      }
    });
  });
}

TEST(MappingLaws, StridedMeansThatTheStridesGiveTheOffset) {
  for_each_mapping([](const AnyMapping& mapping) {
    mapping.visit([&](const auto& typed) {
      if constexpr (requires { typed.stride(0); }) {
        ASSERT_TRUE(mapping.is_strided());
        for (uint64_t row = 0; row < mapping.extents().rows; ++row) {
          for (uint64_t col = 0; col < mapping.extents().cols; ++col) {
            ASSERT_EQ(typed(row, col), row * typed.stride(0) + col * typed.stride(1));
          }
        }
      } else {
        ASSERT_FALSE(mapping.is_strided());
      }
    });
  });
}

// @A: in the row (or col, block, tile) of an element, the first element's offset is a multiple of A
// bytes.
TEST(MappingLaws, AlignmentHolds) {
  for_each_mapping([](const AnyMapping& mapping) {
    const Layout layout = mapping.layout();
    if (layout.align_bytes == 0) return;
    const Extents e = mapping.extents();
    uint64_t unit_rows = layout.rows;
    uint64_t unit_cols = layout.cols;
    if (layout.kind == LayoutKind::kRowMajor)
      std::tie(unit_rows, unit_cols) = std::tuple(1, e.cols);
    if (layout.kind == LayoutKind::kColMajor)
      std::tie(unit_rows, unit_cols) = std::tuple(e.rows, 1);
    for (uint64_t row = 0; row < e.rows; row += unit_rows) {
      for (uint64_t col = 0; col < e.cols; col += unit_cols) {
        ASSERT_EQ(mapping(row, col) * mapping.element_bits() % (uint64_t{layout.align_bytes} * 8),
                  0u);
      }
    }
    EXPECT_EQ(mapping.span_bytes() % layout.align_bytes, 0u);
  });
}

// The orders, stated as the sequence of elements that memory holds rather than as arithmetic.
struct Coordinate {
  uint64_t row;
  uint64_t col;
};

// The bits of row and col in turn, col lowest: the textbook Z-order, which needs a square grid of a
// power of two.
uint64_t interleaved_bits(uint64_t row, uint64_t col) {
  uint64_t key = 0;
  for (int bit = 0; bit < 32; ++bit) {
    key |= ((col >> bit) & 1) << (2 * bit) | ((row >> bit) & 1) << (2 * bit + 1);
  }
  return key;
}

// Where each block of the grid lies in memory: the top left tile first. Sorting by the Z key leaves
// no holes.
std::vector<Coordinate> block_order(const Layout& layout, Extents grid) {
  std::vector<Coordinate> order;
  for (uint64_t row = 0; row < grid.rows; ++row) {
    for (uint64_t col = 0; col < grid.cols; ++col) order.push_back({row, col});
  }
  if (layout.kind == LayoutKind::kMorton) {
    std::sort(order.begin(), order.end(), [](Coordinate a, Coordinate b) {
      return interleaved_bits(a.row, a.col) < interleaved_bits(b.row, b.col);
    });
  }
  return order;
}

TEST(MappingOracle, BlocksInOrderAndChunksInsideThem) {
  for_each_mapping([](const AnyMapping& mapping) {
    const Layout layout = mapping.layout();
    if (layout.rows == 0) return;
    const Extents e = mapping.extents();
    const Extents grid = {(e.rows + layout.rows - 1) / layout.rows,
                          (e.cols + layout.cols - 1) / layout.cols};
    uint64_t offset = 0;
    for (const Coordinate block : block_order(layout, grid)) {
      for (uint64_t chunk = 0; chunk < layout.cols; chunk += layout.chunk) {
        for (uint64_t r = 0; r < layout.rows; ++r) {
          for (uint64_t c = chunk; c < chunk + layout.chunk; ++c, ++offset) {
            const Coordinate at = {block.row * layout.rows + r, block.col * layout.cols + c};
            if (at.row < e.rows && at.col < e.cols) {
              ASSERT_EQ(mapping(at.row, at.col), offset);
            }
          }
        }
      }
      while (layout.align_bytes != 0 &&
             offset * mapping.element_bits() % (uint64_t{layout.align_bytes} * 8) != 0) {
        ++offset;
      }
    }
    EXPECT_EQ(mapping.required_span_size(), offset);
  });
}

TEST(MappingOracle, RowMajorAndColMajorAreOneTheTransposeOfTheOther) {
  for (const Extents e : kTestExtents) {
    const AnyMapping by_row = make_mapping(Layout::row_major(64), e, 16).value();
    const AnyMapping by_col = make_mapping(Layout::col_major(64), {e.cols, e.rows}, 16).value();
    for (uint64_t row = 0; row < e.rows; ++row) {
      for (uint64_t col = 0; col < e.cols; ++col) {
        const uint64_t row_stride = (e.cols + 31) / 32 * 32;
        ASSERT_EQ(by_row(row, col), row * row_stride + col);
        ASSERT_EQ(by_row(row, col), by_col(col, row));
      }
    }
  }
}

TEST(MappingOracle, TileHasTheOffsetsOfInterleave) {
  for (const Extents e : kTestExtents) {
    EXPECT_EQ(offsets_of(make_mapping(Layout::tile(4, 6), e, 32).value()),
              offsets_of(make_mapping(Layout::interleave(4, 6), e, 32).value()));
  }
}

// Every grid up to 24 x 24, and long ones, against the sorted keys: the strip and each clipping of
// the quadtree.
TEST(MappingOracle, MortonRankIsThePlaceAmongTheSortedKeys) {
  std::vector<Extents> grids = {{1, 1000}, {1000, 1},  {3, 333}, {333, 3},
                                {63, 65},  {129, 127}, {80, 280}};
  for (uint64_t rows = 1; rows <= 24; ++rows) {
    for (uint64_t cols = 1; cols <= 24; ++cols) grids.push_back({rows, cols});
  }
  for (const Extents grid : grids) {
    const Morton morton(grid, 1, 1);
    uint64_t rank = 0;
    for (const Coordinate tile : block_order(Layout::morton(1), grid)) {
      ASSERT_EQ(morton.tile_rank(tile.row, tile.col), rank++) << grid.rows << " x " << grid.cols;
    }
  }
}

// Fixed by hand, so that the stored meaning of a text form can never drift.
TEST(MappingGolden, SmallGrids) {
  const auto offsets = [](std::string_view text, Extents extents) {
    return offsets_of(make_mapping(parse_layout(text).value(), extents, 32).value());
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(offsets("row_major@16B", {2, 3}), ElementsAre(0, 1, 2, 4, 5, 6));
  EXPECT_THAT(offsets("col_major", {2, 3}), ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_THAT(offsets("interleave(2,2)", {2, 4}), ElementsAre(0, 1, 4, 5, 2, 3, 6, 7));
  EXPECT_THAT(offsets("interleave(2,4,2)", {2, 4}), ElementsAre(0, 1, 4, 5, 2, 3, 6, 7));
  EXPECT_THAT(offsets("interleave(2,4,1)", {2, 4}), ElementsAre(0, 2, 4, 6, 1, 3, 5, 7));
  EXPECT_THAT(offsets("tile(2,2)", {3, 3}), ElementsAre(0, 1, 4, 2, 3, 6, 8, 9, 12));
  EXPECT_THAT(offsets("morton(1)", {3, 3}), ElementsAre(0, 1, 4, 2, 3, 5, 6, 7, 8));
}

// The mappings are constants where their arguments are.
constexpr Interleave kConstant({6, 10}, 4, 8, 2, 32);
static_assert(kConstant(5u, 9u) == 64 + 32 + 2 + 1 && kConstant.required_span_size() == 128);
static_assert(Morton({5, 3}, 1, 1)(4u, 2u) == 14u);
static_assert(!RowMajor({2, 3}, 4).is_exhaustive() && ColMajor({2, 3}, 2).is_exhaustive());

TEST(MakeMapping, RefusesWhatIsNoMapping) {
  const Extents e = {6, 10};
  EXPECT_FALSE(make_mapping(Layout::row_major(), {0, 5}, 32).has_value());
  EXPECT_FALSE(make_mapping(Layout::row_major(), {5, 0}, 32).has_value());
  EXPECT_FALSE(make_mapping(Layout::row_major(2), e, 32).has_value());
  EXPECT_TRUE(make_mapping(Layout::row_major(2), e, 16).has_value());
  EXPECT_TRUE(make_mapping(Layout::row_major(1), e, 4).has_value());
  for (const uint32_t bits : {0u, 1u, 5u, 12u, 64u})
    EXPECT_FALSE(make_mapping(Layout::row_major(), e, bits).has_value());
  EXPECT_FALSE(make_mapping({LayoutKind::kInterleave, 4, 8, 3, 0}, e, 32).has_value());
  EXPECT_FALSE(make_mapping(Layout::morton(0), e, 32).has_value());
}

TEST(MakeMapping, RefusesSpansThatDoNotFit) {
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  for (const std::string_view text : kTestLayouts) {
    const Layout layout = parse_layout(text).value();
    for (const Extents e : {Extents{kHuge, kHuge}, Extents{kHuge, 1}, Extents{1, kHuge},
                            Extents{1ull << 32, 1ull << 32}, Extents{1ull << 31, 1ull << 31},
                            Extents{3, kHuge / 2}, Extents{kHuge / 3, 3}}) {
      EXPECT_FALSE(make_mapping(layout, e, 32).has_value())
          << text << " " << e.rows << " x " << e.cols;
    }
  }
  // The largest that fit: one byte below 2^63, and a grid of tiles just below it.
  EXPECT_EQ(make_mapping(Layout::row_major(), {7, ((1ull << 63) - 1) / 7}, 8)->span_bytes(),
            (1ull << 63) - 1);
  EXPECT_FALSE(make_mapping(Layout::row_major(), {2, 1ull << 62}, 8).has_value());
  const AnyMapping wide =
      make_mapping(Layout::morton(1u << 16), {1ull << 29, 1ull << 31}, 32).value();
  EXPECT_EQ(wide((1ull << 29) - 1, (1ull << 31) - 1), (1ull << 60) - 1);
}

TEST(MakeMapping, SpanBytesOfFourBitElementsAreWholeBytes) {
  EXPECT_EQ(make_mapping(Layout::row_major(), {3, 5}, 4)->span_bytes(), 8u);
  EXPECT_EQ(make_mapping(Layout::row_major(), {3, 5}, 16)->span_bytes(), 30u);
}

}  // namespace
}  // namespace skein
