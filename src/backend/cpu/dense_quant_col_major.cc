// dense for the block codecs in `col_major`: sums of scaled columns, zeros and all. The order that
// sparse() needs, here for the case that x has few zeros, and for prefill.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_quant_col_major.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/dense_table.h"
#include "backend/cpu/quant_cols-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// Rows of a band. A block's columns, asked for a block ahead, then are 128 KiB (int8): a part of L2
// where the second token finds them.
constexpr uint64_t kBandRows = 1024;

// Cols of one turn of tokens, and of one token alone. Where a turn begins, nobody has asked for its
// first block in time.
constexpr uint64_t kTurnCols = 512;
constexpr uint64_t kMaxTurnCols = 4096;

template <class Codec>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const uint64_t cols = args.weights.cols();
  uint32_t turn[kMaxTurnCols];
  const uint64_t turn_cols = args.num_tokens == 1 ? kMaxTurnCols : kTurnCols;
  for (uint64_t row = args.rows.begin; row < args.rows.end; row += kBandRows) {
    const Range rows{row, std::min(row + kBandRows, args.rows.end)};
    for (uint64_t col = 0; col < cols; col += turn_cols) {
      const uint64_t count = std::min(turn_cols, cols - col);
      for (uint64_t i = 0; i < count; ++i) turn[i] = static_cast<uint32_t>(col + i);
      for (uint32_t t = 0; t < args.num_tokens; ++t) {
        add_quant_cols<Codec>(args.weights, rows,
                              {turn, args.x + t * args.x_stride_elems + col, count},
                              args.y + t * args.y_stride_elems + row, args.add || col != 0);
      }
    }
  }
}

template <class Codec>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  decode_quant_cols<Codec>(args.weights, {args.row, args.row + args.num_rows},
                           {args.col, args.col + args.num_cols}, args.panel, kPanelRows);
  const size_t missing = kPanelRows - args.num_rows;
  for (size_t c = 0; missing != 0 && c < args.num_cols; ++c) {
    std::memset(args.panel + c * kPanelRows + args.num_rows, 0, missing * sizeof(float));
  }
}

SKEIN_DEFINE_QUANT_DENSE

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

SKEIN_EXPORT_QUANT_DENSE;

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kColMajor; }

// As for f16: each token goes through the codes again.
constexpr uint32_t kMaxMatvecTokens = 6;

}  // namespace

std::span<const DenseKernel> dense_quant_col_major_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_QUANT_DENSE_KERNELS("col_major", "col_major", accepts, kMaxMatvecTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
