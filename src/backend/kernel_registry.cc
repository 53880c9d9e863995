#include "backend/kernel_registry.h"

namespace skein {

const KernelInfo* find_kernel(std::span<const KernelInfo> kernels, MatrixOp op, DType dtype,
                              const Layout& layout) noexcept {
  for (const KernelInfo& kernel : kernels) {
    if (kernel.op == op && kernel.dtype == dtype && kernel.accepts(layout)) return &kernel;
  }
  return nullptr;
}

Status check_kernel(std::string_view backend, std::span<const KernelInfo> kernels, MatrixOp op,
                    DType dtype, const Layout& layout) {
  if (find_kernel(kernels, op, dtype, layout) != nullptr) return {};
  std::string known;
  for (const KernelInfo& kernel : kernels) {
    if (kernel.op != op || kernel.dtype != dtype) continue;
    if (!known.empty()) known += ", ";
    known += kernel.layouts;
  }
  return error("backend {} has no {} kernel for {} {}; expected one of: {}", backend, to_string(op),
               to_string(dtype), to_string(layout), known.empty() ? "none for this dtype" : known);
}

}  // namespace skein
