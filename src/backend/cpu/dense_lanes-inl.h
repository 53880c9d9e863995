// The matvec of `interleave(R,B,K)` with R = 4, 8 or 16 and K less than a vector: each lane is one
// col of K of one of R rows, so that one sequential stream of whole vectors is multiplied by x
// repeated, and no register holds anything but sums. K = 4 is the order that VNNI wants of int8;
// here it costs one load of x a chunk. Compiled once per target.
#include "backend/cpu/dense_blocked-inl.h"
#include "backend/cpu/matmul-inl.h"
#include "hwy/highway.h"

#if defined(SKEIN_DENSE_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_DENSE_LANES_INL_H
#undef SKEIN_DENSE_LANES_INL_H
#else
#define SKEIN_DENSE_LANES_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

template <size_t kRowsOf, size_t kChunkOf>
struct LaneShape {
  static constexpr size_t kRows = kRowsOf;
  static constexpr size_t kChunk = kChunkOf;
  static constexpr size_t kElems = kRows * kChunk;
  static constexpr size_t kWidth = HWY_MIN(kElems, kLanes);
  static constexpr size_t kVecs = kElems / kWidth;
  // Of 4 rows of 1 col a vector is only a quarter of the longest.
  using Tag = hn::CappedTag<float, kWidth>;

  // Tokens at once: with the sums half of the registers are full.
  static constexpr size_t kMaxSums = kLanes == 16 ? 16 : 8;
  static constexpr size_t kTokens = HWY_MAX(1, HWY_MIN(4, kMaxSums / kVecs));

  // Chunks at once, each with sums of its own: 8 sums hide the latency of FMA.
  template <size_t kNumTokens>
  static constexpr size_t kTurns = HWY_MAX(1, HWY_MIN(4, 8 / (kNumTokens * kVecs)));
};

#if HWY_TARGET != HWY_SCALAR
// A vector of any tag, as load_weights() for the longest.
template <class D>
HWY_INLINE hn::Vec<D> load_lanes(D d, const float* p) {
  return hn::LoadU(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> load_lanes(D d, const F16* p) {
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
}
template <class D>
HWY_INLINE hn::Vec<D> load_lanes(D d, const BF16* p) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::Rebind<uint32_t, D> d32;
  const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p)));
  return hn::BitCast(d, hn::ShiftLeft<16>(bits));
}

template <class Shape, size_t kTokens>
using LaneSums =
    hn::Vec<typename Shape::Tag>[kTokens][Shape::template kTurns<kTokens>][Shape::kVecs];

// The chunk at w times x[t][0, num_cols), num_cols <= K; kWhole: num_cols == K.
template <class Shape, size_t kTokens, bool kWhole, class E>
HWY_INLINE void add_lanes(const E* w, const float* const* x, size_t col, size_t num_cols,
                          size_t turn, LaneSums<Shape, kTokens>& acc) {
  const typename Shape::Tag d;
  hn::Vec<typename Shape::Tag> weights[Shape::kVecs];
  HWY_UNROLL(16)
  for (size_t v = 0; v < Shape::kVecs; ++v) {
    weights[v] = load_lanes(d, w + v * Shape::kWidth);
    if constexpr (!kWhole) {
      weights[v] = hn::IfThenElseZero(chunk_mask<Shape::kChunk>(d, num_cols), weights[v]);
    }
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    HWY_ALIGN float edge[Shape::kChunk] = {};
    if constexpr (!kWhole) std::memcpy(edge, x[t] + col, num_cols * sizeof(float));
    const auto xs = repeat_x<Shape::kChunk>(d, kWhole ? x[t] + col : edge);
    HWY_UNROLL(16)
    for (size_t v = 0; v < Shape::kVecs; ++v) {
      acc[t][turn][v] = hn::MulAdd(weights[v], xs, acc[t][turn][v]);
    }
  }
}

// A run of chunks that lie side by side.
template <class Shape, size_t kTokens, class E>
HWY_INLINE void add_lane_run(const E* w, const float* const* x, size_t col, size_t num_cols,
                             LaneSums<Shape, kTokens>& acc) {
  constexpr size_t kTurns = Shape::template kTurns<kTokens>;
  // At least a cache line a turn, so that none is asked for twice.
  constexpr size_t kChunks = HWY_MAX(kTurns, 64 / (Shape::kElems * sizeof(E)));
  const size_t end = col + num_cols;
  for (; col + kChunks * Shape::kChunk <= end; col += kChunks * Shape::kChunk) {
    prefetch_ahead(w, kBandPrefetchBytes, kChunks * Shape::kElems * sizeof(E));
    HWY_UNROLL(16)
    for (size_t i = 0; i < kChunks; ++i) {
      add_lanes<Shape, kTokens, true>(w + i * Shape::kElems, x, col + i * Shape::kChunk,
                                      Shape::kChunk, i % kTurns, acc);
    }
    w += kChunks * Shape::kElems;
  }
  for (; col + Shape::kChunk <= end; col += Shape::kChunk, w += Shape::kElems) {
    add_lanes<Shape, kTokens, true>(w, x, col, Shape::kChunk, 0, acc);
  }
  if (col < end) add_lanes<Shape, kTokens, false>(w, x, col, end - col, 0, acc);
}

// y[t][0, num_rows) of the row group at w.
template <class Shape, size_t kTokens, class E>
HWY_NOINLINE void multiply_lanes(const Interleave& mapping, const E* w, const float* const* x,
                                 float* const* y, size_t num_tokens, size_t num_rows, bool add) {
  const typename Shape::Tag d;
  constexpr size_t kTurns = Shape::template kTurns<kTokens>;
  LaneSums<Shape, kTokens> acc;
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    HWY_UNROLL(16)
    for (size_t u = 0; u < kTurns; ++u) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < Shape::kVecs; ++v) acc[t][u][v] = hn::Zero(d);
    }
  }
  // Blocks without gaps between them are one run.
  const size_t cols = mapping.extents().cols;
  const bool gapless = mapping.block_stride() == Shape::kRows * mapping.block_cols();
  const size_t run = gapless ? cols : mapping.block_cols();
  for (size_t col = 0; col < cols; col += run, w += mapping.block_stride()) {
    add_lane_run<Shape, kTokens>(w, x, col, HWY_MIN(run, cols - col), acc);
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    if (t >= num_tokens) break;
    HWY_ALIGN float sums[Shape::kElems];
    HWY_UNROLL(16)
    for (size_t v = 0; v < Shape::kVecs; ++v) {
      auto sum = acc[t][0][v];
      HWY_UNROLL(16)
      for (size_t u = 1; u < kTurns; ++u) sum = hn::Add(sum, acc[t][u][v]);
      hn::Store(sum, d, sums + v * Shape::kWidth);
    }
    for (size_t r = 0; r < num_rows; ++r) {
      float total = sums[r * Shape::kChunk];
      for (size_t k = 1; k < Shape::kChunk; ++k) total += sums[r * Shape::kChunk + k];
      y[t][r] = add ? y[t][r] + total : total;
    }
  }
}

// All of args.rows, 16 at a time, so that a second turn of tokens finds their weights in L2. R
// divides 16, so that the rows begin with a row group.
template <class Shape, class E>
void matvec_lanes(const MatvecArgs& args) {
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  constexpr size_t kTokens = Shape::kTokens;
  for (uint64_t first = args.rows.begin; first < args.rows.end; first += kRowGroup) {
    const uint64_t end = HWY_MIN(first + kRowGroup, args.rows.end);
    for (size_t token = 0; token < args.num_tokens; token += kTokens) {
      const size_t num_tokens = HWY_MIN(kTokens, args.num_tokens - token);
      for (uint64_t row = first; row < end; row += Shape::kRows) {
        const float* x[kTokens];
        float* y[kTokens];
        for (size_t t = 0; t < kTokens; ++t) {
          const size_t from = token + HWY_MIN(t, num_tokens - 1);
          x[t] = args.x + from * args.x_stride_elems;
          y[t] = args.y + from * args.y_stride_elems + row;
        }
        const E* w = weights + mapping.block_offset(row / Shape::kRows, uint64_t{0});
        const size_t num_rows = HWY_MIN(Shape::kRows, end - row);
        if (num_tokens == 1) {
          multiply_lanes<Shape, 1>(mapping, w, x, y, num_tokens, num_rows, args.add);
        } else {
          multiply_lanes<Shape, kTokens>(mapping, w, x, y, num_tokens, num_rows, args.add);
        }
      }
    }
  }
}
#endif  // HWY_TARGET != HWY_SCALAR

// Does the matvec and returns true where the layout is one for lanes.
template <class E>
bool try_matvec_lanes([[maybe_unused]] const MatvecArgs& args) {
#if HWY_TARGET != HWY_SCALAR
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const auto with_chunk = [&](auto chunk) {
    constexpr size_t kChunk = decltype(chunk)::value;
    if constexpr (kChunk < kLanes) {
      switch (mapping.block_rows()) {
        case 4:
          matvec_lanes<LaneShape<4, kChunk>, E>(args);
          return true;
        case 8:
          matvec_lanes<LaneShape<8, kChunk>, E>(args);
          return true;
        case 16:
          matvec_lanes<LaneShape<16, kChunk>, E>(args);
          return true;
        default:
          return false;
      }
    }
    return false;
  };
  switch (mapping.chunk_cols()) {
    case 1:
      return with_chunk(std::integral_constant<size_t, 1>());
    case 2:
      return with_chunk(std::integral_constant<size_t, 2>());
    case 4:
      return with_chunk(std::integral_constant<size_t, 4>());
    case 8:
      return with_chunk(std::integral_constant<size_t, 8>());
    default:
      return false;
  }
#else
  return false;
#endif
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
