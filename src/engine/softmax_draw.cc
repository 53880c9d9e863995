#include "engine/softmax_draw.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "base/bits.h"
#include "base/check.h"

namespace skein {
namespace {

// Independent lanes of sums and maxima: as many floats as the widest vector in use has (AVX-512).
constexpr size_t kLanes = 16;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// How far below the peak the filters look, in nats, one reach after the other, before they look at
// everything: fewer tokens are cheaper to rank, and a look that finds too few costs about 15 µs.
constexpr std::array<float, 5> kReaches = {2, 5, 8, 12, 18};

// Up to here, selecting is cheaper than a histogram.
constexpr size_t kFewTokens = 1024;

// A histogram spreads its buckets over the reach, but over no more than this many nats.
constexpr size_t kNumBuckets = 2048;
constexpr float kMaxRange = 32;

// The last token that the ranked filters keep.
struct Cut {
  float logit;
  uint32_t id;
  // Ranked before or at the cut.
  bool keeps(float other_logit, uint32_t other_id) const noexcept {
    return other_logit > logit || (other_logit == logit && other_id <= id);
  }
};

// How much of the ranking is kept already, and when it is enough.
struct Budget {
  uint64_t max_count;
  double max_sum;
  uint64_t count = 0;
  double sum = 0;

  bool is_met_by(uint64_t more_count, double more_sum) const noexcept {
    return count + more_count >= max_count || sum + more_sum >= max_sum;
  }
  void spend(uint64_t more_count, double more_sum) noexcept {
    count += more_count;
    sum += more_sum;
  }
};

struct Ranked {
  float logit;
  uint32_t id;
  float weight;
  friend bool operator<(const Ranked& a, const Ranked& b) noexcept {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }
};

double weight_sum(std::span<const Ranked> tokens) noexcept {
  double sum = 0;
  for (const Ranked& token : tokens) sum += static_cast<double>(token.weight);
  return sum;
}

// The first token in the ranking of `tokens` that meets the budget, the last one if none does.
// Expected linear time: each round halves the range, only the last few are sorted. Reorders
// `tokens`, which is not empty.
Cut find_cut_in(std::vector<Ranked>& tokens, Budget budget) {
  auto first = tokens.begin(), last = tokens.end();
  while (last - first > 32) {
    const auto middle = first + (last - first) / 2;
    std::nth_element(first, middle, last);
    const auto half_count = static_cast<uint64_t>(middle - first);
    const double half_sum = weight_sum({first, middle});
    if (budget.is_met_by(half_count, half_sum)) {
      last = middle;
    } else {
      budget.spend(half_count, half_sum);
      first = middle;
    }
  }
  std::sort(first, last);
  while (last - first > 1 && !budget.is_met_by(1, static_cast<double>(first->weight))) {
    budget.spend(1, static_cast<double>(first->weight));
    ++first;
  }
  return {first->logit, first->id};
}

struct Histogram {
  struct Bucket {
    double sum = 0;
    uint64_t count = 0;
  };
  float peak;
  float buckets_per_nat;
  std::array<Bucket, kNumBuckets> buckets{};

  Histogram(float peak, float reach)
      : peak(peak),
        buckets_per_nat(static_cast<float>(kNumBuckets) / std::clamp(reach, 1e-3f, kMaxRange)) {}

  // Never decreases as the logit falls.
  size_t bucket_of(float logit) const noexcept {
    const float bucket = (peak - logit) * buckets_per_nat;
    return static_cast<size_t>(std::min(bucket, static_cast<float>(kNumBuckets - 1)));
  }
};

// The candidates that `chosen(logit)` picks, with their weights; weight 0 where only the count
// matters.
template <typename Predicate>
std::vector<Ranked> members(const Candidates& candidates, const TokenWeights* weights,
                            Predicate chosen) {
  std::vector<Ranked> out;
  for (size_t i = 0; i < candidates.count(); ++i) {
    const uint32_t id = candidates.ids()[i];
    if (!chosen(candidates.logits()[i])) continue;
    out.push_back({candidates.logits()[i], id, weights == nullptr ? 0.0f : (*weights)[id]});
  }
  return out;
}

// Finds where the ranking of few candidates meets the budget; nothing if together they do not.
std::optional<Cut> find_cut_of_few(const Candidates& candidates, const TokenWeights* weights,
                                   const Budget& budget) {
  std::vector<Ranked> all = members(candidates, weights, [](float) { return true; });
  if (!budget.is_met_by(all.size(), weight_sum(all))) return std::nullopt;
  return find_cut_in(all, budget);
}

// The same for many: the bucket by a histogram, the token inside it by selection.
std::optional<Cut> find_cut_of_many(const Candidates& candidates, Histogram histogram,
                                    const TokenWeights* weights, Budget budget) {
  for (size_t i = 0; i < candidates.count(); ++i) {
    Histogram::Bucket& bucket = histogram.buckets[histogram.bucket_of(candidates.logits()[i])];
    ++bucket.count;
    if (weights != nullptr) bucket.sum += static_cast<double>((*weights)[candidates.ids()[i]]);
  }
  auto at = histogram.buckets.begin();
  while (at != histogram.buckets.end() && !budget.is_met_by(at->count, at->sum)) {
    budget.spend(at->count, at->sum);
    ++at;
  }
  if (at == histogram.buckets.end()) return std::nullopt;
  const auto cut_bucket = static_cast<size_t>(at - histogram.buckets.begin());
  std::vector<Ranked> last = members(
      candidates, weights, [&](float logit) { return histogram.bucket_of(logit) == cut_bucket; });
  return find_cut_in(last, budget);
}

}  // namespace

Peak find_peak(std::span<const float> logits) noexcept {
  std::array<float, kLanes> lanes;
  lanes.fill(-kInfinity);
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t begin = 0; begin < whole; begin += kLanes) {
    for (size_t i = 0; i < kLanes; ++i) {
      lanes[i] = logits[begin + i] > lanes[i] ? logits[begin + i] : lanes[i];  // false for NaN
    }
  }
  float best = -kInfinity;
  for (const float lane : lanes) best = lane > best ? lane : best;
  for (const float logit : logits.subspan(whole)) best = logit > best ? logit : best;
  const auto at = std::find(logits.begin(), logits.end(), best);
  if (best == -kInfinity || at == logits.end()) return {-kInfinity, 0};
  return {best, static_cast<uint32_t>(at - logits.begin())};
}

// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2. ln 2 is split in two so that r keeps
// its last bits; the polynomial is Taylor's to r^7, whose remainder is 0.35^8 / 8! = 6e-9.
float exp_nonpositive(float x) noexcept {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
  const float clamped = x > -87.0f ? x : -87.0f;
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = clamped - n * kLn2High - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // shifted's low bits hold n in two's complement: moved into the exponent field, they scale by
  // 2^n.
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) << 23;
  const float scaled = std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent);
  return x > -87.0f ? scaled : 0.0f;
}

void TokenWeights::assign(std::span<const float> logits, float peak, float scale) {
  DCHECK(std::isfinite(peak));
  const size_t num_blocks = ceil_div(logits.size(), kBlock);
  weights_.resize(num_blocks * kBlock);
  sums_.resize(num_blocks);
  total_ = 0;
  for (size_t block = 0; block < num_blocks; ++block) {
    const size_t begin = block * kBlock, count = std::min(kBlock, logits.size() - begin);
    const float* const in = logits.data() + begin;
    float* const out = weights_.data() + begin;
    for (size_t i = 0; i < count; ++i) out[i] = exp_nonpositive((in[i] - peak) * scale);
    std::fill(out + count, out + kBlock, 0.0f);
    std::array<float, kLanes> lanes{};
    for (size_t i = 0; i < kBlock; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += out[i + lane];
    }
    double sum = 0;
    for (const float lane : lanes) sum += static_cast<double>(lane);
    sums_[block] = sum;
    total_ += sum;
  }
}

uint32_t TokenWeights::draw(double u) const noexcept {
  double left = u * total_;
  size_t block = 0, last_block = 0;
  for (; block < sums_.size() && left >= sums_[block]; ++block) {
    if (sums_[block] > 0) last_block = block;
    left -= sums_[block];
  }
  // Rounding can leave the target at the very end of all blocks, or of one: the last weight above 0
  // takes it.
  if (block == sums_.size()) block = last_block;
  size_t last = block * kBlock;
  for (size_t i = block * kBlock; i < (block + 1) * kBlock; ++i) {
    if (weights_[i] == 0) continue;
    last = i;
    left -= static_cast<double>(weights_[i]);
    if (left < 0) break;
  }
  return static_cast<uint32_t>(last);
}

void Candidates::gather(std::span<const float> logits, float peak, float reach_nats) {
  // Stores run ahead of the count and most are overwritten: a branch per token would be
  // mispredicted.
  if (ids_.size() <= logits.size()) {
    ids_.resize(logits.size() + 1);
    logits_.resize(logits.size() + 1);
  }
  count_ = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kLanes) {
    const size_t end = std::min(begin + kLanes, logits.size());
    if (end - begin == kLanes) {
      int hits = 0;
      for (size_t i = 0; i < kLanes; ++i) hits += peak - logits[begin + i] <= reach_nats ? 1 : 0;
      if (hits == 0) continue;
    }
    size_t count = count_;
    for (size_t i = begin; i < end; ++i) {
      ids_[count] = static_cast<uint32_t>(i);
      logits_[count] = logits[i];
      count += peak - logits[i] <= reach_nats ? 1u : 0u;
    }
    count_ = count;
  }
}

void keep_candidates(std::span<const float> logits, float peak, const Filter& filter,
                     const TokenWeights& weights, Candidates& kept) {
  // p >= min_p * max p, as a distance of logits.
  const float min_p_reach =
      filter.min_p > 0 ? -std::log(filter.min_p) : std::numeric_limits<float>::max();
  const bool ranks_by_sum = filter.top_p < 1;
  if (filter.top_k == 0 && !ranks_by_sum) return kept.gather(logits, peak, min_p_reach);
  const Budget budget{
      .max_count = filter.top_k == 0 ? std::numeric_limits<uint64_t>::max() : filter.top_k,
      .max_sum = ranks_by_sum ? static_cast<double>(filter.top_p) * weights.total()
                              : std::numeric_limits<double>::infinity()};
  const TokenWeights* const ranked_weights = ranks_by_sum ? &weights : nullptr;
  // A small vocabulary is ranked as a whole.
  for (size_t round = logits.size() <= kFewTokens ? kReaches.size() : 0;; ++round) {
    const float reach =
        round < kReaches.size() ? std::min(kReaches[round], min_p_reach) : min_p_reach;
    kept.gather(logits, peak, reach);
    const std::optional<Cut> cut =
        kept.count() <= kFewTokens ? find_cut_of_few(kept, ranked_weights, budget)
                                   : find_cut_of_many(kept, {peak, reach}, ranked_weights, budget);
    if (cut) return kept.retain([&](float logit, uint32_t id) { return cut->keeps(logit, id); });
    // All that min_p allows, and the ranked filters would keep more.
    if (reach == min_p_reach) return;
  }
}

}  // namespace skein
