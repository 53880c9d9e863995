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

constexpr uint32_t kMaxMatvecTokens = 16;

}  // namespace

std::span<const DenseKernel> dense_quant_interleave_narrow_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_CODE8_DENSE_KERNELS("interleave_narrow", "interleave(4|8,*,4)", accepts<4>,
                                kMaxMatvecTokens),
      SKEIN_CODE4_DENSE_KERNELS("interleave_narrow", "interleave(4|8,*,8)", accepts<8>,
                                kMaxMatvecTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
