// Mean and variance of a row, for the current Highway target. Two passes: the row is in L1, and one
// pass over squares loses the digits that a large mean takes.

// Compiled once per target, so the usual guard toggles.
#if defined(SKEIN_BACKEND_CPU_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_BACKEND_CPU_NORM_INL_H_
#undef SKEIN_BACKEND_CPU_NORM_INL_H_
#else
#define SKEIN_BACKEND_CPU_NORM_INL_H_
#endif

#include <cmath>
#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skein {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that four vectors always divide a row: num_emb and head_size are multiples
// of 64.
using NormTag = hn::CappedTag<float, 16>;

// normed = (x - mean) * scale.
struct Norm {
  float mean;
  float scale;
};

// The norm of x[0, n) with the population's variance; n > 0 is a multiple of 64. Four sums a pass,
// since one is bound by the latency of the addition.
HWY_INLINE Norm norm_of_row(const float* x, size_t n, float eps) {
  const NormTag d;
  using V = hn::Vec<NormTag>;
  const size_t lanes = hn::Lanes(d);
  const float inverse_n = 1.0f / static_cast<float>(n);

  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (size_t i = 0; i < n; i += 4 * lanes) {
    s0 = hn::Add(s0, hn::LoadU(d, x + i));
    s1 = hn::Add(s1, hn::LoadU(d, x + i + lanes));
    s2 = hn::Add(s2, hn::LoadU(d, x + i + 2 * lanes));
    s3 = hn::Add(s3, hn::LoadU(d, x + i + 3 * lanes));
  }
  const V sum = hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
  const V mean = hn::Mul(sum, hn::Set(d, inverse_n));

  s0 = s1 = s2 = s3 = hn::Zero(d);
  for (size_t i = 0; i < n; i += 4 * lanes) {
    const V d0 = hn::Sub(hn::LoadU(d, x + i), mean);
    const V d1 = hn::Sub(hn::LoadU(d, x + i + lanes), mean);
    const V d2 = hn::Sub(hn::LoadU(d, x + i + 2 * lanes), mean);
    const V d3 = hn::Sub(hn::LoadU(d, x + i + 3 * lanes), mean);
    s0 = hn::MulAdd(d0, d0, s0);
    s1 = hn::MulAdd(d1, d1, s1);
    s2 = hn::MulAdd(d2, d2, s2);
    s3 = hn::MulAdd(d3, d3, s3);
  }
  const V squares = hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
  const float variance = hn::GetLane(squares) * inverse_n;
  return {hn::GetLane(mean), 1.0f / std::sqrt(variance + eps)};
}

}  // namespace HWY_NAMESPACE
}  // namespace skein
HWY_AFTER_NAMESPACE();

#endif  // SKEIN_BACKEND_CPU_NORM_INL_H_
