// The matrix product of dense() for many tokens in tiles of AMX (kFast): weights of any dtype and
// x rounded to bf16, f32 sums.
//
// A tile instruction does as many products as 16 of AVX-512, so here everything else counts: how
// often weights are decoded, where x comes from, how often a sum leaves the tiles. A thread decodes
// 256 of its rows by a block of cols as bf16, which L2 holds, and all tokens of a pass meet them;
// their sums wait in L2 for the next block of cols, and go to y once a pass.
#pragma once

#include <cstdint>

#include "backend/cpu/dense.h"
#include "backend/cpu/dense_kernel.h"

namespace skein {

// From here on tiles beat the other ways, and those of int8 (VNNI). Measured 2026-11-28, 0.4B, 2
// cores of an Intel Xeon with AMX, tokens/s of tiles and of the others: f16, 20 tokens 231 and 233,
// 32 350 and 269; int8, 20 tokens 336 and 378, 32 555 and 538, 64 791 and 656; nf4, 32 tokens 543
// and 609, 64 781 and 692.
inline constexpr uint32_t kMinAmxTokens = 20;
inline constexpr uint32_t kMinAmxTokensForInt8 = 48;

// Floats of scratch that a thread needs.
uint64_t amx_scratch_elems() noexcept;

// Whether this binary and the chosen target have the tiles and they do more than four times the
// products of f32 (measured once a process), which is what products of int8 (VNNI) do at best.
bool amx_pays() noexcept;

// As gemm() of dense_gemm.h: rows [rows.begin, rows.end) of one job, all tokens, and its epilogue.
// rows.begin is a multiple of kPanelRows. Only where cpu_target_has_amx(). `memory` is the
// thread's, amx_scratch_elems() long and aligned to 64 B. Laws: an output depends neither on the
// other rows nor on the threads.
void gemm_amx(const DenseKernel& kernel, const DenseJob& job, Range rows, uint32_t num_tokens,
              float* memory) noexcept;

}  // namespace skein
