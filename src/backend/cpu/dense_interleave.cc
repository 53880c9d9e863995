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
#include <array>

#include "backend/cpu/cpu_features.h"
#include "backend/cpu/dense_table.h"
#include "backend/cpu/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// How far ahead of the products weights are asked for: the hardware's own streams stop at each 4
// KiB.
constexpr size_t kPrefetchBytes = 2048;

// Tokens at once: kMaxTokens * kVecs16 accumulators are half of the registers or less.
constexpr size_t kMaxTokens = kVecs16 >= 8 ? 1 : 8 / kVecs16;

// Row groups at once. From 4 tokens on two of them share the loads of x, which has no room in L1
// then (8 tokens of 2048 cols are 64 KiB); with 16 registers there is no room for the sums. One
// token takes two where one stream of weights is less than a core can read
// (cpu_wants_two_streams()).
template <size_t kTokens>
constexpr size_t kGroups = kVecs16 == 1 && (kTokens >= 4 || kTokens == 1) ? 2 : 1;

// Several sums a vector hide the latency of FMA, 4 cycles, where there are few tokens.
template <size_t kTokens>
constexpr size_t kUnroll = kTokens* kVecs16 >= 4   ? 1
                           : kTokens* kVecs16 >= 2 ? 2
                                                   : 4;

// acc[t][u][v]: t the token, u a col's turn, v the vector of the row groups.
template <size_t kTokens, size_t kNumGroups>
using Sums = F32Vec[kTokens][kUnroll<kTokens>][kNumGroups * kVecs16];

// Where the same col of each row group lies.
template <class E, size_t kNumGroups>
using GroupPtrs = std::array<const E*, kNumGroups>;

template <size_t kTokens, size_t kNumGroups, class E>
HWY_INLINE void add_col(const GroupPtrs<E, kNumGroups>& w, size_t c, const float* const* x,
                        size_t col, size_t u, Sums<kTokens, kNumGroups>& acc) {
  const F32Tag d;
  F32Vec weights[kNumGroups * kVecs16];
  HWY_UNROLL(16)
  for (size_t v = 0; v < kNumGroups * kVecs16; ++v) {
    weights[v] = load_weights(d, w[v / kVecs16] + c * 16 + v % kVecs16 * kLanes);
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    const F32Vec xs = hn::Set(d, x[t][col]);
    HWY_UNROLL(16)
    for (size_t v = 0; v < kNumGroups * kVecs16; ++v) {
      acc[t][u][v] = hn::MulAdd(weights[v], xs, acc[t][u][v]);
    }
  }
}

// A run of cols that lie side by side, [num_cols][16].
template <size_t kTokens, size_t kNumGroups, class E>
HWY_INLINE void add_run(const GroupPtrs<E, kNumGroups>& w, const float* const* x, size_t col,
                        size_t num_cols, Sums<kTokens, kNumGroups>& acc) {
  constexpr size_t kTurns = kUnroll<kTokens>;
  // At least a cache line a turn, so that none is asked for twice.
  constexpr size_t kCols = HWY_MAX(kTurns, 64 / (16 * sizeof(E)));
  size_t c = 0;
  for (; c + kCols <= num_cols; c += kCols) {
    HWY_UNROLL(16)
    for (size_t g = 0; g < kNumGroups; ++g) {
      const char* ahead = reinterpret_cast<const char*>(w[g] + c * 16) + kPrefetchBytes;
      HWY_UNROLL(16)
      for (size_t bytes = 0; bytes < kCols * 16 * sizeof(E); bytes += 64) {
        prefetch_l1(ahead + bytes);
      }
    }
    HWY_UNROLL(16)
    for (size_t i = 0; i < kCols; ++i) {
      add_col<kTokens, kNumGroups, E>(w, c + i, x, col + c + i, i % kTurns, acc);
    }
  }
  for (; c < num_cols; ++c) {
    add_col<kTokens, kNumGroups, E>(w, c, x, col + c, 0, acc);
  }
}

// y[t][0, num_rows) of kNumGroups row groups; group g begins at w[g].
template <size_t kTokens, size_t kNumGroups, class E>
HWY_NOINLINE void multiply_groups(const Interleave& mapping, GroupPtrs<E, kNumGroups> w,
                                  const float* const* x, float* const* y, size_t num_tokens,
                                  size_t num_rows, bool add) {
  const F32Tag d;
  constexpr size_t kTurns = kUnroll<kTokens>;
  Sums<kTokens, kNumGroups> acc;
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    HWY_UNROLL(16)
    for (size_t u = 0; u < kTurns; ++u) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kNumGroups * kVecs16; ++v) acc[t][u][v] = hn::Zero(d);
    }
  }
  // Blocks without gaps between them are one run.
  const size_t cols = mapping.extents().cols;
  const bool gapless = mapping.block_stride() == uint64_t{16} * mapping.block_cols();
  const size_t run = gapless ? cols : mapping.block_cols();
  for (size_t col = 0; col < cols; col += run) {
    add_run<kTokens, kNumGroups, E>(w, x, col, std::min(run, cols - col), acc);
    for (const E*& p : w) p += mapping.block_stride();
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    if (t >= num_tokens) break;
    HWY_UNROLL(16)
    for (size_t v = 0; v < kNumGroups * kVecs16; ++v) {
      F32Vec sum = acc[t][0][v];
      HWY_UNROLL(16)
      for (size_t u = 1; u < kTurns; ++u) sum = hn::Add(sum, acc[t][u][v]);
      add_or_store(d, sum, y[t] + v * kLanes, num_rows - std::min(num_rows, v * kLanes), add);
    }
  }
}

// All of `rows` for one turn of tokens; a turn that is not full repeats its last token.
template <size_t kTokens, class E>
HWY_INLINE void multiply_turn(const MatvecArgs& args, Range rows, size_t token, size_t num_tokens) {
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  const float* x[kTokens];
  float* y[kTokens];
  for (uint64_t row = rows.begin; row < rows.end;) {
    for (size_t t = 0; t < kTokens; ++t) {
      const size_t from = token + std::min(t, num_tokens - 1);
      x[t] = args.x + from * args.x_stride_elems;
      y[t] = args.y + from * args.y_stride_elems + row;
    }
    const E* w = weights + mapping.block_offset(row / 16, uint64_t{0});
    const size_t num_rows = rows.end - row;
    if constexpr (kGroups<kTokens> == 2) {
      if (num_rows > 16 && (kTokens > 1 || cpu_wants_two_streams())) {
        multiply_groups<kTokens, 2, E>(mapping, {w, w + mapping.group_stride()}, x, y, num_tokens,
                                       std::min<size_t>(num_rows, 32), args.add);
        row += 32;
        continue;
      }
    }
    multiply_groups<kTokens, 1, E>(mapping, {w}, x, y, num_tokens, std::min<size_t>(num_rows, 16),
                                   args.add);
    row += 16;
  }
}

template <class E>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  // Two row groups at a time, so that a second turn of tokens finds their weights in L2.
  for (uint64_t row = args.rows.begin; row < args.rows.end; row += 32) {
    const Range rows{row, std::min(row + 32, args.rows.end)};
    for (size_t token = 0; token < args.num_tokens; token += kMaxTokens) {
      const size_t num_tokens = std::min<size_t>(kMaxTokens, args.num_tokens - token);
      if constexpr (kMaxTokens >= 8) {
        if (num_tokens > 4) {
          multiply_turn<8, E>(args, rows, token, num_tokens);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 4) {
        if (num_tokens > 2) {
          multiply_turn<4, E>(args, rows, token, num_tokens);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 2) {
        if (num_tokens == 2) {
          multiply_turn<2, E>(args, rows, token, num_tokens);
          continue;
        }
      }
      multiply_turn<1, E>(args, rows, token, num_tokens);
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
    // Block by block: a mapping's offset costs divisions, as much as decoding 64 cols.
    for (uint64_t col = args.col; col < args.col + args.num_cols;) {
      const uint64_t block_end = (col / mapping.block_cols() + 1) * mapping.block_cols();
      const uint64_t end = std::min(block_end, args.col + args.num_cols);
      const E* from = weights + mapping(args.row + first, col);
      for (; col < end; ++col, from += 16, to += kPanelRows) {
        prefetch_l1(reinterpret_cast<const char*>(from) + kPrefetchBytes);
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVecs16; ++v) {
          hn::Store(load_weights(d, from + v * kLanes), d, to + v * kLanes);
        }
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

bool accepts(const Layout& layout) {
  return layout.kind == LayoutKind::kInterleave && layout.rows == 16 && layout.chunk == 1;
}

// Measured 2026-11-23, Zen 5, 2048 x 2048, one thread, exact: 8 tokens take 340 us this way; 16 a
// panel way 780 us; 32 tokens 1200 us and 1410 us. Turns of 8 find the weights in L2.
constexpr uint32_t kMaxMatvecTokens = 32;

constexpr std::string_view kLayouts = "interleave(16,*,1)";

}  // namespace

std::span<const DenseKernel> dense_interleave_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_PLAIN_DENSE_KERNELS("interleave", kLayouts, accepts, kMaxMatvecTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
