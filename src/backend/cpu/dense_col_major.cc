// dense for `col_major`: sums of scaled columns. The order that sparse() needs, here for the case
// that x has few zeros, and as the form that the other layouts are measured against.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_col_major.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/dense_table.h"
#include "backend/cpu/sparse-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// Cols of one turn: the second token finds their runs in L2.
constexpr uint32_t kTurnCols = 64;

template <class E>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const uint64_t cols = args.weights.cols();
  uint32_t turn[kTurnCols];
  for (uint64_t col = 0; col < cols; col += kTurnCols) {
    const uint64_t count = std::min<uint64_t>(kTurnCols, cols - col);
    for (uint64_t i = 0; i < count; ++i) turn[i] = static_cast<uint32_t>(col + i);
    for (uint32_t t = 0; t < args.num_tokens; ++t) {
      add_cols<E>(args.weights, args.rows, {turn, args.x + t * args.x_stride_elems + col, count},
                  args.y + t * args.y_stride_elems + args.rows.begin, args.add || col != 0);
    }
  }
}

template <class E>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const F32Tag d;
  const auto& mapping = mapping_as<ColMajor>(args.weights);
  const E* from =
      reinterpret_cast<const E*>(args.weights.host_data()) + mapping(args.row, args.col);
  for (uint32_t c = 0; c < args.num_cols; ++c, from += mapping.col_stride()) {
    // A column's run here is a line or two, so the hardware sees no stream.
    prefetch_l2(from + 32 * mapping.col_stride());
    float* to = args.panel + uint64_t{c} * kPanelRows;
    for (size_t r = 0; r < kPanelRows; r += kLanes) {
      const size_t n = std::min<size_t>(kLanes, args.num_rows - std::min<size_t>(args.num_rows, r));
      hn::Store(n == kLanes ? load_weights(d, from + r) : load_weights_n(d, from + r, n), d,
                to + r);
    }
  }
}

void matvec_f32(const MatvecArgs& args) { matvec<float>(args); }
void matvec_f16(const MatvecArgs& args) { matvec<F16>(args); }
void matvec_bf16(const MatvecArgs& args) { matvec<BF16>(args); }
void decode_f32(const PanelArgs& args) { decode<float>(args); }
void decode_f16(const PanelArgs& args) { decode<F16>(args); }
void decode_bf16(const PanelArgs& args) { decode<BF16>(args); }

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

SKEIN_EXPORT_PLAIN_DENSE;

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kColMajor; }

// Each token goes through all of y again: as soon as the panels' width is half used, they are
// better.
constexpr uint32_t kMaxMatvecTokens = 6;

constexpr std::string_view kLayouts = "col_major";

}  // namespace

std::span<const DenseKernel> dense_col_major_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_PLAIN_DENSE_KERNELS("col_major", kLayouts, accepts, kMaxMatvecTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
