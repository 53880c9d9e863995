// Vector exp, sigmoid and tanh for the steps' epilogues, for the current Highway target.
//
// Goals: f32 lanes within 8 units in the last place over the whole range; NaN stays NaN, so that a
// bug upstream is seen. Non-goals: speed beyond that; a layer has a few thousand of these beside
// millions of products.

// Compiled once per target, so the usual guard toggles.
#if defined(SKEIN_BACKEND_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_BACKEND_CPU_MATH_INL_H_
#undef SKEIN_BACKEND_CPU_MATH_INL_H_
#else
#define SKEIN_BACKEND_CPU_MATH_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
// Highway's functions; needs highway.h first.
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// 1 / (1 + e^-x).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  // Highway's Exp is defined up to 104; sigmoid(-87) = 1.6e-38 is the last one that is a normal
  // f32.
  const V bounded = hn::Max(x, hn::Set(d, -87.0f));
  const V y = hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(bounded))));
  // Max and Exp lose NaN.
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

// e^x for x in [-87, 0]; keeps NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_of_negative(D d, V x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, x));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh(D d, V x) {
  // Expm1 of an argument beyond its range may raise invalid; tanh(10) is 1 in f32 already.
  const V bounded = hn::Clamp(x, hn::Set(d, -10.0f), hn::Set(d, 10.0f));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Tanh(d, bounded));
}

// x < 0 ? 0 : x^2, and NaN for NaN (Max would make it 0).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V squared_relu(D d, V x) {
  const V positive = hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
  return hn::Mul(positive, positive);
}

// Calls f(d, i) for vectors of elements that start at i and cover [begin, end) once: whole vectors
// first, then single lanes. A lane's result is the same in both, as long as f treats lanes alike.
template <class F>
HWY_INLINE void for_each_vector(size_t begin, size_t end, F&& f) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = begin;
  for (; i + lanes <= end; i += lanes) f(d, i);
  const hn::CappedTag<float, 1> one;
  for (; i < end; ++i) f(one, i);
}

}  // namespace HWY_NAMESPACE
}  // namespace skein
HWY_AFTER_NAMESPACE();

#endif  // SKEIN_BACKEND_CPU_MATH_INL_H_
