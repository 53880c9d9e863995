// Numbers of a prediction: how likely the next token was, and how far two predictions are from each
// other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace skein::cli {

// log softmax of the logits, in f64, into `out` (resized to as many). Law: exp of the result sums
// to 1.
void log_softmax(std::span<const float> logits, std::vector<double>& out);

// Kullback-Leibler divergence in nats, sum p (log p - log q), of two results of log_softmax(). >= 0
// but for rounding.
double divergence(std::span<const double> log_p, std::span<const double> log_q);

// The index of the largest; the first of several.
uint32_t top_token(std::span<const float> logits);

}  // namespace skein::cli
