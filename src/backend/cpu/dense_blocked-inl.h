// Chunks of K cols of some rows in turn, as tiles and blocks hold them: products, and decoding to
// panels. What `interleave`, `tile` and `morton` share. Compiled once per target.
//
// A product goes through a *band*, at most band_rows() rows by all cols, chunk by chunk in the
// order of memory. Meanwhile each row's sum is a few lanes in L1; they are added up once, when the
// band is done. Each row's chunks come in the order of their cols whatever the band is, so a row's
// result does not depend on which rows were done with it.
#include "backend/cpu/matmul-inl.h"
#include "hwy/highway.h"

#if defined(SKEIN_DENSE_BLOCKED_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_DENSE_BLOCKED_INL_H
#undef SKEIN_DENSE_BLOCKED_INL_H
#else
#define SKEIN_DENSE_BLOCKED_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

// The sums of a band are a vector a row and token: 8 KiB for one token, 16 KiB for 4, a third of
// L1.
constexpr size_t band_rows(size_t num_tokens) { return num_tokens == 1 ? 128 : 64; }

// Tokens at once: their sums, two vectors of x each and the weights fill 16 registers.
inline constexpr size_t kBandTokens = 4;

// How far ahead of the products weights are asked for.
inline constexpr size_t kBandPrefetchBytes = 2048;

#if HWY_TARGET != HWY_SCALAR
// x[0, kChunk) again and again; kChunk is 1, 2, 4 or half of the lanes of d.
template <size_t kChunk, class D>
HWY_INLINE hn::Vec<D> repeat_x(D d, const float* x) {
  if constexpr (kChunk == 1) {
    return hn::Set(d, *x);
  } else if constexpr (kChunk == 2) {
    const hn::Repartition<double, D> d64;
    double pair;
    std::memcpy(&pair, x, sizeof(pair));
    return hn::BitCast(d, hn::Set(d64, pair));
  } else if constexpr (kChunk == 4) {
    return hn::LoadDup128(d, x);
  } else {
    const auto half = hn::LoadU(hn::Half<D>(), x);
    return hn::Combine(d, half, half);
  }
}

// Lanes i with i % kChunk < n: those that are no padding in the chunk at the last col.
template <size_t kChunk, class D>
HWY_INLINE hn::Mask<D> chunk_mask(D d, size_t n) {
  const hn::RebindToSigned<D> d32;
  const auto place = hn::And(hn::Iota(d32, 0), hn::Set(d32, static_cast<int32_t>(kChunk - 1)));
  return hn::RebindMask(d, hn::Lt(place, hn::Set(d32, static_cast<int32_t>(n))));
}
#endif

// Whether the rows of a chunk lie in the lanes of whole vectors, `chunk` lanes each. Otherwise each
// row's cols are a run of their own.
HWY_INLINE constexpr bool chunk_is_flat(size_t chunk) {
  return chunk < kLanes && (chunk == 1 || chunk == 2 || chunk == 4 || chunk == 8);
}

// A chunk of weights: row r of num_rows has its num_cols <= chunk cols at w + r * chunk.
template <class E>
struct Chunk {
  const E* w;
  size_t chunk;
  size_t num_rows;
  size_t num_cols;
  size_t col;
  size_t band_row;        // its first row's place in the band
  ptrdiff_t ahead_bytes;  // from a weight to what is read a while after it
};

template <class E>
HWY_INLINE void prefetch_ahead(const E* p, ptrdiff_t ahead_bytes, size_t num_bytes) {
  const char* ahead = reinterpret_cast<const char*>(p) + ahead_bytes;
  HWY_UNROLL(16)
  for (size_t bytes = 0; bytes < num_bytes; bytes += 64) prefetch_l1(ahead + bytes);
}

// The sums of one band for kTokens tokens, and what they are sums of.
template <size_t kTokens>
class Band {
 public:
  // x[t] and y[t] are the rows of a turn of tokens, y[t] from the band's first row on.
  Band(size_t num_rows, size_t chunk, const float* const* x)
      : num_rows_(num_rows), width_(chunk_is_flat(chunk) ? chunk : kLanes), x_(x) {
    for (size_t t = 0; t < kTokens; ++t) {
      std::memset(sums_of(t), 0, num_rows * width_ * sizeof(float));
    }
  }

  template <class E>
  HWY_INLINE void add(const Chunk<E>& c) {
    if (width_ == kLanes) return add_runs(c);
#if HWY_TARGET != HWY_SCALAR
    if (width_ == 1) return add_flat<1>(c);
    if (width_ == 2) return add_flat<2>(c);
    if constexpr (kLanes > 4) {
      if (width_ == 4) return add_flat<4>(c);
    }
    if constexpr (kLanes > 8) {
      if (width_ == 8) return add_flat<8>(c);
    }
#endif
  }

  // y[t] = or += the sums, for t < num_tokens.
  void finish(float* const* y, size_t num_tokens, bool add) {
    const F32Tag d;
    for (size_t t = 0; t < num_tokens; ++t) {
      for (size_t r = 0; r < num_rows_; ++r) {
        const float* sums = sums_of(t) + r * width_;
        float total = sums[0];
        if (width_ == kLanes) {
          total = hn::GetLane(hn::SumOfLanes(d, hn::Load(d, sums)));
        } else {
          for (size_t k = 1; k < width_; ++k) total += sums[k];
        }
        y[t][r] = add ? y[t][r] + total : total;
      }
    }
  }

 private:
  HWY_INLINE float* sums_of(size_t token) { return sums_ + token * band_rows(kTokens) * kLanes; }

#if HWY_TARGET != HWY_SCALAR
  // A vector holds kLanes / kChunk rows of the chunk; so do the sums.
  template <size_t kChunk, class E>
  HWY_INLINE void add_flat(const Chunk<E>& c) {
    const F32Tag d;
    const bool is_whole = c.num_cols == kChunk;
    F32Vec xs[kTokens];
    HWY_ALIGN float edge[kChunk] = {};
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      const float* x = x_[t] + c.col;
      if (!is_whole) std::memcpy(edge, x, c.num_cols * sizeof(float));
      xs[t] = repeat_x<kChunk>(d, is_whole ? x : edge);
    }
    const size_t num_elems = c.num_rows * kChunk;
    const size_t first = c.band_row * kChunk;
    for (size_t i = 0; i < num_elems; i += kLanes) {
      const size_t n = num_elems - i;
      prefetch_ahead(c.w + i, c.ahead_bytes, kLanes * sizeof(E));
      F32Vec weights = n >= kLanes ? load_weights(d, c.w + i) : load_weights_n(d, c.w + i, n);
      if (!is_whole) {
        weights = hn::IfThenElseZero(chunk_mask<kChunk>(d, c.num_cols), weights);
      }
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        float* sums = sums_of(t) + first + i;
        if (n >= kLanes) {
          hn::StoreU(hn::MulAdd(weights, xs[t], hn::LoadU(d, sums)), d, sums);
        } else {
          store_floats_n(d, hn::MulAdd(weights, xs[t], load_floats_n(d, sums, n)), sums, n);
        }
      }
    }
  }

#endif

  template <class E>
  HWY_INLINE void add_runs(const Chunk<E>& c) {
    constexpr size_t kMost = kTokens == 1 || kLanes == 16 ? 4 : 2;
    size_t i = 0;
    for (; i + kMost * kLanes <= c.num_cols; i += kMost * kLanes) add_vectors<kMost>(c, i);
    if constexpr (kMost > 2) {
      for (; i + 2 * kLanes <= c.num_cols; i += 2 * kLanes) add_vectors<2>(c, i);
    }
    for (; i + kLanes <= c.num_cols; i += kLanes) add_vectors<1>(c, i);
    if (i < c.num_cols) add_edge(c, i);
  }

  // kVecs vectors from place `first` of each row on.
  template <size_t kVecs, class E>
  HWY_INLINE void add_vectors(const Chunk<E>& c, size_t first) {
    const F32Tag d;
    F32Vec xs[kTokens][kVecs];
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVecs; ++v) {
        xs[t][v] = hn::LoadU(d, x_[t] + c.col + first + v * kLanes);
      }
    }
    for (size_t r = 0; r < c.num_rows; ++r) {
      const E* w = c.w + r * c.chunk + first;
      prefetch_ahead(w, c.ahead_bytes, kVecs * kLanes * sizeof(E));
      F32Vec acc[kTokens];
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        acc[t] = hn::Load(d, sums_of(t) + (c.band_row + r) * kLanes);
      }
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVecs; ++v) {
        const F32Vec weights = load_weights(d, w + v * kLanes);
        HWY_UNROLL(16)
        for (size_t t = 0; t < kTokens; ++t) acc[t] = hn::MulAdd(weights, xs[t][v], acc[t]);
      }
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        hn::Store(acc[t], d, sums_of(t) + (c.band_row + r) * kLanes);
      }
    }
  }

  // The cols from `first` on, less than a vector of each row.
  template <class E>
  HWY_INLINE void add_edge(const Chunk<E>& c, size_t first) {
    const F32Tag d;
    const size_t n = c.num_cols - first;
    for (size_t r = 0; r < c.num_rows; ++r) {
      const F32Vec weights = load_weights_n(d, c.w + r * c.chunk + first, n);
      for (size_t t = 0; t < kTokens; ++t) {
        float* sums = sums_of(t) + (c.band_row + r) * kLanes;
        const F32Vec xs = load_floats_n(d, x_[t] + c.col + first, n);
        hn::Store(hn::MulAdd(weights, xs, hn::Load(d, sums)), d, sums);
      }
    }
  }

  size_t num_rows_;
  size_t width_;  // lanes of a row's sum: of a whole vector, or K
  const float* const* x_;
  HWY_ALIGN float sums_[kTokens * band_rows(kTokens) * kLanes];
};

// Calls f(x, y, num_tokens) for each turn of tokens, with the turn's size as a template argument. A
// turn that is not full repeats its last token. y begins at `row`.
template <class F>
HWY_INLINE void for_each_turn(const MatvecArgs& args, uint64_t row, F&& f) {
  for (size_t token = 0; token < args.num_tokens; token += kBandTokens) {
    const size_t num_tokens = HWY_MIN(kBandTokens, args.num_tokens - token);
    const float* x[kBandTokens];
    float* y[kBandTokens];
    for (size_t t = 0; t < kBandTokens; ++t) {
      const size_t from = token + HWY_MIN(t, num_tokens - 1);
      x[t] = args.x + from * args.x_stride_elems;
      y[t] = args.y + from * args.y_stride_elems + row;
    }
    if (num_tokens == 1) {
      f.template operator()<1>(x, y, num_tokens);
    } else {
      f.template operator()<kBandTokens>(x, y, num_tokens);
    }
  }
}

// to[c * kPanelRows + r] = the weight at w + r * chunk + c, for num_rows rows and num_cols <= chunk
// cols.
template <class E>
HWY_INLINE void decode_chunk(const E* w, size_t chunk, size_t num_rows, size_t num_cols,
                             float* to) {
  size_t r = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 4> d;
  if (chunk == 1) {
    for (; r + 4 <= num_rows; r += 4) hn::StoreU(load_4_weights(w + r), d, to + r);
  } else if (chunk == 2 && num_cols == 2) {
    for (; r + 4 <= num_rows; r += 4) {
      const auto rows01 = load_4_weights(w + r * 2);
      const auto rows23 = load_4_weights(w + r * 2 + 4);
      hn::StoreU(hn::ConcatEven(d, rows23, rows01), d, to + r);
      hn::StoreU(hn::ConcatOdd(d, rows23, rows01), d, to + kPanelRows + r);
    }
  }
#endif
  for (; r + 4 <= num_rows; r += 4) {
    transpose_4_rows(w + r * chunk, chunk, num_cols, to + r, kPanelRows);
  }
  for (; r < num_rows; ++r) {
    for (size_t c = 0; c < num_cols; ++c) to[c * kPanelRows + r] = one_weight(w + r * chunk + c);
  }
}

// The rows that a panel has and the weights have not.
HWY_INLINE void zero_missing_rows(const PanelArgs& args) {
  const size_t num_bytes = (kPanelRows - args.num_rows) * sizeof(float);
  if (num_bytes == 0) return;
  for (size_t c = 0; c < args.num_cols; ++c) {
    std::memset(args.panel + c * kPanelRows + args.num_rows, 0, num_bytes);
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
