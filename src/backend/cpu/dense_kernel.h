// DenseKernel: what dense() needs to know about one (dtype, layout). Internal to the CPU backend.
//
// A layout or dtype joins dense() with two functions: a matvec for few tokens, which reads the
// weights once as they lie, and a panel decoder for many tokens, whose products all kernels share
// (dense_gemm.h).
#pragma once

#include <cstdint>
#include <span>

#include "backend/kernel_registry.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "layout/any_mapping.h"
#include "tensor/tensor.h"

namespace skein {

// Rows of a panel: two AVX-512 vectors. Rows are shared among threads in whole panels (many tokens)
// or in groups of 16 (few), so that no result depends on where a share ends.
inline constexpr uint32_t kPanelRows = 32;
inline constexpr uint32_t kRowGroup = 16;

struct MatvecArgs {
  const Tensor& weights;
  Range rows;  // begins at a multiple of kRowGroup; ends at one or at weights.rows()
  const float* x;
  uint64_t x_stride_elems;
  float* y;
  uint64_t y_stride_elems;
  uint32_t num_tokens;
  bool add;
};

struct PanelArgs {
  const Tensor& weights;
  uint64_t row;       // a multiple of kPanelRows
  uint32_t num_rows;  // 1 .. kPanelRows
  uint64_t col;       // a multiple of kRowGroup
  uint32_t num_cols;
  float* panel;  // [num_cols][kPanelRows], aligned to 64 B; rows from num_rows on become zero
};

struct Int8Ops;

struct DenseKernel {
  KernelInfo info;
  // Up to here matvec beats decoding panels and multiplying them from the caches (dense_gemm.h).
  uint32_t max_matvec_tokens;
  void (*matvec)(const MatvecArgs&);
  void (*decode_panel)(const PanelArgs&);
  // What kFast does with x rounded to int8 (dense_int8.h), for any number of tokens; nullptr, or
  // returns it, where there is no such kernel.
  const Int8Ops* (*int8_ops)() = nullptr;
};

// The tables of the kernel files; dense.cc joins them.
std::span<const DenseKernel> dense_row_major_kernels() noexcept;
std::span<const DenseKernel> dense_interleave_kernels() noexcept;
std::span<const DenseKernel> dense_quant_interleave_kernels() noexcept;
std::span<const DenseKernel> dense_quant_interleave_narrow_kernels() noexcept;
std::span<const DenseKernel> dense_quant_row_major_kernels() noexcept;
std::span<const DenseKernel> dense_col_major_kernels() noexcept;
std::span<const DenseKernel> dense_quant_col_major_kernels() noexcept;
std::span<const DenseKernel> dense_blocked_kernels() noexcept;
std::span<const DenseKernel> dense_quant_runs_kernels() noexcept;
std::span<const DenseKernel> dense_quant_blocked_kernels() noexcept;
std::span<const DenseKernel> dense_morton_kernels() noexcept;

// The kernel of a tensor that the registry accepts; CHECKs that there is one.
const DenseKernel& dense_kernel_of(const Tensor& weights) noexcept;

// All of them, in the order of the tables.
std::span<const DenseKernel> dense_kernels() noexcept;

// The mapping as type M, which the layout must have.
template <class M>
const M& mapping_as(const AnyMapping& mapping) noexcept {
  return mapping.visit([](const auto& typed) -> const M& {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(typed)>, M>) {
      return typed;
    } else {
      check_failed(__FILE__, __LINE__, "the tensor's layout is the kernel's");
    }
  });
}
template <class M>
const M& mapping_as(const Tensor& tensor) noexcept {
  return mapping_as<M>(tensor.mapping());
}

}  // namespace skein
