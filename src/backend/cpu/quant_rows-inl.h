// What the quantized products share in which a row's cols lie side by side (`row_major`, tiles): x
// in the codec's order, made once for all rows, and the factors of one row. Compiled once per
// target.
#include <algorithm>

#include "backend/cpu/quant_codec-inl.h"
#include "hwy/highway.h"

#if defined(SKEIN_QUANT_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_QUANT_ROWS_INL_H
#undef SKEIN_QUANT_ROWS_INL_H
#else
#define SKEIN_QUANT_ROWS_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

// Floats of x that are prepared at once, a whole number of blocks for each token: 64 KiB of the
// stack. Longer rows are done segment by segment.
inline constexpr size_t kPreparedElems = 16384;

// x of up to kTokens tokens and one segment of cols.
template <class Codec, size_t kTokens>
class PreparedX {
 public:
  static constexpr size_t kMaxCols = kPreparedElems / kTokens;
  static constexpr size_t kMaxSteps = kMaxCols / kStepCols<Codec>;

  // Of the turn of num_tokens tokens at `token`; missing ones stay as they are.
  PreparedX(const MatvecArgs& args, size_t token, size_t num_tokens, Range cols)
      : num_steps_(ceil_div<size_t>(cols.length(), kStepCols<Codec>)) {
    const F32Tag d;
    for (size_t t = 0; t < kTokens; ++t) {
      // A turn that is not full repeats its last token.
      const size_t from = token + std::min(t, num_tokens - 1);
      const float* x = args.x + from * args.x_stride_elems + cols.begin;
      float* to = x_ + t * kMaxCols;
      const size_t num_cols = cols.length();
      const size_t end = num_steps_ * kStepCols<Codec>;
      for (size_t c = 0; c < end; c += kPairElems) {
        const auto load = [&](size_t col) {
          if (col + kLanes <= num_cols) return hn::LoadU(d, x + col);
          return col < num_cols ? load_floats_n(d, x + col, num_cols - col) : hn::Zero(d);
        };
        const VecPair pair = Codec::from_order({load(c), load(c + kLanes)});
        hn::Store(pair.a, d, to + c);
        hn::Store(pair.b, d, to + c + kLanes);
      }
      if constexpr (kHasMin<Codec>) {
        for (size_t b = 0; b < num_steps_; ++b) {
          F32Vec sum = hn::Load(d, to + b * kStepCols<Codec>);
          for (size_t c = kLanes; c < kStepCols<Codec>; c += kLanes) {
            sum = hn::Add(sum, hn::Load(d, to + b * kStepCols<Codec> + c));
          }
          sums_[t][b] = hn::GetLane(hn::SumOfLanes(d, sum));
        }
        std::fill(sums_[t] + num_steps_, sums_[t] + round_up(num_steps_, kLanes), 0.0f);
      }
    }
  }

  size_t num_steps() const { return num_steps_; }
  const float* step(size_t token, size_t b) const {
    return x_ + token * kMaxCols + b * kStepCols<Codec>;
  }
  // Of codecs with minima; zero from num_steps() to the next multiple of kLanes.
  const float* sums(size_t token) const { return sums_[token]; }

 private:
  HWY_ALIGN float x_[kPreparedElems];
  HWY_ALIGN float sums_[kTokens][kHasMin<Codec> ? kMaxSteps : 1];
  size_t num_steps_;
};

// sums[t] += what minima of kLanes steps from step b on add to the product of their row, in lanes.
template <class Codec, size_t kTokens>
HWY_INLINE void add_mins(F32Vec mins, size_t b, const PreparedX<Codec, kTokens>& x, F32Vec* sums) {
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    sums[t] = hn::MulAdd(mins, hn::Load(F32Tag(), x.sums(t) + b), sums[t]);
  }
}

// The factors of one row and segment as floats, aligned to a vector; may write kLanes - 1 more than
// it has steps. `scales`: in row_major, of the segment's first block. Returns in sums[t] what the
// minima add to the row's product, in lanes.
template <class Codec, size_t kTokens>
HWY_INLINE void load_row_factors(const uint8_t* scales, const PreparedX<Codec, kTokens>& x,
                                 float* factors, F32Vec* sums) {
  const F32Tag d;
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) sums[t] = hn::Zero(d);
  if constexpr (Codec::kRuns > 1) {
    // q4_k: a block has the factors and minima of eight steps.
    HWY_ALIGN float mins[PreparedX<Codec, kTokens>::kMaxSteps];
    const size_t end = round_up(x.num_steps(), HWY_MAX(size_t{Codec::kRuns}, kLanes));
    std::fill(mins + x.num_steps(), mins + end, 0.0f);
    Q4KScale scale;
    for (size_t b = 0; b < x.num_steps(); ++b) {
      if (b % Codec::kRuns == 0) {
        std::memcpy(&scale, scales + b / Codec::kRuns * sizeof(scale), sizeof(scale));
      }
      const RunStep step = run_step(scale, static_cast<uint32_t>(b % Codec::kRuns));
      factors[b] = step.factor;
      mins[b] = -step.min;
    }
    for (size_t b = 0; b < x.num_steps(); b += kLanes) {
      add_mins<Codec, kTokens>(hn::Load(d, mins + b), b, x, sums);
    }
  } else {
    for (size_t b = 0; b < x.num_steps(); b += kLanes) {
      // Steps side by side are as good as rows side by side.
      const size_t n = std::min(kLanes, x.num_steps() - b);
      const ScalePlace from = {scales + b * Codec::kWordBytes, 0, 0};
      CopiedScales<Codec, kLanes> copy;
      if (n < kLanes) copy.copy(from, n);
      const auto steps = Codec::load_steps(n < kLanes ? copy.at(0) : from);
      hn::Store(steps.factor, d, factors + b);
      if constexpr (kHasMin<Codec>) add_mins<Codec, kTokens>(steps.min, b, x, sums);
    }
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
