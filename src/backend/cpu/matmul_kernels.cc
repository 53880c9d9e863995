#include "backend/cpu/matmul_kernels.h"

#include <vector>

#include "backend/cpu/dense_kernel.h"
#include "backend/cpu/gather_kernel.h"
#include "backend/cpu/sparse_kernel.h"

namespace skein {

std::span<const KernelInfo> cpu_kernels() noexcept {
  static const std::vector<KernelInfo> kernels = [] {
    std::vector<KernelInfo> all(gather_kernels().begin(), gather_kernels().end());
    for (const DenseKernel& kernel : dense_kernels()) all.push_back(kernel.info);
    for (const SparseKernel& kernel : sparse_kernels()) all.push_back(kernel.info);
    for (const KernelInfo& kernel : sparse_dense_kernels()) all.push_back(kernel);
    return all;
  }();
  return kernels;
}

}  // namespace skein
