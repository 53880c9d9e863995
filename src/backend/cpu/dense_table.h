// What the tables at the ends of the dense_*.cc files are written with. Macros, since Highway's
// dispatch is one: it names a function in every target's namespace. For a file's HWY_ONCE part.
#pragma once

#include "backend/cpu/dense_kernel.h"

// The row of `DTYPE` in a table; the kernel's functions are matvec_SUFFIX and decode_SUFFIX, which
// HWY_EXPORT has named.
// clang-format off
#define SKEIN_DENSE_KERNEL(DTYPE, NAME, SUFFIX, LAYOUTS, ACCEPTS, MAX_MATVEC_TOKENS) \
  {{MatrixOp::kDense, DTYPE, LAYOUTS, ACCEPTS, NAME},                                \
   MAX_MATVEC_TOKENS,                                                                \
   [](const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_##SUFFIX)(args); },      \
   [](const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_##SUFFIX)(args); }}
// clang-format on

// The three plain types, of functions with the suffixes f32, f16 and bf16.
#define SKEIN_EXPORT_PLAIN_DENSE \
  HWY_EXPORT(matvec_f32);        \
  HWY_EXPORT(matvec_f16);        \
  HWY_EXPORT(matvec_bf16);       \
  HWY_EXPORT(decode_f32);        \
  HWY_EXPORT(decode_f16);        \
  HWY_EXPORT(decode_bf16)

#define SKEIN_PLAIN_DENSE_KERNELS(KIND, ...)                                \
  SKEIN_DENSE_KERNEL(DType::kF32, "dense_f32_" KIND, f32, __VA_ARGS__),     \
      SKEIN_DENSE_KERNEL(DType::kF16, "dense_f16_" KIND, f16, __VA_ARGS__), \
      SKEIN_DENSE_KERNEL(DType::kBF16, "dense_bf16_" KIND, bf16, __VA_ARGS__)
