// Packed files: a model that `skein pack` wrote is the model that packing at load gives, bit for
// bit, and its weights are used where they lie in the file. Files that were damaged are in
// pack_test.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/bits.h"
#include "base/thread_pool.h"
#include "engine/backends.h"
#include "model/pack_model.h"
#include "model/rwkv7.h"
#include "model/verify.h"
#include "tiny_model.h"

namespace skein {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kGoose = SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.safetensors";

struct Loaded {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Rwkv7> model;
};

std::unique_ptr<Backend> backend_named(const std::string& name) {
  return make_backend(name, 2, Precision::kExact).value();
}

Loaded load(const std::string& path, const WeightPlan& plan, const std::string& backend) {
  Loaded loaded;
  loaded.backend = backend_named(backend);
  auto model = Rwkv7::load(path, *loaded.backend, {plan, 2, {}, nullptr});
  EXPECT_TRUE(model) << model.error().message;
  if (model) loaded.model = *std::move(model);
  return loaded;
}

PackSummary pack(const std::string& from, const std::string& to, const WeightPlan& plan,
                 const std::string& backend) {
  const auto file = ModelFile::open(from);
  EXPECT_TRUE(file);
  auto summary = pack_model(*file, to, *backend_named(backend), {plan, 2, {}, nullptr});
  EXPECT_TRUE(summary) << summary.error().message;
  return summary ? *summary : PackSummary{};
}

WeightPlan plan_of(const std::string& quant, const std::string& layout = {}) {
  return parse_quant(quant, parse_weight_plan(layout).value()).value();
}

// Of five tokens at once, then of three one by one.
std::vector<float> logits_of(const Loaded& loaded) {
  const Rwkv7& model = *loaded.model;
  const State state = model.make_state(1).value();
  const Workspace work = model.make_workspace(5, 5, model.plan().activations).value();
  std::vector<float> all;
  const auto run = [&](std::vector<uint32_t> ids) {
    const auto count = static_cast<uint32_t>(ids.size());
    const Run run{0, 0, count};
    std::vector<uint32_t> wanted(count);
    for (uint32_t i = 0; i < count; ++i) wanted[i] = i;
    EXPECT_TRUE(model.forward({ids, {&run, 1}, wanted}, state, work));
    std::vector<float> values(uint64_t{count} * work.logits.stride_elems);
    EXPECT_TRUE(loaded.backend->download(*work.logits.buffer,
                                         work.logits.offset_elems * sizeof(float),
                                         std::as_writable_bytes(std::span(values))));
    all.insert(all.end(), values.begin(), values.end());
  };
  run({0, 5, 30, 7, 8});
  for (const uint32_t id : {4u, 50u, 9u}) run({id});
  return all;
}

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  return {tensor.host_data(), tensor.host_data() + tensor.span_bytes()};
}

// Both models' weights, in the order of use.
std::vector<std::pair<Tensor, Tensor>> pairs_of(const Rwkv7& a, const Rwkv7& b) {
  Weights weights_a = a.weights(), weights_b = b.weights();
  const auto list_a = list_weights(a.dims(), weights_a), list_b = list_weights(b.dims(), weights_b);
  std::vector<std::pair<Tensor, Tensor>> pairs;
  for (size_t i = 0; i < list_a.size(); ++i)
    pairs.emplace_back(*list_a[i].target, *list_b[i].target);
  return pairs;
}

void expect_the_same_model(const std::string& source, const WeightPlan& plan,
                           const std::string& backend) {
  SCOPED_TRACE(backend + ": " + plan.text());
  const TempFolder folder;
  const std::string path = folder.path("packed.safetensors");
  const PackSummary summary = pack(source, path, plan, backend);
  const Loaded want = load(source, plan, backend), got = load(path, {}, backend);
  ASSERT_TRUE(want.model && got.model);
  EXPECT_EQ(got.model->dims(), want.model->dims());
  EXPECT_EQ(got.model->plan(), want.model->plan());
  EXPECT_EQ(got.model->plan().text(), want.model->plan().text());
  EXPECT_EQ(got.model->hash(), want.model->hash());
  EXPECT_EQ(got.model->file_dtype(), want.model->file_dtype());
  EXPECT_EQ(got.model->num_parameters(), want.model->num_parameters());
  EXPECT_EQ(got.model->bytes_per_token(), want.model->bytes_per_token());
  EXPECT_EQ(got.model->warnings().size(), want.model->warnings().size());
  EXPECT_EQ(summary.reports.size(), got.model->reports().size());
  EXPECT_EQ(summary.file_bytes, std::filesystem::file_size(path));
  for (const auto& [a, b] : pairs_of(*want.model, *got.model)) {
    ASSERT_EQ(static_cast<bool>(a), static_cast<bool>(b));
    if (!a) continue;
    EXPECT_EQ(a.dtype(), b.dtype());
    EXPECT_EQ(a.layout(), b.layout());
    EXPECT_EQ(bytes_of(a), bytes_of(b));
  }
  const auto want_logits = logits_of(want), got_logits = logits_of(got);
  ASSERT_EQ(want_logits.size(), got_logits.size());
  EXPECT_EQ(std::memcmp(want_logits.data(), got_logits.data(), want_logits.size() * 4), 0);
}

TEST(PackedModelTest, IsTheModelThatPackingAtLoadGives) {
  for (const WeightPlan& plan :
       {plan_of(""), plan_of("int8"), plan_of("nf4"), plan_of("", "row_major@256B"),
        plan_of("sf4", "ffn.value=col_major@128B,att=row_major"),
        plan_of("ffn=nf4,att=int8,blocks.2-3=sf4,blocks.5=file")}) {
    expect_the_same_model(kGoose, plan, "cpu");
  }
  expect_the_same_model(kGoose, plan_of("att=int8,ffn=nf4"), "reference");
}

TEST(PackedModelTest, OddShapesAndMixedTypes) {
  const TempFolder folder;
  const std::string source = folder.path("odd.safetensors");
  const FileDType dtypes[] = {FileDType::kF32, FileDType::kBF16, FileDType::kF16};
  Dimensions dims = testing::tiny_dimensions(192, 101, 3);
  testing::random_model(dims, dtypes, 11).write(source);
  for (const WeightPlan& plan : {plan_of(""), plan_of("int8"), plan_of("nf4", "morton(4)@64B")}) {
    expect_the_same_model(source, plan, "reference");
  }
  dims.num_layers = 1;
  dims.rank_v = 0;
  testing::random_model(dims, dtypes, 12).write(source);
  expect_the_same_model(source, plan_of("int8"), "reference");
}

TEST(PackedModelTest, ActivationsArePartOfThePlan) {
  const TempFolder folder;
  WeightPlan plan;
  plan.activations = ActivationLayout::kSeparate;
  plan.placement = Placement::kFile;  // of no meaning for a file
  pack(kGoose, folder.path("packed"), plan, "cpu");
  const Loaded got = load(folder.path("packed"), {}, "cpu");
  EXPECT_EQ(got.model->plan().activations, ActivationLayout::kSeparate);
  EXPECT_EQ(got.model->plan().placement, Placement::kHot);
}

// The laws of the file: one arena in the order of use, aligned, room behind everything.
TEST(PackedModelTest, WeightsLieInTheFileAsInTheArena) {
  const TempFolder folder;
  pack(kGoose, folder.path("packed"), plan_of("int8"), "cpu");
  const Loaded loaded = load(folder.path("packed"), {}, "cpu");
  const auto file = ModelFile::open(folder.path("packed"));
  ASSERT_TRUE(file && file->packed());
  EXPECT_EQ(file->packed()->source, "goose-tiny.safetensors");
  Weights weights = loaded.model->weights();
  uint64_t next = 0;
  for (const WeightSpec& spec : list_weights(loaded.model->dims(), weights)) {
    const Tensor& tensor = *spec.target;
    const TensorInfo* info = file->file()->find(spec.label());
    ASSERT_NE(info, nullptr) << spec.label();
    EXPECT_EQ(tensor.buffer(), loaded.model->weights().emb.buffer());
    EXPECT_EQ(tensor.offset_bytes(), info->offset_bytes);
    EXPECT_EQ(tensor.offset_bytes() % kPackedAlignBytes, 0u);
    EXPECT_LE(tensor.offset_bytes() + tensor.span_bytes() + kReadSlackBytes,
              file->file()->file().bytes().size());
    if (spec.group == WeightGroup::kEmbedding) {
      EXPECT_EQ(tensor.offset_bytes() % 4096, 0u);
      continue;
    }
    if (next == 0) {
      EXPECT_EQ(tensor.offset_bytes() % 4096, 0u);
    } else {
      EXPECT_EQ(tensor.offset_bytes(), next) << spec.label();
    }
    next = round_up(tensor.offset_bytes() + tensor.span_bytes(), kPackedAlignBytes);
  }
  EXPECT_GE(loaded.model->weights().emb.offset_bytes(), next);
}

TEST(PackedModelTest, WhatIsAskedForMustBeInTheFile) {
  const TempFolder folder;
  const std::string path = folder.path("packed");
  pack(kGoose, path, plan_of("ffn=nf4,att=int8", "head=row_major"), "cpu");
  const auto refusal = [&](const WeightPlan& plan) {
    const auto backend = backend_named("cpu");
    const auto model = Rwkv7::load(path, *backend, {plan, 2, {}, nullptr});
    return model ? std::string("accepted") : model.error().message;
  };
  for (const WeightPlan& plan :
       {plan_of(""), plan_of("ffn=nf4"), plan_of("att=int8,ffn=nf4,head=file"),
        plan_of("", "head=row_major"), plan_of("att=int8", "ffn.value=col_major@128B")}) {
    EXPECT_EQ(refusal(plan), "accepted") << plan.text();
  }
  EXPECT_THAT(refusal(plan_of("int8")),
              AllOf(HasSubstr("'blocks.0.ffn.key.weight'"), HasSubstr("packed as nf4"),
                    HasSubstr("asked for int8")));
  EXPECT_THAT(refusal(plan_of("head=int8")), HasSubstr("packed as f16"));
  EXPECT_THAT(refusal(plan_of("att=file")), HasSubstr("asked for f16"));
  EXPECT_THAT(refusal(plan_of("blocks.3=sf4")), HasSubstr("'blocks.3.att.receptance.weight'"));
  EXPECT_THAT(refusal(plan_of("blocks.2-6=nf4")), HasSubstr("expected layers 0 to 5"));
  EXPECT_THAT(refusal(plan_of("", "head=col_major")),
              AllOf(HasSubstr("'head.weight'"), HasSubstr("packed as f16 row_major"),
                    HasSubstr("asked for f16 col_major")));
  WeightPlan plan;
  plan.placement = Placement::kFile;
  EXPECT_THAT(refusal(plan), HasSubstr("asked for placement=file"));
}

// A device whose memory the host does not see, with all kernels of the CPU or without some; it
// computes nothing.
class Device final : public Backend {
 public:
  struct Memory final : Buffer {
    explicit Memory(uint64_t num_bytes) : Buffer(num_bytes, nullptr), bytes(num_bytes) {}
    std::vector<std::byte> bytes;
  };

  Device(Backend& host, bool has_dense_f16) : host_(host) {
    for (const KernelInfo& kernel : host.kernels()) {
      const bool is_dense_f16 = kernel.op == MatrixOp::kDense && kernel.dtype == DType::kF16;
      if (has_dense_f16 || !is_dense_f16) kernels_.push_back(kernel);
    }
  }
  std::string_view name() const noexcept override { return "device"; }
  std::string description() const override { return "memory"; }
  uint32_t num_threads() const noexcept override { return 1; }
  std::span<const KernelInfo> kernels() const noexcept override { return kernels_; }
  StateLayout state_layout() const noexcept override { return host_.state_layout(); }
  Result<std::shared_ptr<Buffer>> allocate(uint64_t num_bytes) override {
    return std::make_shared<Memory>(num_bytes);
  }
  Status upload(Buffer& buffer, uint64_t offset, std::span<const std::byte> bytes) override {
    std::copy(bytes.begin(), bytes.end(), begin_of(buffer) + static_cast<ptrdiff_t>(offset));
    return {};
  }
  Status download(const Buffer& buffer, uint64_t offset, std::span<std::byte> bytes) override {
    const auto begin = begin_of(const_cast<Buffer&>(buffer)) + static_cast<ptrdiff_t>(offset);
    std::copy(begin, begin + static_cast<ptrdiff_t>(bytes.size()), bytes.begin());
    return {};
  }
  Result<double> measure_read_bandwidth() override { return 0.0; }
  void embed(const Dimensions&, const Weights&, const Batch&, const Workspace&) noexcept override {}
  void mix6(const LayerArgs&) noexcept override {}
  void project_in(const LayerArgs&) noexcept override {}
  void project_out(const LayerArgs&) noexcept override {}
  void wkv(const LayerArgs&) noexcept override {}
  void output(const LayerArgs&) noexcept override {}
  void mix(const LayerArgs&) noexcept override {}
  void ffn_key(const LayerArgs&) noexcept override {}
  void ffn_value(const LayerArgs&) noexcept override {}
  void head(const Dimensions&, const Weights&, const Batch&, const Workspace&) noexcept override {}
  Status finish() override { return {}; }

 private:
  static std::vector<std::byte>::iterator begin_of(Buffer& buffer) {
    return static_cast<Memory&>(buffer).bytes.begin();
  }

  Backend& host_;
  std::vector<KernelInfo> kernels_;
};

TEST(PackedModelTest, ADeviceGetsTheBytesOfTheFile) {
  const TempFolder folder;
  pack(kGoose, folder.path("packed"), plan_of("nf4"), "cpu");
  const Loaded want = load(folder.path("packed"), {}, "cpu");
  Device device(*want.backend, true);
  const auto got = Rwkv7::load(folder.path("packed"), device, {{}, 2, {}, nullptr});
  ASSERT_TRUE(got) << got.error().message;
  for (const auto& [a, b] : pairs_of(*want.model, **got)) {
    if (!a) continue;
    if (b.buffer()->host_data() != nullptr) {  // the embedding
      EXPECT_EQ(bytes_of(a), bytes_of(b));
      continue;
    }
    std::vector<std::byte> bytes(b.span_bytes());
    ASSERT_TRUE(device.download(*b.buffer(), b.offset_bytes(), bytes));
    EXPECT_EQ(bytes_of(a), bytes);
    EXPECT_EQ(b.offset_bytes() % kPackedAlignBytes, 0u);
  }
}

TEST(PackedModelTest, ALayoutThatTheBackendDoesNotHaveIsRefusedByName) {
  const TempFolder folder;
  const std::string path = folder.path("packed");
  pack(kGoose, path, {}, "cpu");
  const auto host = backend_named("cpu");
  Device device(*host, false);
  const auto model = Rwkv7::load(path, device, {{}, 2, {}, nullptr});
  ASSERT_FALSE(model);
  EXPECT_THAT(model.error().message,
              AllOf(HasSubstr(path), HasSubstr("'blocks.0.att.receptance.weight'"),
                    HasSubstr("backend device has no dense kernel for f16")));
}

TEST(PackedModelTest, WhatWasPackedIsNotPackedAgain) {
  const TempFolder folder;
  pack(kGoose, folder.path("packed"), {}, "cpu");
  const auto file = ModelFile::open(folder.path("packed"));
  ASSERT_TRUE(file);
  const auto again = pack_model(*file, folder.path("again"), *backend_named("cpu"), {});
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("packed from 'goose-tiny.safetensors'"));
  EXPECT_FALSE(std::filesystem::exists(folder.path("again")));
}

TEST(PackedModelTest, AnInterruptedPackLeavesNothing) {
  const TempFolder folder;
  const auto file = ModelFile::open(kGoose);
  ASSERT_TRUE(file);
  int asked = 0;
  const auto stopped = pack_model(*file, folder.path("packed"), *backend_named("cpu"), {},
                                  [&] { return ++asked == 7; });
  ASSERT_FALSE(stopped);
  EXPECT_THAT(stopped.error().message, HasSubstr("interrupted"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path("")));
}

TEST(PackedModelTest, VerifyFindsTheTensorThatWasDamaged) {
  const TempFolder folder;
  const std::string path = folder.path("packed");
  pack(kGoose, path, plan_of("int8"), "cpu");
  const auto pool = ThreadPool::create(3).value();
  const auto verdict = [&] {
    const auto file = ModelFile::open(path).value();
    const auto verified = verify_packed(file, *pool);
    return verified ? fmt::format("{} tensors", verified->num_tensors) : verified.error().message;
  };
  const auto good = ModelFile::open(path).value();
  EXPECT_EQ(verdict(), fmt::format("{} tensors", good.file()->tensors().size()));
  const std::string bytes = testing::read_file(path);
  std::string all = bytes;
  uint64_t number = 0;
  for (const TensorInfo& tensor : good.file()->tensors()) {
    const uint64_t at = tensor.offset_bytes + tensor.data.size() / 3;
    all[at] = static_cast<char>(all[at] ^ 0x10);
    if (number++ % 16 != 0) continue;  // every file is 12 MB
    std::string damaged = bytes;
    damaged[at] = all[at];
    testing::write_file(path, damaged);
    EXPECT_THAT(verdict(), HasSubstr("'" + tensor.name + "': expected checksum"));
  }
  testing::write_file(path, all);
  EXPECT_THAT(verdict(), HasSubstr(fmt::format("({0} of {0} tensors are damaged)",
                                               good.file()->tensors().size())));
  EXPECT_THAT(verify_packed(ModelFile::open(kGoose).value(), *pool).error().message,
              HasSubstr("expected a packed model"));
}

TEST(PackedModelTest, MuchPaddingIsAWarning) {
  const TempFolder folder;
  const WeightPlan wide = plan_of("", "row_major@4096B");
  const PackSummary summary = pack(kGoose, folder.path("packed"), wide, "cpu");
  EXPECT_THAT(summary.warnings, ::testing::ElementsAre(HasSubstr("times as many")));
  EXPECT_EQ(load(kGoose, wide, "cpu").model->warnings().size(), 1u);
  EXPECT_EQ(load(folder.path("packed"), {}, "cpu").model->warnings().size(), 1u);
  for (const char* layout : {"", "row_major@64B"}) {
    EXPECT_TRUE(load(kGoose, plan_of("", layout), "cpu").model->warnings().empty());
  }
}

}  // namespace
}  // namespace skein
