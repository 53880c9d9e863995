// The products and the panels of quantized `interleave(R,B,4)` and `interleave(R,B,8)`, in units
// (quant_units-inl.h): rows by tokens by steps of cols. Compiled once per target.
#include <algorithm>

#include "backend/cpu/cpu_features.h"
#include "backend/cpu/quant_units-inl.h"
#include "hwy/highway.h"

#if defined(SKEIN_DENSE_QUANT_CHUNKS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_DENSE_QUANT_CHUNKS_INL_H
#undef SKEIN_DENSE_QUANT_CHUNKS_INL_H
#else
#define SKEIN_DENSE_QUANT_CHUNKS_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

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

// kGroupRows rows and some tokens.
template <size_t kTokens>
struct ChunkGroup {
  const Tensor& weights;
  uint64_t row;
  size_t num_rows;
  Range cols;               // begins at a multiple of a block
  const float* x[kTokens];  // from col cols.begin on; below R = 16 in the order of the units
  float* y[kTokens];
  size_t token;  // the first one; a turn that is not full repeats its last
  size_t num_tokens;
  bool add;
};

// The sums of the lanes of each row, in kRows lanes or all.
template <size_t kRows, class D>
HWY_INLINE auto fold_chunks(D, hn::Vec<D> v) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (hn::MaxLanes(D()) > kRows) {
    const hn::Half<D> half;
    return fold_chunks<kRows>(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
#else
  return v;
#endif
}

// y[t][0, num_rows).
template <size_t kTokens, class Shape>
HWY_NOINLINE void multiply_group(const typename Shape::Codec& codec,
                                 const ChunkGroup<kTokens>& group,
                                 const StepSums<typename Shape::Codec>& x_sums) {
  using Codec = typename Shape::Codec;
  constexpr size_t kGroups = Shape::kGroups, kVecs = Shape::kVecs;
  constexpr size_t kTurns = Shape::template kTurns<kTokens>;
  const F32Tag d;
  const Spread<Shape> spread;
  UnitStream<Shape> stream(group.weights, group.row, group.num_rows, group.cols);
  ScaleStream<Shape> scales[kGroups];
  for (size_t g = 0; g < kGroups; ++g) {
    const size_t place = g * Shape::kRows;
    scales[g] = ScaleStream<Shape>(group.weights, group.row + (place < group.num_rows ? place : 0));
  }
  HWY_ALIGN float totals[kTokens][kGroups][kVecs * kLanes] = {};
  for (size_t begin = group.cols.begin; begin < group.cols.end; begin += kStepCols<Codec>) {
    const size_t step = begin / kStepCols<Codec>;
    typename Shape::template Sums<kTokens> acc;
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      HWY_UNROLL(16)
      for (size_t u = 0; u < kTurns; ++u) {
        HWY_UNROLL(16)
        for (size_t g = 0; g < kGroups; ++g) {
          HWY_UNROLL(16)
          for (size_t v = 0; v < kVecs; ++v) acc[t][u][g][v] = hn::Zero(d);
        }
      }
    }
    stream.template add<kTokens>(codec, spread, group.x, begin - group.cols.begin,
                                 HWY_MIN(size_t{kStepCols<Codec>}, group.cols.end - begin), acc);
    HWY_UNROLL(16)
    for (size_t g = 0; g < kGroups; ++g) {
      scales[g].prefetch(step);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVecs; ++v) {
        const auto of_rows = spread.of_rows(scales[g].load(step, v));
        HWY_UNROLL(16)
        for (size_t t = 0; t < kTokens; ++t) {
          F32Vec sum = acc[t][0][g][v];
          HWY_UNROLL(16)
          for (size_t u = 1; u < kTurns; ++u) sum = hn::Add(sum, acc[t][u][g][v]);
          float* total = totals[t][g] + v * kLanes;
          F32Vec sum_x = hn::Zero(d);
          if constexpr (kHasMin<Codec>) {
            // Once a row: in the lanes of its first chunk.
            sum_x = hn::Set(d, x_sums.get(group.token + HWY_MIN(t, group.num_tokens - 1), step));
            if constexpr (Shape::kVecChunks > 1) {
              sum_x = hn::IfThenElseZero(hn::FirstN(d, Shape::kRows), sum_x);
            }
          }
          hn::Store(of_rows.add(sum, sum_x, hn::Load(d, total)), d, total);
        }
      }
    }
  }
  for (size_t t = 0; t < group.num_tokens; ++t) {
    HWY_ALIGN float sums[round_up(Shape::kGroupRows, kLanes)];  // a group may be half a vector
    for (size_t g = 0; g < kGroups; ++g) {
      for (size_t v = 0; v < kVecs; ++v) {
        const hn::CappedTag<float, HWY_MIN(kLanes, Shape::kRows)> rows;
        hn::Store(fold_chunks<Shape::kRows>(d, hn::Load(d, totals[t][g] + v * kLanes)), rows,
                  sums + g * Shape::kRows + v * kLanes);
      }
    }
    for (size_t r = 0; r < Shape::kGroupRows; r += kLanes) {
      const size_t missing = HWY_MIN(group.num_rows, r);
      add_or_store(d, hn::Load(d, sums + r), group.y[t] + r, group.num_rows - missing, group.add);
    }
  }
}

// What all rows are multiplied by: some tokens and cols.
struct ChunkedX {
  const float* x;  // of the first token, from col cols.begin on
  uint64_t stride_elems;
  Range tokens;
  Range cols;
};

// kGroupRows rows for one turn of tokens.
template <size_t kTokens, class Shape>
HWY_INLINE void multiply_turn(const typename Shape::Codec& codec, const MatvecArgs& args,
                              const ChunkedX& x, uint64_t row, size_t token, size_t num_tokens,
                              const StepSums<typename Shape::Codec>& x_sums) {
  ChunkGroup<kTokens> group{
      args.weights, row,        std::min<size_t>(args.rows.end - row, Shape::kGroupRows),
      x.cols,       {},         {},
      token,        num_tokens, args.add || x.cols.begin != 0};
  for (size_t t = 0; t < kTokens; ++t) {
    const size_t from = token + std::min(t, num_tokens - 1);
    group.x[t] = x.x + (from - x.tokens.begin) * x.stride_elems;
    group.y[t] = args.y + from * args.y_stride_elems + row;
  }
  multiply_group<kTokens, Shape>(codec, group, x_sums);
}

// A few rows at a time, so that a second turn of tokens finds their weights in L1 or L2.
template <class Shape>
HWY_INLINE void multiply_rows(const typename Shape::Codec& codec, const MatvecArgs& args,
                              const ChunkedX& x, const StepSums<typename Shape::Codec>& x_sums) {
  constexpr size_t kMaxTokens = Shape::kMaxTokens;
  for (uint64_t row = args.rows.begin; row < args.rows.end; row += Shape::kGroupRows) {
    for (size_t token = x.tokens.begin; token < x.tokens.end; token += kMaxTokens) {
      const size_t num_tokens = std::min<size_t>(kMaxTokens, x.tokens.end - token);
      if constexpr (kMaxTokens >= 8) {
        if (num_tokens > 4) {
          multiply_turn<8, Shape>(codec, args, x, row, token, num_tokens, x_sums);
          continue;
        }
      }
      if constexpr (kMaxTokens >= 4) {
        if (num_tokens > (Shape::kTakesTwo ? 2 : 1)) {
          multiply_turn<4, Shape>(codec, args, x, row, token, num_tokens, x_sums);
          continue;
        }
      }
      if constexpr (Shape::kTakesTwo) {
        if (num_tokens == 2) {
          multiply_turn<2, Shape>(codec, args, x, row, token, num_tokens, x_sums);
          continue;
        }
      }
      multiply_turn<1, Shape>(codec, args, x, row, token, num_tokens, x_sums);
    }
  }
}

// x in the order of the units, as many tokens and cols at a time as have room: 64 KiB of the stack.
template <class Shape>
HWY_NOINLINE void multiply_ordered(const typename Shape::Codec& codec, const MatvecArgs& args,
                                   const StepSums<typename Shape::Codec>& x_sums) {
  constexpr uint64_t kRoom = 16384;
  constexpr uint64_t kBlockCols = kStepCols<typename Shape::Codec> * Shape::Codec::kRuns;
  HWY_ALIGN float ordered[kRoom];
  const uint64_t num_cols = args.weights.cols(), padded = round_up(num_cols, kBlockCols);
  const uint64_t most = std::max<uint64_t>(kRoom / padded, Shape::kMaxTokens);
  const uint64_t num_tokens = std::min<uint64_t>(args.num_tokens, most);
  const uint64_t stride = std::min(padded, kRoom / num_tokens / kBlockCols * kBlockCols);
  for (uint64_t token = 0; token < args.num_tokens; token += num_tokens) {
    for (uint64_t col = 0; col < num_cols; col += stride) {
      const ChunkedX x{ordered,
                       stride,
                       {token, std::min<uint64_t>(token + num_tokens, args.num_tokens)},
                       {col, std::min(col + stride, num_cols)}};
      for (uint64_t t = x.tokens.begin; t < x.tokens.end; ++t) {
        const float* from = args.x + t * args.x_stride_elems + col;
        float* to = ordered + (t - token) * stride;
        uint64_t c = 0;
        for (; c + Shape::kUnitCols <= x.cols.length(); c += Shape::kUnitCols) {
          order_unit<Shape>(from + c, to + c);
        }
        if (c < x.cols.length()) order_edge<Shape>(from + c, x.cols.length() - c, to + c);
      }
      multiply_rows<Shape>(codec, args, x, x_sums);
    }
  }
}

template <class Codec, size_t kRows>
void multiply_chunks(const MatvecArgs& args) {
  using Shape = ChunkShape<Codec, kRows>;
  const Codec codec(args.weights.dtype());
  const StepSums<Codec> x_sums(args);
  if constexpr (kRows < 16) {
    multiply_ordered<Shape>(codec, args, x_sums);
  } else {
    const ChunkedX x{args.x, args.x_stride_elems, {0, args.num_tokens}, {0, args.weights.cols()}};
    if constexpr (kHasSeveralGroups) {
      if (args.num_tokens == 1 && cpu_wants_two_streams()) {
        return multiply_rows<ChunkShape<Codec, kRows, 2>>(codec, args, x, x_sums);
      }
    }
    multiply_rows<Shape>(codec, args, x, x_sums);
  }
}

// to[col][kPanelRows] of a row group, for num_cols cols of one step that lie side by side.
template <class Shape>
HWY_INLINE void decode_chunks(const typename Shape::Codec& codec, const uint8_t* w,
                              const typename Shape::Codec::Steps (&steps)[Shape::kVecs],
                              size_t num_cols, float* to) {
  constexpr size_t kChunk = Shape::kChunk, kChunks = Shape::kVecChunks;
  const F32Tag d;
  for (size_t col = 0; col < num_cols; col += kChunks * kChunk, w += kChunks * Shape::kChunkBytes) {
    prefetch_l1(w + kChunkPrefetchBytes);
    for (size_t v = 0; v < Shape::kVecs; ++v) {
      U32Vec bits = load_u32(w + v * kLanes * sizeof(uint32_t));
      float* lanes = to + col * kPanelRows + v * kLanes;
      const size_t count = std::min(kChunk, num_cols - col);
      for (size_t j = 0; j < count; ++j, lanes += kPanelRows) {
        const F32Vec weights = steps[v].weight(codec.take(bits));
        if constexpr (kChunks == 1) {
          hn::Store(weights, d, lanes);
        } else {
          HWY_ALIGN float copy[kLanes];
          hn::Store(weights, d, copy);
          for (size_t i = 0; i < kChunks && col + i * kChunk + j < num_cols; ++i) {
            std::memcpy(lanes + i * kChunk * kPanelRows, copy + i * Shape::kRows,
                        Shape::kRows * sizeof(float));
          }
        }
      }
    }
  }
}

template <class Codec, size_t kRows>
void decode_panel(const PanelArgs& args) {
  using Shape = ChunkShape<Codec, kRows>;
  const Codec codec(args.weights.dtype());
  const Spread<Shape> spread;
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const auto* codes = reinterpret_cast<const uint8_t*>(args.weights.host_data());
  for (size_t first = 0; first < args.num_rows; first += kRows) {
    float* to = args.panel + first;
    const uint64_t row = args.row + first;
    const ScaleStream<Shape> scales(args.weights, row);
    const uint64_t end = args.col + args.num_cols;
    for (uint64_t col = args.col; col < end;) {
      const uint64_t step = col / kStepCols<Codec>;
      typename Codec::Steps of_rows[Shape::kVecs];
      for (size_t v = 0; v < Shape::kVecs; ++v) of_rows[v] = spread.of_rows(scales.load(step, v));
      const uint64_t run_end = std::min({end, (step + 1) * kStepCols<Codec>,
                                         (col / mapping.block_cols() + 1) * mapping.block_cols()});
      decode_chunks<Shape>(codec, codes + mapping(row, col) * Codec::kBits / 8, of_rows,
                           run_end - col, to);
      to += (run_end - col) * kPanelRows;
      col = run_end;
    }
  }
  zero_missing_rows(args);
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
