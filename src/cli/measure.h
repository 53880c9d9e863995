// What `skein bench` measures of one loaded model: speed of prefill and decode, bytes really read,
// and the bandwidth of the same moments.
//
// Goals: every speed stands beside its roof, measured in the same second; repetitions of all tests
// are interleaved, so that a machine that slows down slows all of them. Non-goals: time per
// operation (that is the profiler's).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "skein/skein.h"

namespace skein::cli {

inline constexpr uint32_t kMaxBenchBatch = 256;

double seconds_since(std::chrono::steady_clock::time_point start);

struct MeasureOptions {
  uint32_t num_prefill = 512;  // 0: no prefill test
  uint32_t num_decode = 128;   // 0: no decode test
  uint32_t num_repeats = 5;    // >= 1
  // Sequences side by side in another decode test; 1: none. At most kMaxBenchBatch.
  uint32_t num_sequences = 1;
  bool times_ops = false;  // what each op of a token takes on the device
};

// One test of one model: "pp512", "tg128" or, for 16 sequences, "tg128x16".
struct TestResult {
  std::string test;
  std::vector<double> tokens_per_s;  // one a repetition
  std::vector<double> bandwidths;    // bytes/s that could be read just before and after each, mean
  double bytes_per_token = 0;        // really read: weights, and in decode the state
  double dispatches_per_token = 0;   // of a device; 0 on a host
  // Of a decode test, if asked for and the device can: seconds of each op a token, measured one op
  // after the other, which takes longer than all together.
  std::vector<OpTime> ops = {};

  // Per cent of the bandwidth that was read; the median of the repetitions' own shares, since the
  // bandwidth of a shared machine changes from one second to the next.
  double bandwidth_percent() const;
};

struct ModelMeasurement {
  std::vector<TestResult> tests;
  double bandwidth = 0;  // bytes/s that the model's threads can read; median of all measurements
};

// Called before each piece of work with the part that is done.
using MeasureProgress = std::function<void(double fraction)>;

// Warms up, then repeats every test. Random tokens with a fixed seed, from an empty state each
// time.
Result<ModelMeasurement> measure_model(const std::shared_ptr<Model>& model,
                                       const MeasureOptions& options,
                                       const MeasureProgress& progress);

// `count` ids of [0, num_vocab), the same on every machine.
std::vector<uint32_t> random_ids(uint32_t count, uint32_t num_vocab);

// Seconds of a prompt, or of its tokens one by one, from an empty state. At least one id.
Result<double> time_prefill(Session& session, std::span<const uint32_t> ids);
Result<double> time_decode(Session& session, std::span<const uint32_t> ids);

// Bytes that decoding `ids` reads a token: ModelInfo::bytes_per_token, the state, less what the
// kernels skip of ffn.value because activations are zero: cols, and the scales of blocks without
// any other. Runs the tokens once.
Result<double> measure_bytes_per_token(const Model& model, std::span<const uint32_t> ids);

// Of at least one value; the mean of the middle two where their number is even.
double median(std::vector<double> values);

// Sample standard deviation; 0 for a single value.
double deviation(std::span<const double> values);

}  // namespace skein::cli
