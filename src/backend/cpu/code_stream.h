// CodeStream: where the codes of 16 rows of an interleaved quantized matrix lie, walked from the
// first col to the last.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "layout/mapping.h"

namespace skein {

class CodeStream {
 public:
  // `row` is a multiple of 16, R = 16.
  CodeStream(const Interleave& mapping, const uint8_t* codes, uint32_t code_bits, uint64_t row)
      : at_(codes + mapping.block_offset(row / 16, uint64_t{0}) * code_bits / 8),
        col_bytes_(uint64_t{16} * code_bits / 8),
        gap_bytes_((mapping.block_stride() - uint64_t{16} * mapping.block_cols()) * code_bits / 8),
        // Blocks without gaps between them are one run.
        run_cols_(gap_bytes_ == 0 ? ~uint64_t{0} : mapping.block_cols()),
        left_cols_(run_cols_) {}

  const uint8_t* at() const { return at_; }

  // How many of the next num_cols lie side by side.
  size_t run(size_t num_cols) const { return std::min(num_cols, left_cols_); }

  // num_cols <= run(): whole chunks, or fewer cols at the end of the rows.
  void skip(size_t num_cols) {
    at_ += num_cols * col_bytes_;
    left_cols_ -= num_cols;
    if (left_cols_ != 0) return;
    at_ += gap_bytes_;
    left_cols_ = run_cols_;
  }

 private:
  const uint8_t* at_;
  uint64_t col_bytes_;  // of a col of 16 rows
  uint64_t gap_bytes_;
  uint64_t run_cols_;
  uint64_t left_cols_;
};

}  // namespace skein
