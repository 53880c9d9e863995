// Which kernels a backend has: (op, dtype, layout) -> name. A plan is checked against it before any
// weight is packed, the parity tests walk it, `skein devices` prints it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "layout/layout.h"
#include "tensor/dtype.h"

namespace skein {

enum class MatrixOp : uint8_t {
  kGather,  // rows by index: the embedding
  kDense,   // y = W x for one token or many
  kSparse,  // y += W x where most of x is zero: ffn.value
};

constexpr std::string_view to_string(MatrixOp op) noexcept {
  switch (op) {
    case MatrixOp::kGather:
      return "gather";
    case MatrixOp::kDense:
      return "dense";
    case MatrixOp::kSparse:
      return "sparse";
  }
  return "?";
}

struct KernelInfo {
  MatrixOp op;
  DType dtype;
  std::string_view layouts;        // as text, `*` for any number: "interleave(16,*,1)"
  bool (*accepts)(const Layout&);  // the same as a predicate
  std::string_view name;           // the kernel's file: "dense_f16_interleave"
};

// The first of `kernels` that does it, or nullptr.
const KernelInfo* find_kernel(std::span<const KernelInfo> kernels, MatrixOp op, DType dtype,
                              const Layout& layout) noexcept;

// "backend cpu has no dense kernel for f16 morton(4); it has row_major, interleave(16,*,1)" where
// there is none.
Status check_kernel(std::string_view backend, std::span<const KernelInfo> kernels, MatrixOp op,
                    DType dtype, const Layout& layout);

}  // namespace skein
