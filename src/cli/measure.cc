#include "cli/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "base/bits.h"
#include "base/check.h"
#include "engine/impl.h"
#include "model/neurons.h"
#include "plan/profile_steps.h"

namespace skein::cli {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

namespace {

constexpr uint32_t kWarmUpTokens = 8;
constexpr uint32_t kChunk = 512;  // tokens that prefill runs at once

}  // namespace

// splitmix64
std::vector<uint32_t> random_ids(uint32_t count, uint32_t num_vocab) {
  std::vector<uint32_t> ids(count);
  uint64_t state = 1;
  for (uint32_t& id : ids) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    id = static_cast<uint32_t>((z ^ (z >> 31)) % num_vocab);
  }
  return ids;
}

Result<double> time_prefill(Session& session, std::span<const uint32_t> ids) {
  SKEIN_RETURN_IF_ERROR(session.reset());
  const auto start = std::chrono::steady_clock::now();
  SKEIN_RETURN_IF_ERROR(session.prefill(ids));
  SKEIN_RETURN_IF_ERROR(session.wait());
  return seconds_since(start);
}

Result<double> time_decode(Session& session, std::span<const uint32_t> ids) {
  SKEIN_RETURN_IF_ERROR(session.reset());
  const auto start = std::chrono::steady_clock::now();
  for (const uint32_t id : ids) SKEIN_RETURN_IF_ERROR(session.step(id));
  SKEIN_RETURN_IF_ERROR(session.wait());
  return seconds_since(start);
}

Result<double> measure_bytes_per_token(const Model& model, std::span<const uint32_t> ids) {
  CHECK(!ids.empty());
  const Rwkv7& rwkv7 = *model.impl().rwkv7;
  SKEIN_ASSIGN_OR_RETURN(const State state, rwkv7.make_state(1));
  double bytes = static_cast<double>(rwkv7.bytes_per_token()) +
                 static_cast<double>(state.num_elems() * sizeof(float));
  if (!skips_zeros(rwkv7)) return bytes;
  SKEIN_ASSIGN_OR_RETURN(const NeuronCounts counts, count_neurons(rwkv7, ids, {}, 1));
  for (const LayerWeights& layer : rwkv7.weights().layers) {
    bytes -= static_cast<double>(layer.ffn_value.span_bytes());
  }
  return bytes + summarize(rwkv7, counts).value_bytes;
}

namespace {

// Decoding of several sequences side by side: every pass takes one token of each.
class BatchDecoder {
 public:
  static Result<BatchDecoder> create(const Rwkv7& rwkv7, uint32_t num_sequences) {
    BatchDecoder decoder(rwkv7);
    SKEIN_ASSIGN_OR_RETURN(decoder.state_, rwkv7.make_state(num_sequences));
    SKEIN_ASSIGN_OR_RETURN(decoder.work_, rwkv7.make_workspace(num_sequences, num_sequences,
                                                               rwkv7.plan().activations));
    for (uint32_t i = 0; i < num_sequences; ++i) {
      decoder.runs_.push_back({i, i, 1});
      decoder.logit_tokens_.push_back(i);
    }
    return decoder;
  }

  // Seconds of ids.size() passes; sequence i starts at ids[i].
  Result<double> run(std::span<const uint32_t> ids) {
    std::vector<uint32_t> tokens(runs_.size());
    const auto start = std::chrono::steady_clock::now();
    for (size_t pass = 0; pass < ids.size(); ++pass) {
      for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = ids[(pass + i) % ids.size()];
      SKEIN_RETURN_IF_ERROR(rwkv7_->submit({tokens, runs_, logit_tokens_}, state_, work_));
    }
    SKEIN_RETURN_IF_ERROR(rwkv7_->backend().finish());
    return seconds_since(start);
  }

 private:
  explicit BatchDecoder(const Rwkv7& rwkv7) : rwkv7_(&rwkv7) {}
  const Rwkv7* rwkv7_;
  State state_;
  Workspace work_;
  std::vector<Run> runs_;
  std::vector<uint32_t> logit_tokens_;
};

// What `passes` more passes of a decode test take op by op.
Result<std::vector<OpTime>> time_ops(Backend& backend, size_t passes,
                                     const std::function<Status()>& run) {
  std::vector<OpTime> ops;
  if (!backend.time_ops(true)) return ops;
  backend.take_op_times();
  const Status status = run();
  ops = backend.take_op_times();
  backend.time_ops(false);
  SKEIN_RETURN_IF_ERROR(status);
  for (OpTime& op : ops) op.seconds /= static_cast<double>(passes);
  for (OpTime& op : ops) op.count /= passes;
  return ops;
}

}  // namespace

Result<ModelMeasurement> measure_model(const std::shared_ptr<Model>& model,
                                       const MeasureOptions& options,
                                       const MeasureProgress& progress) {
  CHECK(options.num_repeats >= 1);
  SKEIN_ASSIGN_OR_RETURN(Session session, Session::create(model));
  SKEIN_RETURN_IF_ERROR(session.set_chunk(kChunk));
  Backend& backend = *model->impl().backend;
  const uint32_t num_vocab = model->info().num_vocab;
  const std::vector<uint32_t> prompt = random_ids(options.num_prefill, num_vocab);
  const std::vector<uint32_t> continuation = random_ids(options.num_decode, num_vocab);
  TestResult prefill{fmt::format("pp{}", options.num_prefill), {}, {}, 0};
  TestResult decode{fmt::format("tg{}", options.num_decode), {}, {}, 0};

  progress(0);
  if (!prompt.empty()) {
    SKEIN_RETURN_IF_ERROR(time_prefill(session, prompt));
    // A chunk of prefill reads every weight once, whatever its length.
    const auto num_chunks = static_cast<double>(ceil_div<size_t>(prompt.size(), kChunk));
    prefill.bytes_per_token = num_chunks * static_cast<double>(model->info().bytes_per_token) /
                              static_cast<double>(prompt.size());
  }
  if (!continuation.empty()) {
    const size_t count = std::min<size_t>(kWarmUpTokens, continuation.size());
    SKEIN_RETURN_IF_ERROR(time_decode(session, std::span(continuation).first(count)));
    SKEIN_ASSIGN_OR_RETURN(decode.bytes_per_token, measure_bytes_per_token(*model, continuation));
  }

  std::optional<BatchDecoder> batch;
  TestResult together{fmt::format("tg{}x{}", options.num_decode, options.num_sequences), {}, {}, 0};
  if (!continuation.empty() && options.num_sequences > 1) {
    SKEIN_ASSIGN_OR_RETURN(batch,
                           BatchDecoder::create(*model->impl().rwkv7, options.num_sequences));
    SKEIN_RETURN_IF_ERROR(batch->run(std::span(continuation).first(1)));
    // Sequences share the weights that they read, and together they need nearly all cols.
    together.bytes_per_token =
        static_cast<double>(model->info().bytes_per_token) / options.num_sequences;
  }

  SKEIN_ASSIGN_OR_RETURN(double before, backend.measure_read_bandwidth());
  std::vector<double> bandwidths = {before};
  // One repetition of a test between two measurements of the bandwidth; `run` gives its seconds.
  const auto repeat_test = [&](TestResult& test, size_t num_tokens, const auto& run) -> Status {
    if (num_tokens == 0) return {};
    const uint64_t dispatches = backend.num_dispatches();
    SKEIN_ASSIGN_OR_RETURN(const double seconds, run());
    const auto tokens = static_cast<double>(num_tokens);
    test.dispatches_per_token = static_cast<double>(backend.num_dispatches() - dispatches) / tokens;
    SKEIN_ASSIGN_OR_RETURN(const double after, backend.measure_read_bandwidth());
    test.tokens_per_s.push_back(tokens / seconds);
    test.bandwidths.push_back((before + after) / 2);
    bandwidths.push_back(after);
    before = after;
    return {};
  };
  for (uint32_t repeat = 0; repeat < options.num_repeats; ++repeat) {
    progress((repeat + 1.0) / (options.num_repeats + 1.0));
    SKEIN_RETURN_IF_ERROR(
        repeat_test(prefill, prompt.size(), [&] { return time_prefill(session, prompt); }));
    SKEIN_RETURN_IF_ERROR(repeat_test(decode, continuation.size(),
                                      [&] { return time_decode(session, continuation); }));
    if (batch) {
      SKEIN_RETURN_IF_ERROR(repeat_test(together, continuation.size() * options.num_sequences,
                                        [&] { return batch->run(continuation); }));
    }
  }
  if (options.times_ops && !continuation.empty()) {
    const auto few = std::span(continuation).first(std::min(continuation.size(), size_t{8}));
    const auto ignore_time = [](double) {};
    SKEIN_ASSIGN_OR_RETURN(decode.ops, time_ops(backend, few.size(), [&] {
                             return time_decode(session, few).map(ignore_time);
                           }));
    if (batch) {
      SKEIN_ASSIGN_OR_RETURN(together.ops, time_ops(backend, few.size(), [&] {
                               return batch->run(few).map(ignore_time);
                             }));
    }
    if (!prompt.empty()) {
      SKEIN_ASSIGN_OR_RETURN(prefill.ops, time_ops(backend, 1, [&] {
                               return time_prefill(session, prompt).map(ignore_time);
                             }));
    }
  }
  ModelMeasurement result;
  if (!prompt.empty()) result.tests.push_back(std::move(prefill));
  if (!continuation.empty()) result.tests.push_back(std::move(decode));
  if (batch) result.tests.push_back(std::move(together));
  result.bandwidth = median(std::move(bandwidths));
  return result;
}

double TestResult::bandwidth_percent() const {
  std::vector<double> shares;
  for (size_t i = 0; i < tokens_per_s.size(); ++i) {
    shares.push_back(100 * tokens_per_s[i] * bytes_per_token / bandwidths[i]);
  }
  return median(std::move(shares));
}

double median(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double deviation(std::span<const double> values) {
  if (values.size() < 2) return 0;
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

}  // namespace skein::cli
