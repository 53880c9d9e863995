#include "backend/cpu/dense_gemm.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/bits.h"

namespace skein {
namespace {

// One pass of one job: a block of tokens, and as many blocks of cols as their packed x has room
// for.
struct Pass {
  const DenseJob& job;
  const GemmOps& ops;
  Range rows;
  Range tokens;
  Range cols;  // begins at a multiple of ops.max_cols
};

struct ThreadScratch {
  float* packed_x;
  float* panel;
  float* tile;

  explicit ThreadScratch(float* scratch)
      : packed_x(scratch), panel(scratch + kPackedXElems), tile(panel + kPanelElems) {}
};

// The token panel that begins at `token`: how many tokens, and the width that holds them.
struct TokenPanel {
  uint32_t num_tokens;
  uint32_t thirds;  // width = thirds * ops.width / 3
};

TokenPanel token_panel(const Pass& pass, uint64_t token) {
  const auto num_tokens =
      static_cast<uint32_t>(std::min<uint64_t>(pass.ops.width, pass.tokens.end - token));
  return {num_tokens, ceil_div(num_tokens, pass.ops.width / 3)};
}

// A block of cols of the pass.
struct ColBlock {
  uint64_t col;
  uint32_t num_cols;
  const float* packed_x;
};

// Elements of the packed x of one block of cols.
uint64_t packed_block_elems(const GemmOps& ops, uint64_t num_tokens, uint32_t num_cols) {
  const uint64_t whole = num_tokens / ops.width;
  const auto rest = static_cast<uint32_t>(num_tokens % ops.width);
  const uint32_t rest_width = ceil_div(rest, ops.width / 3) * (ops.width / 3);
  return whole * ops.packed_elems(ops.width, num_cols) +
         (rest == 0 ? 0 : ops.packed_elems(rest_width, num_cols));
}

ColBlock col_block(const Pass& pass, uint64_t col, const float* packed_x) {
  const uint64_t num_cols = std::min<uint64_t>(pass.ops.max_cols, pass.cols.end - col);
  return {col, static_cast<uint32_t>(num_cols), packed_x};
}

// Where the packed x of the next block begins.
const float* behind(const Pass& pass, const ColBlock& block) {
  return block.packed_x + packed_block_elems(pass.ops, pass.tokens.length(), block.num_cols);
}

void pack_tokens(const Pass& pass, float* packed) {
  const DenseJob& job = pass.job;
  for (uint64_t col = pass.cols.begin; col < pass.cols.end; col += pass.ops.max_cols) {
    const uint32_t num_cols = col_block(pass, col, packed).num_cols;
    for (uint64_t token = pass.tokens.begin; token < pass.tokens.end; token += pass.ops.width) {
      const TokenPanel panel = token_panel(pass, token);
      const uint32_t width = panel.thirds * (pass.ops.width / 3);
      pass.ops.pack_x(job.x + token * job.x_stride_elems + col, job.x_stride_elems,
                      panel.num_tokens, width, num_cols, packed);
      packed += pass.ops.packed_elems(width, num_cols);
    }
  }
}

// The product of an edge panel goes through a whole tile, since y has not so many rows.
void multiply_edge(const Pass& pass, const ColBlock& block, TokenPanel tokens,
                   const ThreadScratch& scratch, const float* packed, float* y, uint32_t num_rows,
                   bool add) {
  const size_t row_bytes = num_rows * sizeof(float);
  const uint64_t stride = pass.job.y_stride_elems;
  for (uint32_t t = 0; add && t < tokens.num_tokens; ++t) {
    std::memcpy(scratch.tile + t * kPanelRows, y + t * stride, row_bytes);
  }
  pass.ops.multiply[tokens.thirds - 1](scratch.panel, packed, block.num_cols, scratch.tile,
                                       kPanelRows, tokens.num_tokens, add);
  for (uint32_t t = 0; t < tokens.num_tokens; ++t) {
    std::memcpy(y + t * stride, scratch.tile + t * kPanelRows, row_bytes);
  }
}

// The decoded panel times all tokens of the pass.
void multiply_panel(const Pass& pass, const ColBlock& block, uint64_t row, uint32_t num_rows,
                    const ThreadScratch& scratch) {
  const DenseJob& job = pass.job;
  const bool add = job.add || block.col != 0;
  const bool is_last = block.col + block.num_cols == job.weights->cols();
  const float* packed = block.packed_x;
  for (uint64_t token = pass.tokens.begin; token < pass.tokens.end; token += pass.ops.width) {
    const TokenPanel tokens = token_panel(pass, token);
    float* y = job.y + token * job.y_stride_elems + row;
    if (num_rows == kPanelRows) {
      pass.ops.multiply[tokens.thirds - 1](scratch.panel, packed, block.num_cols, y,
                                           job.y_stride_elems, tokens.num_tokens, add);
    } else {
      multiply_edge(pass, block, tokens, scratch, packed, y, num_rows, add);
    }
    packed += pass.ops.packed_elems(tokens.thirds * (pass.ops.width / 3), block.num_cols);
    if (!is_last || job.epilogue.apply == nullptr) continue;
    for (uint64_t t = token; t < token + tokens.num_tokens; ++t) {
      job.epilogue.apply(job.epilogue.context, job.y + t * job.y_stride_elems, t, row,
                         row + num_rows);
    }
  }
}

void run_pass(const Pass& pass, const DenseKernel& kernel, const ThreadScratch& scratch) {
  pack_tokens(pass, scratch.packed_x);
  for (uint64_t row = pass.rows.begin; row < pass.rows.end; row += kPanelRows) {
    const auto num_rows =
        static_cast<uint32_t>(std::min<uint64_t>(kPanelRows, pass.rows.end - row));
    const float* packed_x = scratch.packed_x;
    for (uint64_t col = pass.cols.begin; col < pass.cols.end; col += pass.ops.max_cols) {
      const ColBlock block = col_block(pass, col, packed_x);
      kernel.decode_panel(
          {*pass.job.weights, row, num_rows, block.col, block.num_cols, scratch.panel});
      if (pass.ops.prepare_panel != nullptr) pass.ops.prepare_panel(scratch.panel, block.num_cols);
      multiply_panel(pass, block, row, num_rows, scratch);
      packed_x = behind(pass, block);
    }
  }
}

}  // namespace

void gemm(const DenseKernel& kernel, const DenseJob& job, Range rows, uint32_t num_tokens,
          const GemmOps& ops, float* scratch) noexcept {
  const uint64_t num_cols = job.weights->cols();
  // Blocks of about the same length: a short last one would cost as much decoding per product.
  const uint64_t num_blocks = ceil_div<uint64_t>(num_tokens, kTokenBlock);
  const uint64_t block = round_up(ceil_div<uint64_t>(num_tokens, num_blocks), uint64_t{ops.width});
  for (uint64_t token = 0; token < num_tokens; token += block) {
    const Range tokens{token, std::min<uint64_t>(token + block, num_tokens)};
    // Few tokens leave room for many cols: then the weights are read in longer runs.
    const uint64_t elems = packed_block_elems(ops, tokens.length(), ops.max_cols);
    const uint64_t pass_cols = std::max<uint64_t>(1, kPackedXElems / elems) * ops.max_cols;
    for (uint64_t col = 0; col < num_cols; col += pass_cols) {
      const Range cols{col, std::min(col + pass_cols, num_cols)};
      run_pass({job, ops, rows, tokens, cols}, kernel, ThreadScratch(scratch));
    }
  }
}

double products_per_second(const GemmOps& ops) noexcept {
  constexpr uint32_t kCols = 64;
  constexpr int kRounds = 4, kRepeats = 32;
  alignas(64) static constexpr float kZeros[kCols * kPanelRows] = {};
  alignas(64) float y[12 * kPanelRows];
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRepeats; ++i) {
      ops.multiply[2](kZeros, kZeros, kCols, y, kPanelRows, ops.width, /*add=*/false);
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, kRepeats * double{kCols} * kPanelRows * ops.width / seconds.count());
  }
  return best;
}

}  // namespace skein
