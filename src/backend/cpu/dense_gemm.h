// The matrix product of dense() for many tokens: panels of weights and of x, multiplied from the
// caches.
//
// Each thread packs x into token panels (L2), decodes its rows panel by panel (32 rows by kc cols,
// L1) and runs the microkernel over all token panels. Where not all of the packed x has room, it
// goes through its rows once for each part of the cols; the sums stand in y in between. Nothing is
// shared between threads, so there is no barrier. Each thread packs all of x, which costs about 5 /
// rows-of-the-thread of the products' time: half a per cent for 1024 rows.
//
// A GemmOps is one arithmetic (f32 of a target, bf16 of AVX-512); decoders, packing and products
// meet only here.
#pragma once

#include <cstdint>

#include "backend/cpu/dense.h"
#include "backend/cpu/dense_kernel.h"

namespace skein {

// Tokens of one pass over the weights: x of 256 cols of them in f32 is 528 KiB, about half of L2 on
// the machines this was tuned on (Zen 4, Zen 5: 1 MiB). 528 = 44 * 12 holds a prompt chunk of 512.
inline constexpr uint32_t kTokenBlock = 528;

// Elements per thread of scratch: x panels (up to 8 / 6 of kTokenBlock, see token_stride), a
// panel of weights, a tile of y for edges.
inline constexpr uint64_t kPackedXElems = uint64_t{256} * (kTokenBlock / 6 * 8);
inline constexpr uint64_t kPanelElems = uint64_t{512} * kPanelRows;
inline constexpr uint64_t kTileElems = uint64_t{12} * kPanelRows;
inline constexpr uint64_t kGemmScratchElems = kPackedXElems + kPanelElems + kTileElems;

struct GemmOps {
  uint32_t max_cols;  // kc
  // Tokens of a full panel; the last panel has width / 3, width * 2 / 3 or width.
  uint32_t width;
  // Elements that a panel of `width` tokens takes per kc.
  uint64_t (*packed_elems)(uint32_t width, uint32_t num_cols);
  // x of num_tokens <= width tokens, zero from there to width.
  void (*pack_x)(const float* x, uint64_t stride_elems, uint32_t num_tokens, uint32_t width,
                 uint32_t num_cols, float* packed);
  // What the microkernel wants done to a decoded panel, in place, or nullptr.
  void (*prepare_panel)(float* panel, uint32_t num_cols);
  // y[t][0, kPanelRows) = or += panel * x for t < num_tokens; [0] for width / 3, [1], [2] for
  // width.
  void (*multiply[3])(const float* panel, const float* packed_x, uint32_t num_cols, float* y,
                      uint64_t y_stride_elems, uint32_t num_tokens, bool add);
};

// f32 products of the chosen target.
const GemmOps& gemm_ops_f32() noexcept;
// bf16 products (VDPBF16PS), or nullptr where this binary has none or they are no faster than f32
// on this CPU; the CPU must have them.
const GemmOps* gemm_ops_bf16() noexcept;

// Products per second of the microkernel with its operands in L1, the best of a few short rounds:
// 0.1 ms in all. What an instruction brings differs from CPU to CPU, so ways are chosen by this.
double products_per_second(const GemmOps& ops) noexcept;

// Rows [rows.begin, rows.end) of one job, all tokens, and its epilogue. rows.begin is a multiple of
// kPanelRows. `scratch` is the thread's, kGemmScratchElems long and aligned to 64 B.
void gemm(const DenseKernel& kernel, const DenseJob& job, Range rows, uint32_t num_tokens,
          const GemmOps& ops, float* scratch) noexcept;

}  // namespace skein
