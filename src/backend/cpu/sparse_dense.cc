// The tables of sparse() joined, and sparse() for the layouts whose runs go across cols: y += W x
// as dense() does it, zeros and all. A zero col skips no memory there, as each cache line holds
// weights of other cols.
#include <algorithm>
#include <vector>

#include "backend/cpu/dense_kernel.h"
#include "backend/cpu/sparse_kernel.h"

namespace skein {
namespace {

bool skips_zeros(const KernelInfo& dense) {
  const auto kernels = sparse_kernels();
  return std::any_of(kernels.begin(), kernels.end(), [&](const SparseKernel& kernel) {
    return kernel.info.dtype == dense.dtype && kernel.info.layouts == dense.layouts;
  });
}

}  // namespace

std::span<const SparseKernel> sparse_kernels() noexcept {
  static const std::vector<SparseKernel> kernels = [] {
    std::vector<SparseKernel> all;
    for (const auto& table : {sparse_plain_kernels(), sparse_quant_kernels()}) {
      all.insert(all.end(), table.begin(), table.end());
    }
    return all;
  }();
  return kernels;
}

std::span<const KernelInfo> sparse_dense_kernels() noexcept {
  static const std::vector<KernelInfo> kernels = [] {
    std::vector<KernelInfo> all;
    for (const DenseKernel& kernel : dense_kernels()) {
      if (skips_zeros(kernel.info)) continue;
      all.push_back(kernel.info);
      all.back().op = MatrixOp::kSparse;
    }
    return all;
  }();
  return kernels;
}

const SparseKernel* sparse_kernel_of(const Tensor& weights) noexcept {
  const std::span<const SparseKernel> kernels = sparse_kernels();
  const auto found = std::find_if(kernels.begin(), kernels.end(), [&](const SparseKernel& kernel) {
    return kernel.info.dtype == weights.dtype() && kernel.info.accepts(weights.layout());
  });
  return found == kernels.end() ? nullptr : &*found;
}

}  // namespace skein
