// dense for `row_major`: dot products along rows.
//
// One row at a time, asked for from memory ahead of the products. Measured 2026-11-23, Zen 4, pools
// of 0.8 GB: four rows at once reach 65 % of the bandwidth with one thread (several streams, page
// walks), one row with prefetch 90 %.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_row_major.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/dense_table.h"
#include "backend/cpu/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// Into L2, 1 KiB to 4 KiB ahead are alike; L1 has too few outstanding misses.
constexpr size_t kPrefetchBytes = 2048;

// Tokens at once, and the rows that share their loads of x, which has no room in L1 (8 tokens of
// 2048 cols are 64 KiB): 16 sums fill half of AVX-512's 32 registers, 8 half of the others' 16.
constexpr size_t kMaxTokens = 4;
constexpr size_t kManyRows = kLanes == 16 ? 4 : 2;

// y[t][r] of kRows rows and kTokens tokens.
template <size_t kTokens, size_t kRows, size_t kUnroll, class E>
HWY_NOINLINE void multiply_rows(const E* HWY_RESTRICT w, size_t row_stride, size_t cols,
                                const float* const* x, float* const* y, size_t num_tokens,
                                bool add) {
  const F32Tag d;
  F32Vec acc[kRows][kTokens][kUnroll];
  HWY_UNROLL(16)
  for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      HWY_UNROLL(16)
      for (size_t u = 0; u < kUnroll; ++u) acc[r][t][u] = hn::Zero(d);
    }
  }
  const size_t prefetch_elems = kPrefetchBytes / sizeof(E);
  size_t c = 0;
  for (; c + kUnroll * kLanes <= cols; c += kUnroll * kLanes) {
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      const E* row = w + r * row_stride + c;
      HWY_UNROLL(16)
      for (size_t bytes = 0; bytes < kUnroll * kLanes * sizeof(E); bytes += 64) {
        prefetch_l2(reinterpret_cast<const char*>(row + prefetch_elems) + bytes);
      }
      HWY_UNROLL(16)
      for (size_t u = 0; u < kUnroll; ++u) {
        const F32Vec weights = load_weights(d, row + u * kLanes);
        HWY_UNROLL(16)
        for (size_t t = 0; t < kTokens; ++t) {
          acc[r][t][u] = hn::MulAdd(weights, hn::LoadU(d, x[t] + c + u * kLanes), acc[r][t][u]);
        }
      }
    }
  }
  for (; c < cols; c += kLanes) {
    const size_t n = std::min(kLanes, cols - c);
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      const E* p = w + r * row_stride + c;
      const F32Vec weights = n == kLanes ? load_weights(d, p) : load_weights_n(d, p, n);
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        const F32Vec xs = n == kLanes ? hn::LoadU(d, x[t] + c) : load_floats_n(d, x[t] + c, n);
        acc[r][t][0] = hn::MulAdd(weights, xs, acc[r][t][0]);
      }
    }
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    if (t >= num_tokens) break;
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      F32Vec sum = acc[r][t][0];
      HWY_UNROLL(16)
      for (size_t u = 1; u < kUnroll; ++u) sum = hn::Add(sum, acc[r][t][u]);
      const float total = hn::GetLane(hn::SumOfLanes(d, sum));
      y[t][r] = add ? y[t][r] + total : total;
    }
  }
}

// All rows for one turn of tokens; a turn that is not full repeats its last token.
template <size_t kTokens, size_t kRows, size_t kUnroll, class E>
HWY_INLINE void multiply_turn(const MatvecArgs& args, const E* w, uint64_t row, size_t num_rows,
                              size_t token, size_t num_tokens) {
  const float* x[kTokens];
  float* y[kTokens];
  for (size_t t = 0; t < kTokens; ++t) {
    const size_t from = token + std::min(t, num_tokens - 1);
    x[t] = args.x + from * args.x_stride_elems;
    y[t] = args.y + from * args.y_stride_elems + row;
  }
  const size_t stride = mapping_as<RowMajor>(args.weights).row_stride();
  const size_t cols = args.weights.cols();
  size_t r = 0;
  for (; r + kRows <= num_rows; r += kRows) {
    multiply_rows<kTokens, kRows, kUnroll>(w + r * stride, stride, cols, x, y, num_tokens,
                                           args.add);
    for (size_t t = 0; t < kTokens; ++t) y[t] += kRows;
  }
  for (; kRows > 1 && r < num_rows; ++r) {
    multiply_rows<kTokens, 1, kUnroll>(w + r * stride, stride, cols, x, y, num_tokens, args.add);
    for (size_t t = 0; t < kTokens; ++t) ++y[t];
  }
}

template <class E>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const auto& mapping = mapping_as<RowMajor>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  // Few rows at a time, so that a second turn of tokens finds their weights in L1.
  for (uint64_t row = args.rows.begin; row < args.rows.end; row += kManyRows) {
    const E* w = weights + mapping(row, uint64_t{0});
    const size_t num_rows = std::min<uint64_t>(kManyRows, args.rows.end - row);
    for (size_t token = 0; token < args.num_tokens; token += kMaxTokens) {
      const size_t num_tokens = std::min<size_t>(kMaxTokens, args.num_tokens - token);
      if (num_tokens == 1) {
        multiply_turn<1, 1, 4>(args, w, row, num_rows, token, num_tokens);
      } else if (num_tokens == 2) {
        multiply_turn<2, 1, 2>(args, w, row, num_rows, token, num_tokens);
      } else {
        multiply_turn<4, kManyRows, 1>(args, w, row, num_rows, token, num_tokens);
      }
    }
  }
}

template <class E>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const auto& mapping = mapping_as<RowMajor>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  for (uint32_t r = 0; r < kPanelRows; r += 4) {
    const uint32_t num_rows = std::min(4u, args.num_rows - std::min(args.num_rows, r));
    const E* from = weights + mapping(args.row + r, args.col);
    float* to = args.panel + r;
    if (num_rows == 4) {
      transpose_4_rows(from, mapping.row_stride(), args.num_cols, to, kPanelRows);
      continue;
    }
    for (uint32_t c = 0; c < args.num_cols; ++c, to += kPanelRows) {
      for (uint32_t i = 0; i < 4; ++i) {
        to[i] = i < num_rows ? one_weight(from + i * mapping.row_stride() + c) : 0.0f;
      }
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

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kRowMajor; }

// Seen 2026-11-23, Zen 5 under load, 2048 x 2048 f16, one thread: 8 tokens 637 us this way, 16 a
// panel way 1356 us. The limit between the two is by reasoning, not measured.
constexpr uint32_t kMaxMatvecTokens = 12;

constexpr std::string_view kLayouts = "row_major";

}  // namespace

std::span<const DenseKernel> dense_row_major_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_PLAIN_DENSE_KERNELS("row_major", kLayouts, accepts, kMaxMatvecTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
