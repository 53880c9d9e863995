// AMX (tiles of 16 rows of 64 bytes and their products), which Highway 1.0 does not know: the one
// place that uses its instructions.
//
// Callers carry SKEIN_AMX themselves, hold no Highway code, and run only where cpu_has_amx_bf16()
// (cpu_features.h). Tiles are registers that the compiler knows nothing of: between configure and
// release they are the caller's alone. As assembly, since the intrinsics of g++ 12 do not say that
// they read and write memory: stores of what a tile loads would be free to come later.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/avx512_bf16.h"

#if defined(__x86_64__) && defined(__linux__)

#define SKEIN_HAVE_AMX 1
// Every CPU with AMX has AVX512-BF16, by which the operands are made.
#define SKEIN_AMX SKEIN_AVX512_BF16
#define SKEIN_AMX_INLINE SKEIN_AMX inline __attribute__((always_inline))

namespace skein {

inline constexpr uint32_t kTileRows = 16;
inline constexpr uint32_t kTileBytes = 64;  // of a row

// The operand of LDTILECFG, palette 1.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t num_rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// All eight tiles whole.
SKEIN_AMX_INLINE void configure_tiles() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = kTileBytes;
    config.num_rows[tile] = kTileRows;
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
}

// Without this every later switch of threads would save 8 KiB.
SKEIN_AMX_INLINE void release_tiles() { asm volatile("tilerelease" ::: "memory"); }

template <int kTile>
SKEIN_AMX_INLINE void load_tile(const void* p, size_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride_bytes), "i"(kTile) : "memory");
}

template <int kTile>
SKEIN_AMX_INLINE void store_tile(void* p, size_t stride_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride_bytes), "i"(kTile) : "memory");
}

template <int kTile>
SKEIN_AMX_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}

// sum[m][n] += a[m][2k] * b[k][2n] + a[m][2k + 1] * b[k][2n + 1] over k: pairs of bf16, f32 sums;
// denormals are zero.
template <int kSum, int kA, int kB>
SKEIN_AMX_INLINE void tile_dot_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}

}  // namespace skein

#else
#define SKEIN_HAVE_AMX 0
#endif
