#include "plan/address_stream.h"

#include <algorithm>

#include "base/bits.h"
#include "base/check.h"
#include "plan/address_replay.h"

namespace skein {

std::vector<CacheCount> difference(std::span<const CacheCount> after,
                                   std::span<const CacheCount> before) {
  std::vector<CacheCount> counts(after.begin(), after.end());
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i].accesses -= before[i].accesses;
    counts[i].hits -= before[i].hits;
  }
  return counts;
}

StreamReport Replay::report() const {
  StreamReport report;
  report.levels = difference(cache_.counts(), before_);
  const uint64_t line_bytes = cache_.config().line_bytes;
  report.memory_bytes = report.levels.back().misses() * line_bytes;
  report.weight_bytes_touched =
      line_bytes * static_cast<uint64_t>(std::count(touched_.begin(), touched_.end(), true));
  report.weight_bytes_used = (used_elems_ * at_.weights.element_bits() + 7) / 8;
  if (num_pieces_ != 0) {
    report.sampled_percent =
        100.0 * static_cast<double>(num_taken_) / static_cast<double>(num_pieces_);
  }
  return report;
}

uint64_t group_rows(const Layout& layout) {
  switch (layout.kind) {
    case LayoutKind::kInterleave:
    case LayoutKind::kTile:
    case LayoutKind::kMorton:
      return layout.rows;
    case LayoutKind::kRowMajor:
    case LayoutKind::kColMajor:
      break;
  }
  return 1;
}

namespace {

double percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? 100.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

uint64_t AddressSpace::place(uint64_t num_bytes) {
  constexpr uint64_t kHugePage = uint64_t{1} << 21;
  const uint64_t begin = round_up(next_, num_bytes >= kHugePage ? kHugePage : uint64_t{4096});
  next_ = begin + num_bytes;
  return begin;
}

Result<Operands> place_operands(AddressSpace& space, const AnyMapping& weights,
                                uint32_t max_tokens) {
  const Extents extents = weights.extents();
  // A quarter of the model's addresses each: then no sum below wraps or goes beyond them.
  const uint64_t limit = kMaxModelAddress / 4;
  const uint64_t token_bytes = (extents.rows + extents.cols) * kFloatBytes;
  if (weights.span_bytes() > limit || extents.rows > limit || extents.cols > limit ||
      token_bytes * max_tokens > limit) {
    return error("cache simulation: expected at most {} GiB, found {} x {} weights and {} tokens",
                 limit >> 30, extents.rows, extents.cols, max_tokens);
  }
  Operands at;
  at.weights = weights;
  at.max_tokens = max_tokens;
  at.weights_at = space.place(weights.span_bytes());
  at.x_at = space.place(extents.cols * kFloatBytes * max_tokens);
  at.y_at = space.place(extents.rows * kFloatBytes * max_tokens);
  // Packed x and a panel of gemm(), or lists and partial sums of sparse().
  at.scratch_at =
      space.place(kGemmScratchBytes + (extents.rows + kLanes * 2) * kFloatBytes * kNumPartitions +
                  extents.cols * 2 * kFloatBytes);
  return at;
}

double StreamReport::hit_percent() const noexcept {
  return levels.empty() ? 100.0
                        : percent(levels[0].accesses - levels.back().misses(), levels[0].accesses);
}

double StreamReport::used_percent() const noexcept {
  return percent(weight_bytes_used, weight_bytes_touched);
}

}  // namespace skein
