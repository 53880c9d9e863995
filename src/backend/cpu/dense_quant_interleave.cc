// dense for int8 in `interleave(16,B,4)`, nf4 and sf4 in `interleave(16,B,8)`, exact: dequantized
// weights times f32 activations.
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
#include "backend/cpu/dense_kernel.h"
#include "backend/cpu/matmul-inl.h"
#include "backend/cpu/quant-inl.h"

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

// What a block's scales make of 16 sums of code * x, and of 16 codes.
struct Int8Codec {
  using Scale = Int8Scale;
  static constexpr size_t kChunk = 4;
  static constexpr size_t kBlockCols = block_cols(DType::kInt8);
  static constexpr bool kAddsMin = true;
  using Scales = Int8Steps;

  // The code of the lowest byte of each lane; the next one comes down.
  HWY_INLINE F32Vec take(U32Vec& bits) const {
    const F32Vec codes = f32_of(hn::And(bits, hn::Set(U32Tag(), 0xffu)));
    bits = hn::ShiftRight<8>(bits);
    return codes;
  }
  static HWY_INLINE Scales load(const Scale* p) { return load_int8_steps(p); }
  static HWY_INLINE F32Vec add(F32Vec total, Scales scales, F32Vec sum, F32Vec sum_x) {
    return hn::MulAdd(scales.step, sum, hn::MulAdd(scales.min, sum_x, total));
  }
  static HWY_INLINE F32Vec weights(Scales scales, F32Vec codes) {
    return hn::MulAdd(scales.step, codes, scales.min);
  }
};

class NibbleCodec {
 public:
  using Scale = AbsmaxScale;
  static constexpr size_t kChunk = 8;
  static constexpr size_t kBlockCols = block_cols(DType::kNF4);
  static_assert(kBlockCols == block_cols(DType::kSF4));
  static constexpr bool kAddsMin = false;
  using Scales = F32Vec;

  explicit NibbleCodec(const CodeTable& codes) : table_(codes) {}

  HWY_INLINE F32Vec take(U32Vec& bits) const {
    const F32Vec codes = table_(bits);
    bits = hn::ShiftRight<4>(bits);
    return codes;
  }
  static HWY_INLINE Scales load(const Scale* p) { return load_absmaxes(p); }
  static HWY_INLINE F32Vec add(F32Vec total, Scales scales, F32Vec sum, F32Vec /*sum_x*/) {
    return hn::MulAdd(scales, sum, total);
  }
  static HWY_INLINE F32Vec weights(Scales scales, F32Vec codes) { return hn::Mul(scales, codes); }

 private:
  NibbleTable table_;
};

// The sum of x[0, n) in each lane.
HWY_INLINE F32Vec sum_of(const float* x, size_t n) {
  const F32Tag d;
  F32Vec sum = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = hn::Add(sum, hn::LoadU(d, x + i));
  if (i < n) sum = hn::Add(sum, load_floats_n(d, x + i, n - i));
  return hn::SumOfLanes(d, sum);
}

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

// The scales of 16 rows: 16 for each block of cols, without gaps (scale_layout()).
template <class Codec>
const typename Codec::Scale* scales_of(const Tensor& weights, uint64_t row) {
  const auto* scales = reinterpret_cast<const typename Codec::Scale*>(weights.scales_data());
  const auto& mapping = mapping_as<Interleave>(weights.scales_mapping());
  return scales + mapping.block_offset(row / 16, uint64_t{0});
}

// y[t][0, num_rows) of the 16 rows from `row` on.
template <size_t kTokens, class Codec>
HWY_NOINLINE void multiply_group(const Codec& codec, const Tensor& weights, uint64_t row,
                                 const float* const* x, float* const* y, size_t num_tokens,
                                 size_t num_rows, bool add) {
  const F32Tag d;
  CodeStream stream(mapping_as<Interleave>(weights),
                    reinterpret_cast<const uint8_t*>(weights.host_data()), 32 / Codec::kChunk, row);
  const auto* scales = scales_of<Codec>(weights, row);
  HWY_ALIGN float totals[kTokens][16] = {};
  const size_t cols = weights.cols();
  for (size_t begin = 0; begin < cols; begin += Codec::kBlockCols, scales += 16) {
    const size_t end = std::min(begin + Codec::kBlockCols, cols);
    Sums<kTokens> acc;
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      HWY_UNROLL(16)
      for (size_t u = 0; u < kTurns<kTokens>; ++u) {
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVecs16; ++v) acc[t][u][v] = hn::Zero(d);
      }
    }
    prefetch_l1(reinterpret_cast<const char*>(scales) + kScalePrefetchBytes);
    for (size_t col = begin; col < end;) {
      const size_t num_cols = stream.run(end - col);
      add_run<kTokens>(codec, stream.at(), x, col, num_cols, acc);
      stream.skip(num_cols);
      col += num_cols;
    }
    F32Vec sum_x[kTokens];
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      sum_x[t] = Codec::kAddsMin ? sum_of(x[t] + begin, end - begin) : hn::Zero(d);
    }
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVecs16; ++v) {
      const typename Codec::Scales of_rows = Codec::load(scales + v * kLanes);
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        F32Vec sum = acc[t][0][v];
        HWY_UNROLL(16)
        for (size_t u = 1; u < kTurns<kTokens>; ++u) sum = hn::Add(sum, acc[t][u][v]);
        float* total = totals[t] + v * kLanes;
        hn::Store(Codec::add(hn::Load(d, total), of_rows, sum, sum_x[t]), d, total);
      }
    }
  }
  for (size_t t = 0; t < num_tokens; ++t) {
    for (size_t v = 0; v < kVecs16; ++v) {
      add_or_store(d, hn::Load(d, totals[t] + v * kLanes), y[t] + v * kLanes,
                   num_rows - std::min(num_rows, v * kLanes), add);
    }
  }
}

// 16 rows for one turn of tokens; a turn that is not full repeats its last token.
template <size_t kTokens, class Codec>
HWY_INLINE void multiply_turn(const Codec& codec, const MatvecArgs& args, uint64_t row,
                              size_t token, size_t num_tokens) {
  const float* x[kTokens];
  float* y[kTokens];
  for (size_t t = 0; t < kTokens; ++t) {
    const size_t from = token + std::min(t, num_tokens - 1);
    x[t] = args.x + from * args.x_stride_elems;
    y[t] = args.y + from * args.y_stride_elems + row;
  }
  multiply_group<kTokens>(codec, args.weights, row, x, y, num_tokens,
                          std::min<size_t>(args.rows.end - row, 16), args.add);
}

template <class Codec>
void matvec(const Codec& codec, const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  // 16 rows at a time, so that a second turn of tokens finds their weights in L1 or L2.
  for (uint64_t row = args.rows.begin; row < args.rows.end; row += 16) {
    for (size_t token = 0; token < args.num_tokens; token += kMaxTokens) {
      const size_t num_tokens = std::min<size_t>(kMaxTokens, args.num_tokens - token);
      if constexpr (kMaxTokens >= 8) {
        if (num_tokens > 4) {
          multiply_turn<8>(codec, args, row, token, num_tokens);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 4) {
        if (num_tokens > 2) {
          multiply_turn<4>(codec, args, row, token, num_tokens);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 2) {
        if (num_tokens == 2) {
          multiply_turn<2>(codec, args, row, token, num_tokens);
          continue;
        }
      }
      multiply_turn<1>(codec, args, row, token, num_tokens);
    }
  }
}

// to[col][kPanelRows] of 16 rows, for num_cols cols of one block of scales that lie side by side.
template <class Codec>
HWY_INLINE void decode_run(const Codec& codec, const uint8_t* w,
                           const typename Codec::Scales (&scales)[kVecs16], size_t num_cols,
                           float* to) {
  const F32Tag d;
  for (size_t col = 0; col < num_cols; col += Codec::kChunk, w += kChunkBytes) {
    prefetch_l1(w + kPrefetchBytes);
    const size_t count = std::min(Codec::kChunk, num_cols - col);
    for (size_t v = 0; v < kVecs16; ++v) {
      U32Vec bits = load_u32(w + v * kLanes * sizeof(uint32_t));
      float* lanes = to + col * kPanelRows + v * kLanes;
      for (size_t j = 0; j < count; ++j, lanes += kPanelRows) {
        hn::Store(Codec::weights(scales[v], codec.take(bits)), d, lanes);
      }
    }
  }
}

template <class Codec>
void decode(const Codec& codec, const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  for (size_t first = 0; first < kPanelRows; first += 16) {
    float* to = args.panel + first;
    if (first >= args.num_rows) {
      zero_panel_rows(to, args.num_cols);
      continue;
    }
    const uint64_t row = args.row + first;
    const auto& mapping = mapping_as<Interleave>(args.weights);
    const auto* codes = reinterpret_cast<const uint8_t*>(args.weights.host_data());
    const auto* scales = scales_of<Codec>(args.weights, row);
    const uint64_t end = args.col + args.num_cols;
    for (uint64_t col = args.col; col < end;) {
      const uint64_t block = col / Codec::kBlockCols;
      typename Codec::Scales of_rows[kVecs16];
      for (size_t v = 0; v < kVecs16; ++v) {
        of_rows[v] = Codec::load(scales + block * 16 + v * kLanes);
      }
      const uint64_t run_end = std::min({end, (block + 1) * Codec::kBlockCols,
                                         (col / mapping.block_cols() + 1) * mapping.block_cols()});
      decode_run(codec, codes + mapping(row, col) * (32 / Codec::kChunk) / 8, of_rows,
                 run_end - col, to);
      to += (run_end - col) * kPanelRows;
      col = run_end;
    }
  }
}

void matvec_int8(const MatvecArgs& args) { matvec(Int8Codec(), args); }
void matvec_nf4(const MatvecArgs& args) { matvec(NibbleCodec(kNF4Codes), args); }
void matvec_sf4(const MatvecArgs& args) { matvec(NibbleCodec(kSF4Codes), args); }
void decode_int8(const PanelArgs& args) { decode(Int8Codec(), args); }
void decode_nf4(const PanelArgs& args) { decode(NibbleCodec(kNF4Codes), args); }
void decode_sf4(const PanelArgs& args) { decode(NibbleCodec(kSF4Codes), args); }

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(matvec_int8);
HWY_EXPORT(matvec_nf4);
HWY_EXPORT(matvec_sf4);
HWY_EXPORT(decode_int8);
HWY_EXPORT(decode_nf4);
HWY_EXPORT(decode_sf4);

template <uint32_t kChunk>
bool accepts(const Layout& layout) {
  return layout.kind == LayoutKind::kInterleave && layout.rows == 16 && layout.chunk == kChunk;
}

constexpr uint32_t kMaxMatvecTokens = 32;

constexpr std::string_view kInt8Layouts = "interleave(16,*,4)";
constexpr std::string_view kNibbleLayouts = "interleave(16,*,8)";

}  // namespace

std::span<const DenseKernel> dense_quant_interleave_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      {{MatrixOp::kDense, DType::kInt8, kInt8Layouts, accepts<4>, "dense_int8_interleave"},
       kMaxMatvecTokens,
       [](const MatvecArgs& args) { return HWY_DYNAMIC_DISPATCH(matvec_int8)(args); },
       [](const PanelArgs& args) { return HWY_DYNAMIC_DISPATCH(decode_int8)(args); },
       [] { return dense_int8_ops(DType::kInt8); }},
      {{MatrixOp::kDense, DType::kNF4, kNibbleLayouts, accepts<8>, "dense_nf4_interleave"},
       kMaxMatvecTokens,
       [](const MatvecArgs& args) { return HWY_DYNAMIC_DISPATCH(matvec_nf4)(args); },
       [](const PanelArgs& args) { return HWY_DYNAMIC_DISPATCH(decode_nf4)(args); },
       [] { return dense_int8_ops(DType::kNF4); }},
      {{MatrixOp::kDense, DType::kSF4, kNibbleLayouts, accepts<8>, "dense_sf4_interleave"},
       kMaxMatvecTokens,
       [](const MatvecArgs& args) { return HWY_DYNAMIC_DISPATCH(matvec_sf4)(args); },
       [](const PanelArgs& args) { return HWY_DYNAMIC_DISPATCH(decode_sf4)(args); },
       [] { return dense_int8_ops(DType::kSF4); }},
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
