// dense for `interleave(R,B,K)` and `tile(R,C)`, any R, B, C and K, but for interleave(16,B,1),
// which has a file of its own: row groups one after another, each one sequential stream.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_blocked.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include "backend/cpu/dense_blocked-inl.h"
#include "backend/cpu/dense_lanes-inl.h"
#include "backend/cpu/dense_table.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// Calls f(offset, col, num_cols) for each chunk of a row group that has cols of [col, end), in
// their order. `offset` is that of the chunk's first such col, in its first row, from the start of
// the row group.
template <class F>
HWY_INLINE void for_each_chunk(const Interleave& mapping, uint64_t col, uint64_t end, F&& f) {
  const uint64_t chunk = mapping.chunk_cols();
  while (col < end) {
    const uint64_t block_end =
        HWY_MIN(end, (col / mapping.block_cols() + 1) * mapping.block_cols());
    uint64_t offset = mapping.block_offset(uint64_t{0}, col / mapping.block_cols()) +
                      col % mapping.block_cols() / chunk * chunk * mapping.block_rows();
    while (col < block_end) {
      const uint64_t num_cols = HWY_MIN(chunk - col % chunk, block_end - col);
      f(offset + col % chunk, col, num_cols);
      col += num_cols;
      offset += chunk * mapping.block_rows();
    }
  }
}

template <class E>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  if (try_matvec_lanes<E>(args)) return;
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  const uint64_t block_rows = mapping.block_rows(), chunk = mapping.chunk_cols();
  for (uint64_t row = args.rows.begin; row < args.rows.end;) {
    const uint64_t place = row % block_rows;
    const uint64_t num_rows =
        HWY_MIN(HWY_MIN(band_rows(args.num_tokens), block_rows - place), args.rows.end - row);
    const E* w = weights + mapping.block_offset(row / block_rows, uint64_t{0}) + place * chunk;
    for_each_turn(
        args, row,
        [&]<size_t kTokens>(const float* const* x, float* const* y, size_t num_tokens) HWY_ATTR {
          Band<kTokens> band(num_rows, chunk, x);
          for_each_chunk(mapping, 0, args.weights.cols(),
                         [&](uint64_t offset, uint64_t col, uint64_t num_cols) HWY_ATTR {
                           band.add(Chunk<E>{w + offset, chunk, num_rows, num_cols, col, 0,
                                             kBandPrefetchBytes});
                         });
          band.finish(y, num_tokens, args.add);
        });
    row += num_rows;
  }
}

template <class E>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const auto& mapping = mapping_as<Interleave>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  const uint64_t block_rows = mapping.block_rows(), chunk = mapping.chunk_cols();
  for (uint64_t r = 0; r < args.num_rows;) {
    const uint64_t row = args.row + r, place = row % block_rows;
    const uint64_t num_rows = HWY_MIN(block_rows - place, args.num_rows - r);
    const E* w = weights + mapping.block_offset(row / block_rows, uint64_t{0}) + place * chunk;
    for_each_chunk(mapping, args.col, args.col + args.num_cols,
                   [&](uint64_t offset, uint64_t col, uint64_t num_cols) HWY_ATTR {
                     decode_chunk(w + offset, chunk, num_rows, num_cols,
                                  args.panel + (col - args.col) * kPanelRows + r);
                   });
    r += num_rows;
  }
  zero_missing_rows(args);
}

void matvec_f32(const MatvecArgs& args) { matvec<float>(args); }
void matvec_f16(const MatvecArgs& args) { matvec<F16>(args); }
void matvec_bf16(const MatvecArgs& args) { matvec<BF16>(args); }
void decode_f32(const PanelArgs& args) { decode<float>(args); }
void decode_f16(const PanelArgs& args) { decode<F16>(args); }
void decode_bf16(const PanelArgs& args) { decode<BF16>(args); }

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

SKEIN_EXPORT_PLAIN_DENSE;

bool accepts_interleave(const Layout& layout) {
  return layout.kind == LayoutKind::kInterleave && !(layout.rows == 16 && layout.chunk == 1);
}
bool accepts_tile(const Layout& layout) { return layout.kind == LayoutKind::kTile; }

// Measured 2026-11-23, Zen 5 under load, 2048 x 2048 f16, one thread, 8 tokens this way, and 16 and
// 32 a panel way: interleave(16,64,4) 580 us, 2200, 2570; interleave(16,64) 700, 2350, 2940;
// tile(16,32) 830, 1800, 2640. Turns of 4 cost the same each.
constexpr uint32_t kMaxInterleaveTokens = 24;
constexpr uint32_t kMaxTileTokens = 16;

}  // namespace

std::span<const DenseKernel> dense_blocked_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_PLAIN_DENSE_KERNELS("blocked", "interleave(*,*,*)", accepts_interleave,
                                kMaxInterleaveTokens),
      SKEIN_PLAIN_DENSE_KERNELS("blocked", "tile(*,*)", accepts_tile, kMaxTileTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
