// Products of int8 (VPDPBUSD) for quantized weights in interleave(16,B,K): a row a lane, four cols
// of it a lane, x broadcast four cols at a time.
//
// How codes become bytes stands in dense_int8_weights.h; a block here is step_cols() cols. Measured
// 2026-11-23 on Zen 4 in a probe: all of the read bandwidth with one thread, which the exact
// products of 4-bit codes (dense_quant_interleave.cc) reach with two.
#include <algorithm>
#include <cstring>

#include "backend/cpu/avx512_vnni.h"
#include "backend/cpu/code_stream.h"
#include "backend/cpu/cpu_features.h"
#include "backend/cpu/dense_int8.h"
#include "backend/cpu/dense_int8_weights.h"
#include "backend/cpu/dense_kernel.h"
#include "tensor/codec.h"

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 warns of the operands that its own headers leave undefined on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace skein {

#if SKEIN_HAVE_AVX512_VNNI
namespace {

// As in dense_quant_interleave.cc.
constexpr size_t kPrefetchBytes = 2048;

constexpr size_t kChunkBytes = 64;

// Rows [row, row + 16 * kGroups) times kTokens tokens.
struct Tile {
  const Int8Args& args;
  uint64_t row;
  uint64_t token;
  size_t num_tokens;  // those behind have room in x and are not stored
};

SKEIN_AVX512_VNNI_INLINE __m512i broadcast4(const int8_t* p) {
  int32_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return _mm512_set1_epi32(bits);
}

// Chunks that lie side by side in each of some groups, and the codes of some tokens.
struct Chunks {
  const uint8_t* w;
  uint64_t group_bytes;
  const int8_t* x;
  uint64_t token_bytes;
  size_t count;
  uint64_t prefetch_bytes;  // from each chunk to what is asked for
};

// How far ahead of `at` its group is asked for. Groups lie behind each other and `num_groups` are
// read at once: behind the end of each comes what it reads next, beyond the others.
SKEIN_AVX512_VNNI_INLINE uint64_t bytes_ahead(const uint8_t* at, const uint8_t* group,
                                              uint64_t group_bytes, size_t num_groups,
                                              uint64_t bytes) {
  const bool is_last = static_cast<uint64_t>(at - group) + bytes >= group_bytes;
  return is_last ? bytes + (num_groups - 1) * group_bytes : bytes;
}

// Adds their products to dots[g][t].
template <class Weights, size_t kGroups, size_t kTokens>
SKEIN_AVX512_VNNI_INLINE void add_chunks(const Weights& weights, const Chunks& chunks,
                                         __m512i (*dots)[kTokens]) {
  constexpr size_t kPlanes = Weights::kPlanes;
  // With one sum for all planes, one token would wait for it: 4 cycles a product.
  constexpr size_t kSums = kGroups * kTokens == 1 ? kPlanes : 1;
  __m512i sums[kSums][kGroups][kTokens];
#pragma GCC unroll 16
  for (size_t g = 0; g < kGroups; ++g) {
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; ++t) {
      sums[0][g][t] = dots[g][t];
      if constexpr (kSums == 2) sums[1][g][t] = _mm512_setzero_si512();
    }
  }
  for (size_t c = 0; c < chunks.count; ++c) {
    __m512i planes[kGroups][kPlanes];
#pragma GCC unroll 16
    for (size_t g = 0; g < kGroups; ++g) {
      const uint8_t* w = chunks.w + g * chunks.group_bytes + c * kChunkBytes;
      __builtin_prefetch(w + chunks.prefetch_bytes, 0, 3);
      weights.load(w, planes[g]);
    }
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
      for (size_t plane = 0; plane < kPlanes; ++plane) {
        const __m512i xs =
            broadcast4(chunks.x + t * chunks.token_bytes + (c * kPlanes + plane) * 4);
#pragma GCC unroll 16
        for (size_t g = 0; g < kGroups; ++g) {
          __m512i& sum = sums[plane % kSums][g][t];
          sum = int8_dot(sum, planes[g][plane], xs);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (size_t g = 0; g < kGroups; ++g) {
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; ++t) {
      dots[g][t] =
          kSums == 2 ? _mm512_add_epi32(sums[0][g][t], sums[kSums - 1][g][t]) : sums[0][g][t];
    }
  }
}

// Apart where a chunk has few products: in a larger function g++ 12 moves each sum to another
// register and back at every chunk. Measured 2026-11-23, Zen 5, 128 tokens, one thread: int8 256
// G products/s in one function, 306 apart; nf4, whose chunks have twice the products and whose
// blocks are shorter, 320 and 270.
template <class Weights, size_t kGroups, size_t kTokens>
SKEIN_AVX512_VNNI __attribute__((noinline)) void add_chunks_apart(const Weights& weights,
                                                                  const Chunks& chunks,
                                                                  __m512i (*dots)[kTokens]) {
  add_chunks<Weights, kGroups, kTokens>(weights, chunks, dots);
}

template <class Weights, size_t kGroups, size_t kTokens>
SKEIN_AVX512_VNNI void multiply_tile(const Weights& weights, const Tile& tile) {
  constexpr size_t kBlockCols = step_cols(Weights::kDType);
  const Int8Args& args = tile.args;
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const auto* codes = reinterpret_cast<const uint8_t*>(args.weights.host_data());
  const auto& scale_mapping = mapping_as<Interleave>(args.weights.scales_mapping());
  constexpr uint64_t kWordBytes = scale_word_bytes(Weights::kDType);
  const auto* scales = reinterpret_cast<const uint8_t*>(args.weights.scales_data()) +
                       scale_mapping.block_offset(tile.row / 16, uint64_t{0}) * kWordBytes;
  CodeStream stream(mapping, codes, 8 / Weights::kPlanes, tile.row);
  const uint8_t* group = stream.at();
  const uint64_t group_bytes = mapping.group_stride() / Weights::kPlanes;
  const uint64_t group_scale_bytes = scale_mapping.group_stride() * kWordBytes;

  const int8_t* x = args.x.codes + tile.token * args.x.code_stride;
  const float* x_scales = args.x.scales + tile.token * args.x.num_blocks;
  const int32_t* x_sums = args.x.sums + tile.token * args.x.num_blocks;
  alignas(64) float totals[kGroups][kTokens][16] = {};
  const uint64_t cols = args.weights.cols();
  for (uint64_t block = 0; block < args.x.num_blocks; ++block) {
    __m512i dots[kGroups][kTokens];
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; ++t) {
      // Behind the last token a sum may be any number: unsigned, which may overflow.
      const auto sum = static_cast<uint32_t>(x_sums[t * args.x.num_blocks + block]);
      const __m512i bias =
          _mm512_set1_epi32(static_cast<int32_t>(uint32_t{Weights::kBias} * (0u - sum)));
#pragma GCC unroll 16
      for (size_t g = 0; g < kGroups; ++g) dots[g][t] = bias;
    }
    const uint64_t end = std::min((block + 1) * kBlockCols, cols);
    for (uint64_t col = block * kBlockCols; col < end;) {
      const size_t num_cols = stream.run(end - col);
      const Chunks chunks = {stream.at(),
                             group_bytes,
                             x + col,
                             args.x.code_stride,
                             ceil_div(num_cols, 4 * Weights::kPlanes),
                             bytes_ahead(stream.at(), group, group_bytes, kGroups, kPrefetchBytes)};
      if constexpr (kTokens > 2 && Weights::kPlanes == 1) {
        add_chunks_apart<Weights, kGroups, kTokens>(weights, chunks, dots);
      } else {
        add_chunks<Weights, kGroups, kTokens>(weights, chunks, dots);
      }
      stream.skip(num_cols);
      col += num_cols;
    }
#pragma GCC unroll 16
    for (size_t g = 0; g < kGroups; ++g) {
      const typename Weights::Steps steps =
          StepScales<Weights>{scales + g * group_scale_bytes}.load(block);
#pragma GCC unroll 16
      for (size_t t = 0; t < kTokens; ++t) {
        const float scale = x_scales[t * args.x.num_blocks + block];
        const __m512 sum_x =
            _mm512_set1_ps(scale * static_cast<float>(x_sums[t * args.x.num_blocks + block]));
        float* total = totals[g][t];
        _mm512_store_ps(total, Weights::add(_mm512_load_ps(total), steps,
                                            _mm512_mul_ps(_mm512_cvtepi32_ps(dots[g][t]),
                                                          _mm512_set1_ps(scale)),
                                            sum_x));
      }
    }
  }
  for (size_t g = 0; g < kGroups; ++g) {
    const uint64_t row = tile.row + g * 16;
    if (row >= args.rows.end) break;
    const uint64_t num_rows = std::min<uint64_t>(args.rows.end - row, 16);
    const auto mask = static_cast<__mmask16>((1u << num_rows) - 1);
    for (size_t t = 0; t < tile.num_tokens; ++t) {
      float* y = args.y + (tile.token + t) * args.y_stride_elems + row;
      __m512 total = _mm512_load_ps(totals[g][t]);
      if (args.add) total = _mm512_add_ps(total, _mm512_maskz_loadu_ps(mask, y));
      _mm512_mask_storeu_ps(y, mask, total);
    }
  }
}

template <class Weights>
SKEIN_AVX512_VNNI void multiply(const Weights& weights, const Int8Args& args) {
  // Two groups share the broadcasts of x where there are tokens enough; fewer keep one stream, but
  // for one token where the CPU wants two.
  uint64_t row = args.rows.begin;
  for (; row < args.rows.end; row += 32) {
    const bool has_two = row + 16 < args.rows.end;
    for (uint64_t token = 0; token < args.num_tokens;) {
      const size_t num_tokens = std::min<size_t>(kInt8Tokens, args.num_tokens - token);
      const Tile tile{args, row, token, num_tokens};
      const Tile second{args, row + 16, token, num_tokens};
      token += num_tokens;
      if (num_tokens > 4 && has_two) {
        multiply_tile<Weights, 2, kInt8Tokens>(weights, tile);
        continue;
      }
      const auto both = [&](auto multiply_one) {
        multiply_one(weights, tile);
        if (has_two) multiply_one(weights, second);
      };
      if (num_tokens > 4) {
        both(multiply_tile<Weights, 1, kInt8Tokens>);
      } else if (num_tokens > 2) {
        both(multiply_tile<Weights, 1, 4>);
      } else if (num_tokens == 2) {
        both(multiply_tile<Weights, 1, 2>);
      } else if (has_two && cpu_wants_two_streams()) {
        multiply_tile<Weights, 2, 1>(weights, tile);
      } else {
        both(multiply_tile<Weights, 1, 1>);
      }
    }
  }
}

// x[0, n) of one block, n <= kBlockCols; kNibbles: each 8 cols in the order of NibbleWeights.
template <size_t kBlockCols, bool kNibbles>
SKEIN_AVX512_VNNI_INLINE void round_block(const float* x, size_t n, int8_t* codes, float* scale,
                                          int32_t* sum) {
  const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  __m512 values[kBlockCols / 16];
  // As bits, so that NaN is the largest and shows in the result.
  __m512i max_bits = _mm512_setzero_si512();
#pragma GCC unroll 16
  for (size_t i = 0; i < kBlockCols / 16; ++i) {
    const size_t left = n - std::min(n, i * 16);
    const auto mask = static_cast<__mmask16>(left >= 16 ? 0xffffu : (1u << left) - 1);
    values[i] = _mm512_maskz_loadu_ps(mask, x + i * 16);
    max_bits = _mm512_max_epu32(
        max_bits, _mm512_and_si512(_mm512_castps_si512(values[i]), _mm512_set1_epi32(0x7fffffff)));
  }
  const float absmax = _mm_cvtss_f32(
      _mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(_mm512_reduce_max_epu32(max_bits)))));
  *scale = absmax * (1.0f / 127.0f);
  // Below that, where 1 / scale might overflow, everything is 0.
  const __m512 inverse = _mm512_set1_ps(absmax < 0x1p-100f ? 0.0f : 127.0f / absmax);
  __m512i total = _mm512_setzero_si512();
#pragma GCC unroll 16
  for (size_t i = 0; i < kBlockCols / 16; ++i) {
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(values[i], inverse));
    total = _mm512_add_epi32(total, rounded);
    __m128i bytes = _mm512_cvtsepi32_epi8(rounded);
    if constexpr (kNibbles) bytes = _mm_shuffle_epi8(bytes, order);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i * 16), bytes);
  }
  *sum = _mm512_reduce_add_epi32(total);
}

template <size_t kBlockCols, bool kNibbles>
SKEIN_AVX512_VNNI void round_row(const float* x, uint64_t cols, const Int8Rows& rows,
                                 uint64_t token) {
  for (uint64_t block = 0; block < rows.num_blocks; ++block) {
    const uint64_t col = block * kBlockCols;
    const uint64_t at = token * rows.num_blocks + block;
    round_block<kBlockCols, kNibbles>(x + col, std::min<uint64_t>(kBlockCols, cols - col),
                                      rows.codes + token * rows.code_stride + col, rows.scales + at,
                                      rows.sums + at);
  }
}

template <class Weights>
SKEIN_AVX512_VNNI void multiply_by(const Int8Args& args) {
  multiply(Weights(), args);
}
SKEIN_AVX512_VNNI void multiply_nf4(const Int8Args& args) {
  multiply(NibbleWeights(kNF4Codes), args);
}
SKEIN_AVX512_VNNI void multiply_sf4(const Int8Args& args) {
  multiply(NibbleWeights(kSF4Codes), args);
}

template <class Weights>
constexpr Int8Ops ops_of(void (*multiply)(const Int8Args&)) {
  return {round_row<step_cols(Weights::kDType), Weights::kPlanes == 2>, multiply};
}

}  // namespace

const Int8Ops* dense_int8_ops(DType dtype) noexcept {
  static constexpr Int8Ops kInt8 = ops_of<Int8Weights>(multiply_by<Int8Weights>);
  static constexpr Int8Ops kNF4 = ops_of<NibbleWeights>(multiply_nf4);
  static constexpr Int8Ops kSF4 = ops_of<NibbleWeights>(multiply_sf4);
  static constexpr Int8Ops kQ8 = ops_of<Q8Weights>(multiply_by<Q8Weights>);
  static constexpr Int8Ops kQ4 = ops_of<Q4Weights>(multiply_by<Q4Weights>);
  static constexpr Int8Ops kQ4K = ops_of<Q4KWeights>(multiply_by<Q4KWeights>);
  switch (dtype) {
    case DType::kInt8:
      return &kInt8;
    case DType::kNF4:
      return &kNF4;
    case DType::kSF4:
      return &kSF4;
    case DType::kQ8_0:
      return &kQ8;
    case DType::kQ4_0:
      return &kQ4;
    case DType::kQ4K:
      return &kQ4K;
    default:
      return nullptr;
  }
}

#else

const Int8Ops* dense_int8_ops(DType /*dtype*/) noexcept { return nullptr; }

#endif

}  // namespace skein
