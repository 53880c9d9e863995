#include "backend/cpu/dense_gemm_amx.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "backend/cpu/amx.h"
#include "backend/cpu/cpu_target.h"
#include "backend/cpu/dense_gemm.h"
#include "base/bits.h"
#include "base/check.h"

namespace skein {

#if SKEIN_HAVE_AMX
namespace {

// A step of the products: a row of a tile in cols of bf16.
constexpr uint32_t kStepCols = kTileBytes / sizeof(uint16_t);

// Tokens of a panel of x: two tiles, as the 32 rows of a panel of weights are two. Four tiles of
// sums, two of x and two of weights are all there are; a load then meets two products.
constexpr uint32_t kPanelTokens = 2 * kTileRows;
constexpr uint64_t kPanelStepElems = uint64_t{kPanelTokens} * kStepCols;
static_assert(kPanelRows == 2 * kTileRows);

// Tokens of a pass: a prompt chunk. Fewer would decode the weights more often.
// Not better (2026-11-28, Xeon, 0.4B f16, two rounds each within the noise of 5 %): blocks of 512
// cols, chunks of 512 rows, passes of 256 tokens by 4096 cols.
constexpr uint32_t kMaxTokens = 512;

// x of a pass, bf16: 512 tokens of 2048 cols, 2 MiB. It comes from L3 once for each row chunk.
constexpr uint64_t kPackedElems = uint64_t{kMaxTokens} * 2048;

// Cols of weights that are decoded at once; a panel of them and one of x are 16 KiB each of an L1
// of 48.
constexpr uint32_t kBlockCols = 256;
constexpr uint64_t kBlockElems = uint64_t{kPanelRows} * kBlockCols;

// Rows that x is read for: 8 panels of weights are 128 KiB, the sums of 512 tokens 512 KiB of an L2
// of 2 MiB.
constexpr uint32_t kChunkPanels = 8;
constexpr uint32_t kChunkRows = kChunkPanels * kPanelRows;

// Cols that a decoder is asked for at once: 16 KiB of f32, which L1 holds.
constexpr uint32_t kDecodeCols = 128;
static_assert(kBlockCols % kDecodeCols == 0 && kDecodeCols % kStepCols == 0);

constexpr uint64_t kTileSums = uint64_t{kPanelTokens} * kPanelRows;

// Half a page more each: parts that begin at the same place of one compete for cache sets.
constexpr uint64_t part_elems(uint64_t floats) { return round_up(floats, uint64_t{1024}) + 512; }

constexpr uint64_t kXElems = part_elems(kPackedElems / 2);
constexpr uint64_t kWElems = part_elems(kChunkPanels * kBlockElems / 2);
constexpr uint64_t kSumElems = part_elems(kMaxTokens / kPanelTokens * kChunkPanels * kTileSums);
constexpr uint64_t kDecodeElems = part_elems(uint64_t{kDecodeCols} * kPanelRows);

// The parts of a thread's scratch.
struct Scratch {
  uint16_t* x;   // [token panels][steps][2][16][32] bf16
  uint16_t* w;   // [kChunkPanels][pairs][kPanelRows][2] bf16
  float* sums;   // [token panels][kChunkPanels][kPanelTokens][kPanelRows]
  float* panel;  // [kDecodeCols][kPanelRows]

  explicit Scratch(float* memory)
      : x(reinterpret_cast<uint16_t*>(memory)),
        w(reinterpret_cast<uint16_t*>(memory + kXElems)),
        sums(memory + kXElems + kWElems),
        panel(sums + kSumElems) {}
};

// One pass of one job.
struct AmxPass {
  const DenseKernel& kernel;
  const DenseJob& job;
  Range rows;
  Range tokens;
  Range cols;  // begins at a multiple of kBlockCols
  Scratch scratch;

  uint32_t num_steps() const {
    return static_cast<uint32_t>(ceil_div<uint64_t>(cols.length(), kStepCols));
  }
  uint32_t num_panels() const {
    return static_cast<uint32_t>(ceil_div<uint64_t>(tokens.length(), kPanelTokens));
  }
  uint32_t tokens_of(uint32_t panel) const {
    return static_cast<uint32_t>(
        std::min<uint64_t>(kPanelTokens, tokens.length() - panel * kPanelTokens));
  }
};

// x[0, num_cols) of a token into rows of tiles, [steps] of 32 cols; zero behind num_cols.
SKEIN_AMX void round_row(const float* x, uint64_t num_cols, uint16_t* to) {
  uint64_t c = 0;
  for (; c + kStepCols <= num_cols; c += kStepCols, to += kPanelStepElems) {
    _mm512_storeu_si512(to, bf16_round(_mm512_loadu_ps(x + c), _mm512_loadu_ps(x + c + 16)));
  }
  if (c == num_cols) return;
  const auto mask = static_cast<uint32_t>((uint64_t{1} << (num_cols - c)) - 1);
  _mm512_storeu_si512(
      to, bf16_round(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x + c),
                     _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), x + c + 16)));
}

SKEIN_AMX void pack_x(const AmxPass& pass) {
  const uint32_t num_steps = pass.num_steps();
  for (uint32_t p = 0; p < pass.num_panels(); ++p) {
    uint16_t* to = pass.scratch.x + p * num_steps * kPanelStepElems;
    const uint32_t num_tokens = pass.tokens_of(p);
    for (uint32_t t = 0; t < kPanelTokens; ++t, to += kStepCols) {
      const uint64_t token = pass.tokens.begin + uint64_t{p} * kPanelTokens + t;
      if (t < num_tokens) {
        round_row(pass.job.x + token * pass.job.x_stride_elems + pass.cols.begin,
                  pass.cols.length(), to);
      } else {
        for (uint32_t s = 0; s < num_steps; ++s) std::memset(to + s * kPanelStepElems, 0, 64);
      }
    }
  }
}

// to[pair][kPanelRows][2] bf16 of panel[col][kPanelRows] f32; zeros up to a whole step.
SKEIN_AMX void round_panel(const float* panel, uint32_t num_cols, uint16_t* to) {
  alignas(64) static constexpr uint16_t kPairs[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                      21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                      11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i pairs = _mm512_load_si512(kPairs);
  uint32_t c = 0;
  for (; c < num_cols; c += 2, panel += 2 * kPanelRows, to += 2 * kPanelRows) {
    const bool has_odd = c + 1 < num_cols;
    for (uint32_t half = 0; half < kPanelRows; half += 16) {
      const __m512 even = _mm512_load_ps(panel + half);
      const __m512 odd = has_odd ? _mm512_load_ps(panel + kPanelRows + half) : _mm512_setzero_ps();
      _mm512_store_si512(to + half * 2, _mm512_permutexvar_epi16(pairs, bf16_round(even, odd)));
    }
  }
  for (; c % kStepCols != 0; c += 2, to += 2 * kPanelRows) {
    std::memset(to, 0, 2 * kPanelRows * sizeof(uint16_t));
  }
}

void decode_block(const AmxPass& pass, uint64_t row, uint32_t num_rows, Range cols, uint16_t* to) {
  for (uint64_t col = cols.begin; col < cols.end; col += kDecodeCols) {
    const auto num_cols = static_cast<uint32_t>(std::min<uint64_t>(kDecodeCols, cols.end - col));
    pass.kernel.decode_panel({*pass.job.weights, row, num_rows, col, num_cols, pass.scratch.panel});
    round_panel(pass.scratch.panel, num_cols, to + (col - cols.begin) * kPanelRows);
  }
}

// sums[t][row] = or += over the steps, for 32 or, with kTiles = 1, 16 tokens.
template <int kTiles>
SKEIN_AMX __attribute__((noinline)) void multiply(const uint16_t* w, const uint16_t* x,
                                                  uint32_t num_steps, float* sums, bool add) {
  constexpr size_t kSumStride = kPanelRows * sizeof(float);
  constexpr size_t kPairStride = 2 * kPanelRows * sizeof(uint16_t);
  float* second = sums + kTileRows * kPanelRows;
  if (add) {
    load_tile<0>(sums, kSumStride);
    load_tile<1>(sums + kTileRows, kSumStride);
    if constexpr (kTiles == 2) {
      load_tile<2>(second, kSumStride);
      load_tile<3>(second + kTileRows, kSumStride);
    }
  } else {
    zero_tile<0>();
    zero_tile<1>();
    zero_tile<2>();
    zero_tile<3>();
  }
  for (uint32_t step = 0; step < num_steps; ++step) {
    load_tile<4>(x, kTileBytes);
    load_tile<6>(w, kPairStride);
    load_tile<7>(w + kPanelRows, kPairStride);
    tile_dot_bf16<0, 4, 6>();
    tile_dot_bf16<1, 4, 7>();
    if constexpr (kTiles == 2) {
      load_tile<5>(x + kTileRows * kStepCols, kTileBytes);
      tile_dot_bf16<2, 5, 6>();
      tile_dot_bf16<3, 5, 7>();
    }
    x += kPanelStepElems;
    w += kStepCols * kPanelRows;
  }
  store_tile<0>(sums, kSumStride);
  store_tile<1>(sums + kTileRows, kSumStride);
  if constexpr (kTiles == 2) {
    store_tile<2>(second, kSumStride);
    store_tile<3>(second + kTileRows, kSumStride);
  }
}

// y = or += the sums of one panel of tokens and one of rows.
SKEIN_AMX void store_sums(const AmxPass& pass, const float* sums, uint64_t token,
                          uint32_t num_tokens, uint64_t row, uint32_t num_rows) {
  const DenseJob& job = pass.job;
  const bool add = job.add || pass.cols.begin != 0;
  const auto mask = static_cast<uint32_t>((uint64_t{1} << num_rows) - 1);
  const auto low = static_cast<__mmask16>(mask), high = static_cast<__mmask16>(mask >> 16);
  for (uint32_t t = 0; t < num_tokens; ++t, sums += kPanelRows) {
    float* y = job.y + (token + t) * job.y_stride_elems + row;
    __m512 a = _mm512_load_ps(sums), b = _mm512_load_ps(sums + 16);
    if (add) {
      a = _mm512_add_ps(a, _mm512_maskz_loadu_ps(low, y));
      b = _mm512_add_ps(b, _mm512_maskz_loadu_ps(high, y + 16));
    }
    _mm512_mask_storeu_ps(y, low, a);
    _mm512_mask_storeu_ps(y + 16, high, b);
  }
}

// All tokens of the pass times the decoded rows of a chunk and one block of its cols.
void multiply_chunk(const AmxPass& pass, Range rows, Range cols) {
  const auto block_steps = static_cast<uint32_t>(ceil_div<uint64_t>(cols.length(), kStepCols));
  const uint64_t first_step = (cols.begin - pass.cols.begin) / kStepCols;
  const bool add = cols.begin != pass.cols.begin;
  const bool is_last = cols.end == pass.cols.end;
  for (uint32_t p = 0; p < pass.num_panels(); ++p) {
    const uint16_t* x =
        pass.scratch.x + (p * uint64_t{pass.num_steps()} + first_step) * kPanelStepElems;
    const uint32_t num_tokens = pass.tokens_of(p);
    const uint64_t token = pass.tokens.begin + uint64_t{p} * kPanelTokens;
    for (uint64_t row = rows.begin; row < rows.end; row += kPanelRows) {
      const uint64_t panel = (row - rows.begin) / kPanelRows;
      float* sums = pass.scratch.sums + (p * uint64_t{kChunkPanels} + panel) * kTileSums;
      const auto multiply_tiles = num_tokens > kTileRows ? multiply<2> : multiply<1>;
      multiply_tiles(pass.scratch.w + panel * kBlockElems, x, block_steps, sums, add);
      if (!is_last) continue;
      const auto num_rows = static_cast<uint32_t>(std::min<uint64_t>(kPanelRows, rows.end - row));
      store_sums(pass, sums, token, num_tokens, row, num_rows);
      if (pass.cols.end != pass.job.weights->cols() || pass.job.epilogue.apply == nullptr) continue;
      for (uint64_t t = token; t < token + num_tokens; ++t) {
        pass.job.epilogue.apply(pass.job.epilogue.context, pass.job.y + t * pass.job.y_stride_elems,
                                t, row, row + num_rows);
      }
    }
  }
}

void run_pass(const AmxPass& pass) {
  pack_x(pass);
  for (uint64_t first = pass.rows.begin; first < pass.rows.end; first += kChunkRows) {
    const Range rows{first, std::min<uint64_t>(first + kChunkRows, pass.rows.end)};
    for (uint64_t col = pass.cols.begin; col < pass.cols.end; col += kBlockCols) {
      const Range cols{col, std::min<uint64_t>(col + kBlockCols, pass.cols.end)};
      uint16_t* w = pass.scratch.w;
      for (uint64_t row = rows.begin; row < rows.end; row += kPanelRows, w += kBlockElems) {
        const auto num_rows = static_cast<uint32_t>(std::min<uint64_t>(kPanelRows, rows.end - row));
        decode_block(pass, row, num_rows, cols, w);
      }
      multiply_chunk(pass, rows, cols);
    }
  }
}

// Products per second with operands and sums in L1, the best of a few short rounds.
SKEIN_AMX double tile_products_per_second() {
  constexpr uint32_t kSteps = 8;
  constexpr int kRounds = 4, kRepeats = 16;
  alignas(64) static constexpr uint16_t kZeros[kSteps * kPanelStepElems] = {};
  alignas(64) float sums[kTileSums];
  double best = 0;
  configure_tiles();
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRepeats; ++i) multiply<2>(kZeros, kZeros, kSteps, sums, /*add=*/false);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, kRepeats * double{kSteps * kStepCols} * kTileSums / seconds.count());
  }
  release_tiles();
  return best;
}

}  // namespace

uint64_t amx_scratch_elems() noexcept { return kXElems + kWElems + kSumElems + kDecodeElems; }

bool amx_pays() noexcept {
  if (!cpu_target_has_amx()) return false;
  static const bool pays = tile_products_per_second() > 4 * products_per_second(gemm_ops_f32());
  return pays;
}

SKEIN_AMX void gemm_amx(const DenseKernel& kernel, const DenseJob& job, Range rows,
                        uint32_t num_tokens, float* memory) noexcept {
  const Scratch scratch(memory);
  const uint64_t num_cols = job.weights->cols();
  const uint64_t num_passes = ceil_div<uint64_t>(num_tokens, kMaxTokens);
  const uint64_t pass_tokens =
      round_up(ceil_div<uint64_t>(num_tokens, num_passes), uint64_t{kPanelTokens});
  const uint64_t pass_cols = kPackedElems / pass_tokens / kBlockCols * kBlockCols;
  configure_tiles();
  for (uint64_t token = 0; token < num_tokens; token += pass_tokens) {
    const Range tokens{token, std::min<uint64_t>(token + pass_tokens, num_tokens)};
    for (uint64_t col = 0; col < num_cols; col += pass_cols) {
      run_pass({kernel, job, rows, tokens, {col, std::min(col + pass_cols, num_cols)}, scratch});
    }
  }
  release_tiles();
}

#else

uint64_t amx_scratch_elems() noexcept { return 0; }

bool amx_pays() noexcept { return false; }

void gemm_amx(const DenseKernel&, const DenseJob&, Range, uint32_t, float*) noexcept {
  CHECK(false && "amx_pays()");
}

#endif

}  // namespace skein
