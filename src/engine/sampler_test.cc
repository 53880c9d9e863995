#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <thread>

#include "engine/softmax_draw.h"

namespace skein {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> random_logits(uint32_t seed, size_t num_vocab, float spread) {
  std::mt19937 random(seed);
  std::vector<float> logits(num_vocab);
  // A sum of uniforms is bell-shaped, and the same with every standard library.
  for (float& logit : logits) {
    for (int i = 0; i < 6; ++i) logit += static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
    logit *= spread;
  }
  return logits;
}

// The oracle: all steps in double with a full sort. Returns the weight of each token, 0 where it is
// filtered.
std::vector<double> expected_weights(const std::vector<float>& logits,
                                     const SamplerOptions& options) {
  const double peak = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  std::vector<double> p(logits.size());
  for (size_t i = 0; i < p.size(); ++i) p[i] = std::exp(static_cast<double>(logits[i]) - peak);
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  std::vector<size_t> rank(p.size());
  std::iota(rank.begin(), rank.end(), size_t{0});
  std::stable_sort(rank.begin(), rank.end(),
                   [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  std::vector<double> weights(p.size(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < rank.size(); ++i) {
    const size_t id = rank[i];
    const bool in_top_k = options.top_k == 0 || i < options.top_k;
    const bool in_top_p =
        options.top_p == 1 || i == 0 || sum < static_cast<double>(options.top_p) * total;
    const bool in_min_p = p[id] >= static_cast<double>(options.min_p);
    if (in_top_k && in_top_p && in_min_p) {
      weights[id] = std::pow(p[id], 1 / static_cast<double>(options.temperature));
    }
    sum += p[id];
  }
  return weights;
}

std::vector<uint32_t> kept_ids(const std::vector<float>& logits, const SamplerOptions& options) {
  const Peak peak = find_peak(logits);
  TokenWeights weights;
  if (options.top_p < 1) weights.assign(logits, peak.logit, 1);
  Candidates kept;
  keep_candidates(logits, peak.logit, {options.top_k, options.top_p, options.min_p}, weights, kept);
  return {kept.ids().begin(), kept.ids().end()};
}

std::vector<uint32_t> expected_ids(const std::vector<float>& logits,
                                   const SamplerOptions& options) {
  const auto weights = expected_weights(logits, options);
  std::vector<uint32_t> ids;
  for (uint32_t id = 0; id < weights.size(); ++id) {
    if (weights[id] > 0) ids.push_back(id);
  }
  return ids;
}

TEST(SamplerOptionsTest, DefaultsAreValidAndErrorsNameTheFlag) {
  EXPECT_TRUE(validate({}));
  EXPECT_TRUE(validate({.temperature = 0}));
  struct Case {
    SamplerOptions options;
    const char* message;
  };
  const Case cases[] = {
      {{.temperature = -1},
       "--temperature: expected 0 (greedy) or a number from 0.001 to 1000, found -1"},
      {{.temperature = kNan},
       "--temperature: expected 0 (greedy) or a number from 0.001 to 1000, found nan"},
      {{.temperature = 1e-9f},
       "--temperature: expected 0 (greedy) or a number from 0.001 to 1000, found 1e-09"},
      {{.temperature = kInf},
       "--temperature: expected 0 (greedy) or a number from 0.001 to 1000, found inf"},
      {{.top_p = 1.5f}, "--top-p: expected a number above 0 and at most 1, found 1.5"},
      {{.top_p = 0}, "--top-p: expected a number above 0 and at most 1, found 0"},
      {{.top_p = kNan}, "--top-p: expected a number above 0 and at most 1, found nan"},
      {{.min_p = -0.5f}, "--min-p: expected a number from 0 to 1, found -0.5"},
      {{.min_p = kNan}, "--min-p: expected a number from 0 to 1, found nan"},
      {{.presence_penalty = kInf},
       "--presence-penalty: expected a number from 0 to 1000, found inf"},
      {{.frequency_penalty = -1},
       "--frequency-penalty: expected a number from 0 to 1000, found -1"},
      {{.penalty_decay = 1.25f}, "--penalty-decay: expected a number from 0 to 1, found 1.25"},
  };
  for (const Case& c : cases) {
    const Status status = validate(c.options);
    ASSERT_FALSE(status) << c.message;
    EXPECT_EQ(status.error().message, c.message);
  }
}

TEST(SamplerTest, GreedyTakesTheLargestLogitAndTheLowestIdOnATie) {
  Sampler sampler({.temperature = 0}, 5);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 2, 3, 0}), 1u);
  EXPECT_EQ(sampler.sample(std::vector<float>{-5, -4, -3, -2, -1}), 4u);
  EXPECT_EQ(sampler.sample(std::vector<float>{kNan, 1, kNan, 2, kNan}), 3u);
  EXPECT_EQ(sampler.sample(std::vector<float>{-kInf, -kInf, -7, -kInf, -8}), 2u);
}

TEST(SamplerTest, GreedyAgreesWithMaxElementAtEveryLength) {
  for (uint32_t n = 1; n < 80; ++n) {
    const auto logits = random_logits(n, n, 3);
    const auto want = std::max_element(logits.begin(), logits.end()) - logits.begin();
    EXPECT_EQ(Sampler({.temperature = 0}, n).sample(logits), static_cast<uint32_t>(want));
  }
}

TEST(SamplerTest, OddLogitsHaveADefinedAnswer) {
  for (const float temperature : {0.0f, 0.5f, 1.0f}) {
    for (const float top_p : {0.5f, 1.0f}) {
      Sampler sampler({.temperature = temperature, .top_p = top_p}, 4);
      EXPECT_EQ(sampler.sample(std::vector<float>{kNan, kNan, kNan, kNan}), 0u);
      EXPECT_EQ(sampler.sample(std::vector<float>{-kInf, kNan, -kInf, -kInf}), 0u);
      EXPECT_EQ(sampler.sample(std::vector<float>{0, kInf, kNan, kInf}), 1u);
      EXPECT_EQ(sampler.sample(std::vector<float>{kNan, -kInf, -3e38f, kNan}), 2u);
      EXPECT_EQ(sampler.sample(std::vector<float>{-3e38f, 3e38f, kNan, -kInf}), 1u);
    }
  }
}

TEST(SamplerTest, ExpIsAccurateAndEndsAtZero) {
  double worst = 0;
  for (float x = 0; x > -87; x -= 0.00137f) {
    const double want = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(exp_nonpositive(x)) - want) / want);
  }
  EXPECT_TRUE(worst < 2e-7) << worst;
  EXPECT_EQ(exp_nonpositive(0), 1.0f);
  EXPECT_EQ(exp_nonpositive(-88), 0.0f);
  EXPECT_EQ(exp_nonpositive(-kInf), 0.0f);
  EXPECT_EQ(exp_nonpositive(kNan), 0.0f);
}

// Flat and peaked logits, ties, and vocabularies around the block sizes; every filter alone and
// together.
TEST(SamplerTest, FiltersKeepWhatAFullSortKeeps) {
  for (const size_t num_vocab :
       {size_t{1}, size_t{2}, size_t{15}, size_t{17}, size_t{256}, size_t{837}, size_t{5000}}) {
    for (const float spread : {0.0f, 0.01f, 1.0f, 4.0f, 30.0f}) {
      auto logits = random_logits(static_cast<uint32_t>(num_vocab), num_vocab, spread);
      for (size_t i = 0; i + 7 < num_vocab; i += 7) logits[i] = logits[i + 1];
      for (const uint32_t top_k : {0u, 1u, 2u, 40u, 837u}) {
        for (const float top_p : {0.1f, 0.7f, 0.95f, 1.0f}) {
          for (const float min_p : {0.0f, 0.02f, 0.5f, 1.0f}) {
            if (top_k == 0 && top_p == 1 && min_p == 0) continue;
            const SamplerOptions options{.top_k = top_k, .top_p = top_p, .min_p = min_p};
            auto want = expected_ids(logits, options);
            const auto got = kept_ids(logits, options);
            // Sums in another order may put the end of top_p one token off; everything else is
            // exact.
            std::vector<uint32_t> differ;
            std::set_symmetric_difference(got.begin(), got.end(), want.begin(), want.end(),
                                          std::back_inserter(differ));
            EXPECT_LE(differ.size(), top_p < 1 ? 1u : 0u)
                << num_vocab << " spread " << spread << " k " << top_k << " p " << top_p
                << " min_p " << min_p << ": kept " << got.size() << ", expected " << want.size();
          }
        }
      }
    }
  }
}

TEST(SamplerTest, FilterEdges) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.3f),
                                     std::log(0.2f)};
  using testing::ElementsAre;
  EXPECT_THAT(kept_ids(logits, {.top_p = 0.39f}), ElementsAre(1));
  EXPECT_THAT(kept_ids(logits, {.top_p = 0.41f}), ElementsAre(1, 2));
  EXPECT_THAT(kept_ids(logits, {.top_p = 0.91f}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(kept_ids(logits, {.top_p = 1e-9f}), ElementsAre(1));
  EXPECT_THAT(kept_ids(logits, {.top_k = 3, .top_p = 1}), ElementsAre(1, 2, 3));
  EXPECT_THAT(kept_ids(logits, {.top_k = 4000000000u, .top_p = 1}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(kept_ids(logits, {.top_p = 1, .min_p = 0.6f}), ElementsAre(1, 2));
  EXPECT_THAT(kept_ids(logits, {.top_p = 1, .min_p = 1}), ElementsAre(1));
  const std::vector<float> ties = {1, 2, 2, 2, 2};
  EXPECT_THAT(kept_ids(ties, {.top_k = 2, .top_p = 1}), ElementsAre(1, 2));
  EXPECT_THAT(kept_ids(ties, {.top_p = 0.45f}), ElementsAre(1, 2));
  EXPECT_THAT(kept_ids(std::vector<float>{kNan, 0, -kInf, -1}, {.top_k = 4, .top_p = 1}),
              ElementsAre(1, 3));
}

// Pearson's chi-square against the oracle's probabilities. With a fixed seed the outcome is fixed;
// the bound is the 99.9 % point (Wilson and Hilferty's approximation), which a wrong distribution
// exceeds by far at 50,000 draws.
void expect_distribution(const std::vector<float>& logits, const SamplerOptions& options) {
  const auto weights = expected_weights(logits, options);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  constexpr int kDraws = 50000;
  std::vector<int> counts(logits.size());
  Sampler sampler(options, static_cast<uint32_t>(logits.size()));
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.sample(logits)];
  double chi_square = 0, degrees = -1, rare_want = 0, rare_have = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double want = weights[i] / total * kDraws;
    if (weights[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " is filtered";
    } else if (want < 10) {
      rare_want += want;
      rare_have += counts[i];
    } else {
      chi_square += (counts[i] - want) * (counts[i] - want) / want;
      ++degrees;
    }
  }
  if (rare_want >= 10) {
    chi_square += (rare_have - rare_want) * (rare_have - rare_want) / rare_want;
    ++degrees;
  }
  const double h = 2 / (9 * std::max(degrees, 1.0));
  const double bound = std::max(degrees, 1.0) * std::pow(1 - h + 3.09 * std::sqrt(h), 3);
  EXPECT_TRUE(chi_square <= bound)
      << chi_square << " > " << bound << " with " << degrees << " degrees";
}

TEST(SamplerTest, DrawsHaveTheRightDistribution) {
  const auto logits = random_logits(5, 600, 3);
  expect_distribution(logits, {.top_p = 1});
  expect_distribution(logits, {.temperature = 0.5f, .top_p = 1, .seed = 1});
  expect_distribution(logits, {.temperature = 2, .top_p = 1, .seed = 2});
  expect_distribution(logits, {.top_p = 0.83f, .seed = 3});
  expect_distribution(logits, {.temperature = 1.5f, .top_k = 20, .top_p = 1, .seed = 4});
  expect_distribution(logits,
                      {.temperature = 0.7f, .top_k = 50, .top_p = 0.9f, .min_p = 0.05f, .seed = 5});
}

TEST(SamplerTest, PenaltiesFollowTheFormula) {
  const SamplerOptions options{.temperature = 0,
                               .presence_penalty = 0.5f,
                               .frequency_penalty = 0.25f,
                               .penalty_decay = 0.5f};
  Sampler sampler(options, 3);
  // Tokens 0 and 1 are compared: token 1 wins if its logit exceeds what is left of token 0's 10.
  const auto left_of_token_0 = [&sampler] {
    float low = 0, high = 20;
    while (high - low > 1e-4f) {
      const float middle = (low + high) / 2;
      (sampler.sample(std::vector<float>{10, middle, -kInf}) == 1 ? high : low) = middle;
    }
    return high;
  };
  EXPECT_NEAR(left_of_token_0(), 10, 1e-3);
  sampler.accept(0);  // count 1
  EXPECT_NEAR(left_of_token_0(), 10 - 0.5 - 0.25 * 1, 1e-3);
  sampler.accept(0);  // 1 * 0.5 + 1
  EXPECT_NEAR(left_of_token_0(), 10 - 0.5 - 0.25 * 1.5, 1e-3);
  sampler.accept(2);  // 1.5 * 0.5
  EXPECT_NEAR(left_of_token_0(), 10 - 0.5 - 0.25 * 0.75, 1e-3);
  for (int i = 0; i < 300; ++i) sampler.accept(2);
  EXPECT_NEAR(left_of_token_0(), 10 - 0.5, 1e-3);  // presence stays
  sampler.accept(3);                               // beyond the vocabulary
  sampler.accept(4000000000u);
  EXPECT_NEAR(left_of_token_0(), 10 - 0.5, 1e-3);
}

TEST(SamplerTest, PenaltiesKeepLogitsOfTheCallerAsTheyAre) {
  Sampler sampler({.presence_penalty = 1}, 3);
  const std::vector<float> logits = {1, 2, 3};
  sampler.accept(2);
  sampler.sample(logits);
  EXPECT_THAT(logits, testing::ElementsAre(1, 2, 3));
}

std::vector<uint32_t> draws(Sampler sampler, const std::vector<float>& logits, int count) {
  std::vector<uint32_t> tokens;
  for (int i = 0; i < count; ++i) {
    tokens.push_back(sampler.sample(logits));
    sampler.accept(tokens.back());
  }
  return tokens;
}

TEST(SamplerTest, TheSeedDecidesOnAnyThreadAndInACopy) {
  const auto logits = random_logits(9, 5000, 2);
  const SamplerOptions options{
      .top_p = 0.9f, .presence_penalty = 0.2f, .frequency_penalty = 0.2f, .seed = 42};
  const Sampler sampler(options, 5000);
  const auto want = draws(sampler, logits, 200);
  EXPECT_EQ(draws(sampler, logits, 200), want);
  std::vector<uint32_t> elsewhere;
  std::thread([&] { elsewhere = draws(sampler, logits, 200); }).join();
  EXPECT_EQ(elsewhere, want);
  SamplerOptions other = options;
  other.seed = 43;
  EXPECT_NE(draws(Sampler(other, 5000), logits, 200), want);
}

// The generator and its mapping to tokens are part of the contract: equal weights, so token =
// floor(u * 1024).
TEST(SamplerTest, UsesTheDocumentedRandomNumbers) {
  Sampler sampler({.temperature = 1, .top_p = 1, .seed = 7}, 1024);
  const std::vector<float> logits(1024, 0.0f);
  std::mt19937_64 random(7);
  for (int i = 0; i < 1000; ++i) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    ASSERT_EQ(sampler.sample(logits), static_cast<uint32_t>(u * 1024)) << i;
  }
}

TEST(WeightsTest, DrawNeverTakesAZeroWeight) {
  TokenWeights weights;
  std::vector<float> logits(700, -kInf);
  logits[10] = 0;
  logits[300] = 0;
  weights.assign(logits, 0, 1);
  EXPECT_EQ(weights.total(), 2.0);
  EXPECT_EQ(weights.draw(0), 10u);
  EXPECT_EQ(weights.draw(0.4999), 10u);
  EXPECT_EQ(weights.draw(0.5), 300u);
  EXPECT_EQ(weights.draw(std::nextafter(1.0, 0.0)), 300u);
}

}  // namespace
}  // namespace skein
