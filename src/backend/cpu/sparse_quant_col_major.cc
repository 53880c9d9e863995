// The products and the decoding of sparse() for int8, nf4 and sf4 in `col_major`: a zero of x skips
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

void add_cols_int8(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  record_executed_cpu_target(HWY_TARGET);
  add_quant_cols<Int8Codec>(weights, rows, x, y, add);
}
void add_cols_nibble(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  record_executed_cpu_target(HWY_TARGET);
  add_quant_cols<NibbleCodec>(weights, rows, x, y, add);
}
void decode_block_int8(const Tensor& weights, Range rows, Range cols, float* panel) {
  record_executed_cpu_target(HWY_TARGET);
  decode_quant_cols<Int8Codec>(weights, rows, cols, panel, kSparseRows);
}
void decode_block_nibble(const Tensor& weights, Range rows, Range cols, float* panel) {
  record_executed_cpu_target(HWY_TARGET);
  decode_quant_cols<NibbleCodec>(weights, rows, cols, panel, kSparseRows);
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(add_cols_int8);
HWY_EXPORT(add_cols_nibble);
HWY_EXPORT(decode_block_int8);
HWY_EXPORT(decode_block_nibble);

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kColMajor; }

void run_add_nibble(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  HWY_DYNAMIC_DISPATCH(add_cols_nibble)(weights, rows, x, y, add);
}
void run_decode_nibble(const Tensor& weights, Range rows, Range cols, float* panel) {
  HWY_DYNAMIC_DISPATCH(decode_block_nibble)(weights, rows, cols, panel);
}

constexpr std::string_view kLayouts = "col_major";

}  // namespace

std::span<const SparseKernel> sparse_quant_kernels() noexcept {
  static constexpr SparseKernel kKernels[] = {
      {{MatrixOp::kSparse, DType::kInt8, kLayouts, accepts, "sparse_int8_col_major"},
       [](const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
         HWY_DYNAMIC_DISPATCH(add_cols_int8)(weights, rows, x, y, add);
       },
       [](const Tensor& weights, Range rows, Range cols, float* panel) {
         HWY_DYNAMIC_DISPATCH(decode_block_int8)(weights, rows, cols, panel);
       }},
      {{MatrixOp::kSparse, DType::kNF4, kLayouts, accepts, "sparse_nf4_col_major"},
       run_add_nibble,
       run_decode_nibble},
      {{MatrixOp::kSparse, DType::kSF4, kLayouts, accepts, "sparse_sf4_col_major"},
       run_add_nibble,
       run_decode_nibble},
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
