// dense for the block codecs in `col_major`: sums of scaled columns, zeros and all. The order that
// sparse() needs, here for the case that x has few zeros, and for prefill.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_quant_col_major.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/dense_kernel.h"
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

struct Matvec {
  template <class Codec>
  static void run(const MatvecArgs& args) {
    matvec<Codec>(args);
  }
};
struct Decode {
  template <class Codec>
  static void run(const PanelArgs& args) {
    decode<Codec>(args);
  }
};

void matvec_quant(const MatvecArgs& args) { with_codec<Matvec>(args.weights.dtype(), args); }
void decode_quant(const PanelArgs& args) { with_codec<Decode>(args.weights.dtype(), args); }

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(matvec_quant);
HWY_EXPORT(decode_quant);

void run_matvec(const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_quant)(args); }
void run_decode(const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_quant)(args); }

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kColMajor; }

// As for f16: each token goes through the codes again.
constexpr uint32_t kMaxMatvecTokens = 6;

constexpr DenseKernel kernel_of(DType dtype, std::string_view name) {
  return {{MatrixOp::kDense, dtype, "col_major", accepts, name},
          kMaxMatvecTokens,
          run_matvec,
          run_decode};
}

}  // namespace

std::span<const DenseKernel> dense_quant_col_major_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      kernel_of(DType::kInt8, "dense_int8_col_major"),
      kernel_of(DType::kNF4, "dense_nf4_col_major"),
      kernel_of(DType::kSF4, "dense_sf4_col_major"),
      kernel_of(DType::kQ8_0, "dense_q8_0_col_major"),
      kernel_of(DType::kQ4_0, "dense_q4_0_col_major"),
      kernel_of(DType::kQ4K, "dense_q4_k_col_major"),
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
