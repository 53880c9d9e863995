// Laws of the reference backend, and cases that can be computed by hand. That the formulas as a
// whole are RWKV-7's is what the goldens of the tiny model prove (tests/).
#include "backend/reference/reference_backend.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backend/test_model.h"

namespace skein {
namespace {

using namespace testing;

constexpr uint64_t kSeed = 5;

struct Outcome {
  std::vector<float> logits;
  std::vector<float> state;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// A fresh backend and state; the batches one after the other, the logits of all of them in order.
Outcome run(const Dimensions& dims, const WeightFormat& format, uint32_t num_slots,
            const std::vector<Batch>& batches,
            ActivationLayout layout = ActivationLayout::kPacked) {
  ReferenceBackend backend;
  const Weights weights = random_weights(backend, dims, format, kSeed);
  const State state = zero_state(backend, dims, num_slots);
  Outcome outcome;
  for (const Batch& batch : batches) {
    const Workspace work =
        poisoned_workspace(backend, dims, batch.num_tokens(), batch.num_tokens(), layout);
    forward(backend, dims, weights, state, batch, work);
    const std::vector<float> logits =
        download_rows(backend, work.logits, batch.logit_tokens.size());
    outcome.logits.insert(outcome.logits.end(), logits.begin(), logits.end());
  }
  outcome.state = download_state(backend, state);
  return outcome;
}

TEST(ReferenceBackendTest, ChunksAgreeBitForBit) {
  const Dimensions dims = test_dimensions(128);
  const TestBatch all = random_batch(std::array{9u}, dims.num_vocab, kSeed);
  const Outcome expected = run(dims, {}, 1, {all.view()});
  for (const float logit : expected.logits) ASSERT_TRUE(std::isfinite(logit));
  for (const uint32_t cut : {1u, 4u, 8u}) {
    const std::vector<skein::Run> first = {{0, 0, cut}}, second = {{0, 0, 9 - cut}};
    const std::span<const uint32_t> ids = all.ids, tokens = all.logit_tokens;
    EXPECT_EQ(run(dims, {}, 1,
                  {{ids.first(cut), first, tokens.first(cut)},
                   {ids.subspan(cut), second, tokens.first(9 - cut)}}),
              expected)
        << "cut after " << cut;
  }
}

TEST(ReferenceBackendTest, LayoutsAgreeBitForBit) {
  const Dimensions dims = test_dimensions(64);
  const TestBatch batch = random_batch(std::array{3u}, dims.num_vocab, kSeed);
  const Outcome expected = run(dims, {}, 1, {batch.view()});
  for (const std::string_view text :
       {"col_major", "row_major@256B", "interleave(16,64,1)", "tile(7,13)@64B", "morton(8)"}) {
    const Layout layout = *parse_layout(text);
    EXPECT_EQ(run(dims, {DType::kF16, layout, layout, layout}, 1, {batch.view()},
                  ActivationLayout::kSeparate),
              expected)
        << text;
  }
}

// The weights of test models are f16 values, which f32 holds exactly.
TEST(ReferenceBackendTest, F32HoldsF16) {
  const Dimensions dims = test_dimensions(64);
  const TestBatch batch = random_batch(std::array{3u}, dims.num_vocab, kSeed);
  WeightFormat f32;
  f32.dtype = DType::kF32;
  EXPECT_EQ(run(dims, f32, 1, {batch.view()}), run(dims, {}, 1, {batch.view()}));
}

TEST(ReferenceBackendTest, RunsOfOneBatchDoNotMeet) {
  const Dimensions dims = test_dimensions(64);
  const TestBatch both = random_batch(std::array{4u, 3u}, dims.num_vocab, kSeed);
  const std::span<const uint32_t> ids = both.ids, tokens = both.logit_tokens;
  const std::vector<skein::Run> first = {{1, 0, 4}}, second = {{0, 0, 3}};
  EXPECT_EQ(run(dims, {}, 2, {both.view()}), run(dims, {}, 2,
                                                 {{ids.first(4), first, tokens.first(4)},
                                                  {ids.subspan(4), second, tokens.first(3)}}));
}

// One head, zero state, one token: S = v k^T, so S r = v (k . r), whose group norm is that of v up
// to the sign of k . r and eps. With a = 1 and k_a anything, k stays as it is; with ln_x = (1, 0),
// r_k = 0 and g = 1 nothing else is added.
TEST(ReferenceBackendTest, FirstTokenOfTheWkv) {
  ReferenceBackend backend;
  const Dimensions dims = test_dimensions(64, 1);
  WeightBuilder builder(backend, {}, kSeed);
  LayerWeights weights = builder.layer(dims, 0);
  weights.r_k = builder.vector(64, 0, 0);
  weights.ln_x_weight = builder.vector(64, 1, 0);
  weights.ln_x_bias = builder.vector(64, 0, 0);

  const State state = zero_state(backend, dims, 1);
  const Workspace work = poisoned_workspace(backend, dims, 1, 1);
  std::vector<float> v(64), k(64), r(64);
  for (size_t i = 0; i < 64; ++i) {
    v[i] = i % 2 == 0 ? 3.0f : -1.0f;  // mean 1, variance 4
    k[i] = i == 5 ? 2.0f : 0.0f;
    r[i] = 8.0f;  // k . r = 16
  }
  const std::vector<float> ones(64, 1.0f), decay(64, 0.75f);
  upload_rows(backend, work.v, v);
  upload_rows(backend, work.k, k);
  upload_rows(backend, work.r, r);
  upload_rows(backend, work.a, ones);
  upload_rows(backend, work.g, ones);
  upload_rows(backend, work.w, decay);

  const TestBatch batch = random_batch(std::array{1u}, dims.num_vocab, kSeed);
  const Batch view = batch.view();
  backend.wkv({dims, weights, 0, view, state, work});

  const double scale = 16 / std::sqrt(4 * 16 * 16 + static_cast<double>(kGroupNormEps));
  const std::vector<float> y = download_rows(backend, work.y, 1);
  const std::vector<float> s = download_state(backend, state);
  const StateMapping mapping{StateLayout::kHeadValueKey, 1, 64};
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_FLOAT_EQ(y[i], static_cast<float>((v[i] - 1.0f) * scale)) << i;
    EXPECT_EQ(s[mapping.wkv(0, 5, i)], 2 * v[i]);
    EXPECT_EQ(s[mapping.wkv(0, 6, i)], 0.0f);
  }

  // The second token with k = 0 only decays: kk = 0, S = S diag(w).
  upload_rows(backend, work.k, std::vector<float>(64, 0.0f));
  backend.wkv({dims, weights, 0, view, state, work});
  const std::vector<float> decayed = download_state(backend, state);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(decayed[mapping.wkv(0, 5, i)], 1.5f * v[i]);
}

// Writing the same key again replaces its value: kk = k / |k|, a = 1, so S kk kk^T takes out what k
// holds.
TEST(ReferenceBackendTest, TheDeltaRuleReplaces) {
  ReferenceBackend backend;
  const Dimensions dims = test_dimensions(64, 1);
  WeightBuilder builder(backend, {}, kSeed);
  LayerWeights weights = builder.layer(dims, 0);
  weights.k_k = builder.vector(64, 1, 0);
  const State state = zero_state(backend, dims, 1);
  const Workspace work = poisoned_workspace(backend, dims, 1, 1);
  const TestBatch batch = random_batch(std::array{1u}, dims.num_vocab, kSeed);
  const Batch view = batch.view();
  std::vector<float> k(64, 0.0f);
  k[9] = 1;
  const std::vector<float> ones(64, 1.0f);
  for (const float value : {5.0f, -2.0f}) {
    for (const Activation* one : {&work.r, &work.a, &work.g, &work.w}) {
      upload_rows(backend, *one, ones);
    }
    upload_rows(backend, work.k, k);
    upload_rows(backend, work.v, std::vector<float>(64, value));
    backend.wkv({dims, weights, 0, view, state, work});
  }
  const StateMapping mapping{StateLayout::kHeadValueKey, 1, 64};
  const std::vector<float> s = download_state(backend, state);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(s[mapping.wkv(0, 9, i)], -2.0f);
}

TEST(ReferenceBackendTest, HasEveryKernel) {
  const ReferenceBackend backend;
  for (const MatrixOp op : {MatrixOp::kGather, MatrixOp::kDense, MatrixOp::kSparse}) {
    for (const DType dtype : kAllDTypes) {
      EXPECT_EQ(
          check_kernel("reference", backend.kernels(), op, dtype, Layout::morton(4)).has_value(),
          op != MatrixOp::kGather || !is_quantized(dtype) || is_ggml_codec(dtype));
    }
  }
}

}  // namespace
}  // namespace skein
