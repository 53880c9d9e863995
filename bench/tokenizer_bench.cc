// The tokenizer and the sampler: what a user waits for beside the model. Encode in MB/s of text,
// with the same text's bytes summed one by one beside it (the cost of reading a byte at a time);
// sampling in time per token.
//
// SKEIN_BENCH_VOCAB names another vocabulary file, for instance World's; SKEIN_BENCH_TEXT another
// text.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "engine/tokenizer.h"

namespace skein {
namespace {

std::string from_environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

std::string vocab_path() {
  return from_environment("SKEIN_BENCH_VOCAB", SKEIN_SOURCE_DIR "/models/goose-tiny/vocab.txt");
}

std::string file_content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A megabyte of a document's words in random order: a branch predictor learns a repeated text by
// heart, and shows three times the speed of a text that it has not seen.
std::string bench_text() {
  const std::string path =
      from_environment("SKEIN_BENCH_TEXT", SKEIN_SOURCE_DIR "/CONTRIBUTING.md");
  std::istringstream document(file_content(path));
  const std::vector<std::string> words{std::istream_iterator<std::string>(document), {}};
  std::mt19937 random(1);
  std::string text;
  while (!words.empty() && text.size() < 1'000'000) text += words[random() % words.size()] + " ";
  return text;
}

void load(benchmark::State& state) {
  const std::string path = vocab_path();
  for (auto _ : state) {
    const auto tokenizer = Tokenizer::load(path);
    if (!tokenizer) return state.SkipWithError(tokenizer.error().message.c_str());
    benchmark::DoNotOptimize(tokenizer->num_ids());
  }
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

void sum_bytes(benchmark::State& state) {
  const std::string text = bench_text();
  for (auto _ : state) {
    uint64_t sum = 0;
    for (const char c : text) {
      sum += static_cast<uint8_t>(c);
      benchmark::DoNotOptimize(sum);
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}
BENCHMARK(sum_bytes);

void encode(benchmark::State& state) {
  const auto tokenizer = Tokenizer::load(vocab_path());
  if (!tokenizer) return state.SkipWithError(tokenizer.error().message.c_str());
  const std::string text = bench_text();
  size_t num_tokens = 0;
  for (auto _ : state) {
    const auto ids = tokenizer->encode(text);
    if (!ids) return state.SkipWithError(ids.error().message.c_str());
    num_tokens = ids->size();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
  if (num_tokens == 0) return;
  state.counters["bytes_per_token"] =
      static_cast<double>(text.size()) / static_cast<double>(num_tokens);
  state.counters["table_bytes"] = static_cast<double>(tokenizer->alloc_bytes());
}
BENCHMARK(encode);

void decode(benchmark::State& state) {
  const auto tokenizer = Tokenizer::load(vocab_path());
  if (!tokenizer) return state.SkipWithError(tokenizer.error().message.c_str());
  const std::string text = bench_text();
  const auto ids = tokenizer->encode(text);
  if (!ids) return state.SkipWithError(ids.error().message.c_str());
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer->decode(*ids));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}
BENCHMARK(decode);

// Logits as a model that knows the answer has them: a few high ones above a wide bell. `flat` is
// what random weights give: a bell with a deviation of 1 and no peak.
std::vector<float> bench_logits(bool flat) {
  std::mt19937 random(1);
  std::normal_distribution<float> bell(0, flat ? 1.0f : 3.0f);
  std::vector<float> logits(65536);
  for (float& logit : logits) logit = bell(random);
  if (!flat) logits[77] = 20, logits[100] = 19, logits[3000] = 18.5f;
  return logits;
}

void sample(benchmark::State& state, SamplerOptions options, bool flat) {
  const std::vector<float> logits = bench_logits(flat);
  Sampler sampler(options, static_cast<uint32_t>(logits.size()));
  for (auto _ : state) benchmark::DoNotOptimize(sampler.sample(logits));
  state.SetItemsProcessed(state.iterations());
}
#define SAMPLE_BENCHMARK(name, ...)                                         \
  BENCHMARK_CAPTURE(sample, name, SamplerOptions{__VA_ARGS__}, false)       \
      ->Unit(benchmark::kMicrosecond);                                      \
  BENCHMARK_CAPTURE(sample, name##_flat, SamplerOptions{__VA_ARGS__}, true) \
      ->Unit(benchmark::kMicrosecond)
SAMPLE_BENCHMARK(greedy, .temperature = 0);
SAMPLE_BENCHMARK(all, .top_p = 1);
SAMPLE_BENCHMARK(top_k_50, .top_k = 50, .top_p = 1);
SAMPLE_BENCHMARK(top_p_90, .top_p = 0.9f);
SAMPLE_BENCHMARK(min_p_10, .top_p = 1, .min_p = 0.1f);
SAMPLE_BENCHMARK(all_filters, .temperature = 0.7f, .top_k = 50, .top_p = 0.9f, .min_p = 0.02f);

}  // namespace
}  // namespace skein
