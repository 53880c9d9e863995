#include "backend/webgpu/webgpu_backend.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "backend/webgpu/col_parts.h"
#include "backend/webgpu/dense.h"
#include "backend/webgpu/device_memory.h"
#include "backend/webgpu/draw.h"
#include "backend/webgpu/forms.h"
#include "backend/webgpu/host_rows.h"
#include "backend/webgpu/read.h"
#include "backend/webgpu/sparse.h"
#include "backend/webgpu/steps.h"
#include "backend/webgpu/subgroup.h"
#include "base/bits.h"

namespace skein {
namespace {

using namespace webgpu;

constexpr bool accept_any(const Layout&) { return true; }

constexpr KernelInfo any_layout(MatrixOp op, DType dtype, std::string_view name) {
  return {op, dtype, "any layout", accept_any, name};
}

constexpr auto kKernels = [] {
  std::array<KernelInfo, kEmbeddingDTypes.size() + 2 * kAllDTypes.size()> kernels{};
  size_t n = 0;
  for (const DType dtype : kEmbeddingDTypes) {
    kernels[n++] = any_layout(MatrixOp::kGather, dtype, "norm");
  }
  for (const DType dtype : kAllDTypes) {
    kernels[n++] = any_layout(MatrixOp::kDense, dtype, "dense, matmul");
    kernels[n++] = any_layout(MatrixOp::kSparse, dtype, "dense_cols");
  }
  return kernels;
}();

// The steps as numbers, for keys.
enum class StepId : uint8_t {
  kEmbed,
  kMix6,
  kProjectIn,
  kProjectOut,
  kWkv,
  kOutput,
  kMix,
  kFfnKey,
  kFfnValue,
  kHead,
  kRead,
  kDraw,
};

class WebGpuBackend final : public Backend {
 public:
  explicit WebGpuBackend(std::shared_ptr<Gpu> gpu)
      : core_(std::make_shared<Core>(gpu)), gpu_(std::move(gpu)) {
    core_->memory = std::make_unique<DeviceMemory>(
        gpu_, core_->commands, [weak = std::weak_ptr<Core>(core_)](uint64_t id) {
          if (const auto core = weak.lock()) core->kernels.release(id);
        });
  }
  ~WebGpuBackend() override {
    // Buffers of ours go while the caches still stand.
    batch_buffer_.reset();
    scratch_.reset();
    draw_memory_ = {};
    rows_ = sums_ = other_x_ = {};
  }

  std::string_view name() const noexcept override { return "webgpu"; }
  std::string description() const override { return gpu_->info().text(); }
  uint32_t num_threads() const noexcept override { return 1; }
  bool is_host() const noexcept override { return false; }
  std::span<const KernelInfo> kernels() const noexcept override { return kKernels; }
  // Value index fastest: threads are values, so a load of one key is side by side.
  StateLayout state_layout() const noexcept override { return StateLayout::kHeadKeyValue; }
  DenseLayouts dense_layouts() const noexcept override { return dense_layouts_of(gpu_->limits()); }
  std::vector<std::string> features() const override {
    std::vector<std::string> names;
    if (gpu_->limits().has_subgroups) names.emplace_back("subgroups");
    if (gpu_->limits().has_f16) names.emplace_back("f16");
    return names;
  }
  std::vector<KernelForm> list_forms(MatrixOp op, DType dtype, const AnyMapping& mapping,
                                     uint32_t num_tokens) const override {
    return webgpu::list_forms(op, dtype, mapping, num_tokens, gpu_->limits());
  }
  Status set_forms(const KernelForms& forms) override {
    SKEIN_RETURN_IF_ERROR(check_forms(forms, gpu_->limits()));
    forms_ = forms;
    return {};
  }
  uint64_t max_buffer_bytes() const noexcept override {
    return gpu_->limits().max_buffer_bytes / kBufferGrainBytes * kBufferGrainBytes -
           2 * kBufferGrainBytes;
  }

  Result<std::shared_ptr<Buffer>> allocate(uint64_t num_bytes) override {
    return core_->memory->allocate(num_bytes);
  }
  Status upload(Buffer& buffer, uint64_t offset_bytes, std::span<const std::byte> bytes) override {
    return core_->memory->upload(gpu_buffer(buffer), offset_bytes, bytes);
  }
  Status download(const Buffer& buffer, uint64_t offset_bytes,
                  std::span<std::byte> bytes) override {
    return core_->memory->download(gpu_buffer(buffer), offset_bytes, bytes);
  }
  Result<double> measure_read_bandwidth() override;

  void embed(const Dimensions& dims, const Weights& weights, const Batch& batch,
             const Workspace& work) noexcept override;
  void mix6(const LayerArgs& args) noexcept override { run_mix(args, false); }
  void project_in(const LayerArgs& args) noexcept override;
  void project_out(const LayerArgs& args) noexcept override;
  void wkv(const LayerArgs& args) noexcept override;
  void output(const LayerArgs& args) noexcept override;
  void mix(const LayerArgs& args) noexcept override { run_mix(args, true); }
  void ffn_key(const LayerArgs& args) noexcept override;
  void ffn_value(const LayerArgs& args) noexcept override;
  void head(const Dimensions& dims, const Weights& weights, const Batch& batch,
            const Workspace& work) noexcept override;

  Result<Draws> make_draws(const Dimensions& dims, const Weights& weights) override {
    return draw_memory_.make_draws(dims, weights.emb, *core_->memory, gpu_->limits());
  }
  void draw(const Dimensions& dims, const SamplerOptions& options, const Activation& logits,
            const Draws& draws) noexcept override;
  Status copy(const Buffer& from, uint64_t from_bytes, Buffer& to, uint64_t num_bytes) override;
  Status submit() override { return core_->memory->submit(); }
  Status finish() override { return core_->memory->finish(); }
  uint64_t num_dispatches() const noexcept override { return core_->commands.num_dispatches(); }
  bool time_ops(bool is_on) override {
    return core_->commands.set_clock(is_on ? Commands::Clock::kDispatches : Commands::Clock::kOff);
  }
  bool time_submissions(bool is_on) override {
    return core_->commands.set_clock(is_on ? Commands::Clock::kLists : Commands::Clock::kOff);
  }
  std::vector<OpTime> take_op_times() override { return core_->commands.take_op_times(); }

 private:
  // What outlives this object as long as buffers do.
  struct Core {
    explicit Core(const std::shared_ptr<Gpu>& gpu) : commands(gpu), kernels(gpu, commands) {}
    Commands commands;
    Kernels kernels;
    std::unique_ptr<DeviceMemory> memory;
  };

  // Where x is: decoding moves it to and fro, since a mix that adds pending sums to it cannot
  // write it where it reads it.
  bool is_moved(const Workspace& work) const {
    return moved_x_id_ != 0 && moved_x_id_ == gpu_buffer(*work.x.buffer).id();
  }
  const Activation& x_of(const Workspace& work) const { return is_moved(work) ? other_x_ : work.x; }
  Result<PendingSums> pending_of(const LayerArgs& args);
  Status run_sparse(const LayerArgs& args, std::span<const ColPart> parts, uint32_t num_splits);
  Status make_activation(uint64_t rows, uint32_t cols, Activation& out);

  // What finish() will say.
  void record(const Status& status) {
    if (!status) gpu_->record_error(status.error().message);
  }

  Status write_batch(const Batch& batch);
  Status write_rows(const Tensor& emb, const Batch& batch);
  StepKey key_of(StepId step, const Batch& batch) const;
  Status run_dense(StepId step, std::string_view label, const Batch& batch,
                   std::span<const DenseJob> jobs, uint32_t num_tokens,
                   std::string_view count_field = "[0].x");
  void run_mix(const LayerArgs& args, bool is_ffn) noexcept;
  Status run_embed(const Dimensions& dims, const Weights& weights, const Batch& batch,
                   const Workspace& work);
  Status run_head(const Dimensions& dims, const Weights& weights, const Batch& batch,
                  const Workspace& work);

  std::shared_ptr<Core> core_;
  std::shared_ptr<Gpu> gpu_;
  std::shared_ptr<GpuBuffer> batch_buffer_;
  std::vector<uint32_t> batch_words_;   // what batch_buffer_ holds
  Activation rows_;                     // [T][C] embeddings that the host looked up
  Activation sums_;                     // [T][splits][C] what sparse products left
  Activation other_x_;                  // [T][C]
  std::shared_ptr<GpuBuffer> scratch_;  // of products of many tokens
  uint32_t pending_splits_ = 0;         // of sums_: not yet in x
  uint64_t moved_x_id_ = 0;             // of the buffer whose x is in other_x_; 0: of none
  DrawMemory draw_memory_;
  KernelForms forms_;
};

// Keeps `out` where it is large enough.
Status WebGpuBackend::make_activation(uint64_t rows, uint32_t cols, Activation& out) {
  const uint64_t num_bytes = rows * cols * sizeof(float);
  if (out.buffer == nullptr || out.buffer->num_bytes() < num_bytes) {
    SKEIN_ASSIGN_OR_RETURN(out.buffer, core_->memory->allocate(num_bytes));
  }
  out.stride_elems = out.num_cols = cols;
  return {};
}

// The batch on the device; nothing to do for all steps of a pass but the first.
Status WebGpuBackend::write_batch(const Batch& batch) {
  core_->memory->forget_copy();
  std::vector<uint32_t> words = pack_batch(batch);
  if (batch_buffer_ != nullptr && words == batch_words_) return {};
  const uint64_t num_bytes = words.size() * sizeof(uint32_t);
  if (batch_buffer_ == nullptr || batch_buffer_->num_bytes() < num_bytes) {
    constexpr uint64_t kLeastBytes = 16384;
    SKEIN_ASSIGN_OR_RETURN(
        batch_buffer_, core_->memory->allocate(std::max(kLeastBytes, std::bit_ceil(num_bytes))));
  }
  SKEIN_RETURN_IF_ERROR(core_->memory->upload(*batch_buffer_, 0, std::as_bytes(std::span(words))));
  batch_words_ = std::move(words);
  return {};
}

Status WebGpuBackend::write_rows(const Tensor& emb, const Batch& batch) {
  const auto num_cols = static_cast<uint32_t>(emb.cols());
  std::vector<float> values(batch.ids.size() * num_cols);
  for (size_t t = 0; t < batch.ids.size(); ++t) {
    gather_row(emb, batch.ids[t], std::span(values).subspan(t * num_cols, num_cols));
  }
  const std::span<const std::byte> bytes = std::as_bytes(std::span(values));
  if (rows_.buffer == nullptr || rows_.buffer->num_bytes() < bytes.size()) {
    SKEIN_ASSIGN_OR_RETURN(rows_.buffer, core_->memory->allocate(std::bit_ceil(bytes.size())));
  }
  rows_.stride_elems = rows_.num_cols = num_cols;
  return core_->memory->upload(gpu_buffer(*rows_.buffer), 0, bytes);
}

StepKey WebGpuBackend::key_of(StepId step, const Batch& batch) const {
  StepKey key(static_cast<uint64_t>(step));
  key.add(batch_buffer_ == nullptr ? 0 : batch_buffer_->id());
  key.add(uint64_t{batch.num_tokens()} << 32 | batch.runs.size());
  key.add(batch.logit_tokens.size());
  return key;
}

Status WebGpuBackend::run_dense(StepId step, std::string_view label, const Batch& batch,
                                std::span<const DenseJob> jobs, uint32_t num_tokens,
                                std::string_view count_field) {
  SKEIN_RETURN_IF_ERROR(write_batch(batch));
  StepKey key = key_of(step, batch);
  for (const DenseJob& job : jobs) {
    key.add(job.weights == nullptr ? Tensor() : *job.weights);
    key.add(*job.x);
    key.add(*job.y);
    key.add(job.form);
    if (job.bias != nullptr) key.add(*job.bias);
    if (job.other != nullptr) key.add(*job.other);
  }
  return core_->kernels.run(key, [&]() -> Result<std::vector<Kernel>> {
    SKEIN_ASSIGN_OR_RETURN(const uint64_t scratch_bytes,
                           dense_scratch_bytes(jobs, num_tokens, gpu_->limits()));
    if (scratch_bytes > 0 && (scratch_ == nullptr || scratch_->num_bytes() < scratch_bytes)) {
      // The steps that use the smaller one are made again.
      SKEIN_ASSIGN_OR_RETURN(scratch_, core_->memory->allocate(std::bit_ceil(scratch_bytes)));
    }
    return dense_kernels(label, jobs,
                         {num_tokens, batch_buffer_.get(), count_field, scratch_.get()},
                         gpu_->limits());
  });
}

Status WebGpuBackend::run_embed(const Dimensions& dims, const Weights& weights, const Batch& batch,
                                const Workspace& work) {
  SKEIN_RETURN_IF_ERROR(write_batch(batch));
  const bool is_on_host = weights.emb.buffer()->host_data() != nullptr && batch.draws == nullptr;
  const Tensor& emb = draw_memory_.on_device(weights.emb);
  if (is_on_host) SKEIN_RETURN_IF_ERROR(write_rows(weights.emb, batch));
  StepKey key = key_of(StepId::kEmbed, batch);
  if (is_on_host) {
    key.add(rows_);
  } else {
    key.add(emb);
  }
  if (batch.draws != nullptr) key.add(gpu_buffer(*batch.draws).id());
  key.add(weights.ln0_weight);
  key.add(work.x);
  return core_->kernels.run(key, [&]() -> Result<std::vector<Kernel>> {
    std::vector<Kernel> kernels;
    SKEIN_ASSIGN_OR_RETURN(
        Kernel kernel,
        is_on_host ? embed_rows_kernel(dims, weights, batch, rows_, work, gpu_->limits())
                   : embed_kernel(emb, weights, batch, *batch_buffer_, work, gpu_->limits()));
    kernels.push_back(std::move(kernel));
    return kernels;
  });
}

void WebGpuBackend::embed(const Dimensions& dims, const Weights& weights, const Batch& batch,
                          const Workspace& work) noexcept {
  pending_splits_ = 0;
  moved_x_id_ = 0;
  record(run_embed(dims, weights, batch, work));
}

Result<PendingSums> WebGpuBackend::pending_of(const LayerArgs& args) {
  if (pending_splits_ == 0) return PendingSums{};
  SKEIN_RETURN_IF_ERROR(make_activation(args.batch.num_tokens(), args.dims.num_emb, other_x_));
  return PendingSums{pending_splits_, &sums_, is_moved(args.work) ? &args.work.x : &other_x_};
}

void WebGpuBackend::run_mix(const LayerArgs& args, bool is_ffn) noexcept {
  if (const Status written = write_batch(args.batch); !written) return record(written);
  const Result<PendingSums> pending = pending_of(args);
  if (!pending) return record(tl::unexpected(pending.error()));
  const Activation& x = x_of(args.work);
  StepKey key = key_of(is_ffn ? StepId::kMix : StepId::kMix6, args.batch);
  key.add(is_ffn ? args.weights.ffn_mix : args.weights.mix);
  key.add(x);
  for (const Activation& mixed : args.work.mixed) key.add(is_ffn ? args.work.z : mixed);
  key.add(gpu_buffer(*args.state.buffer).id());
  key.add(uint64_t{args.state.num_slots} << 32 | args.layer);
  key.add(pending->num_splits);
  if (pending->num_splits > 0) {
    key.add(*pending->sums);
    key.add(*pending->x_out);
  }
  record(core_->kernels.run(
      key, [&] { return mix_kernels(args, is_ffn, x, *pending, *batch_buffer_, gpu_->limits()); }));
  if (pending->num_splits > 0) {
    pending_splits_ = 0;
    moved_x_id_ = is_moved(args.work) ? 0 : gpu_buffer(*args.work.x.buffer).id();
  }
}

void WebGpuBackend::project_in(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  std::array<DenseJob, 7> jobs = {{
      {&w.receptance, &work.mix(Mix::kR), &work.r},
      {&w.key, &work.mix(Mix::kK), &work.k},
      {&w.value, &work.mix(Mix::kV), &work.v},
      {&w.w1, &work.mix(Mix::kW), &work.low_w, Epilogue::kTanh},
      {&w.a1, &work.mix(Mix::kA), &work.low_a},
      {&w.g1, &work.mix(Mix::kG), &work.low_g, Epilogue::kSigmoid},
      {&w.v1, &work.mix(Mix::kV), &work.low_v},
  }};
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].form = i < 3 ? forms_.attention : forms_.low_rank;
  }
  record(run_dense(StepId::kProjectIn, "project_in", args.batch,
                   std::span(jobs).first(args.layer > 0 ? 7 : 6), args.batch.num_tokens()));
}

void WebGpuBackend::project_out(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  std::array<DenseJob, 4> jobs = {{
      {&w.w2, &work.low_w, &work.w, Epilogue::kDecay, &w.w0},
      {&w.a2, &work.low_a, &work.a, Epilogue::kBiasSigmoid, &w.a0},
      {&w.g2, &work.low_g, &work.g},
      {nullptr, &work.v, &work.v_first},
  }};
  if (args.layer > 0) {
    jobs[3] = {&w.v2, &work.low_v, &work.v, Epilogue::kValueResidual, &w.v0, &work.v_first};
  }
  for (DenseJob& job : jobs) job.form = forms_.low_rank;
  record(run_dense(StepId::kProjectOut, "project_out", args.batch, jobs, args.batch.num_tokens()));
}

void WebGpuBackend::wkv(const LayerArgs& args) noexcept {
  const Workspace& work = args.work;
  if (const Status written = write_batch(args.batch); !written) return record(written);
  StepKey key = key_of(StepId::kWkv, args.batch);
  key.add(args.weights.k_k);
  key.add(args.weights.ln_x_bias);
  for (const Activation* one : {&work.r, &work.w, &work.k, &work.v, &work.a, &work.g, &work.y}) {
    key.add(*one);
  }
  key.add(gpu_buffer(*args.state.buffer).id());
  key.add(uint64_t{args.state.num_slots} << 32 | args.layer);
  record(core_->kernels.run(key, [&]() -> Result<std::vector<Kernel>> {
    std::vector<Kernel> kernels;
    SKEIN_ASSIGN_OR_RETURN(Kernel kernel, wkv_kernel(args, *batch_buffer_, gpu_->limits()));
    kernels.push_back(std::move(kernel));
    return kernels;
  }));
}

void WebGpuBackend::output(const LayerArgs& args) noexcept {
  DenseJob job = {&args.weights.output, &args.work.y, &x_of(args.work), Epilogue::kAdd};
  job.form = forms_.attention;
  record(run_dense(StepId::kOutput, "output", args.batch, {&job, 1}, args.batch.num_tokens()));
}

void WebGpuBackend::ffn_key(const LayerArgs& args) noexcept {
  DenseJob job = {&args.weights.ffn_key, &args.work.z, &args.work.f, Epilogue::kSquaredRelu};
  job.form = forms_.ffn_key;
  record(run_dense(StepId::kFfnKey, "ffn_key", args.batch, {&job, 1}, args.batch.num_tokens()));
}

Status WebGpuBackend::run_sparse(const LayerArgs& args, std::span<const ColPart> parts,
                                 uint32_t num_splits) {
  const uint32_t num_tokens = args.batch.num_tokens();
  const GpuLimits& limits = gpu_->limits();
  SKEIN_RETURN_IF_ERROR(
      make_activation(uint64_t{num_tokens} * num_splits, args.dims.num_emb, sums_));
  SparseSums out{&sums_, num_splits};
  for (const ColPart& part : parts) {
    StepKey key = key_of(StepId::kFfnValue, args.batch);
    key.add(part.weights);
    key.add(part.x);
    key.add(sums_);
    key.add(uint64_t{out.num_splits} << 32 | out.first_split);
    key.add(forms_.ffn_value);
    SKEIN_RETURN_IF_ERROR(core_->kernels.run(key, [&]() -> Result<std::vector<Kernel>> {
      std::vector<Kernel> kernels;
      SKEIN_ASSIGN_OR_RETURN(Kernel kernel, sparse_kernel(part.weights, part.x, num_tokens, out,
                                                          forms_.ffn_value, limits));
      kernels.push_back(std::move(kernel));
      return kernels;
    }));
    out.first_split += sparse_split(part.weights, part.x, num_tokens, limits).num_splits;
  }
  pending_splits_ = num_splits;
  return {};
}

void WebGpuBackend::ffn_value(const LayerArgs& args) noexcept {
  const Tensor& weights = args.weights.ffn_value;
  const GpuLimits& limits = gpu_->limits();
  const ColPart whole{weights, args.work.f};
  std::vector<ColPart> several;
  if (!fits_binding(weights, limits)) several = col_parts(weights, args.work.f, limits);
  const std::span<const ColPart> parts = several.empty() ? std::span(&whole, 1) : several;
  const uint32_t num_tokens = args.batch.num_tokens();
  uint32_t num_splits = 0;
  const bool is_sparse = std::all_of(parts.begin(), parts.end(), [&](const ColPart& part) {
    const uint32_t count = sparse_split(part.weights, part.x, num_tokens, limits).num_splits;
    num_splits += count;
    return count > 0;
  });
  if (is_sparse) return record(run_sparse(args, parts, num_splits));
  for (const ColPart& part : parts) {
    DenseJob job = {&part.weights, &part.x, &x_of(args.work), Epilogue::kAdd};
    job.is_sparse = true;
    job.form = forms_.ffn_value;
    record(run_dense(StepId::kFfnValue, "ffn_value", args.batch, {&job, 1}, num_tokens));
  }
}

Status WebGpuBackend::run_head(const Dimensions& dims, const Weights& weights, const Batch& batch,
                               const Workspace& work) {
  if (batch.logit_tokens.empty()) return {};
  SKEIN_RETURN_IF_ERROR(write_batch(batch));
  StepKey key = key_of(StepId::kHead, batch);
  const Activation& x = x_of(work);
  const PendingSums pending{pending_splits_, &sums_, nullptr};
  key.add(weights.ln_out_weight);
  key.add(x);
  key.add(work.y);
  key.add(pending_splits_);
  if (pending_splits_ > 0) key.add(sums_);
  SKEIN_RETURN_IF_ERROR(core_->kernels.run(key, [&]() -> Result<std::vector<Kernel>> {
    std::vector<Kernel> kernels;
    SKEIN_ASSIGN_OR_RETURN(Kernel kernel, head_norm_kernel(dims, weights, batch, *batch_buffer_, x,
                                                           pending, work, gpu_->limits()));
    kernels.push_back(std::move(kernel));
    return kernels;
  }));
  // The normalised rows need a place beside x; y is free after the last layer.
  DenseJob job = {&weights.head, &work.y, &work.logits};
  job.form = forms_.head;
  const auto num_logits = static_cast<uint32_t>(batch.logit_tokens.size());
  SKEIN_RETURN_IF_ERROR(run_dense(StepId::kHead, "head", batch, {&job, 1}, num_logits, "[1].x"));
  if (num_logits == 1) {
    core_->memory->copy_with_next(gpu_buffer(*work.logits.buffer),
                                  work.logits.offset_elems * sizeof(float),
                                  uint64_t{work.logits.num_cols} * sizeof(float));
  }
  return {};
}

void WebGpuBackend::head(const Dimensions& dims, const Weights& weights, const Batch& batch,
                         const Workspace& work) noexcept {
  record(run_head(dims, weights, batch, work));
}

void WebGpuBackend::draw(const Dimensions& dims, const SamplerOptions& options,
                         const Activation& logits, const Draws& draws) noexcept {
  core_->memory->forget_copy();
  const GpuBuffer& buffer = gpu_buffer(*draws.buffer);
  StepKey key(static_cast<uint64_t>(StepId::kDraw));
  key.add(logits);
  key.add(buffer.id());
  add_to_key(options, key);
  record(core_->kernels.run(key, [&]() -> Result<std::vector<Kernel>> {
    std::vector<Kernel> kernels;
    SKEIN_ASSIGN_OR_RETURN(Kernel kernel,
                           draw_kernel(dims, options, logits, buffer, gpu_->limits()));
    kernels.push_back(std::move(kernel));
    return kernels;
  }));
}

Status WebGpuBackend::copy(const Buffer& from, uint64_t from_bytes, Buffer& to,
                           uint64_t num_bytes) {
  core_->memory->forget_copy();
  // Not with the dispatches so far: their list is the same for every token.
  core_->commands.submit();
  core_->commands.add(
      Copy{gpu_buffer(from).handle(), from_bytes, gpu_buffer(to).handle(), num_bytes});
  core_->commands.submit();
  return {};
}

Result<double> WebGpuBackend::measure_read_bandwidth() {
  const uint64_t num_bytes = read_bytes(gpu_->limits());
  SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<GpuBuffer> data, core_->memory->allocate(num_bytes));
  SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<GpuBuffer> out, core_->memory->allocate(256));
  const auto make = [&]() -> Result<std::vector<Kernel>> {
    std::vector<Kernel> kernels;
    SKEIN_ASSIGN_OR_RETURN(Kernel kernel, read_kernel(*data, *out, gpu_->limits()));
    kernels.push_back(std::move(kernel));
    return kernels;
  };
  StepKey key(static_cast<uint64_t>(StepId::kRead));
  key.add(data->id());
  constexpr int kRounds = 4, kReadsEach = 8;
  // The first round compiles; the clock of a GPU that had nothing to do takes a while to rise.
  constexpr std::chrono::milliseconds kLeast(300);
  const auto begin = std::chrono::steady_clock::now();
  const auto is_over = [&] { return std::chrono::steady_clock::now() - begin >= kLeast; };
  double best = 0;
  for (int round = 0; round < kRounds || !is_over(); ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kReadsEach; ++i) SKEIN_RETURN_IF_ERROR(core_->kernels.run(key, make));
    SKEIN_RETURN_IF_ERROR(finish());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(num_bytes) * kReadsEach / seconds.count());
  }
  return best;
}

}  // namespace

Result<std::unique_ptr<Backend>> make_webgpu_backend(const WebGpuOptions& options) {
  SKEIN_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Gpu::create(options.adapter, options.is_plain));
  if (options.is_hardware) gpu->use_hardware_kernels();
  if (options.precision == Precision::kFast) gpu->allow_rounding();
  if (options.max_binding_bytes != 0) gpu->limit_bindings(options.max_binding_bytes);
  if (options.max_buffer_bytes != 0) gpu->limit_buffers(options.max_buffer_bytes);
  if (gpu->limits().has_subgroups && !gpu->limits().is_software) {
    SKEIN_ASSIGN_OR_RETURN(const uint32_t threads, measure_subgroup(gpu));
    gpu->set_subgroup_threads(threads);
  }
  return make_webgpu_backend_on(std::move(gpu));
}

std::unique_ptr<Backend> make_webgpu_backend_on(std::shared_ptr<webgpu::Gpu> gpu) {
  return std::make_unique<WebGpuBackend>(std::move(gpu));
}

}  // namespace skein
