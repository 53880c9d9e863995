#include "tensor/ggml_codec.h"

#include <algorithm>
#include <cmath>

namespace skein {
namespace {

constexpr uint32_t kRunCols = step_cols(DType::kQ4K);
constexpr int kMaxCode = 15;   // of q4_k
constexpr int kMaxScale = 63;  // of its six bits

// The integer of 0 .. most that is nearest, ties to even; 0 for NaN.
int bounded(float value, int most) noexcept {
  if (!(value > 0)) return 0;
  return value < static_cast<float>(most) ? static_cast<int>(std::nearbyint(value)) : most;
}

// 1 / d; 0 where that is infinite: such a d is 0 in f16, whatever the codes are.
float inverse_of(float d) noexcept {
  const float inverse = d == 0 ? 0.0f : 1.0f / d;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

// w' = factor q + min of a run.
struct RunFit {
  float factor = 0;
  float min = 0;
};

// The sums over a run that the least squares need; w are weights.
struct RunSums {
  float w = 0, x = 0;  // sum w, sum w x
  float q = 0, qq = 0, qx = 0;
};

// The factor and the minimum, none above 0, of least error for the codes that the sums are of.
RunFit least_squares(const RunSums& s, float determinant) noexcept {
  RunFit fit{(s.w * s.qx - s.x * s.q) / determinant, (s.qq * s.x - s.q * s.qx) / determinant};
  if (fit.min > 0) fit = {s.qx / s.qq, 0};
  return fit;
}

float error_of(std::span<const float> x, const float* weights, const uint8_t* codes,
               RunFit fit) noexcept {
  float error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const float difference = fit.factor * static_cast<float>(codes[i]) + fit.min - x[i];
    error += weights[i] * (difference * difference);
  }
  return error;
}

void codes_of(std::span<const float> x, float min, float inverse, uint8_t* codes) noexcept {
  for (size_t i = 0; i < x.size(); ++i) {
    codes[i] = static_cast<uint8_t>(bounded(inverse * (x[i] - min), kMaxCode));
  }
}

// ggml's make_qkx2_quants: the codes of 21 ranges somewhat narrower and wider than that of the
// values, each with the factor and minimum that suit them best.
RunFit fit_run(std::span<const float> x, const float* weights, uint8_t* codes) noexcept {
  constexpr int kSteps = 20;
  constexpr float kFirst = -1.0f, kStep = 0.1f;
  float max = x[0];
  RunFit best{0, x[0]};
  RunSums of_x;
  for (size_t i = 0; i < x.size(); ++i) {
    best.min = std::min(best.min, x[i]);
    max = std::max(max, x[i]);
    of_x.w += weights[i];
    of_x.x += weights[i] * x[i];
  }
  best.min = std::min(best.min, 0.0f);
  std::fill_n(codes, x.size(), uint8_t{0});
  if (max == best.min) return best;
  const float inverse = static_cast<float>(kMaxCode) / (max - best.min);
  best.factor = 1 / inverse;
  codes_of(x, best.min, inverse, codes);
  float least = error_of(x, weights, codes, best);
  for (int step = 0; step <= kSteps; ++step) {
    const float levels = kFirst + kStep * static_cast<float>(step) + static_cast<float>(kMaxCode);
    std::array<uint8_t, kRunCols> tried;
    codes_of(x, best.min, levels / (max - best.min), tried.data());
    RunSums sums = of_x;
    for (size_t i = 0; i < x.size(); ++i) {
      const auto q = static_cast<float>(tried[i]);
      sums.q += weights[i] * q;
      sums.qq += weights[i] * q * q;
      sums.qx += weights[i] * q * x[i];
    }
    const float determinant = sums.w * sums.qq - sums.q * sums.q;
    if (!(determinant > 0)) continue;
    const RunFit fit = least_squares(sums, determinant);
    const float error = error_of(x, weights, tried.data(), fit);
    if (!(error < least)) continue;
    std::copy_n(tried.begin(), x.size(), codes);
    least = error;
    best = fit;
  }
  return best;
}

// Of a value, beside those of its run: all are at least as large as the run's own deviation.
std::array<float, kRunCols> weights_of(std::span<const float> x) noexcept {
  float squares = 0;
  for (const float value : x) squares += value * value;
  const float mean = std::sqrt(squares / static_cast<float>(x.size()));
  std::array<float, kRunCols> weights{};
  for (size_t i = 0; i < x.size(); ++i) weights[i] = mean + std::fabs(x[i]);
  return weights;
}

void set_pair(Q4KScale& scale, uint32_t run, int factor, int min) noexcept {
  const auto s = static_cast<uint32_t>(factor), t = static_cast<uint32_t>(min);
  auto& p = scale.pairs;
  if (run < 4) {
    p[run] = static_cast<uint8_t>(s);
    p[run + 4] = static_cast<uint8_t>(t);
    return;
  }
  p[run + 4] = static_cast<uint8_t>((s & 15u) | (t & 15u) << 4u);
  p[run - 4] = static_cast<uint8_t>(p[run - 4] | (s >> 4u) << 6u);
  p[run] = static_cast<uint8_t>(p[run] | (t >> 4u) << 6u);
}

}  // namespace

FactorScale encode_q8_0(std::span<const float> values, uint8_t* codes) noexcept {
  float absmax = 0;
  for (const float value : values) absmax = std::max(absmax, std::fabs(value));
  const float d = absmax / 127.0f;
  const float inverse = inverse_of(d);
  for (size_t i = 0; i < values.size(); ++i) {
    codes[i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(values[i] * inverse)));
  }
  return {f16_from(d)};
}

FactorScale encode_q4_0(std::span<const float> values, uint8_t* codes) noexcept {
  float absmax = 0, signed_max = 0;
  for (const float value : values) {
    if (!(std::fabs(value) > absmax)) continue;
    absmax = std::fabs(value);
    signed_max = value;
  }
  const float d = signed_max / -8.0f;
  const float inverse = inverse_of(d);
  for (size_t i = 0; i < values.size(); ++i) {
    const float shifted = values[i] * inverse + 8.5f;
    codes[i] = static_cast<uint8_t>(std::min(15, static_cast<int>(shifted)));
  }
  return {f16_from(d)};
}

Q4KScale encode_q4_k(std::span<const float> values, uint8_t* codes) noexcept {
  std::array<RunFit, kQ4KRuns> fits{};
  float max_factor = 0, max_min = 0;
  const auto run_of = [&](uint32_t run) {
    const size_t begin = std::min<size_t>(size_t{run} * kRunCols, values.size());
    return values.subspan(begin, std::min<size_t>(kRunCols, values.size() - begin));
  };
  for (uint32_t run = 0; run < kQ4KRuns; ++run) {
    const std::span<const float> x = run_of(run);
    if (x.empty()) break;
    fits[run] = fit_run(x, weights_of(x).data(), codes + run * kRunCols);
    max_factor = std::max(max_factor, fits[run].factor);
    max_min = std::max(max_min, -fits[run].min);
  }
  Q4KScale scale{f16_from(max_factor / 63.0f), f16_from(max_min / 63.0f), {}};
  const float per_factor = max_factor > 0 ? 63.0f / max_factor : 0.0f;
  const float per_min = max_min > 0 ? 63.0f / max_min : 0.0f;
  for (uint32_t run = 0; run < kQ4KRuns; ++run) {
    set_pair(scale, run, bounded(per_factor * fits[run].factor, kMaxScale),
             bounded(per_min * -fits[run].min, kMaxScale));
  }
  // The codes again, for the rounded factors and minima.
  for (uint32_t run = 0; run < kQ4KRuns; ++run) {
    const std::span<const float> x = run_of(run);
    const RunStep step = run_step(scale, run);
    if (step.factor == 0) continue;
    for (size_t i = 0; i < x.size(); ++i) {
      codes[run * kRunCols + i] =
          static_cast<uint8_t>(bounded((x[i] + step.min) / step.factor, kMaxCode));
    }
  }
  return scale;
}

}  // namespace skein
