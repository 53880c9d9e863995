#include "plan/profile_cache.h"

#include <algorithm>
#include <map>

#include "base/bits.h"
#include "plan/address_stream.h"

namespace skein {
namespace {

// Accesses of some ops; sampled ones count for those left out.
struct Tally {
  double accesses = 0;
  std::vector<double> misses;  // by level

  void add(std::span<const CacheCount> levels, double scale) {
    misses.resize(levels.size());
    accesses += scale * static_cast<double>(levels.front().accesses);
    for (size_t i = 0; i < levels.size(); ++i) {
      misses[i] += scale * static_cast<double>(levels[i].misses());
    }
  }
  double hit_percent(size_t level) const {
    return accesses == 0 ? 100 : 100 * (1 - misses[level] / accesses);
  }
};

class TokenReplay {
 public:
  TokenReplay(CacheModel& cache, const Rwkv7& model, const Workspace& work,
              const Sparsity& sparsity)
      : cache_(cache), model_(model), work_(work), sparsity_(sparsity) {
    uint64_t outer_bytes = 0, weight_bytes = 0;
    for (const CacheLevel& level : cache.config().levels) outer_bytes += level.num_bytes;
    for (const double bytes : bytes_by_step(model)) weight_bytes += static_cast<uint64_t>(bytes);
    sample_every_ = static_cast<uint32_t>(std::max<uint64_t>(1, weight_bytes / (3 * outer_bytes)));
  }

  // Gives every buffer its place.
  Status place() {
    const Dimensions& dims = model_.dims();
    for (uint32_t layer = 0; layer <= dims.num_layers; ++layer) {
      for (const StepMatrix& m : matrices_of(model_, layer, work_)) {
        SKEIN_RETURN_IF_ERROR(place(*m.weights->buffer()));
        SKEIN_RETURN_IF_ERROR(place(*m.x->buffer));
        SKEIN_RETURN_IF_ERROR(place(*m.y->buffer));
      }
    }
    SKEIN_RETURN_IF_ERROR(place(*work_.x.buffer));
    state_bytes_ = uint64_t{dims.num_heads} * dims.head_size * dims.head_size * sizeof(float);
    state_at_ = space_.place(state_bytes_ * dims.num_layers);
    // Lists and partial sums of the sparse product.
    scratch_at_ = space_.place(uint64_t{dims.num_emb} * 64 + uint64_t{dims.num_hidden} * 16 + 4096);
    mix_ = place_mix(space_, dims.num_emb, 1, work_.activation_layout);
    mix_.x_at = address_of(work_.x);
    mix_.normed_at = address_of(work_.k);
    for (uint32_t c = 0; c < kNumMixes; ++c) mix_.out_at[c] = address_of(work_.mixed[c]);
    return {};
  }

  void run(std::array<Tally, kNumSteps>& tallies) {
    const uint32_t num_layers = model_.dims().num_layers;
    for (uint32_t layer = 0; layer <= num_layers; ++layer) {
      if (layer < num_layers) add(tallies, Step::kMix6, replay_mix6(cache_, mix_, 1));
      for (const StepMatrix& matrix : matrices_of(model_, layer, work_)) {
        if (matrix.step == Step::kOutput) walk_state(tallies, layer);
        add(tallies, matrix.step, replay(matrix, layer));
      }
    }
  }

 private:
  // Large buffers are whole models; beyond the model's addresses there is nothing to simulate.
  Status place(const Buffer& buffer) {
    if (bases_.count(&buffer) != 0) return {};
    placed_bytes_ += buffer.num_bytes() + (uint64_t{1} << 21);
    if (placed_bytes_ > kMaxModelAddress / 2) {
      return error("cache simulation: expected at most {} GiB of buffers, found more",
                   kMaxModelAddress >> 31);
    }
    bases_[&buffer] = space_.place(buffer.num_bytes());
    return {};
  }

  uint64_t address_of(const Activation& activation) const {
    return bases_.at(activation.buffer.get()) + activation.offset_elems * sizeof(float);
  }

  StreamReport replay(const StepMatrix& matrix, uint32_t layer) {
    const Tensor& weights = *matrix.weights;
    Operands at;
    at.weights = weights.mapping();
    at.max_tokens = 1;
    at.weights_at = bases_.at(weights.buffer().get()) + weights.offset_bytes();
    at.x_at = address_of(*matrix.x);
    at.y_at = address_of(*matrix.y);
    at.scratch_at = scratch_at_;
    const StreamOptions options{sample_every_};
    if (matrix.step == Step::kFfnValue && skips_zeros(model_)) {
      return replay_sparse(cache_, at, sparsity_.nonzero_cols[layer], options);
    }
    return replay_matvec(cache_, at, options);
  }

  static void add(std::array<Tally, kNumSteps>& tallies, Step step, const StreamReport& report) {
    tallies[static_cast<size_t>(step)].add(report.levels, 100 / report.sampled_percent);
  }

  void walk_state(std::array<Tally, kNumSteps>& tallies, uint32_t layer) {
    const std::vector<CacheCount> before(cache_.counts().begin(), cache_.counts().end());
    const uint64_t line_bytes = cache_.config().line_bytes;
    for (uint64_t i = 0; i < state_bytes_; i += line_bytes) {
      const uint64_t num_bytes = std::min(line_bytes, state_bytes_ - i);
      for (int load_store = 0; load_store < 2; ++load_store) {
        cache_.access(state_at_ + layer * state_bytes_ + i, num_bytes);
      }
    }
    std::vector<CacheCount> levels(cache_.counts().begin(), cache_.counts().end());
    for (size_t i = 0; i < levels.size(); ++i) {
      levels[i].accesses -= before[i].accesses;
      levels[i].hits -= before[i].hits;
    }
    tallies[static_cast<size_t>(Step::kWkv)].add(levels, 1);
  }

  CacheModel& cache_;
  const Rwkv7& model_;
  const Workspace& work_;
  const Sparsity& sparsity_;
  uint32_t sample_every_ = 1;
  AddressSpace space_;
  std::map<const Buffer*, uint64_t> bases_;
  uint64_t placed_bytes_ = 0;
  uint64_t state_bytes_ = 0, state_at_ = 0, scratch_at_ = 0;
  MixOperands mix_;
};

}  // namespace

Result<TokenCacheReport> simulate_token(const Rwkv7& model, const Workspace& work,
                                        const Sparsity& sparsity, const CacheConfig& config) {
  SKEIN_ASSIGN_OR_RETURN(CacheModel cache, CacheModel::create(config));
  TokenReplay replay(cache, model, work, sparsity);
  SKEIN_RETURN_IF_ERROR(replay.place());
  std::array<Tally, kNumSteps> first{}, second{};
  replay.run(first);
  replay.run(second);
  TokenCacheReport report;
  Tally all;
  for (size_t step = 0; step < kNumSteps; ++step) {
    const Tally& tally = second[step];
    if (tally.misses.empty()) continue;
    report.step_hit_percent[step] = tally.hit_percent(tally.misses.size() - 1);
    all.misses.resize(tally.misses.size());
    all.accesses += tally.accesses;
    for (size_t i = 0; i < tally.misses.size(); ++i) all.misses[i] += tally.misses[i];
  }
  for (size_t i = 0; i < all.misses.size(); ++i) {
    report.level_hit_percent.push_back(all.hit_percent(i));
  }
  report.memory_bytes = all.misses.back() * config.line_bytes;
  return report;
}

}  // namespace skein
