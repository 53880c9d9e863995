// BlockGrid: what `interleave`, `tile` and `morton` have in common: blocks of block_rows x
// block_cols elements, in them chunks of `chunk` cols of the block's rows in turn.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/cpu/dense_kernel.h"
#include "layout/mapping.h"

namespace skein {

struct BlockGrid {
  const Interleave* interleave = nullptr;  // one of the two
  const Morton* morton = nullptr;
  uint64_t block_rows;
  uint64_t block_cols;
  uint64_t chunk;

  explicit BlockGrid(const Tensor& weights) {
    if (weights.layout().kind == LayoutKind::kMorton) {
      morton = &mapping_as<Morton>(weights);
      block_rows = block_cols = chunk = morton->side();
    } else {
      interleave = &mapping_as<Interleave>(weights);
      block_rows = interleave->block_rows();
      block_cols = interleave->block_cols();
      chunk = interleave->chunk_cols();
    }
  }

  uint64_t offset(uint64_t row_group, uint64_t col_block) const {
    return morton != nullptr ? morton->tile_offset(row_group, col_block)
                             : interleave->block_offset(row_group, col_block);
  }
  // The rows from `row` on, at most max_rows, that lie in one row group; `end` ends them.
  Range slice(uint64_t row, uint64_t end, uint64_t max_rows) const {
    const uint64_t group_end = (row / block_rows + 1) * block_rows;
    return {row, std::min({end, group_end, row + max_rows})};
  }
};

}  // namespace skein
