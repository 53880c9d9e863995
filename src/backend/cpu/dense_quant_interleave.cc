// dense for codes of 8 bits in `interleave(16,B,4)` and of 4 bits in `interleave(16,B,8)`, exact:
// dequantized weights times f32 activations.
//
// A u32 of the codes holds 4 or 8 cols of one row, so a cache line holds a row a lane, and its cols
// come one after the other by shifting. Codes lie in one sequential stream, scales in another, 16
// scales behind each block's codes in time. Codes are summed first, and a block's scales meet 16
// sums, not 16 x 128 weights:
//
//   int8       y += (max - min) / 255 * sum(q x) + min * sum(x)
//   nf4, sf4   y += absmax * sum(code[q] x)
//
// Padding codes meet x = 0, padding rows are computed and not stored.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_quant_interleave.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/code_stream.h"
#include "backend/cpu/dense_int8.h"
#include "backend/cpu/dense_table.h"
#include "backend/cpu/matmul-inl.h"
#include "backend/cpu/quant_codec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// How far ahead of the products codes and scales are asked for: the hardware's own streams stop at
// each 4 KiB. 512 B of scales belong to 8 to 16 KiB of codes.
constexpr size_t kPrefetchBytes = 2048;
constexpr size_t kScalePrefetchBytes = 512;

// One chunk of 16 rows.
constexpr size_t kChunkBytes = 64;

// Tokens at once: kMaxTokens * kVecs16 accumulators are half of the registers or less.
constexpr size_t kMaxTokens = kVecs16 >= 8 ? 1 : 8 / kVecs16;

// Several sums a vector hide the latency of FMA, 4 cycles, where there are few tokens.
template <size_t kTokens>
constexpr size_t kTurns = kTokens* kVecs16 >= 4 ? 1 : (kTokens* kVecs16 >= 2 ? 2 : 4);

// acc[t][u][v]: t the token, u a col's turn, v the vector of the 16 rows.
template <size_t kTokens>
using Sums = F32Vec[kTokens][kTurns<kTokens>][kVecs16];

// The sum of x[0, n).
HWY_INLINE float sum_of(const float* x, size_t n) {
  const F32Tag d;
  F32Vec sum = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = hn::Add(sum, hn::LoadU(d, x + i));
  if (i < n) sum = hn::Add(sum, load_floats_n(d, x + i, n - i));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// The sums of x over each step of cols, of one turn of tokens. They are the same for all rows, so
// they are made once for all where they have room.
template <class Codec>
class StepSums {
 public:
  explicit StepSums(const MatvecArgs& args)
      : args_(args), num_steps_(ceil_div<size_t>(args.weights.cols(), kStepCols<Codec>)) {
    if (!kHasMin<Codec> || !has_room()) return;
    for (size_t t = 0; t < args.num_tokens; ++t) {
      for (size_t step = 0; step < num_steps_; ++step) sums_[t * num_steps_ + step] = sum(t, step);
    }
  }

  HWY_INLINE float get(size_t token, size_t step) const {
    return has_room() ? sums_[token * num_steps_ + step] : sum(token, step);
  }

 private:
  // 32 tokens of 4096 cols in runs of q4_k: 16 KiB of the stack.
  static constexpr size_t kRoom = kHasMin<Codec> ? 4096 : 1;

  bool has_room() const { return args_.num_tokens * num_steps_ <= kRoom; }
  float sum(size_t token, size_t step) const {
    const size_t begin = step * kStepCols<Codec>;
    return sum_of(args_.x + token * args_.x_stride_elems + begin,
                  HWY_MIN(size_t{kStepCols<Codec>}, args_.weights.cols() - begin));
  }

  const MatvecArgs& args_;
  size_t num_steps_;
  float sums_[kRoom];
};

// x[t]: the chunk's own cols.
template <size_t kTokens, class Codec>
HWY_INLINE void add_chunk(const Codec& codec, const uint8_t* w, const float* const* x, size_t col,
                          Sums<kTokens>& acc) {
  const F32Tag d;
  HWY_UNROLL(16)
  for (size_t v = 0; v < kVecs16; ++v) {
    U32Vec bits = load_u32(w + v * kLanes * sizeof(uint32_t));
    HWY_UNROLL(16)
    for (size_t j = 0; j < Codec::kChunk; ++j) {
      const F32Vec codes = codec.take(bits);
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        F32Vec& sum = acc[t][j % kTurns<kTokens>][v];
        sum = hn::MulAdd(codes, hn::Set(d, x[t][col + j]), sum);
      }
    }
  }
}

// A run of chunks that lie side by side, of one block of scales.
template <size_t kTokens, class Codec>
HWY_INLINE void add_run(const Codec& codec, const uint8_t* w, const float* const* x, size_t col,
                        size_t num_cols, Sums<kTokens>& acc) {
  constexpr size_t kChunk = Codec::kChunk;
  const size_t end = col + num_cols;
  for (; col + kChunk <= end; col += kChunk, w += kChunkBytes) {
    prefetch_l1(w + kPrefetchBytes);
    add_chunk<kTokens>(codec, w, x, col, acc);
  }
  if (col == end) return;
  float edge[kTokens][kChunk] = {};
  const float* edge_x[kTokens];
  for (size_t t = 0; t < kTokens; ++t) {
    std::memcpy(edge[t], x[t] + col, (end - col) * sizeof(float));
    edge_x[t] = edge[t];
  }
  add_chunk<kTokens>(codec, w, edge_x, 0, acc);
}

// The scales of 16 rows: 16 words of each row after the other, block after block, without gaps
// (scale_layout()).
template <class Codec>
class ScaleStream {
 public:
  static constexpr size_t kWordBytes = 16 * Codec::kWordBytes;
  static constexpr size_t kBlockBytes = Codec::kWords * kWordBytes;

  ScaleStream(const Tensor& weights, uint64_t row)
      : scales_(
            reinterpret_cast<const uint8_t*>(weights.scales_data()) +
            mapping_as<Interleave>(weights.scales_mapping()).block_offset(row / 16, uint64_t{0}) *
                Codec::kWordBytes) {}

  // Of rows [v * kLanes, ...).
  HWY_INLINE typename Codec::Steps load(size_t step, size_t v) const {
    return Codec::load_steps(skip_rows<Codec>(
        {block(step), kWordBytes, static_cast<uint32_t>(step % Codec::kRuns)}, v * kLanes));
  }
  HWY_INLINE void prefetch(size_t step) const {
    const auto* p = reinterpret_cast<const char*>(block(step)) + kScalePrefetchBytes;
    if (step % Codec::kRuns != 0) return;
    HWY_UNROLL(16)
    for (size_t bytes = 0; bytes < kBlockBytes; bytes += 64) prefetch_l1(p + bytes);
  }

 private:
  HWY_INLINE const uint8_t* block(size_t step) const {
    return scales_ + step / Codec::kRuns * kBlockBytes;
  }

  const uint8_t* scales_;
};

// 16 rows and some tokens.
template <size_t kTokens>
struct Group {
  const Tensor& weights;
  uint64_t row;
  size_t num_rows;
  const float* x[kTokens];
  float* y[kTokens];
  size_t token;  // the first one; a turn that is not full repeats its last
  size_t num_tokens;
  bool add;
};

// y[t][0, num_rows) of the 16 rows from `row` on.
template <size_t kTokens, class Codec>
HWY_NOINLINE void multiply_group(const Codec& codec, const Group<kTokens>& group,
                                 const StepSums<Codec>& x_sums) {
  const F32Tag d;
  const Tensor& weights = group.weights;
  CodeStream stream(mapping_as<Interleave>(weights),
                    reinterpret_cast<const uint8_t*>(weights.host_data()), Codec::kBits, group.row);
  const ScaleStream<Codec> scales(weights, group.row);
  HWY_ALIGN float totals[kTokens][16] = {};
  const size_t cols = weights.cols();
  for (size_t begin = 0, step = 0; begin < cols; begin += kStepCols<Codec>, ++step) {
    const size_t end = std::min<size_t>(begin + kStepCols<Codec>, cols);
    Sums<kTokens> acc;
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      HWY_UNROLL(16)
      for (size_t u = 0; u < kTurns<kTokens>; ++u) {
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVecs16; ++v) acc[t][u][v] = hn::Zero(d);
      }
    }
    scales.prefetch(step);
    for (size_t col = begin; col < end;) {
      const size_t num_cols = stream.run(end - col);
      add_run<kTokens>(codec, stream.at(), group.x, col, num_cols, acc);
      stream.skip(num_cols);
      col += num_cols;
    }
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVecs16; ++v) {
      const typename Codec::Steps of_rows = scales.load(step, v);
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        F32Vec sum = acc[t][0][v];
        HWY_UNROLL(16)
        for (size_t u = 1; u < kTurns<kTokens>; ++u) sum = hn::Add(sum, acc[t][u][v]);
        float* total = totals[t] + v * kLanes;
        F32Vec sum_x = hn::Zero(d);
        if constexpr (kHasMin<Codec>) {
          sum_x = hn::Set(d, x_sums.get(group.token + HWY_MIN(t, group.num_tokens - 1), step));
        }
        hn::Store(of_rows.add(sum, sum_x, hn::Load(d, total)), d, total);
      }
    }
  }
  for (size_t t = 0; t < group.num_tokens; ++t) {
    for (size_t v = 0; v < kVecs16; ++v) {
      add_or_store(d, hn::Load(d, totals[t] + v * kLanes), group.y[t] + v * kLanes,
                   group.num_rows - std::min(group.num_rows, v * kLanes), group.add);
    }
  }
}

// 16 rows for one turn of tokens.
template <size_t kTokens, class Codec>
HWY_INLINE void multiply_turn(const Codec& codec, const MatvecArgs& args, uint64_t row,
                              size_t token, size_t num_tokens, const StepSums<Codec>& x_sums) {
  Group<kTokens> group{args.weights, row,     std::min<size_t>(args.rows.end - row, 16),
                       {},           {},      token,
                       num_tokens,   args.add};
  for (size_t t = 0; t < kTokens; ++t) {
    const size_t from = token + std::min(t, num_tokens - 1);
    group.x[t] = args.x + from * args.x_stride_elems;
    group.y[t] = args.y + from * args.y_stride_elems + row;
  }
  multiply_group<kTokens>(codec, group, x_sums);
}

template <class Codec>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const Codec codec(args.weights.dtype());
  const StepSums<Codec> x_sums(args);
  // 16 rows at a time, so that a second turn of tokens finds their weights in L1 or L2.
  for (uint64_t row = args.rows.begin; row < args.rows.end; row += 16) {
    for (size_t token = 0; token < args.num_tokens; token += kMaxTokens) {
      const size_t num_tokens = std::min<size_t>(kMaxTokens, args.num_tokens - token);
      if constexpr (kMaxTokens >= 8) {
        if (num_tokens > 4) {
          multiply_turn<8>(codec, args, row, token, num_tokens, x_sums);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 4) {
        if (num_tokens > 2) {
          multiply_turn<4>(codec, args, row, token, num_tokens, x_sums);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 2) {
        if (num_tokens == 2) {
          multiply_turn<2>(codec, args, row, token, num_tokens, x_sums);
          continue;
        }
      }
      multiply_turn<1>(codec, args, row, token, num_tokens, x_sums);
    }
  }
}

// to[col][kPanelRows] of 16 rows, for num_cols cols of one step that lie side by side.
template <class Codec>
HWY_INLINE void decode_run(const Codec& codec, const uint8_t* w,
                           const typename Codec::Steps (&steps)[kVecs16], size_t num_cols,
                           float* to) {
  const F32Tag d;
  for (size_t col = 0; col < num_cols; col += Codec::kChunk, w += kChunkBytes) {
    prefetch_l1(w + kPrefetchBytes);
    const size_t count = std::min(Codec::kChunk, num_cols - col);
    for (size_t v = 0; v < kVecs16; ++v) {
      U32Vec bits = load_u32(w + v * kLanes * sizeof(uint32_t));
      float* lanes = to + col * kPanelRows + v * kLanes;
      for (size_t j = 0; j < count; ++j, lanes += kPanelRows) {
        hn::Store(steps[v].weight(codec.take(bits)), d, lanes);
      }
    }
  }
}

template <class Codec>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const Codec codec(args.weights.dtype());
  for (size_t first = 0; first < kPanelRows; first += 16) {
    float* to = args.panel + first;
    if (first >= args.num_rows) {
      zero_panel_rows(to, args.num_cols);
      continue;
    }
    const uint64_t row = args.row + first;
    const auto& mapping = mapping_as<Interleave>(args.weights);
    const auto* codes = reinterpret_cast<const uint8_t*>(args.weights.host_data());
    const ScaleStream<Codec> scales(args.weights, row);
    const uint64_t end = args.col + args.num_cols;
    for (uint64_t col = args.col; col < end;) {
      const uint64_t step = col / kStepCols<Codec>;
      typename Codec::Steps of_rows[kVecs16];
      for (size_t v = 0; v < kVecs16; ++v) of_rows[v] = scales.load(step, v);
      const uint64_t run_end = std::min({end, (step + 1) * kStepCols<Codec>,
                                         (col / mapping.block_cols() + 1) * mapping.block_cols()});
      decode_run(codec, codes + mapping(row, col) * Codec::kBits / 8, of_rows, run_end - col, to);
      to += (run_end - col) * kPanelRows;
      col = run_end;
    }
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

template <uint32_t kChunk>
bool accepts(const Layout& layout) {
  return layout.kind == LayoutKind::kInterleave && layout.rows == 16 && layout.chunk == kChunk;
}

void run_matvec(const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_quant)(args); }
void run_decode(const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_quant)(args); }

constexpr uint32_t kMaxMatvecTokens = 32;

template <DType kType>
constexpr DenseKernel kernel_of(std::string_view name) {
  constexpr uint32_t kChunk = 32 / element_bits(kType);
  return {{MatrixOp::kDense, kType, kChunk == 4 ? "interleave(16,*,4)" : "interleave(16,*,8)",
           accepts<kChunk>, name},
          kMaxMatvecTokens,
          run_matvec,
          run_decode,
          [] { return dense_int8_ops(kType); }};
}

}  // namespace

std::span<const DenseKernel> dense_quant_interleave_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      kernel_of<DType::kInt8>("dense_int8_interleave"),
      kernel_of<DType::kNF4>("dense_nf4_interleave"),
      kernel_of<DType::kSF4>("dense_sf4_interleave"),
      kernel_of<DType::kQ8_0>("dense_q8_0_interleave"),
      kernel_of<DType::kQ4_0>("dense_q4_0_interleave"),
      kernel_of<DType::kQ4K>("dense_q4_k_interleave"),
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
