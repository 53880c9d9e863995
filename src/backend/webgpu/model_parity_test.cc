// Whole forward passes against the reference: every dtype, layouts of every kind, any chunking,
// several slots; nothing is written outside of the activations.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <string>

#include "backend/reference/reference_backend.h"
#include "backend/test_model.h"
#include "backend/webgpu/gpu.h"
#include "backend/webgpu/test_gpu.h"
#include "backend/webgpu/webgpu_backend.h"

namespace skein {
namespace {

using namespace testing;

constexpr uint64_t kSeed = 77;

struct Outcome {
  std::vector<float> logits;
  std::vector<float> state;
};

void expect_gaps_untouched(Backend& backend, const Workspace& work) {
  for_each_activation(work, [&](std::string_view name, const Activation& activation) {
    const std::vector<float> all = download_all(backend, activation);
    const uint64_t rows =
        name.starts_with("mixed") ? work.max_tokens : all.size() / activation.stride_elems;
    uint64_t num_faults = 0;
    for (uint64_t row = 0; row < rows; ++row) {
      const uint64_t start = activation.offset_elems + row * activation.stride_elems;
      for (uint64_t i = activation.num_cols; i < activation.stride_elems; ++i) {
        if (!is_poison(all[start + i])) ++num_faults;
      }
    }
    EXPECT_EQ(num_faults, 0u) << "written outside of " << name;
  });
}

// The runs' tokens, `chunk` of each at a time.
Outcome run(Backend& backend, const Dimensions& dims, const WeightFormat& format,
            const std::vector<uint32_t>& lengths, uint32_t chunk, ActivationLayout layout) {
  const auto num_slots = static_cast<uint32_t>(lengths.size());
  const Weights weights = random_weights(backend, dims, format, kSeed);
  const State state = zero_state(backend, dims, num_slots + 1);
  const TestBatch all = random_batch(lengths, dims.num_vocab, kSeed);
  Outcome outcome;
  for (uint32_t done = 0;; done += chunk) {
    TestBatch part;
    for (const Run& whole : all.runs) {
      if (done >= whole.num_tokens) continue;
      const uint32_t count = std::min(chunk, whole.num_tokens - done);
      part.runs.push_back({whole.slot, static_cast<uint32_t>(part.ids.size()), count});
      for (uint32_t i = 0; i < count; ++i) {
        part.logit_tokens.push_back(static_cast<uint32_t>(part.ids.size()));
        part.ids.push_back(all.ids[whole.first_token + done + i]);
      }
    }
    if (part.ids.empty()) break;
    const auto count = static_cast<uint32_t>(part.ids.size());
    const Workspace work = poisoned_workspace(backend, dims, count + 1, count, layout);
    forward(backend, dims, weights, state, part.view(), work);
    const Status status = backend.finish();
    EXPECT_TRUE(status) << status.error().message;
    const std::vector<float> logits = download_rows(backend, work.logits, count);
    outcome.logits.insert(outcome.logits.end(), logits.begin(), logits.end());
    expect_gaps_untouched(backend, work);
  }
  outcome.state = download_state(backend, state);
  return outcome;
}

// Sums of up to 512 products in f32, through two layers and a recurrence.
constexpr float kTolerance = 2e-5f;
// Of products in f16 that meet in sums of eight: 8 * 2^-11 at worst, once a layer and in the head.
constexpr float kFastTolerance = 3 * 8 / 2048.0f;

void expect_near(std::string_view what, const std::vector<float>& expected,
                 const std::vector<float>& found, float tolerance = kTolerance) {
  ASSERT_EQ(expected.size(), found.size());
  float largest = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const float err = std::abs(expected[i] - found[i]);
    if (!(err <= worst)) worst = err;
  }
  EXPECT_LE(worst, tolerance * largest) << what << ", of values up to " << largest;
}

struct Case {
  const char* name;
  DType dtype;
  const char* dense;
  const char* ffn_value;
  uint32_t num_emb = 64;
  ActivationLayout layout = ActivationLayout::kPacked;
  WebGpuOptions options = {};
  // Tokens of the two slots: passes of two, one and sixteen, or of more than share loads. Each has
  // shaders of its own, which lavapipe takes a second and more to compile.
  std::vector<uint32_t> lengths = {13, 3};
  std::vector<uint32_t> chunks = {1, 100};
  const char* form = "auto";
  float tolerance = kTolerance;
};

// A device without features, and one whose bindings hold the state but not all of ffn.key and
// ffn.value, 128 KiB each:
// other dispatches of the same model.
WebGpuOptions plain_options() {
  WebGpuOptions options;
  options.is_plain = true;
  return options;
}
WebGpuOptions small_bindings() {
  WebGpuOptions options;
  options.max_binding_bytes = 107520;
  return options;
}

// What only a GPU runs otherwise: several rows a thread, more loads in flight.
WebGpuOptions hardware_options() {
  WebGpuOptions options;
  options.is_hardware = true;
  return options;
}
Case many_tokens(const char* name, DType dtype, const char* dense, const char* ffn_value) {
  return {name, dtype, dense, ffn_value, 128, ActivationLayout::kPacked, {}, {67, 3}, {100}};
}

// Six tokens, and five or three, whose last quad is not whole.
Case few_tokens(const char* name, DType dtype, const char* layout, uint32_t second = 5) {
  return {name,        dtype, layout, layout, 64, ActivationLayout::kPacked, hardware_options(),
          {6, second}, {3}};
}

// Another form than the backend's rule for every product, once for one token and once for tiles.
Case in_form(const char* name, DType dtype, const char* dense, const char* form,
             const WebGpuOptions& options = {}) {
  const bool is_tile = std::string_view(form).starts_with("tile");
  const auto lengths = is_tile ? std::vector<uint32_t>{37, 3} : std::vector<uint32_t>{3, 2};
  return {name,        dtype,   dense,
          "col_major", 128,     ActivationLayout::kPacked,
          options,     lengths, {is_tile ? 100u : 1u},
          form};
}

// Threads as rows, one token; blocks that a subgroup skips by ballot.
Case by_lanes(const char* name, DType dtype, const char* dense, const char* form = "auto") {
  return {name, dtype, dense, "col_major@128B", 128, ActivationLayout::kPacked, hardware_options(),
          {4},  {1},   form};
}
// The same, and two tokens.
Case pairs_by_lanes(const char* name, DType dtype, const char* dense, const char* form = "auto") {
  Case c = by_lanes(name, dtype, dense, form);
  c.lengths = {3, 1};
  return c;
}
Case fast_by_lanes(const char* name, DType dtype, const char* dense, const char* form = "auto") {
  Case c = by_lanes(name, dtype, dense, form);
  c.options.precision = Precision::kFast;
  c.tolerance = kFastTolerance;
  return c;
}

class WebGpuParityTest : public ::testing::TestWithParam<Case> {};

TEST_P(WebGpuParityTest, AgreesWithTheReferenceInAnyChunking) {
  const Case& c = GetParam();
  auto made = make_webgpu_backend(c.options);
  SKEIN_NEED_GPU(made);
  const Dimensions dims = test_dimensions(c.num_emb);
  WeightFormat format;
  format.dtype = c.dtype;
  ReferenceBackend reference;
  const Outcome expected =
      run(reference, dims, format, c.lengths, 100, ActivationLayout::kSeparate);
  format.dense = *parse_layout(c.dense);
  format.ffn_value = *parse_layout(c.ffn_value);
  const KernelForm form = *parse_form(c.form);
  ASSERT_TRUE((*made)->set_forms({form, form, form, form, form}));
  for (const uint32_t chunk : c.chunks) {
    SCOPED_TRACE(fmt::format("chunk {}", chunk));
    const Outcome whole =
        chunk == 100 ? expected
                     : run(reference, dims,
                           {c.dtype, Layout::row_major(), Layout::row_major(), Layout::col_major()},
                           c.lengths, chunk, ActivationLayout::kSeparate);
    const Outcome found = run(**made, dims, format, c.lengths, chunk, c.layout);
    expect_near("logits", whole.logits, found.logits, c.tolerance);
    expect_near("state", whole.state, found.state, c.tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, WebGpuParityTest,
    ::testing::Values(
        Case{"f16_row_major", DType::kF16, "row_major", "col_major@128B"},
        Case{"f16_interleave", DType::kF16, "interleave(16,64,1)", "col_major", 128},
        Case{"f16_aligned_separate", DType::kF16, "row_major@256B", "row_major", 192,
             ActivationLayout::kSeparate},
        Case{"f16_tile", DType::kF16, "tile(16,32)", "tile(5,7)"},
        Case{"f16_morton", DType::kF16, "morton(8)", "morton(32)"},
        Case{"f16_col_major", DType::kF16, "col_major", "col_major"},
        Case{"f32_row_major", DType::kF32, "row_major", "col_major"},
        Case{"f32_interleave", DType::kF32, "interleave(8,12,4)", "morton(3)"},
        Case{"bf16_row_major", DType::kBF16, "row_major", "col_major"},
        Case{"int8_col_major", DType::kInt8, "row_major", "col_major", 128},
        Case{"nf4_col_major", DType::kNF4, "row_major", "col_major", 128},
        Case{"q8_0_col_major", DType::kQ8_0, "row_major", "col_major", 128},
        Case{"q4_k_col_major", DType::kQ4K, "row_major", "col_major", 128},
        many_tokens("f16_many_tokens", DType::kF16, "row_major", "col_major@128B"),
        many_tokens("f32_many_tokens", DType::kF32, "interleave(8,12,4)", "morton(3)"),
        many_tokens("int8_many_tokens", DType::kInt8, "row_major", "col_major"),
        many_tokens("nf4_many_tokens", DType::kNF4, "row_major", "col_major"),
        many_tokens("q4_0_many_tokens", DType::kQ4_0, "row_major", "col_major"),
        many_tokens("q4_k_many_tokens", DType::kQ4K, "interleave(16,256,1)", "col_major"),
        Case{"nf4_on_hardware",
             DType::kNF4,
             "row_major",
             "row_major",
             128,
             ActivationLayout::kPacked,
             hardware_options(),
             {4},
             {1}},
        in_form("f16_in_form", DType::kF16, "row_major", "group(64,4,4,8)"),
        in_form("nf4_in_form", DType::kNF4, "row_major", "group(128,8,2,4)"),
        in_form("f16_cols_in_form", DType::kF16, "col_major", "group(256,4,1,4)"),
        in_form("f16_plain_in_form", DType::kF16, "row_major", "group(32,16,2,2)", plain_options()),
        in_form("f16_in_tiles", DType::kF16, "row_major", "tile(32,32,8,4)"),
        by_lanes("nf4_by_lanes", DType::kNF4, "interleave(32,64,32)"),
        by_lanes("sf4_by_lanes_of_16", DType::kSF4, "interleave(16,128,32)@128B",
                 "group(64,2,1,1)"),
        by_lanes("q4_0_by_lanes", DType::kQ4_0, "interleave(32,64,32)", "group(64,1,1,1)"),
        pairs_by_lanes("int8_by_lanes", DType::kInt8, "interleave(32,128,16)", "group(64,2,1,1)"),
        by_lanes("q8_0_by_lanes", DType::kQ8_0, "interleave(8,64,16)", "group(64,1,1,1)"),
        fast_by_lanes("nf4_fast_by_lanes", DType::kNF4, "interleave(32,64,32)"),
        fast_by_lanes("q4_0_fast_by_lanes", DType::kQ4_0, "interleave(32,64,32)",
                      "group(64,1,1,1)"),
        few_tokens("f16_few_tokens", DType::kF16, "row_major", 3),
        few_tokens("int8_few_tokens", DType::kInt8, "row_major"),
        few_tokens("nf4_few_tokens", DType::kNF4, "row_major"),
        in_form("int8_in_tiles", DType::kInt8, "row_major", "tile(32,64,4,8)"),
        Case{"f16_plain_device", DType::kF16, "row_major", "col_major", 128,
             ActivationLayout::kPacked, plain_options()},
        Case{"f16_rows_split", DType::kF16, "row_major", "row_major", 128,
             ActivationLayout::kPacked, small_bindings()},
        Case{"f16_cols_split", DType::kF16, "row_major", "col_major@128B", 128,
             ActivationLayout::kPacked, small_bindings()},
        Case{"f16_tiles_split", DType::kF16, "tile(16,32)", "interleave(8,64)", 128,
             ActivationLayout::kPacked, small_bindings()}),
    [](const auto& info) { return std::string(info.param.name); });

// As many slots as sequences run side by side, of 1 to 5 tokens: all at once, and one of each at a
// time, where fewer and fewer slots remain.
TEST(WebGpuBackendTest, SixtyFourRunsOfRaggedLengths) {
  auto made = make_webgpu_backend({});
  SKEIN_NEED_GPU(made);
  const Dimensions dims = test_dimensions(64);
  std::vector<uint32_t> lengths;
  for (uint32_t slot = 0; slot < 64; ++slot) lengths.push_back(slot * 7 % 5 + 1);
  ReferenceBackend reference;
  for (const uint32_t chunk : {100u, 1u}) {
    SCOPED_TRACE(fmt::format("chunk {}", chunk));
    const Outcome expected = run(reference, dims, {}, lengths, chunk, ActivationLayout::kSeparate);
    const Outcome found = run(**made, dims, {}, lengths, chunk, ActivationLayout::kPacked);
    expect_near("logits", expected.logits, found.logits);
    expect_near("state", expected.state, found.state);
  }
}

// Bytes go to the device and back at any offset, and leave their neighbours alone.
TEST(WebGpuBackendTest, UploadsAnyBytes) {
  auto made = make_webgpu_backend({});
  SKEIN_NEED_GPU(made);
  Backend& backend = **made;
  const auto buffer = backend.allocate(301).value();
  std::vector<std::byte> expected(301);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<std::byte>(i * 7 + 1);
  ASSERT_TRUE(backend.upload(*buffer, 0, expected));
  for (const auto& [offset, count] : {std::pair<size_t, size_t>{5, 3}, {8, 9}, {299, 2}, {0, 1}}) {
    const std::vector<std::byte> piece(count, std::byte{0xab});
    ASSERT_TRUE(backend.upload(*buffer, offset, piece));
    std::copy(piece.begin(), piece.end(), expected.begin() + static_cast<ptrdiff_t>(offset));
  }
  std::vector<std::byte> found(301);
  ASSERT_TRUE(backend.download(*buffer, 0, found));
  EXPECT_EQ(found, expected);
  std::vector<std::byte> part(7);
  ASSERT_TRUE(backend.download(*buffer, 291, part));
  EXPECT_TRUE(std::equal(part.begin(), part.end(), expected.begin() + 291));
}

// A matrix that no binding holds and no cut by rows divides: one line, and nothing has run.
TEST(WebGpuBackendTest, AMatrixTooLargeForABindingIsAnError) {
  WebGpuOptions options;
  options.max_binding_bytes = 49152;
  auto made = make_webgpu_backend(options);
  SKEIN_NEED_GPU(made);
  Backend& backend = **made;
  const Dimensions dims = test_dimensions(128);
  WeightFormat format;
  format.dense = *parse_layout("morton(32)");
  const Weights weights = random_weights(backend, dims, format, kSeed);
  const std::vector<uint32_t> lengths = {1};
  const TestBatch batch = random_batch(lengths, dims.num_vocab, kSeed);
  const Workspace work = poisoned_workspace(backend, dims, 1, 1, ActivationLayout::kPacked);
  forward(backend, dims, weights, zero_state(backend, dims, 1), batch.view(), work);
  const Status status = backend.finish();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("the most that this device binds"), std::string::npos)
      << status.error().message;
  EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
  EXPECT_TRUE(backend.finish());
}

// Nothing changes then: what the backend had before counts.
TEST(WebGpuBackendTest, FormsBeyondTheDeviceAreAnError) {
  auto made = make_webgpu_backend({});
  SKEIN_NEED_GPU(made);
  KernelForms forms;
  forms.ffn_key = tile_form(256, 256, 4, 4);
  const Status status = (*made)->set_forms(forms);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("threads of a workgroup on this device, found 4096"),
            std::string::npos)
      << status.error().message;
  EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
  EXPECT_TRUE((*made)->set_forms({}));
  EXPECT_FALSE(ReferenceBackend().set_forms(forms));
  EXPECT_TRUE(ReferenceBackend().set_forms({}));
}

// A submission is timed as a whole: longer than nothing, shorter than what the host waits.
TEST(WebGpuBackendTest, SubmissionsAreTimed) {
  auto made = make_webgpu_backend({});
  SKEIN_NEED_GPU(made);
  Backend& backend = **made;
  if (!backend.time_submissions(true)) GTEST_SKIP() << "the device has no timestamps";
  const Dimensions dims = test_dimensions(64);
  const Weights weights = random_weights(backend, dims, {}, kSeed);
  const std::vector<uint32_t> lengths = {1};
  const TestBatch batch = random_batch(lengths, dims.num_vocab, kSeed);
  const Workspace work = poisoned_workspace(backend, dims, 1, 1, ActivationLayout::kPacked);
  const State state = zero_state(backend, dims, 1);
  backend.take_op_times();
  const auto start = std::chrono::steady_clock::now();
  forward(backend, dims, weights, state, batch.view(), work);
  ASSERT_TRUE(backend.finish());
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  const std::vector<OpTime> times = backend.take_op_times();
  ASSERT_EQ(times.size(), 1u);
  EXPECT_EQ(times[0].op, "submission");
  EXPECT_GT(times[0].seconds, 0);
  EXPECT_LT(times[0].seconds, waited.count());
  EXPECT_FALSE(backend.time_submissions(false));
}

// A driver that gives up, before a token or while one is on its way: the same one line from then
// on.
TEST(WebGpuBackendTest, ALostDeviceIsOneLine) {
  for (const bool is_midway : {false, true}) {
    auto gpu = webgpu::Gpu::create({});
    SKEIN_NEED_GPU(gpu);
    const std::unique_ptr<Backend> backend = make_webgpu_backend_on(*gpu);
    const Dimensions dims = test_dimensions(128);
    const Weights weights = random_weights(*backend, dims, {}, kSeed);
    const std::vector<uint32_t> lengths = {1};
    const TestBatch batch = random_batch(lengths, dims.num_vocab, kSeed);
    const Workspace work = poisoned_workspace(*backend, dims, 1, 1, ActivationLayout::kPacked);
    const State state = zero_state(*backend, dims, 1);
    forward(*backend, dims, weights, state, batch.view(), work);
    ASSERT_TRUE(backend->finish());
    if (is_midway) {
      forward(*backend, dims, weights, state, batch.view(), work);
      ASSERT_TRUE(backend->submit());
    }
    (*gpu)->lose();
    EXPECT_TRUE((*gpu)->is_lost());
    for (int i = 0; i < 2; ++i) {
      forward(*backend, dims, weights, state, batch.view(), work);
      const Status status = backend->finish();
      ASSERT_FALSE(status);
      EXPECT_NE(status.error().message.find("the device was lost"), std::string::npos)
          << status.error().message;
      EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
    }
    std::vector<std::byte> bytes(64);
    EXPECT_FALSE(backend->download(*work.logits.buffer, 0, bytes));
    EXPECT_FALSE(backend->upload(*work.logits.buffer, 0, bytes));
    EXPECT_FALSE(backend->allocate(256));
  }
}

TEST(WebGpuBackendTest, MoreThanTheDeviceHasIsAnError) {
  auto made = make_webgpu_backend({});
  SKEIN_NEED_GPU(made);
  EXPECT_FALSE((*made)->allocate(uint64_t{1} << 60));
  EXPECT_FALSE((*made)->allocate((*made)->max_buffer_bytes() + 4096));
  EXPECT_TRUE((*made)->finish());
}

}  // namespace
}  // namespace skein
