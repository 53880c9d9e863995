// dense for `interleave(16,B,1)`: a row a lane, x broadcast, one sequential stream of weights a
// thread.
//
// Measured 2026-11-23, Zen 4, pools of 0.8 GB: this order reads all of the bandwidth with one
// thread, where row_major reaches 65 to 90 %: one stream needs no page walk and no horizontal sum.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_interleave.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/dense_kernel.h"
#include "backend/cpu/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// How far ahead of the products weights are asked for: the hardware's own streams stop at each 4
// KiB.
constexpr size_t kPrefetchBytes = 2048;

// Tokens at once: kMaxTokens * kVecs16 accumulators are at most half of the registers.
constexpr size_t kMaxTokens = kVecs16 >= 8 ? 1 : 8 / kVecs16;

// The sums of one row group for kTokens tokens: acc[t][u][v], u = a col's turn, v = the vector.
template <size_t kTokens, size_t kUnroll>
using Sums = F32Vec[kTokens][kUnroll][kVecs16];

template <size_t kTokens, size_t kUnroll, class E>
HWY_INLINE void add_col(const E* HWY_RESTRICT w, const float* const* x, size_t col, size_t u,
                        Sums<kTokens, kUnroll>& acc) {
  const F32Tag d;
  HWY_UNROLL(16)
  for (size_t v = 0; v < kVecs16; ++v) {
    const F32Vec weights = load_weights(d, w + v * kLanes);
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      acc[t][u][v] = hn::MulAdd(weights, hn::Set(d, x[t][col]), acc[t][u][v]);
    }
  }
}

// A run of cols that lie side by side, [num_cols][16].
template <size_t kTokens, size_t kUnroll, class E>
HWY_INLINE void add_run(const E* HWY_RESTRICT w, const float* const* x, size_t col, size_t num_cols,
                        Sums<kTokens, kUnroll>& acc) {
  size_t c = 0;
  for (; c + kUnroll <= num_cols; c += kUnroll) {
    const char* ahead = reinterpret_cast<const char*>(w + c * 16) + kPrefetchBytes;
    HWY_UNROLL(16)
    for (size_t bytes = 0; bytes < kUnroll * 16 * sizeof(E); bytes += 64) {
      prefetch_l1(ahead + bytes);
    }
    HWY_UNROLL(16)
    for (size_t u = 0; u < kUnroll; ++u) {
      add_col<kTokens, kUnroll>(w + (c + u) * 16, x, col + c + u, u, acc);
    }
  }
  for (; c < num_cols; ++c) {
    add_col<kTokens, kUnroll>(w + c * 16, x, col + c, 0, acc);
  }
}

template <size_t kTokens, class E>
HWY_NOINLINE void multiply_group(const Interleave& mapping, const E* w, const float* const* x,
                                 float* const* y, size_t num_tokens, size_t num_rows, bool add) {
  const F32Tag d;
  // Several sums a vector hide the latency of FMA, 4 cycles, where there are few tokens.
  constexpr size_t kUnroll = kTokens * kVecs16 >= 4 ? (kTokens * kVecs16 >= 8 ? 1 : 2) : 4;
  Sums<kTokens, kUnroll> acc;
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    HWY_UNROLL(16)
    for (size_t u = 0; u < kUnroll; ++u) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVecs16; ++v) acc[t][u][v] = hn::Zero(d);
    }
  }
  // Blocks without gaps between them are one run.
  const size_t cols = mapping.extents().cols;
  const bool gapless = mapping.block_stride() == uint64_t{16} * mapping.block_cols();
  const size_t run = gapless ? cols : mapping.block_cols();
  for (size_t col = 0; col < cols; col += run) {
    add_run<kTokens, kUnroll>(w, x, col, std::min(run, cols - col), acc);
    w += mapping.block_stride();
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    if (t >= num_tokens) break;
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVecs16; ++v) {
      F32Vec sum = acc[t][0][v];
      HWY_UNROLL(16)
      for (size_t u = 1; u < kUnroll; ++u) sum = hn::Add(sum, acc[t][u][v]);
      add_or_store(d, sum, y[t] + v * kLanes, num_rows - std::min(num_rows, v * kLanes), add);
    }
  }
}

// Tokens in turns of 1, 2, 4 or 8; a turn that is not full repeats its last token.
template <size_t kTokens, class E>
HWY_INLINE void multiply_tokens(const MatvecArgs& args, const E* w, uint64_t row, size_t num_rows,
                                size_t token, size_t num_tokens) {
  const float* x[kTokens];
  float* y[kTokens];
  for (size_t t = 0; t < kTokens; ++t) {
    const size_t from = token + std::min(t, num_tokens - 1);
    x[t] = args.x + from * args.x_stride_elems;
    y[t] = args.y + from * args.y_stride_elems + row;
  }
  multiply_group<kTokens>(mapping_as<Interleave>(args.weights), w, x, y, num_tokens, num_rows,
                          args.add);
}

template <class E>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  for (uint64_t row = args.rows.begin; row < args.rows.end; row += 16) {
    const E* w = weights + mapping.block_offset(row / 16, uint64_t{0});
    const size_t num_rows = std::min<uint64_t>(16, args.rows.end - row);
    for (size_t token = 0; token < args.num_tokens; token += kMaxTokens) {
      const size_t num_tokens = std::min<size_t>(kMaxTokens, args.num_tokens - token);
      if constexpr (kMaxTokens >= 8) {
        if (num_tokens > 4) {
          multiply_tokens<8>(args, w, row, num_rows, token, num_tokens);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 4) {
        if (num_tokens > 2) {
          multiply_tokens<4>(args, w, row, num_rows, token, num_tokens);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 2) {
        if (num_tokens == 2) {
          multiply_tokens<2>(args, w, row, num_rows, token, num_tokens);
          continue;
        }
      }
      multiply_tokens<1>(args, w, row, num_rows, token, num_tokens);
    }
  }
}

template <class E>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const F32Tag d;
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  for (size_t first = 0; first < kPanelRows; first += 16) {
    float* to = args.panel + first;
    if (first >= args.num_rows) {
      zero_panel_rows(to, args.num_cols);
      continue;
    }
    // Padding rows of the last group are zero in the weights, too.
    for (size_t c = 0; c < args.num_cols; ++c, to += kPanelRows) {
      const E* from = weights + mapping(args.row + first, args.col + c);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVecs16; ++v) {
        hn::Store(load_weights(d, from + v * kLanes), d, to + v * kLanes);
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

HWY_EXPORT(matvec_f32);
HWY_EXPORT(matvec_f16);
HWY_EXPORT(matvec_bf16);
HWY_EXPORT(decode_f32);
HWY_EXPORT(decode_f16);
HWY_EXPORT(decode_bf16);

bool accepts(const Layout& layout) {
  return layout.kind == LayoutKind::kInterleave && layout.rows == 16 && layout.chunk == 1;
}

constexpr std::string_view kLayouts = "interleave(16,*,1)";

}  // namespace

std::span<const DenseKernel> dense_interleave_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      {{MatrixOp::kDense, DType::kF32, kLayouts, accepts, "dense_f32_interleave"},
       [](const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_f32)
                                    (args); },
       [](const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_f32)
                                   (args); }},
      {{MatrixOp::kDense, DType::kF16, kLayouts, accepts, "dense_f16_interleave"},
       [](const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_f16)
                                    (args); },
       [](const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_f16)
                                   (args); }},
      {{MatrixOp::kDense, DType::kBF16, kLayouts, accepts, "dense_bf16_interleave"},
       [](const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_bf16)
                                    (args); },
       [](const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_bf16)
                                   (args); }},
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
