// One measured variant of `skein profile` in the figures that tables and JSON both show.
#pragma once

#include <optional>
#include <string>

#include "plan/profile.h"
#include "plan/statistics.h"

namespace skein::cli {

// Medians of the rounds. GB/s are bytes of weights really read; per cent, of the read bandwidth.
struct Shown {
  double tokens_per_s, gb_s, percent, prefill_tokens_per_s;
  Ratio decode, prefill;
};

// Nothing for a variant that was skipped.
inline std::optional<Shown> shown(const ProfileReport& report, const VariantFigures& figures) {
  const std::optional<Ratio> decode = ratio_of(figures.decode, figures.decode_baseline);
  const std::optional<Ratio> prefill = ratio_of(figures.prefill, figures.prefill_baseline);
  if (!figures.skipped.empty() || !decode || !prefill) return std::nullopt;
  const double speed = quantile(figures.decode, 0.5);
  const double bytes_per_s = speed * figures.bytes_per_token;
  return Shown{speed,
               bytes_per_s / 1e9,
               100 * bytes_per_s / report.bandwidth,
               quantile(figures.prefill, 0.5),
               *decode,
               *prefill};
}

// The layout of the attention matrices: what the layouts' table is about.
inline std::string layout_name(const VariantFigures& figures) {
  return to_string(attention_layout(figures.variant.plan));
}

}  // namespace skein::cli
