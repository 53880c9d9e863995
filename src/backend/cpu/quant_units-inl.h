// dense for codes of 8 bits in `interleave(R,B,4)` and of 4 bits in `interleave(R,B,8)`, exact:
// dequantized weights times f32 activations. For R = 16 (dense_quant_interleave.cc), 8 and 4
// (dense_quant_interleave_narrow.cc). Compiled once per target.
//
// A u32 of the codes holds 4 or 8 cols of one row, so a cache line, a *unit*, holds 16 / R chunks
// of R rows, a row and chunk a lane, whose cols come one after the other by shifting. Lanes of the
// same row are added up when all is done. Codes are summed first, and a block's scales meet the
// sums, not the weights:
//
//   int8       y += (max - min) / 255 * sum(q x) + min * sum(x)
//   nf4, sf4   y += absmax * sum(code[q] x)
//
// R = 16 takes x as it lies, a float for all lanes. Below, each chunk of a unit has its own x: it
// is put in order once for all rows, zeros behind the last col, and 16 / R row groups at once share
// what spreads it over the lanes.
//
// Padding codes meet x = 0, padding rows are computed and not stored.
#include <algorithm>

#include "backend/cpu/code_stream.h"
#include "backend/cpu/dense_blocked-inl.h"
#include "backend/cpu/quant_codec-inl.h"
#include "hwy/highway.h"

#if defined(SKEIN_QUANT_UNITS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_QUANT_UNITS_INL_H
#undef SKEIN_QUANT_UNITS_INL_H
#else
#define SKEIN_QUANT_UNITS_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

// How far ahead of the products codes and scales are asked for: the hardware's own streams stop at
// each 4 KiB. 512 B of scales belong to 8 to 16 KiB of codes.
inline constexpr size_t kChunkPrefetchBytes = 2048;
inline constexpr size_t kScalePrefetchBytes = 512;

// Row groups at once. Vectors of 4 lanes hold one chunk or less, and have no x to share. Under a
// sanitizer clang takes more than a quarter of an hour for several.
inline constexpr bool kHasSeveralGroups = kLanes >= 8 && !HWY_IS_ASAN;
template <size_t kRows>
inline constexpr size_t kGroupsOfRows = kHasSeveralGroups ? 16 / kRows : 1;

template <class CodecOf, size_t kRowsOf, size_t kGroupsOf = kGroupsOfRows<kRowsOf>>
struct ChunkShape {
  using Codec = CodecOf;
  static constexpr size_t kRows = kRowsOf;  // R
  static constexpr size_t kChunk = Codec::kChunk;
  static constexpr size_t kUnitBytes = 64;
  static constexpr size_t kUnitChunks = 16 / kRows;
  static constexpr size_t kUnitCols = kUnitChunks * kChunk;
  static_assert(kStepCols<Codec> % kUnitCols == 0);
  static constexpr size_t kChunkBytes = kRows * sizeof(uint32_t);

  static constexpr size_t kGroups = kGroupsOf;
  static constexpr size_t kGroupRows = kGroups * kRows;
  // Vectors that hold the sums of a row group, chunks that lie in one.
  static constexpr size_t kVecs = HWY_MAX(1, kRows / kLanes);
  static constexpr size_t kVecChunks = HWY_MAX(1, kLanes / kRows);

  // Tokens at once: the sums are half of the registers or less. Two groups of 16 rows are for one
  // token, which waits for memory.
  static constexpr size_t kSums = kGroups * kVecs;
  static constexpr size_t kMaxSums = kLanes == 16 && kRows < 16 ? 16 : 8;
  static constexpr size_t kMaxTokens = kGroupRows > 16 ? 1
                                                       : HWY_MAX(1, HWY_MIN(kRows < 16 ? 4 : 8,
                                                                            kMaxSums / kSums));

  // In layouts that are no default two tokens take a turn of four: less to compile.
  static constexpr bool kTakesTwo = kMaxTokens >= 2 && (kRows == 16 || kMaxTokens < 4);

  // Codes 2, 4 and 6 of a lane by loads that begin one, two and three bytes later, since
  // the ports of shifts and look-ups are full and those of loads are not.
  static constexpr bool kLoadsBytes = kGroupRows > 16 && kChunk == 8 && kLanes == 16;

  // Several sums a vector hide the latency of FMA, 4 cycles, where there are few tokens.
  template <size_t kTokens>
  static constexpr size_t kTurns = HWY_MAX(1, (kGroupRows > 16 ? 8 : 4) / (kTokens * kSums));

  // acc[t][u][g][v]: t the token, u a col's turn, g the row group, v the vector of its rows.
  template <size_t kTokens>
  using Sums = F32Vec[kTokens][kTurns<kTokens>][kGroups][kVecs];
};

// x of a unit in the order of its shifts: to[j * kUnitChunks + i] = x[i * kChunk + j].
template <class Shape>
HWY_INLINE void order_unit(const float* x, float* to) {
  constexpr size_t kChunk = Shape::kChunk, kChunks = Shape::kUnitChunks;
  if constexpr (kChunks == 4) {
    transpose_4_rows(x, kChunk, kChunk, to, kChunks);
  } else {
    for (size_t j = 0; j < kChunk; ++j) {
      for (size_t i = 0; i < kChunks; ++i) to[j * kChunks + i] = x[i * kChunk + j];
    }
  }
}

// The first num_cols < kUnitCols cols of a unit, and zeros.
template <class Shape>
HWY_INLINE void order_edge(const float* x, size_t num_cols, float* to) {
  float edge[Shape::kUnitCols] = {};
  std::memcpy(edge, x, num_cols * sizeof(float));
  order_unit<Shape>(edge, to);
}

// Lane l has place l / kRows of x, of the chunks that a vector has.
template <class Shape>
class Spread {
 public:
  // Written out, since what the compiler makes has no target.
  Spread() : chunk_of_(indices(Shape::kRows, kLanes)), row_of_(indices(1, Shape::kRows)) {}

  HWY_INLINE F32Vec operator()(const float* x) const {
    const F32Tag d;
    if constexpr (Shape::kVecChunks == 1) {
      return hn::Set(d, *x);
    } else {
      return hn::TableLookupLanes(repeat_x<Shape::kVecChunks>(d, x), chunk_of_);
    }
  }
  // Lane l has lane l % kRows.
  template <class Steps>
  HWY_INLINE Steps of_rows(const Steps& steps) const {
    if constexpr (Shape::kVecChunks == 1) {
      return steps;
    } else {
      return steps.lanes(row_of_);
    }
  }

 private:
  static HWY_INLINE auto indices(uint32_t divisor, uint32_t modulus) {
    HWY_ALIGN int32_t lanes[kLanes];
    for (uint32_t l = 0; l < kLanes; ++l) lanes[l] = static_cast<int32_t>(l / divisor % modulus);
    return hn::SetTableIndices(F32Tag(), lanes);
  }
  using Indices = decltype(indices(1, 1));
  Indices chunk_of_;
  Indices row_of_;
};

// w[g]: a unit of each row group. x[t][col ...]: the unit's own, in its order; one index for all
// tokens, since a pointer each would be moved in memory at every unit where there are eight.
template <size_t kTokens, class Shape>
HWY_INLINE void add_unit(const typename Shape::Codec& codec, const Spread<Shape>& spread,
                         const uint8_t* const* w, const float* const* x, size_t col,
                         typename Shape::template Sums<kTokens>& acc) {
  constexpr size_t kGroups = Shape::kGroups, kTurns = Shape::template kTurns<kTokens>;
  HWY_UNROLL(16)
  for (size_t v = 0; v < kVecs16; ++v) {
    U32Vec bits[kGroups];
    HWY_UNROLL(16)
    for (size_t g = 0; g < kGroups; ++g) bits[g] = load_u32(w[g] + v * kLanes * sizeof(uint32_t));
    HWY_UNROLL(16)
    for (size_t j = 0; j < Shape::kChunk; ++j) {
      const size_t place = j * Shape::kUnitChunks + v * kLanes / Shape::kRows;
      F32Vec codes[kGroups];
      HWY_UNROLL(16)
      for (size_t g = 0; g < kGroups; ++g) {
        if (Shape::kLoadsBytes && j != 0 && j % 2 == 0) bits[g] = load_u32(w[g] + j / 2);
        codes[g] = codec.take(bits[g]);
      }
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        const F32Vec xs = spread(x[t] + col + place);
        HWY_UNROLL(16)
        for (size_t g = 0; g < kGroups; ++g) {
          F32Vec& sum = acc[t][j % kTurns][g][v % Shape::kVecs];
          sum = hn::MulAdd(codes[g], xs, sum);
        }
      }
    }
  }
}

// The scales of a row group: R words of each row after the other, block after block, without gaps
// (scale_layout()).
template <class Shape>
class ScaleStream {
  using Codec = typename Shape::Codec;

 public:
  static constexpr size_t kWordBytes = Shape::kRows * Codec::kWordBytes;
  static constexpr size_t kBlockBytes = Codec::kWords * kWordBytes;

  ScaleStream() = default;
  ScaleStream(const Tensor& weights, uint64_t row)
      : scales_(reinterpret_cast<const uint8_t*>(weights.scales_data()) +
                mapping_as<Interleave>(weights.scales_mapping())
                        .block_offset(row / Shape::kRows, uint64_t{0}) *
                    Codec::kWordBytes) {}

  // Of vector v of the rows. Lanes that R rows do not fill hold others: within kReadSlackBytes.
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

  const uint8_t* scales_ = nullptr;
};

// The codes of the row groups that are multiplied together. One that the matrix has not repeats the
// first.
template <class Shape>
class UnitStream {
  using Codec = typename Shape::Codec;
  static constexpr size_t kGroups = Shape::kGroups;

 public:
  UnitStream(const Tensor& weights, uint64_t row, size_t num_rows, Range cols)
      : stream_(mapping_as<Interleave>(weights),
                reinterpret_cast<const uint8_t*>(weights.host_data()), Codec::kBits, row,
                cols.begin) {
    const auto& mapping = mapping_as<Interleave>(weights);
    group_bytes_ = mapping.group_stride() * Codec::kBits / 8;
    for (size_t g = 0; g < kGroups; ++g) {
      group_offset_[g] = g * Shape::kRows < num_rows ? g * group_bytes_ : 0;
    }
    end_ = stream_.at() + group_bytes_ -
           cols.begin * Shape::kRows * Codec::kBits / 8;  // near enough where there are gaps
  }

  // num_cols cols of one step; x[t][col ...] is multiplied by them.
  template <size_t kTokens>
  HWY_INLINE void add(const Codec& codec, const Spread<Shape>& spread, const float* const* x,
                      size_t col, size_t num_cols, typename Shape::template Sums<kTokens>& acc) {
    for (const size_t end = col + num_cols; col < end;) {
      const size_t whole = stream_.run(end - col) / Shape::kUnitCols * Shape::kUnitCols;
      if (whole != 0) {
        add_units<kTokens>(codec, spread, x, col, whole, acc);
        stream_.skip(whole);
        col += whole;
      } else {
        add_edge<kTokens>(codec, spread, x, col, std::min(end - col, Shape::kUnitCols), acc);
        col += Shape::kUnitCols;
      }
    }
  }

 private:
  template <size_t kTokens>
  HWY_INLINE void add_units(const Codec& codec, const Spread<Shape>& spread, const float* const* x,
                            size_t col, size_t num_cols,
                            typename Shape::template Sums<kTokens>& acc) {
    const uint8_t* w[kGroups];
    HWY_UNROLL(16)
    for (size_t g = 0; g < kGroups; ++g) w[g] = stream_.at() + group_offset_[g];
    const size_t ahead = ahead_bytes();
    for (const size_t end = col + num_cols; col < end; col += Shape::kUnitCols) {
      HWY_UNROLL(16)
      for (size_t g = 0; g < kGroups; ++g) prefetch_l1(w[g] + ahead);
      add_unit<kTokens, Shape>(codec, spread, w, x, col, acc);
      HWY_UNROLL(16)
      for (size_t g = 0; g < kGroups; ++g) w[g] += Shape::kUnitBytes;
    }
  }

  // A unit that a gap divides, or the last one.
  template <size_t kTokens>
  HWY_INLINE void add_edge(const Codec& codec, const Spread<Shape>& spread, const float* const* x,
                           size_t col, size_t num_cols,
                           typename Shape::template Sums<kTokens>& acc) {
    HWY_ALIGN uint8_t copy[kGroups][Shape::kUnitBytes + (Shape::kLoadsBytes ? 64 : 0)] = {};
    const uint8_t* w[kGroups];
    for (size_t g = 0; g < kGroups; ++g) w[g] = copy[g];
    for (size_t i = 0; i * Shape::kChunk < num_cols; ++i) {
      for (size_t g = 0; g < kGroups; ++g) {
        std::memcpy(copy[g] + i * Shape::kChunkBytes, stream_.at() + group_offset_[g],
                    Shape::kChunkBytes);
      }
      stream_.skip(HWY_MIN(Shape::kChunk, num_cols - i * Shape::kChunk));
    }
    if constexpr (Shape::kRows < 16) {
      add_unit<kTokens, Shape>(codec, spread, w, x, col, acc);
    } else {
      float edge[kTokens][Shape::kUnitCols];
      const float* edge_x[kTokens];
      for (size_t t = 0; t < kTokens; ++t) {
        order_edge<Shape>(x[t] + col, num_cols, edge[t]);
        edge_x[t] = edge[t];
      }
      add_unit<kTokens, Shape>(codec, spread, w, edge_x, 0, acc);
    }
  }

  // To what is read kChunkPrefetchBytes later in a row group: behind a row group's own codes
  // follow those of its neighbours, which are read now.
  HWY_INLINE size_t ahead_bytes() const {
    if (kGroups == 1 || stream_.at() + kChunkPrefetchBytes < end_) return kChunkPrefetchBytes;
    return kChunkPrefetchBytes + (kGroups - 1) * group_bytes_;
  }

  CodeStream stream_;
  uint64_t group_bytes_;
  uint64_t group_offset_[kGroups];
  const uint8_t* end_;
};

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
