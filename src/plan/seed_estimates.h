// The "Estimated Impact" table of the document that Skein was asked for from, as data: the claims
// beside which `skein profile` puts its measurements. The one home of these numbers.
//
// They are estimates for a GPU. A gain of 10 % of bandwidth is a ratio of 1.10; a cache gain is in
// points of the hit rate.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace skein {

// The six ideas, in the document's order.
enum class Idea : uint8_t {
  kTransposed,
  kBlockInterleaved,
  kSwizzled,
  kPackedActivations,
  kAlignedDimensions,
  kHotCold,
};

struct SeedEstimate {
  Idea idea;
  std::string_view name;         // as the document spells it
  std::string_view key;          // in JSON and flags
  double bandwidth_low_percent;  // low == high where the document gives one number
  double bandwidth_high_percent;
  double cache_percent;
  std::string_view complexity;
};

inline constexpr std::array<SeedEstimate, 6> kSeedEstimates = {{
    {Idea::kTransposed, "Transposed Weights", "transposed", 10, 20, 5, "Low"},
    {Idea::kBlockInterleaved, "Block-Interleaved", "interleaved", 15, 25, 15, "Medium"},
    {Idea::kSwizzled, "Swizzled Layout", "swizzled", 10, 15, 20, "High"},
    {Idea::kPackedActivations, "Packed Activations", "packed", 5, 10, 10, "Low"},
    {Idea::kAlignedDimensions, "Aligned Dimensions", "aligned", 5, 10, 5, "Low"},
    {Idea::kHotCold, "Hot/Cold Separation", "hot_cold", 5, 5, 15, "Medium"},
}};

// "Recommended Experiment": the first three in the document's order, then the others as they stand
// in the table.
inline constexpr std::array<Idea, 6> kExperimentOrder = {
    Idea::kAlignedDimensions, Idea::kPackedActivations, Idea::kTransposed,
    Idea::kBlockInterleaved,  Idea::kSwizzled,          Idea::kHotCold};

constexpr const SeedEstimate& seed_estimate(Idea idea) noexcept {
  return kSeedEstimates[static_cast<uint8_t>(idea)];
}

static_assert([] {
  for (const SeedEstimate& row : kSeedEstimates) {
    if (&seed_estimate(row.idea) != &row) return false;
  }
  return true;
}());

}  // namespace skein
