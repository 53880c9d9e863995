#include "backend/cpu/epilogue.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/epilogue.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// Needs the target that foreach_target.h sets.
#include "backend/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein {
namespace HWY_NAMESPACE {
namespace {

void tanh_range(float* y, size_t begin, size_t end) {
  for_each_vector(begin, end, [=](auto d, size_t i) HWY_ATTR {
    hn::StoreU(tanh(d, hn::LoadU(d, y + i)), d, y + i);
  });
}

void sigmoid_range(float* y, size_t begin, size_t end) {
  for_each_vector(begin, end, [=](auto d, size_t i) HWY_ATTR {
    hn::StoreU(sigmoid(d, hn::LoadU(d, y + i)), d, y + i);
  });
}

void biased_sigmoid_range(const float* bias, float* y, size_t begin, size_t end) {
  for_each_vector(begin, end, [=](auto d, size_t i) HWY_ATTR {
    const auto x = hn::Add(hn::LoadU(d, bias + i), hn::LoadU(d, y + i));
    hn::StoreU(sigmoid(d, x), d, y + i);
  });
}

void decay_range(const float* bias, float* y, size_t begin, size_t end) {
  for_each_vector(begin, end, [=](auto d, size_t i) HWY_ATTR {
    const auto x = hn::Add(hn::LoadU(d, bias + i), hn::LoadU(d, y + i));
    const auto log_decay = hn::Mul(hn::Set(d, kDecayScale), sigmoid(d, x));
    hn::StoreU(exp_of_negative(d, log_decay), d, y + i);
  });
}

void squared_relu_range(float* y, size_t begin, size_t end) {
  for_each_vector(begin, end, [=](auto d, size_t i) HWY_ATTR {
    hn::StoreU(squared_relu(d, hn::LoadU(d, y + i)), d, y + i);
  });
}

// [C] each: v0, the projection y, v_first of the token; v is read and written.
void value_residual_range(const float* v0, const float* y, const float* v_first, float* v,
                          size_t begin, size_t end) {
  for_each_vector(begin, end, [=](auto d, size_t i) HWY_ATTR {
    const auto gate = sigmoid(d, hn::Add(hn::LoadU(d, v0 + i), hn::LoadU(d, y + i)));
    const auto old = hn::LoadU(d, v + i);
    const auto difference = hn::Sub(hn::LoadU(d, v_first + i), old);
    hn::StoreU(hn::MulAdd(difference, gate, old), d, v + i);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace skein
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(tanh_range);
HWY_EXPORT(sigmoid_range);
HWY_EXPORT(biased_sigmoid_range);
HWY_EXPORT(decay_range);
HWY_EXPORT(squared_relu_range);
HWY_EXPORT(value_residual_range);

void apply_tanh(void*, float* y, uint64_t, uint64_t begin, uint64_t end) {
  HWY_DYNAMIC_DISPATCH(tanh_range)(y, begin, end);
}

void apply_sigmoid(void*, float* y, uint64_t, uint64_t begin, uint64_t end) {
  HWY_DYNAMIC_DISPATCH(sigmoid_range)(y, begin, end);
}

void apply_biased_sigmoid(void* bias, float* y, uint64_t, uint64_t begin, uint64_t end) {
  HWY_DYNAMIC_DISPATCH(biased_sigmoid_range)(static_cast<const float*>(bias), y, begin, end);
}

void apply_decay(void* bias, float* y, uint64_t, uint64_t begin, uint64_t end) {
  HWY_DYNAMIC_DISPATCH(decay_range)(static_cast<const float*>(bias), y, begin, end);
}

void apply_squared_relu(void*, float* y, uint64_t, uint64_t begin, uint64_t end) {
  HWY_DYNAMIC_DISPATCH(squared_relu_range)(y, begin, end);
}

void apply_value_residual(void* context, float* y, uint64_t token, uint64_t begin, uint64_t end) {
  const ValueResidual& residual = *static_cast<const ValueResidual*>(context);
  HWY_DYNAMIC_DISPATCH(value_residual_range)
  (residual.v0, y, residual.v_first->row(token), residual.v->row(token), begin, end);
}

}  // namespace

Epilogue tanh_epilogue() noexcept { return {apply_tanh, nullptr}; }

Epilogue sigmoid_epilogue() noexcept { return {apply_sigmoid, nullptr}; }

// Contexts are not const in dense.h, since an epilogue may accumulate; ours only read.
Epilogue sigmoid_epilogue(const float* bias) noexcept {
  return {apply_biased_sigmoid, const_cast<float*>(bias)};
}

Epilogue decay_epilogue(const float* bias) noexcept {
  return {apply_decay, const_cast<float*>(bias)};
}

Epilogue squared_relu_epilogue() noexcept { return {apply_squared_relu, nullptr}; }

Epilogue value_residual_epilogue(const ValueResidual& residual) noexcept {
  return {apply_value_residual, const_cast<ValueResidual*>(&residual)};
}

}  // namespace skein
#endif  // HWY_ONCE
