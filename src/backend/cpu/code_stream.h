// CodeStream: where the codes of one row group of an interleaved quantized matrix lie, walked from
// one col to the last.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "layout/mapping.h"

namespace skein {

class CodeStream {
 public:
  // `row` is a multiple of R; `col` of K.
  CodeStream(const Interleave& mapping, const uint8_t* codes, uint32_t code_bits, uint64_t row,
             uint64_t col = 0)
      : at_(codes + mapping(row, col) * code_bits / 8),
        col_bits_(uint64_t{mapping.block_rows()} * code_bits),
        gap_bytes_(
            (mapping.block_stride() - uint64_t{mapping.block_rows()} * mapping.block_cols()) *
            code_bits / 8),
        // Blocks without gaps between them are one run.
        run_cols_(gap_bytes_ == 0 ? ~uint64_t{0} : mapping.block_cols()),
        left_cols_(run_cols_ - (gap_bytes_ == 0 ? 0 : col % mapping.block_cols())) {}

  const uint8_t* at() const { return at_; }

  // How many of the next num_cols lie side by side.
  size_t run(size_t num_cols) const { return std::min(num_cols, left_cols_); }

  // num_cols <= run(): whole chunks, or fewer cols at the end of the rows.
  void skip(size_t num_cols) {
    at_ += num_cols * col_bits_ / 8;
    left_cols_ -= num_cols;
    if (left_cols_ != 0) return;
    at_ += gap_bytes_;
    left_cols_ = run_cols_;
  }

 private:
  const uint8_t* at_;
  uint64_t col_bits_;  // of a col of the group's rows
  uint64_t gap_bytes_;
  uint64_t run_cols_;
  uint64_t left_cols_;
};

}  // namespace skein
