#include "backend/cpu/dense_gemm.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"

namespace skein {
namespace {

// One pass: a block of tokens and a block of cols of one job.
struct Pass {
  const DenseJob& job;
  const GemmOps& ops;
  Range rows;
  Range tokens;
  uint64_t col;
  uint32_t num_cols;
  bool first;  // of the blocks of cols: y is stored, unless the job adds
  bool last;   // y is finished
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

void pack_tokens(const Pass& pass, float* packed) {
  const DenseJob& job = pass.job;
  for (uint64_t token = pass.tokens.begin; token < pass.tokens.end; token += pass.ops.width) {
    const TokenPanel panel = token_panel(pass, token);
    const uint32_t width = panel.thirds * (pass.ops.width / 3);
    pass.ops.pack_x(job.x + token * job.x_stride_elems + pass.col, job.x_stride_elems,
                    panel.num_tokens, width, pass.num_cols, packed);
    packed += pass.ops.packed_elems(width, pass.num_cols);
  }
}

// The product of an edge panel goes through a whole tile, since y has not so many rows.
void multiply_edge(const Pass& pass, TokenPanel tokens, const float* panel, const float* packed,
                   float* y, uint32_t num_rows, bool add, float* tile) {
  const size_t row_bytes = num_rows * sizeof(float);
  const uint64_t stride = pass.job.y_stride_elems;
  for (uint32_t t = 0; add && t < tokens.num_tokens; ++t) {
    std::memcpy(tile + t * kPanelRows, y + t * stride, row_bytes);
  }
  pass.ops.multiply[tokens.thirds - 1](panel, packed, pass.num_cols, tile, kPanelRows,
                                       tokens.num_tokens, add);
  for (uint32_t t = 0; t < tokens.num_tokens; ++t) {
    std::memcpy(y + t * stride, tile + t * kPanelRows, row_bytes);
  }
}

void multiply_panel(const Pass& pass, uint64_t row, uint32_t num_rows,
                    const ThreadScratch& scratch) {
  const DenseJob& job = pass.job;
  const bool add = job.add || !pass.first;
  const float* packed = scratch.packed_x;
  for (uint64_t token = pass.tokens.begin; token < pass.tokens.end; token += pass.ops.width) {
    const TokenPanel tokens = token_panel(pass, token);
    float* y = job.y + token * job.y_stride_elems + row;
    if (num_rows == kPanelRows) {
      pass.ops.multiply[tokens.thirds - 1](scratch.panel, packed, pass.num_cols, y,
                                           job.y_stride_elems, tokens.num_tokens, add);
    } else {
      multiply_edge(pass, tokens, scratch.panel, packed, y, num_rows, add, scratch.tile);
    }
    packed += pass.ops.packed_elems(tokens.thirds * (pass.ops.width / 3), pass.num_cols);
    if (!pass.last || job.epilogue.apply == nullptr) continue;
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
    kernel.decode_panel({*pass.job.weights, row, num_rows, pass.col, pass.num_cols, scratch.panel});
    if (pass.ops.prepare_panel != nullptr) pass.ops.prepare_panel(scratch.panel, pass.num_cols);
    multiply_panel(pass, row, num_rows, scratch);
  }
}

}  // namespace

void gemm(const DenseJob& job, Range rows, uint32_t num_tokens, const GemmOps& ops,
          float* scratch) noexcept {
  const DenseKernel& kernel = dense_kernel_of(*job.weights);
  const uint64_t cols = job.weights->cols();
  // Blocks of about the same length: a short last one would cost as much packing per product.
  const uint64_t num_blocks = ceil_div<uint64_t>(num_tokens, kTokenBlock);
  const uint64_t block = round_up(ceil_div<uint64_t>(num_tokens, num_blocks), uint64_t{ops.width});
  for (uint64_t token = 0; token < num_tokens; token += block) {
    const Range tokens{token, std::min<uint64_t>(token + block, num_tokens)};
    for (uint64_t col = 0; col < cols; col += ops.max_cols) {
      const uint64_t num_cols = std::min<uint64_t>(ops.max_cols, cols - col);
      run_pass({job, ops, rows, tokens, col, static_cast<uint32_t>(num_cols), col == 0,
                col + num_cols == cols},
               kernel, ThreadScratch(scratch));
    }
  }
}

}  // namespace skein
