#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gather.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include "backend/cpu/gather.h"
#include "backend/cpu/gather_kernel.h"
#include "backend/cpu/matmul-inl.h"
#include "tensor/decode_row.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

template <class E>
void copy_run(const E* from, uint64_t count, float* to) {
  record_executed_cpu_target(HWY_TARGET);
  const F32Tag d;
  uint64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(load_weights(d, from + i), d, to + i);
  for (; i < count; ++i) to[i] = one_weight(from + i);
}

template <class E>
void gather_as(const Tensor& weights, uint64_t row, float* y) {
  const E* from = reinterpret_cast<const E*>(weights.host_data());
  if (weights.layout().kind == LayoutKind::kRowMajor) {
    copy_run(from + weights.mapping()(row, 0), weights.cols(), y);
    return;
  }
  record_executed_cpu_target(HWY_TARGET);
  weights.mapping().visit([&](const auto& mapping) {
    for (uint64_t col = 0; col < weights.cols(); ++col)
      y[col] = one_weight(from + mapping(row, col));
  });
}

void gather_of(const Tensor& weights, uint64_t row, float* y) {
  switch (weights.dtype()) {
    case DType::kF32:
      return gather_as<float>(weights, row, y);
    case DType::kF16:
      return gather_as<F16>(weights, row, y);
    case DType::kBF16:
      return gather_as<BF16>(weights, row, y);
    default:
      record_executed_cpu_target(HWY_TARGET);
      return decode_row(weights, row, {y, weights.cols()});
  }
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(gather_of);

bool accepts(const Layout&) { return true; }

}  // namespace

std::span<const KernelInfo> gather_kernels() noexcept {
  static constexpr KernelInfo kKernels[] = {
      {MatrixOp::kGather, DType::kF32, "any layout", accepts, "gather_f32"},
      {MatrixOp::kGather, DType::kF16, "any layout", accepts, "gather_f16"},
      {MatrixOp::kGather, DType::kBF16, "any layout", accepts, "gather_bf16"},
      {MatrixOp::kGather, DType::kQ8_0, "any layout", accepts, "gather_q8_0"},
      {MatrixOp::kGather, DType::kQ4_0, "any layout", accepts, "gather_q4_0"},
      {MatrixOp::kGather, DType::kQ4K, "any layout", accepts, "gather_q4_k"},
  };
  return kKernels;
}

void gather_row(const Tensor& weights, uint64_t row, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(gather_of)(weights, row, y);
}

}  // namespace skein
#endif  // HWY_ONCE
