#include "plan/profile_runner.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>

#include "base/check.h"
#include "plan/statistics.h"

namespace skein {
namespace {

using Clock = std::chrono::steady_clock;

// The baseline is sampled anew after so many variants: about as long as a machine's speed stays
// what it is.
constexpr size_t kBaselineEvery = 8;
constexpr size_t kMaxGroup = 64;
constexpr uint32_t kMaxRounds = 25;
// Steps are sampled in the first rounds only; they spread less than whole tokens.
constexpr uint32_t kStepRounds = 5;
constexpr uint32_t kWarmUpTokens = 2;
// A GPU that had nothing to do while a variant was loaded takes a while to its full clock.
constexpr double kDeviceWarmUpSeconds = 0.2;
// A sample of prefill is repeated while it is short.
constexpr size_t kMaxPrefills = 5;
constexpr double kShortSeconds = 0.1;
constexpr uint32_t kChunk = 512;  // tokens that prefill runs at once
// How much room a device has is not known.
constexpr size_t kDeviceGroup = 4;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What the system can give without swapping; a great deal where it does not tell.
uint64_t available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;) {
    uint64_t kilobytes = 0;
    if (word == "MemAvailable:" && file >> kilobytes) return kilobytes << 10;
  }
  return std::numeric_limits<uint64_t>::max() / 4;
}

// `ids` in chunks; logits of the last token of each.
template <class F>
Status for_each_chunk(std::span<const uint32_t> ids, uint32_t chunk, F&& f) {
  for (size_t begin = 0; begin < ids.size(); begin += chunk) {
    const std::span<const uint32_t> part =
        ids.subspan(begin, std::min<size_t>(chunk, ids.size() - begin));
    const auto num_tokens = static_cast<uint32_t>(part.size());
    const Run run{0, 0, num_tokens};
    const uint32_t last = num_tokens - 1;
    SKEIN_RETURN_IF_ERROR(f(Batch{part, {&run, 1}, {&last, 1}}));
  }
  return {};
}

Status forward(const LoadedVariant& loaded, std::span<const uint32_t> ids, uint32_t chunk) {
  const Workspace& work = chunk == 1 ? loaded.decode_work : loaded.prefill_work;
  return for_each_chunk(ids, chunk, [&](const Batch& batch) {
    return loaded.model->forward(batch, loaded.state, work);
  });
}

// Medians by step.
StepSeconds medians(const std::vector<StepSeconds>& samples) {
  StepSeconds result{};
  std::vector<double> values(samples.size());
  for (size_t step = 0; step < kNumSteps && !samples.empty(); ++step) {
    for (size_t i = 0; i < samples.size(); ++i) values[i] = samples[i][step];
    result[step] = quantile(values, 0.5);
  }
  return result;
}

// Appends the seconds a token of each chunk.
Status time_chunks(const LoadedVariant& loaded, std::span<const uint32_t> ids, uint32_t chunk,
                   std::vector<double>& seconds) {
  const Workspace& work = chunk == 1 ? loaded.decode_work : loaded.prefill_work;
  return for_each_chunk(ids, chunk, [&](const Batch& batch) -> Status {
    const auto start = Clock::now();
    SKEIN_RETURN_IF_ERROR(loaded.model->forward(batch, loaded.state, work));
    seconds.push_back(seconds_since(start) / batch.num_tokens());
    return {};
  });
}

// Appends the seconds a token of all chunks: on a device, which the host does not wait for.
Status time_pass(const LoadedVariant& loaded, std::span<const uint32_t> ids, uint32_t chunk,
                 std::vector<double>& seconds) {
  const Workspace& work = chunk == 1 ? loaded.decode_work : loaded.prefill_work;
  const auto start = Clock::now();
  SKEIN_RETURN_IF_ERROR(for_each_chunk(ids, chunk, [&](const Batch& batch) {
    return loaded.model->submit(batch, loaded.state, work);
  }));
  SKEIN_RETURN_IF_ERROR(loaded.model->backend().finish());
  seconds.push_back(seconds_since(start) / static_cast<double>(ids.size()));
  return {};
}

// Bytes that lie between or behind the weights.
double padding_bytes(const Rwkv7& model) {
  double padding = 0;
  const Workspace none;
  for (uint32_t layer = 0; layer <= model.dims().num_layers; ++layer) {
    for (const StepMatrix& m : matrices_of(model, layer, none)) {
      const AnyMapping& mapping = m.weights->mapping();
      const double elems = static_cast<double>(mapping.required_span_size()) -
                           static_cast<double>(mapping.extents().num_elems());
      padding += elems * mapping.element_bits() / 8;
    }
  }
  return padding;
}

}  // namespace

Result<LoadedVariant> load_variant(const std::string& path, Backend& backend,
                                   const WeightPlan& plan, uint32_t max_tokens) {
  LoadedVariant loaded;
  Rwkv7::LoadOptions options;
  options.plan = plan;
  options.num_threads = backend.num_threads();
  SKEIN_ASSIGN_OR_RETURN(loaded.model, Rwkv7::load(path, backend, options));
  SKEIN_ASSIGN_OR_RETURN(loaded.state, loaded.model->make_state(1));
  SKEIN_ASSIGN_OR_RETURN(loaded.decode_work, loaded.model->make_workspace(1, 1, plan.activations));
  SKEIN_ASSIGN_OR_RETURN(loaded.prefill_work,
                         loaded.model->make_workspace(max_tokens, 1, plan.activations));
  return loaded;
}

std::vector<uint32_t> profile_ids(uint32_t count, uint32_t num_vocab) {
  CHECK(num_vocab > 0);
  std::vector<uint32_t> ids(count);
  uint64_t state = 1;
  for (uint32_t& id : ids) {  // Knuth's MMIX generator; its upper half is the good one
    state = state * 6364136223846793005u + 1442695040888963407u;
    id = static_cast<uint32_t>((state >> 33) % num_vocab);
  }
  return ids;
}

Result<ProfileRunner> ProfileRunner::create(const std::string& path, Backend& backend,
                                            const ProfileOptions& options,
                                            const WeightPlan& baseline) {
  CHECK(options.num_decode > 0 && options.num_prefill > 0);
  ProfileRunner runner(path, backend, options);
  const uint32_t chunk = std::min(options.num_prefill, kChunk);
  SKEIN_ASSIGN_OR_RETURN(runner.baseline_, load_variant(path, backend, baseline, chunk));
  const Rwkv7& model = *runner.baseline_.model;
  runner.decode_ids_ = profile_ids(options.num_decode, model.dims().num_vocab);
  runner.prefill_ids_ = profile_ids(options.num_prefill, model.dims().num_vocab);
  runner.zeros_.resize(runner.baseline_.state.num_elems() * sizeof(float));
  SKEIN_ASSIGN_OR_RETURN(runner.sparsity_, measure_sparsity(model, runner.decode_ids_));
  return runner;
}

// Half of what the system has now: the file's pages want to stay as well.
size_t ProfileRunner::max_group() const {
  if (!backend_.is_host()) return kDeviceGroup;
  const uint64_t weights = baseline_.model->bytes_per_token();
  const uint64_t each = weights + weights / 4 + (uint64_t{64} << 20);
  const uint64_t fitting = available_memory_bytes() / 2 / each;
  return static_cast<size_t>(std::clamp<uint64_t>(fitting, 1, kMaxGroup));
}

Status ProfileRunner::run(std::span<VariantFigures* const> variants, double budget_seconds,
                          const OnLoaded& on_loaded, const ProfileProgress& progress) {
  const size_t group_size = max_group();
  for (size_t begin = 0; begin < variants.size(); begin += group_size) {
    const auto part = variants.subspan(begin, std::min(group_size, variants.size() - begin));
    const double share = static_cast<double>(part.size()) / static_cast<double>(variants.size());
    const double before = static_cast<double>(begin) / static_cast<double>(variants.size());
    SKEIN_ASSIGN_OR_RETURN(std::vector<Member> group, load_group(part));
    SKEIN_RETURN_IF_ERROR(
        run_group(group, budget_seconds * share, [&](double fraction, std::string_view detail) {
          progress(before + share * fraction, detail);
        }));
    for (Member& member : group) {
      finish(member);
      SKEIN_RETURN_IF_ERROR(on_loaded(member.loaded, *member.figures));
    }
  }
  return {};
}

// Those that cannot be loaded are marked as skipped.
Result<std::vector<ProfileRunner::Member>> ProfileRunner::load_group(
    std::span<VariantFigures* const> variants) const {
  std::vector<Member> group;
  for (VariantFigures* figures : variants) {
    const auto max_tokens = std::min(options_.num_prefill, kChunk);
    auto loaded = load_variant(path_, backend_, figures->variant.plan, max_tokens);
    if (!loaded) {
      figures->skipped = loaded.error().message;
      continue;
    }
    group.push_back({figures, *std::move(loaded), {}, {}});
  }
  return group;
}

Status ProfileRunner::run_group(std::vector<Member>& group, double budget_seconds,
                                const ProfileProgress& progress) {
  const auto start = Clock::now();
  for (const Member& member : group) {
    SKEIN_RETURN_IF_ERROR(
        forward(member.loaded, prefill_ids_, member.loaded.prefill_work.max_tokens));
  }
  SKEIN_ASSIGN_OR_RETURN(bandwidths_.emplace_back(), backend_.measure_read_bandwidth());
  for (uint32_t round = 0; round < kMaxRounds; ++round) {
    const auto round_start = Clock::now();
    SKEIN_RETURN_IF_ERROR(run_round(group, round));
    const double spent = seconds_since(start);
    progress(std::min(1.0, std::max(spent / budget_seconds, (round + 1.0) / kMaxRounds)),
             group.empty() ? "" : group.front().figures->variant.name);
    if (spent + seconds_since(round_start) > budget_seconds) break;
  }
  return {};
}

Status ProfileRunner::run_round(std::vector<Member>& group, uint32_t round) {
  Sample base;
  for (size_t i = 0; i < group.size(); ++i) {
    if (i % kBaselineEvery == 0) {
      SKEIN_ASSIGN_OR_RETURN(base, sample(baseline_));
    }
    Member& member = group[i];
    SKEIN_ASSIGN_OR_RETURN(const Sample now, sample(member.loaded));
    VariantFigures& figures = *member.figures;
    figures.decode.push_back(now.decode);
    figures.decode_baseline.push_back(base.decode);
    figures.prefill.push_back(now.prefill);
    figures.prefill_baseline.push_back(base.prefill);
    if (round < kStepRounds) SKEIN_RETURN_IF_ERROR(sample_steps(member));
  }
  return {};
}

Status ProfileRunner::empty_state(const LoadedVariant& loaded) const {
  return backend_.upload(*loaded.state.buffer, 0, zeros_);
}

Status ProfileRunner::decode(const LoadedVariant& loaded) const {
  return forward(loaded, decode_ids_, 1);
}

Status ProfileRunner::warm_up(const LoadedVariant& loaded) const {
  const auto start = Clock::now();
  while (seconds_since(start) < kDeviceWarmUpSeconds) {
    SKEIN_RETURN_IF_ERROR(forward(loaded, std::span(decode_ids_).first(1), 1));
    SKEIN_RETURN_IF_ERROR(backend_.finish());
  }
  return {};
}

// The speed of the median token (decode) or chunk (prefill): what another process takes away from a
// few of them does not count. Before the clock starts, a few tokens bring back to the caches what
// stays there.
Result<ProfileRunner::Sample> ProfileRunner::sample(const LoadedVariant& loaded) const {
  std::vector<double> prefill, decode;
  const auto time = backend_.is_host() ? time_chunks : time_pass;
  if (!backend_.is_host()) SKEIN_RETURN_IF_ERROR(warm_up(loaded));
  const auto start = Clock::now();
  while (prefill.empty() ||
         (prefill.size() < kMaxPrefills && seconds_since(start) < kShortSeconds)) {
    SKEIN_RETURN_IF_ERROR(empty_state(loaded));
    SKEIN_RETURN_IF_ERROR(time(loaded, prefill_ids_, loaded.prefill_work.max_tokens, prefill));
  }
  SKEIN_RETURN_IF_ERROR(empty_state(loaded));
  const std::span<const uint32_t> ids = decode_ids_;
  SKEIN_RETURN_IF_ERROR(forward(loaded, ids.first(std::min<size_t>(kWarmUpTokens, ids.size())), 1));
  SKEIN_RETURN_IF_ERROR(time(loaded, ids, 1, decode));
  return Sample{1 / quantile(decode, 0.5), 1 / quantile(prefill, 0.5)};
}

// By the clocks of the device.
Status ProfileRunner::sample_device_steps(Member& member) const {
  const LoadedVariant& loaded = member.loaded;
  const auto run = [&](uint32_t chunk, std::span<const uint32_t> ids,
                       std::vector<StepSeconds>& samples) -> Status {
    backend_.take_op_times();
    SKEIN_RETURN_IF_ERROR(forward(loaded, ids, chunk));
    StepSeconds seconds{};
    for (const OpTime& time : backend_.take_op_times()) {
      const std::optional<Step> step = step_of_op(time.op);
      if (step)
        seconds[static_cast<size_t>(*step)] += time.seconds / static_cast<double>(ids.size());
    }
    samples.push_back(seconds);
    return {};
  };
  SKEIN_RETURN_IF_ERROR(run(1, decode_ids_, member.decode_steps));
  return run(loaded.prefill_work.max_tokens, prefill_ids_, member.prefill_steps);
}

Status ProfileRunner::sample_steps(Member& member) const {
  if (backend_.time_ops(true)) {
    const Status timed = sample_device_steps(member);
    backend_.time_ops(false);
    return timed;
  }
  const LoadedVariant& loaded = member.loaded;
  const auto run = [&](uint32_t chunk, const Workspace& work, std::span<const uint32_t> ids,
                       std::vector<StepSeconds>& samples) {
    return for_each_chunk(ids, chunk, [&](const Batch& batch) -> Status {
      StepSeconds seconds{};
      SKEIN_RETURN_IF_ERROR(run_steps(*loaded.model, batch, loaded.state, work, seconds));
      for (double& step : seconds) step /= batch.num_tokens();
      samples.push_back(seconds);
      return {};
    });
  };
  SKEIN_RETURN_IF_ERROR(run(1, loaded.decode_work, decode_ids_, member.decode_steps));
  return run(loaded.prefill_work.max_tokens, loaded.prefill_work, prefill_ids_,
             member.prefill_steps);
}

void ProfileRunner::finish(Member& member) const {
  VariantFigures& figures = *member.figures;
  const Rwkv7& model = *member.loaded.model;
  std::array<double, kNumSteps> bytes = bytes_by_step(model);
  if (skips_zeros(model)) {
    bytes[static_cast<size_t>(Step::kFfnValue)] = summarize(model, sparsity_.counts).value_bytes;
  }
  figures.bytes_per_token = 0;
  for (const double step : bytes) figures.bytes_per_token += step;
  figures.padding_bytes = padding_bytes(model);
  const StepSeconds decode = medians(member.decode_steps);
  const StepSeconds prefill = medians(member.prefill_steps);
  for (size_t step = 0; step < kNumSteps; ++step) {
    figures.steps.push_back({static_cast<Step>(step), decode[step] * 1e6, prefill[step] * 1e6,
                             bytes[step], std::nullopt});
  }
}

}  // namespace skein
