// dense for codes of 8 bits in `interleave(R,B,4)` and of 4 bits in `interleave(R,B,8)`, R = 8 and
// 4: dense_quant_chunks-inl.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_quant_interleave_narrow.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include "backend/cpu/dense_quant_chunks-inl.h"
#include "backend/cpu/dense_table.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

uint32_t rows_of(const Tensor& weights) { return weights.layout().rows; }

template <class Codec>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  return rows_of(args.weights) == 8 ? multiply_chunks<Codec, 8>(args)
                                    : multiply_chunks<Codec, 4>(args);
}

template <class Codec>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  return rows_of(args.weights) == 8 ? decode_panel<Codec, 8>(args) : decode_panel<Codec, 4>(args);
}

SKEIN_DEFINE_QUANT_DENSE

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

SKEIN_EXPORT_QUANT_DENSE;

template <uint32_t kChunk>
bool accepts(const Layout& layout) {
  return layout.kind == LayoutKind::kInterleave && (layout.rows == 8 || layout.rows == 4) &&
         layout.chunk == kChunk;
}

void run_matvec(const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_quant)(args); }
void run_decode(const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_quant)(args); }

constexpr uint32_t kMaxMatvecTokens = 16;

template <DType kType>
constexpr DenseKernel kernel_of(std::string_view name) {
  constexpr uint32_t kChunk = 32 / element_bits(kType);
  return {{MatrixOp::kDense, kType, kChunk == 4 ? "interleave(4|8,*,4)" : "interleave(4|8,*,8)",
           accepts<kChunk>, name},
          kMaxMatvecTokens,
          run_matvec,
          run_decode};
}

}  // namespace

std::span<const DenseKernel> dense_quant_interleave_narrow_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      kernel_of<DType::kInt8>("dense_int8_interleave_narrow"),
      kernel_of<DType::kNF4>("dense_nf4_interleave_narrow"),
      kernel_of<DType::kSF4>("dense_sf4_interleave_narrow"),
      kernel_of<DType::kQ8_0>("dense_q8_0_interleave_narrow"),
      kernel_of<DType::kQ4_0>("dense_q4_0_interleave_narrow"),
      kernel_of<DType::kQ4K>("dense_q4_k_interleave_narrow"),
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
