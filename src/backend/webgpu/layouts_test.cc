// Every registered product: each dtype in layouts of every kind, the dense and the sparse op, one
// token, few and a tile of them, against the reference. Whole models in fewer of them are
// model_parity_test.cc.
//
// Shapes are small, since a software adapter takes longer to compile a shader than to run it, and
// odd: rows are no multiple of anything, and cols once of every vector, once of none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "backend/reference/reference_backend.h"
#include "backend/test_model.h"
#include "backend/webgpu/test_gpu.h"
#include "backend/webgpu/webgpu_backend.h"

namespace skein {
namespace {

using namespace testing;

constexpr uint64_t kSeed = 31;

constexpr const char* kLayouts[] = {
    "row_major",   "col_major",  "interleave(16,64,1)", "interleave(8,64)", "interleave(32,64,32)",
    "tile(16,32)", "morton(32)", "row_major@128B"};

// The layer norm and the head behind a sparse product, whose sums only the next step adds, are of
// this width: a multiple of every vector of rows.
constexpr uint32_t kNumEmb = 64;

// Of several tokens both ops have one shader, which is compiled once where the shape is the same.
struct Product {
  MatrixOp op;
  uint32_t rows, cols, num_tokens;
};
constexpr Product kProducts[] = {
    {MatrixOp::kDense, 37, 96, 1},        {MatrixOp::kDense, 35, 75, 1},
    {MatrixOp::kDense, 35, 75, 17},       {MatrixOp::kDense, kNumEmb, 164, 3},
    {MatrixOp::kDense, kNumEmb, 164, 17}, {MatrixOp::kSparse, kNumEmb, 164, 1},
    {MatrixOp::kSparse, kNumEmb, 164, 3}, {MatrixOp::kSparse, kNumEmb, 164, 17}};

std::vector<float> random_values(uint64_t count, float zero_share, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    const float number = random.uniform(-1, 1);
    value = random.uniform(0, 1) < zero_share ? 0.0f : number;
  }
  return values;
}

// Poison, and `values` in its rows.
Activation make_activation(Backend& backend, uint32_t num_rows, uint32_t num_cols,
                           std::span<const float> values) {
  Activation activation;
  activation.num_cols = num_cols;
  activation.stride_elems = round_up<uint64_t>(num_cols, 16) + 16;
  const std::vector<uint32_t> poison((num_rows + 1) * activation.stride_elems, kPoisonBits);
  activation.buffer = backend.allocate(poison.size() * sizeof(uint32_t)).value();
  CHECK(backend.upload(*activation.buffer, 0, std::as_bytes(std::span(poison))).has_value());
  upload_rows(backend, activation, values);
  return activation;
}

// Elements outside of the rows that are no poison any more.
uint64_t count_faults(Backend& backend, const Activation& activation, uint32_t num_rows) {
  const std::vector<float> all = download_all(backend, activation);
  uint64_t num_faults = 0;
  for (uint64_t i = 0; i < all.size(); ++i) {
    const bool is_element =
        i / activation.stride_elems < num_rows && i % activation.stride_elems < activation.num_cols;
    if (!is_element && !is_poison(all[i])) ++num_faults;
  }
  return num_faults;
}

// A backend with what stays the same from product to product.
class Products {
 public:
  explicit Products(Backend& backend)
      : backend_(backend), weights_(random_weights(backend, dims_, kFormat, kSeed)) {}

  // x + W y for the dense op; of the sparse one the head of that.
  std::vector<float> run(const Product& product, DType dtype, const Layout& layout) {
    const auto& [op, rows, cols, num_tokens] = product;
    const bool is_sparse = op == MatrixOp::kSparse;
    WeightBuilder builder(backend_, {dtype, Layout::row_major(), layout, layout}, kSeed);
    Tensor matrix = builder.matrix(rows, cols);
    Workspace work;
    work.max_tokens = work.max_logits = num_tokens;
    const std::vector<float> x = random_values(uint64_t{num_tokens} * rows, 0, kSeed + 1);
    work.x = make_activation(backend_, num_tokens, rows, x);
    const Activation in = make_activation(
        backend_, num_tokens, cols,
        random_values(uint64_t{num_tokens} * cols, is_sparse ? 0.7f : 0, kSeed + 2));
    const std::vector<uint32_t> lengths = {num_tokens};
    const TestBatch tokens = random_batch(lengths, dims_.num_vocab, kSeed);
    const Batch batch = tokens.view();
    LayerWeights& layer = weights_.layers[0];
    (is_sparse ? layer.ffn_value : layer.output) = std::move(matrix);
    const LayerArgs args{dims_, layer, 0, batch, state_, work};
    if (!is_sparse) {
      work.y = in;
      backend_.output(args);
      EXPECT_TRUE(backend_.finish());
      EXPECT_EQ(count_faults(backend_, work.x, num_tokens), 0u);
      return download_rows(backend_, work.x, num_tokens);
    }
    work.f = in;
    work.y = make_activation(backend_, num_tokens, kNumEmb, {});
    work.logits = make_activation(backend_, num_tokens, dims_.num_vocab, {});
    // A pass begins with it; x is another one then.
    backend_.embed(dims_, weights_, batch, work);
    upload_rows(backend_, work.x, x);
    backend_.ffn_value(args);
    backend_.head(dims_, weights_, batch, work);
    EXPECT_TRUE(backend_.finish());
    EXPECT_EQ(count_faults(backend_, work.logits, num_tokens), 0u);
    return download_rows(backend_, work.logits, num_tokens);
  }

 private:
  static constexpr WeightFormat kFormat = {DType::kF32};

  Backend& backend_;
  Dimensions dims_ = test_dimensions(kNumEmb, 1, 21);
  Weights weights_;
  State state_;
};

class WebGpuLayoutsTest : public ::testing::TestWithParam<DType> {};

TEST_P(WebGpuLayoutsTest, EveryLayoutAgreesWithTheReference) {
  const DType dtype = GetParam();
  auto made = make_webgpu_backend({});
  SKEIN_NEED_GPU(made);
  ReferenceBackend reference;
  Products expected_of(reference), found_of(**made);
  for (const Product& product : kProducts) {
    // Of the reference the layout changes nothing: its own tests say so.
    const std::vector<float> expected = expected_of.run(product, dtype, Layout::row_major());
    float largest = 0;
    for (const float value : expected) largest = std::max(largest, std::abs(value));
    for (const char* text : kLayouts) {
      const Layout layout = *parse_layout(text);
      ASSERT_TRUE(find_kernel((*made)->kernels(), product.op, dtype, layout));
      const std::vector<float> found = found_of.run(product, dtype, layout);
      ASSERT_EQ(found.size(), expected.size());
      float worst = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        const float err = std::abs(expected[i] - found[i]);
        if (!(err <= worst)) worst = err;
      }
      // Sums of up to 164 products in f32, and a layer norm.
      EXPECT_LE(worst, 1e-5f * largest)
          << to_string(product.op) << ' ' << text << ' ' << product.rows << " x " << product.cols
          << ", " << product.num_tokens << " tokens";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, WebGpuLayoutsTest, ::testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace skein
