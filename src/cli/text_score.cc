#include "cli/text_score.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace skein::cli {

void log_softmax(std::span<const float> logits, std::vector<double>& out) {
  CHECK(!logits.empty());
  out.assign(logits.begin(), logits.end());
  const double largest = *std::max_element(out.begin(), out.end());
  double sum = 0;
  for (const double value : out) sum += std::exp(value - largest);
  const double log_sum = std::log(sum);
  // In this order: the largest of huge logits would swallow log_sum.
  for (double& value : out) value = (value - largest) - log_sum;
}

double divergence(std::span<const double> log_p, std::span<const double> log_q) {
  CHECK(log_p.size() == log_q.size());
  double sum = 0;
  for (size_t i = 0; i < log_p.size(); ++i) {
    const double p = std::exp(log_p[i]);
    // 0 log 0 is 0, also where the logit is -inf.
    if (p > 0) sum += p * (log_p[i] - log_q[i]);
  }
  return sum;
}

uint32_t top_token(std::span<const float> logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace skein::cli
