// dense for int8, nf4 and sf4 in `row_major`: dot products along rows, one row at a time, asked for
// from memory ahead of the products (dense_row_major.cc says why).
//
// A block's sum(code * x) meets the block's scale once. What depends on x alone is made once for
// all rows: x in the codec's order, zeros behind the last col, and each block's sum(x), which meets
// the minima of int8 as one more dot product.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_quant_row_major.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/dense_kernel.h"
#include "backend/cpu/quant_codec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

constexpr size_t kPrefetchBytes = 2048;

// Tokens that share the decoding of a row.
constexpr size_t kMaxTokens = 4;

// Floats of x that are prepared at once, a whole number of blocks for each token: 64 KiB of the
// stack. Longer rows are done segment by segment.
constexpr size_t kPreparedElems = 16384;

// x of up to kTokens tokens and one segment of cols.
template <class Codec, size_t kTokens>
class PreparedX {
 public:
  static constexpr size_t kMaxCols = kPreparedElems / kTokens;
  static constexpr size_t kMaxBlocks = kMaxCols / kBlockCols<Codec>;

  // Of the turn of num_tokens tokens at `token`; missing ones stay as they are.
  PreparedX(const MatvecArgs& args, size_t token, size_t num_tokens, Range cols)
      : num_blocks_(ceil_div<size_t>(cols.length(), kBlockCols<Codec>)) {
    const F32Tag d;
    for (size_t t = 0; t < kTokens; ++t) {
      // A turn that is not full repeats its last token.
      const size_t from = token + std::min(t, num_tokens - 1);
      const float* x = args.x + from * args.x_stride_elems + cols.begin;
      float* to = x_ + t * kMaxCols;
      const size_t num_cols = cols.length();
      const size_t end = num_blocks_ * kBlockCols<Codec>;
      for (size_t c = 0; c < end; c += kPairElems) {
        const auto load = [&](size_t col) {
          if (col + kLanes <= num_cols) return hn::LoadU(d, x + col);
          return col < num_cols ? load_floats_n(d, x + col, num_cols - col) : hn::Zero(d);
        };
        const VecPair pair = Codec::from_order({load(c), load(c + kLanes)});
        hn::Store(pair.a, d, to + c);
        hn::Store(pair.b, d, to + c + kLanes);
      }
      if constexpr (Codec::kBits == 8) {
        for (size_t b = 0; b < num_blocks_; ++b) {
          F32Vec sum = hn::Load(d, to + b * kBlockCols<Codec>);
          for (size_t c = kLanes; c < kBlockCols<Codec>; c += kLanes) {
            sum = hn::Add(sum, hn::Load(d, to + b * kBlockCols<Codec> + c));
          }
          sums_[t][b] = hn::GetLane(hn::SumOfLanes(d, sum));
        }
        std::fill(sums_[t] + num_blocks_, sums_[t] + round_up(num_blocks_, kLanes), 0.0f);
      }
    }
  }

  size_t num_blocks() const { return num_blocks_; }
  const float* block(size_t token, size_t b) const {
    return x_ + token * kMaxCols + b * kBlockCols<Codec>;
  }
  // Of int8; zero from num_blocks() to the next multiple of kLanes.
  const float* sums(size_t token) const { return sums_[token]; }

 private:
  HWY_ALIGN float x_[kPreparedElems];
  HWY_ALIGN float sums_[kTokens][Codec::kBits == 8 ? kMaxBlocks : 1];
  size_t num_blocks_;
};

// The scales of one row and segment as floats.
template <class Codec, size_t kTokens>
struct RowSteps {
  static constexpr size_t kMaxBlocks = PreparedX<Codec, kTokens>::kMaxBlocks;
  HWY_ALIGN float steps[kMaxBlocks];

  // Returns in sums[t] what the minima add to the row's product, in lanes.
  HWY_INLINE void load(const uint8_t* scales, const PreparedX<Codec, kTokens>& x, F32Vec* sums) {
    const F32Tag d;
    constexpr size_t kScaleBytes = sizeof(typename Codec::Scale);
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) sums[t] = hn::Zero(d);
    for (size_t b = 0; b < x.num_blocks(); b += kLanes) {
      const size_t n = std::min(kLanes, x.num_blocks() - b);
      HWY_ALIGN uint8_t copy[kLanes * kScaleBytes] = {};
      const uint8_t* from = scales + b * kScaleBytes;
      if (n < kLanes) std::memcpy(copy, from, n * kScaleBytes);
      const auto loaded = Codec::load_steps(n < kLanes ? copy : from);
      if constexpr (Codec::kBits == 8) {
        hn::Store(loaded.steps.step, d, steps + b);
        HWY_UNROLL(16)
        for (size_t t = 0; t < kTokens; ++t) {
          sums[t] = hn::MulAdd(loaded.steps.min, hn::Load(d, x.sums(t) + b), sums[t]);
        }
      } else {
        hn::Store(loaded.absmax, d, steps + b);
      }
    }
  }
};

// sums[t] += step * codes * x of one block.
template <class Codec, size_t kTokens>
HWY_INLINE void add_block(const Codec& codec, const uint8_t* codes,
                          const PreparedX<Codec, kTokens>& x, size_t b, float step, F32Vec* sums) {
  const F32Tag d;
  VecPair acc[kTokens];
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) acc[t] = {hn::Zero(d), hn::Zero(d)};
  HWY_UNROLL(16)
  for (size_t p = 0; p < kBlockCols<Codec> / kPairElems; ++p) {
    const VecPair w = codec.load_pair(codes + p * kPairBytes<Codec>);
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      const float* from = x.block(t, b) + p * kPairElems;
      const F32Vec xa = hn::Load(d, from), xb = hn::Load(d, from + kLanes);
      acc[t] = {hn::MulAdd(w.a, xa, acc[t].a), hn::MulAdd(w.b, xb, acc[t].b)};
    }
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    sums[t] = hn::MulAdd(hn::Add(acc[t].a, acc[t].b), hn::Set(d, step), sums[t]);
  }
}

// One segment of cols, all rows, one turn of tokens.
template <class Codec, size_t kTokens>
HWY_NOINLINE void multiply_segment(const MatvecArgs& args, size_t token, size_t num_tokens,
                                   Range cols) {
  const F32Tag d;
  const Codec codec(args.weights.dtype());
  const PreparedX<Codec, kTokens> x(args, token, num_tokens, cols);
  const auto& mapping = mapping_as<RowMajor>(args.weights);
  const auto& scales_mapping = args.weights.scales_mapping();
  const uint8_t* codes = reinterpret_cast<const uint8_t*>(args.weights.host_data());
  const uint8_t* scales = reinterpret_cast<const uint8_t*>(args.weights.scales_data());
  const bool add = args.add || cols.begin != 0;
  constexpr size_t kBytes = kBlockCols<Codec> * Codec::kBits / 8;
  RowSteps<Codec, kTokens> steps;
  for (uint64_t row = args.rows.begin; row < args.rows.end; ++row) {
    F32Vec sums[kTokens];
    steps.load(scales + scales_mapping(row, cols.begin / kBlockCols<Codec>) *
                            sizeof(typename Codec::Scale),
               x, sums);
    const uint64_t elem = mapping(row, cols.begin);
    const size_t direct = begins_byte<Codec>(elem) ? cols.length() / kBlockCols<Codec> : 0;
    const uint8_t* p = byte_of<Codec>(codes, elem);
    for (size_t b = 0; b < direct; ++b, p += kBytes) {
      HWY_UNROLL(16)
      for (size_t bytes = 0; bytes < kBytes; bytes += 64) prefetch_l2(p + kPrefetchBytes + bytes);
      add_block(codec, p, x, b, steps.steps[b], sums);
    }
    for (size_t b = direct; b < x.num_blocks(); ++b) {
      HWY_ALIGN uint8_t copy[kBytes] = {};
      const uint64_t first = b * kBlockCols<Codec>;
      copy_codes<Codec>(codes, elem + first,
                        std::min<uint64_t>(kBlockCols<Codec>, cols.length() - first), copy);
      add_block(codec, copy, x, b, steps.steps[b], sums);
    }
    for (size_t t = 0; t < num_tokens; ++t) {
      const float total = hn::GetLane(hn::SumOfLanes(d, sums[t]));
      float& y = args.y[(token + t) * args.y_stride_elems + row];
      y = add ? y + total : total;
    }
  }
}

template <class Codec, size_t kTokens>
HWY_INLINE void multiply_turn(const MatvecArgs& args, size_t token, size_t num_tokens) {
  constexpr uint64_t kMaxCols = PreparedX<Codec, kTokens>::kMaxCols;
  for (uint64_t col = 0; col < args.weights.cols(); col += kMaxCols) {
    multiply_segment<Codec, kTokens>(args, token, num_tokens,
                                     {col, std::min(col + kMaxCols, args.weights.cols())});
  }
}

template <class Codec>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  for (size_t token = 0; token < args.num_tokens; token += kMaxTokens) {
    const size_t num_tokens = std::min<size_t>(kMaxTokens, args.num_tokens - token);
    if (num_tokens == 1) {
      multiply_turn<Codec, 1>(args, token, 1);
    } else {
      multiply_turn<Codec, kMaxTokens>(args, token, num_tokens);
    }
  }
}

// Four rows of a block as floats, then transposed into the panel; missing rows become zero.
template <class Codec>
HWY_NOINLINE void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const F32Tag d;
  const Codec codec(args.weights.dtype());
  const auto& mapping = mapping_as<RowMajor>(args.weights);
  const uint8_t* codes = reinterpret_cast<const uint8_t*>(args.weights.host_data());
  const uint8_t* scales = reinterpret_cast<const uint8_t*>(args.weights.scales_data());
  constexpr size_t kScaleBytes = sizeof(typename Codec::Scale);
  HWY_ALIGN float four[4][kBlockCols<Codec>] = {};
  const uint64_t end_col = args.col + args.num_cols;
  for (uint64_t col = args.col; col < end_col;) {
    const uint64_t block = col / kBlockCols<Codec>;
    const size_t num_cols = HWY_MIN(end_col, (block + 1) * kBlockCols<Codec>) - col;
    for (uint32_t r = 0; r < kPanelRows; r += 4) {
      for (uint32_t i = 0; i < 4; ++i) {
        if (r + i >= args.num_rows) {
          std::memset(four[i], 0, sizeof(four[i]));
          continue;
        }
        const uint64_t row = args.row + r + i;
        const auto steps =
            Codec::repeat_steps(scales + args.weights.scales_mapping()(row, block) * kScaleBytes);
        const uint64_t elem = mapping(row, col);
        HWY_ALIGN uint8_t copy[kBlockCols<Codec> * Codec::kBits / 8] = {};
        const bool direct = num_cols == kBlockCols<Codec> && begins_byte<Codec>(elem);
        if (!direct) copy_codes<Codec>(codes, elem, num_cols, copy);
        const uint8_t* p = direct ? byte_of<Codec>(codes, elem) : copy;
        for (size_t c = 0; c < num_cols; c += kPairElems, p += kPairBytes<Codec>) {
          const VecPair w = Codec::in_order(codec.load_pair(p));
          hn::Store(steps.weight(w.a), d, four[i] + c);
          hn::Store(steps.weight(w.b), d, four[i] + c + kLanes);
        }
      }
      transpose_4_rows(four[0], kBlockCols<Codec>, num_cols,
                       args.panel + (col - args.col) * kPanelRows + r, kPanelRows);
    }
    col += num_cols;
  }
}

void matvec_int8(const MatvecArgs& args) { matvec<Int8Codec>(args); }
void matvec_nibble(const MatvecArgs& args) { matvec<NibbleCodec>(args); }
void decode_int8(const PanelArgs& args) { decode<Int8Codec>(args); }
void decode_nibble(const PanelArgs& args) { decode<NibbleCodec>(args); }

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(matvec_int8);
HWY_EXPORT(matvec_nibble);
HWY_EXPORT(decode_int8);
HWY_EXPORT(decode_nibble);

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kRowMajor; }

constexpr uint32_t kMaxMatvecTokens = 12;

constexpr std::string_view kLayouts = "row_major";

void run_matvec_int8(const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_int8)(args); }
void run_matvec_nibble(const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_nibble)(args); }
void run_decode_int8(const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_int8)(args); }
void run_decode_nibble(const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_nibble)(args); }

}  // namespace

std::span<const DenseKernel> dense_quant_row_major_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      {{MatrixOp::kDense, DType::kInt8, kLayouts, accepts, "dense_int8_row_major"},
       kMaxMatvecTokens,
       run_matvec_int8,
       run_decode_int8},
      {{MatrixOp::kDense, DType::kNF4, kLayouts, accepts, "dense_nf4_row_major"},
       kMaxMatvecTokens,
       run_matvec_nibble,
       run_decode_nibble},
      {{MatrixOp::kDense, DType::kSF4, kLayouts, accepts, "dense_sf4_row_major"},
       kMaxMatvecTokens,
       run_matvec_nibble,
       run_decode_nibble},
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
