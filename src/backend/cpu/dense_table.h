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

// matvec_quant and decode_quant of a file, for its HWY_NAMESPACE part: the file's templates
// matvec<Codec> and decode<Codec> for the codec of the weights (quant_codec-inl.h).
#define SKEIN_DEFINE_QUANT_DENSE                                                                \
  struct Matvec {                                                                               \
    template <class Codec>                                                                      \
    static void run(const MatvecArgs& args) {                                                   \
      matvec<Codec>(args);                                                                      \
    }                                                                                           \
  };                                                                                            \
  struct Decode {                                                                               \
    template <class Codec>                                                                      \
    static void run(const PanelArgs& args) {                                                    \
      decode<Codec>(args);                                                                      \
    }                                                                                           \
  };                                                                                            \
  void matvec_quant(const MatvecArgs& args) { with_codec<Matvec>(args.weights.dtype(), args); } \
  void decode_quant(const PanelArgs& args) { with_codec<Decode>(args.weights.dtype(), args); }

#define SKEIN_EXPORT_QUANT_DENSE \
  HWY_EXPORT(matvec_quant);      \
  HWY_EXPORT(decode_quant)

// All quantized types, or those of 8 and of 4 bits.
#define SKEIN_CODE8_DENSE_KERNELS(KIND, ...)                                \
  SKEIN_DENSE_KERNEL(DType::kInt8, "dense_int8_" KIND, quant, __VA_ARGS__), \
      SKEIN_DENSE_KERNEL(DType::kQ8_0, "dense_q8_0_" KIND, quant, __VA_ARGS__)
#define SKEIN_CODE4_DENSE_KERNELS(KIND, ...)                                    \
  SKEIN_DENSE_KERNEL(DType::kNF4, "dense_nf4_" KIND, quant, __VA_ARGS__),       \
      SKEIN_DENSE_KERNEL(DType::kSF4, "dense_sf4_" KIND, quant, __VA_ARGS__),   \
      SKEIN_DENSE_KERNEL(DType::kQ4_0, "dense_q4_0_" KIND, quant, __VA_ARGS__), \
      SKEIN_DENSE_KERNEL(DType::kQ4K, "dense_q4_k_" KIND, quant, __VA_ARGS__)
#define SKEIN_QUANT_DENSE_KERNELS(KIND, ...) \
  SKEIN_CODE8_DENSE_KERNELS(KIND, __VA_ARGS__), SKEIN_CODE4_DENSE_KERNELS(KIND, __VA_ARGS__)
