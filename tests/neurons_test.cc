// Hot and cold neurons: counts against a naive recount, orders, and models whose neurons were
// reordered.
#include "model/neurons.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "engine/backends.h"
#include "tiny_model.h"

namespace skein {
namespace {

using ::testing::HasSubstr;

constexpr const char* kGoose = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";

struct Loaded {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Rwkv7> model;
};

Loaded load(const std::string& path, const std::string& backend, const std::string& quant = {},
            const NeuronOrder* order = nullptr) {
  Loaded loaded;
  loaded.backend = make_backend(backend, 2, Precision::kExact).value();
  Rwkv7::LoadOptions options;
  options.plan = parse_quant(quant).value();
  options.num_threads = 2;
  if (order != nullptr) options.neurons = std::make_shared<NeuronOrder>(*order);
  loaded.model = Rwkv7::load(path, *loaded.backend, options).value();
  return loaded;
}

std::vector<uint32_t> random_ids(size_t count, uint32_t num_vocab, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<uint32_t> ids(count);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(rng() % num_vocab);
  return ids;
}

std::vector<float> download(Backend& backend, const Activation& rows, uint64_t num_rows) {
  std::vector<float> values(num_rows * rows.stride_elems);
  EXPECT_TRUE(backend.download(*rows.buffer, rows.offset_elems * sizeof(float),
                               std::as_writable_bytes(std::span(values))));
  return values;
}

// [T][N], the first half at once, the rest one by one.
std::vector<float> logits_of(const Loaded& loaded, std::span<const uint32_t> ids) {
  const Rwkv7& model = *loaded.model;
  const State state = model.make_state(1).value();
  const auto half = static_cast<uint32_t>(ids.size() / 2);
  const Workspace work = model.make_workspace(half, half).value();
  std::vector<float> all;
  for (size_t begin = 0; begin < ids.size();) {
    const uint32_t count = begin == 0 ? half : 1;
    const Run run{0, 0, count};
    std::vector<uint32_t> wanted(count);
    std::iota(wanted.begin(), wanted.end(), 0u);
    EXPECT_TRUE(model.forward({ids.subspan(begin, count), {&run, 1}, wanted}, state, work));
    const auto logits = download(*loaded.backend, work.logits, count);
    all.insert(all.end(), logits.begin(), logits.end());
    begin += count;
  }
  return all;
}

double relative_l2(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double w = static_cast<double>(want[i]);
    error += std::pow(static_cast<double>(got[i]) - w, 2);
    norm += w * w;
  }
  return std::sqrt(error / norm);
}

NeuronOrder random_order(const Dimensions& dims, uint32_t seed) {
  std::mt19937 rng(seed);
  NeuronOrder order;
  order.layers.assign(dims.num_layers, std::vector<uint32_t>(dims.num_hidden));
  for (auto& layer : order.layers) {
    std::iota(layer.begin(), layer.end(), 0u);
    std::shuffle(layer.begin(), layer.end(), rng);
  }
  return order;
}

TEST(NeuronOrderTest, OtherOrdersThanPermutationsAreRefused) {
  EXPECT_TRUE(check_neuron_order({{{2, 0, 1}, {0, 1, 2}}}, 2, 3));
  for (const NeuronOrder& order :
       {NeuronOrder{{{2, 0, 1}}}, NeuronOrder{{{2, 0, 1}, {0, 1}}},
        NeuronOrder{{{2, 0, 1}, {0, 1, 1}}}, NeuronOrder{{{2, 0, 1}, {0, 1, 3}}}}) {
    const Status status = check_neuron_order(order, 2, 3);
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message, HasSubstr("order of neurons: "));
  }
}

TEST(NeuronOrderTest, ReorderedRowsAndColsAreThoseThatTheOrderNames) {
  const auto pool = ThreadPool::create(3).value();
  for (const uint64_t elem_bytes : {2u, 4u}) {
    const Extents extents{7, 5};
    std::vector<std::byte> matrix(extents.num_elems() * elem_bytes);
    for (size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<std::byte>(i);
    const std::vector<uint32_t> rows = {6, 0, 3, 1, 2, 5, 4}, cols = {4, 2, 0, 1, 3};
    const auto by_rows = reorder_rows(matrix, extents, rows, *pool);
    const auto by_cols = reorder_cols(matrix, extents, cols, *pool);
    for (uint64_t row = 0; row < extents.rows; ++row) {
      for (uint64_t col = 0; col < extents.cols; ++col) {
        const auto at = [&](const std::vector<std::byte>& bytes, uint64_t r, uint64_t c) {
          return bytes.data() + (r * extents.cols + c) * elem_bytes;
        };
        EXPECT_EQ(std::memcmp(at(by_rows, row, col), at(matrix, rows[row], col), elem_bytes), 0);
        EXPECT_EQ(std::memcmp(at(by_cols, row, col), at(matrix, row, cols[col]), elem_bytes), 0);
      }
    }
  }
}

// Token by token on the reference, and every sum made anew.
TEST(NeuronsTest, CountsAreThoseOfANaiveRecount) {
  const Loaded reference = load(kGoose, "reference");
  const Dimensions& dims = reference.model->dims();
  const std::vector<uint32_t> ids = random_ids(24, dims.num_vocab, 5);
  // [L][T][F]
  std::vector<std::vector<std::vector<bool>>> fires(dims.num_layers);
  const State state = reference.model->make_state(1).value();
  const Workspace work = reference.model->make_workspace(1, 1).value();
  for (const uint32_t& id : ids) {
    const skein::Run run{0, 0, 1};
    ASSERT_TRUE(
        reference.model->forward({{&id, 1}, {&run, 1}, {}}, state, work, [&](uint32_t layer) {
          const auto f = download(*reference.backend, work.f, 1);
          std::vector<bool>& row = fires[layer].emplace_back();
          for (uint32_t i = 0; i < dims.num_hidden; ++i) row.push_back(f[i] > 0);
        }));
  }
  const NeuronOrder order = random_order(dims, 6);
  for (const bool reordered : {false, true}) {
    const NeuronCounts counts =
        count_neurons(*reference.model, ids, reordered ? order : NeuronOrder()).value();
    EXPECT_EQ(counts.num_tokens, ids.size());
    for (uint32_t layer = 0; layer < dims.num_layers; ++layer) {
      uint64_t runs = 0;
      for (uint32_t i = 0; i < dims.num_hidden; ++i) {
        const auto of = [&](uint32_t n) { return reordered ? order.layers[layer][n] : n; };
        uint64_t fired = 0;
        for (const auto& row : fires[layer]) {
          fired += row[of(i)] ? 1u : 0u;
          runs += row[of(i)] && (i == 0 || !row[of(i - 1)]) ? 1u : 0u;
        }
        EXPECT_EQ(counts.fired[layer][i], fired) << layer << ' ' << i;
      }
      EXPECT_EQ(counts.runs[layer], runs) << layer;
    }
  }
}

TEST(NeuronsTest, TheMostFrequentComeFirst) {
  NeuronCounts counts;
  counts.fired = {{3, 9, 0, 9}, {1, 1, 2, 0}};
  const NeuronOrder order = order_by_frequency(counts);
  EXPECT_EQ(order.layers, (std::vector<std::vector<uint32_t>>{{1, 3, 0, 2}, {2, 0, 1, 3}}));
}

TEST(NeuronsTest, SummaryOfAnOrderedModel) {
  const Loaded loaded = load(kGoose, "cpu");
  const std::vector<uint32_t> ids = random_ids(100, loaded.model->dims().num_vocab, 7);
  const NeuronCounts plain = count_neurons(*loaded.model, ids).value();
  const NeuronOrder order = order_by_frequency(plain);
  const NeuronCounts ordered = count_neurons(*loaded.model, ids, order).value();
  for (const auto& fired : ordered.fired)
    EXPECT_TRUE(std::is_sorted(fired.begin(), fired.end(), std::greater<>()));
  const NeuronSummary before = summarize(*loaded.model, plain);
  const NeuronSummary after = summarize(*loaded.model, ordered);
  EXPECT_DOUBLE_EQ(before.density, after.density);
  EXPECT_DOUBLE_EQ(before.value_bytes, after.value_bytes);
  EXPECT_LT(after.runs_per_layer, before.runs_per_layer);
  EXPECT_GT(before.density, 0);
  EXPECT_LT(before.density, 0.5);
  // The hottest come first.
  EXPECT_GT(after.first_10_share, before.first_10_share);
  EXPECT_GT(after.first_20_share, before.first_20_share);
  EXPECT_GT(after.first_50_share, before.first_50_share);
  EXPECT_GE(after.first_20_share, after.first_10_share);
  EXPECT_GE(after.first_50_share, after.first_20_share);
  EXPECT_LE(after.first_50_share, 1);
}

TEST(NeuronsTest, CountsOfTwoTextsAdd) {
  const Loaded loaded = load(kGoose, "cpu");
  const std::vector<uint32_t> ids = random_ids(30, loaded.model->dims().num_vocab, 7);
  NeuronCounts twice = count_neurons(*loaded.model, ids).value();
  const NeuronCounts once = twice;
  add_counts(once, twice);
  EXPECT_EQ(twice.num_tokens, 2 * once.num_tokens);
  for (size_t layer = 0; layer < once.fired.size(); ++layer) {
    EXPECT_EQ(twice.runs[layer], 2 * once.runs[layer]);
    for (size_t i = 0; i < once.fired[layer].size(); ++i)
      EXPECT_EQ(twice.fired[layer][i], 2 * once.fired[layer][i]);
  }
  EXPECT_DOUBLE_EQ(summarize(*loaded.model, twice).value_bytes,
                   summarize(*loaded.model, once).value_bytes);
}

// Each neuron is found where the order puts it, and nothing else has moved: the logits stay, up to
// the order of the sums.
TEST(NeuronsTest, AReorderedModelGivesTheSameLogits) {
  for (const char* backend : {"cpu", "reference"}) {
    const Loaded plain = load(kGoose, backend);
    const Dimensions& dims = plain.model->dims();
    const std::vector<uint32_t> ids = random_ids(24, dims.num_vocab, 8);
    const std::vector<float> want = logits_of(plain, ids);
    const NeuronOrder order = random_order(dims, 9);
    const Loaded reordered = load(kGoose, backend, "", &order);
    EXPECT_TRUE(reordered.model->has_neuron_order());
    const std::vector<float> got = logits_of(reordered, ids);
    EXPECT_FALSE(!(relative_l2(got, want) <= 1e-5)) << backend;
    // The counts of the reordered model are those of the order.
    EXPECT_EQ(count_neurons(*reordered.model, ids).value().fired,
              count_neurons(*plain.model, ids, order).value().fired)
        << backend;
  }
}

// Blocks of ffn.value now hold other neighbours, so its quantized values move by what quantizing
// costs; rows of ffn.key only change places.
TEST(NeuronsTest, AReorderedQuantizedModelStaysClose) {
  const Loaded plain = load(kGoose, "reference");
  const std::vector<uint32_t> ids = random_ids(16, plain.model->dims().num_vocab, 8);
  const std::vector<float> want = logits_of(plain, ids);
  const NeuronOrder order = random_order(plain.model->dims(), 9);
  const auto key_only = [&](const NeuronOrder* o) {
    return logits_of(load(kGoose, "reference", "ffn.key=nf4", o), ids);
  };
  EXPECT_FALSE(!(relative_l2(key_only(&order), key_only(nullptr)) <= 1e-5));
  const double before = relative_l2(logits_of(load(kGoose, "reference", "ffn=int8"), ids), want);
  const double after =
      relative_l2(logits_of(load(kGoose, "reference", "ffn=int8", &order), ids), want);
  EXPECT_FALSE(!(after <= 2 * before)) << after << " against " << before;
  EXPECT_FALSE(!(after >= before / 2)) << after << " against " << before;
}

TEST(NeuronsTest, WhatDoesNotFitIsRefused) {
  const Loaded loaded = load(kGoose, "cpu");
  const std::vector<uint32_t> ids = {1, 2};
  EXPECT_FALSE(count_neurons(*loaded.model, {}));
  EXPECT_FALSE(count_neurons(*loaded.model, std::vector<uint32_t>{1u << 30}));
  EXPECT_FALSE(count_neurons(*loaded.model, ids, NeuronOrder{{{0}}}));
  Rwkv7::LoadOptions options;
  options.neurons = std::make_shared<NeuronOrder>(NeuronOrder{{{0}}});
  const auto refused = Rwkv7::load(kGoose, *loaded.backend, options);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("order of neurons: expected 6 layers, found 1"));
}

}  // namespace
}  // namespace skein
