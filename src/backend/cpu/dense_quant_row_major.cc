// dense for the block codecs in `row_major`: dot products along rows, one row at a time, asked for
// from memory ahead of the products (dense_row_major.cc says why).
//
// A step's sum(code * x) meets its factor once. What depends on x alone is made once for all rows:
// x in the codec's order, zeros behind the last col, and each step's sum(x), which meets the minima
// as one more dot product.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_quant_row_major.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/dense_table.h"
#include "backend/cpu/quant_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

constexpr size_t kPrefetchBytes = 2048;

// Tokens that share the decoding of a row.
constexpr size_t kMaxTokens = 4;

// sums[t] += factor * codes * x of one step.
template <class Codec, size_t kTokens>
HWY_INLINE void add_block(const Codec& codec, const uint8_t* codes,
                          const PreparedX<Codec, kTokens>& x, size_t b, float step, F32Vec* sums) {
  const F32Tag d;
  VecPair acc[kTokens];
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) acc[t] = {hn::Zero(d), hn::Zero(d)};
  HWY_UNROLL(16)
  for (size_t p = 0; p < kStepCols<Codec> / kPairElems; ++p) {
    const VecPair w = codec.load_pair(codes + p * kPairBytes<Codec>);
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      const float* from = x.step(t, b) + p * kPairElems;
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
  const Scales<Codec> scales(args.weights);
  const uint8_t* codes = reinterpret_cast<const uint8_t*>(args.weights.host_data());
  const bool add = args.add || cols.begin != 0;
  constexpr size_t kBytes = kStepCols<Codec> * Codec::kBits / 8;
  HWY_ALIGN float factors[PreparedX<Codec, kTokens>::kMaxSteps];
  for (uint64_t row = args.rows.begin; row < args.rows.end; ++row) {
    F32Vec sums[kTokens];
    load_row_factors<Codec, kTokens>(scales.at(row, cols.begin / kStepCols<Codec>).p, x, factors,
                                     sums);
    const uint64_t elem = mapping(row, cols.begin);
    const size_t direct = begins_byte<Codec>(elem) ? cols.length() / kStepCols<Codec> : 0;
    const uint8_t* p = byte_of<Codec>(codes, elem);
    for (size_t b = 0; b < direct; ++b, p += kBytes) {
      HWY_UNROLL(16)
      for (size_t bytes = 0; bytes < kBytes; bytes += 64) prefetch_l2(p + kPrefetchBytes + bytes);
      add_block(codec, p, x, b, factors[b], sums);
    }
    for (size_t b = direct; b < x.num_steps(); ++b) {
      HWY_ALIGN uint8_t copy[kBytes] = {};
      const uint64_t first = b * kStepCols<Codec>;
      copy_codes<Codec>(codes, elem + first,
                        std::min<uint64_t>(kStepCols<Codec>, cols.length() - first), copy);
      add_block(codec, copy, x, b, factors[b], sums);
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
  const Scales<Codec> scales(args.weights);
  HWY_ALIGN float four[4][kStepCols<Codec>] = {};
  const uint64_t end_col = args.col + args.num_cols;
  for (uint64_t col = args.col; col < end_col;) {
    const uint64_t step = col / kStepCols<Codec>;
    const size_t num_cols = HWY_MIN(end_col, (step + 1) * kStepCols<Codec>) - col;
    for (uint32_t r = 0; r < kPanelRows; r += 4) {
      for (uint32_t i = 0; i < 4; ++i) {
        if (r + i >= args.num_rows) {
          std::memset(four[i], 0, sizeof(four[i]));
          continue;
        }
        const uint64_t row = args.row + r + i;
        const auto steps = repeat_steps<Codec>(scales.at(row, step));
        const uint64_t elem = mapping(row, col);
        HWY_ALIGN uint8_t copy[kStepCols<Codec> * Codec::kBits / 8] = {};
        const bool direct = num_cols == kStepCols<Codec> && begins_byte<Codec>(elem);
        if (!direct) copy_codes<Codec>(codes, elem, num_cols, copy);
        const uint8_t* p = direct ? byte_of<Codec>(codes, elem) : copy;
        for (size_t c = 0; c < num_cols; c += kPairElems, p += kPairBytes<Codec>) {
          const VecPair w = Codec::in_order(codec.load_pair(p));
          hn::Store(steps.weight(w.a), d, four[i] + c);
          hn::Store(steps.weight(w.b), d, four[i] + c + kLanes);
        }
      }
      transpose_4_rows(four[0], kStepCols<Codec>, num_cols,
                       args.panel + (col - args.col) * kPanelRows + r, kPanelRows);
    }
    col += num_cols;
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

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kRowMajor; }

constexpr uint32_t kMaxMatvecTokens = 12;

}  // namespace

std::span<const DenseKernel> dense_quant_row_major_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_QUANT_DENSE_KERNELS("row_major", "row_major", accepts, kMaxMatvecTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
