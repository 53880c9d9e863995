// The products and the decoding of sparse() for the block codecs in `col_major`: a zero of x skips
// a whole run of codes.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/sparse_quant_col_major.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include "backend/cpu/quant_cols-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

struct AddCols {
  template <class Codec>
  static void run(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
    add_quant_cols<Codec>(weights, rows, x, y, add);
  }
};
struct DecodeBlock {
  template <class Codec>
  static void run(const Tensor& weights, Range rows, Range cols, float* panel) {
    decode_quant_cols<Codec>(weights, rows, cols, panel, kSparseRows);
  }
};

void add_cols(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  record_executed_cpu_target(HWY_TARGET);
  with_codec<AddCols>(weights.dtype(), weights, rows, x, y, add);
}
void decode_block(const Tensor& weights, Range rows, Range cols, float* panel) {
  record_executed_cpu_target(HWY_TARGET);
  with_codec<DecodeBlock>(weights.dtype(), weights, rows, cols, panel);
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(add_cols);
HWY_EXPORT(decode_block);

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kColMajor; }

void run_add(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  HWY_DYNAMIC_DISPATCH(add_cols)(weights, rows, x, y, add);
}
void run_decode(const Tensor& weights, Range rows, Range cols, float* panel) {
  HWY_DYNAMIC_DISPATCH(decode_block)(weights, rows, cols, panel);
}

constexpr SparseKernel kernel_of(DType dtype, std::string_view name) {
  return {{MatrixOp::kSparse, dtype, "col_major", accepts, name}, run_add, run_decode};
}

}  // namespace

std::span<const SparseKernel> sparse_quant_kernels() noexcept {
  static constexpr SparseKernel kKernels[] = {
      kernel_of(DType::kInt8, "sparse_int8_col_major"),
      kernel_of(DType::kNF4, "sparse_nf4_col_major"),
      kernel_of(DType::kSF4, "sparse_sf4_col_major"),
      kernel_of(DType::kQ8_0, "sparse_q8_0_col_major"),
      kernel_of(DType::kQ4_0, "sparse_q4_0_col_major"),
      kernel_of(DType::kQ4K, "sparse_q4_k_col_major"),
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
