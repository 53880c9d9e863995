#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <span>
#include <utility>

#include "backend/cpu/cpu_target.h"
#include "backend/cpu/dense.h"
#include "backend/cpu/epilogue.h"
#include "backend/cpu/host_rows.h"
#include "backend/cpu/layer_norm.h"
#include "backend/cpu/matmul_kernels.h"
#include "backend/cpu/mix.h"
#include "backend/cpu/read_bandwidth.h"
#include "backend/cpu/sparse.h"
#include "backend/cpu/wkv.h"
#include "backend/host_backend.h"
#include "base/thread_pool.h"

namespace skein {
namespace {

// "AMD EPYC 9654" as Linux has it; "CPU" where nothing says so.
std::string cpu_model_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

// out = W in, without add and epilogue.
DenseJob dense_job(const Tensor& weights, const Activation& in, const Activation& out) noexcept {
  DenseJob job;
  job.weights = &weights;
  job.x = in.row(0);
  job.x_stride_elems = in.stride_elems;
  job.y = out.row(0);
  job.y_stride_elems = out.stride_elems;
  return job;
}

DenseJob dense_job(const Tensor& weights, const Activation& in, const Activation& out,
                   Epilogue epilogue) noexcept {
  DenseJob job = dense_job(weights, in, out);
  job.epilogue = epilogue;
  return job;
}

// The largest matrix and batch that the working memory of sparse() was made for.
struct SparseShape {
  uint32_t num_tokens = 0;
  uint64_t rows = 0;
  uint64_t cols = 0;

  bool holds(const SparseShape& other) const noexcept {
    return num_tokens >= other.num_tokens && rows >= other.rows && cols >= other.cols;
  }
};

class CpuBackend final : public HostBackend {
 public:
  CpuBackend(std::unique_ptr<ThreadPool> pool, Precision precision, DenseScratch dense_scratch)
      : pool_(std::move(pool)),
        precision_(precision),
        dense_scratch_(std::move(dense_scratch)),
        description_(fmt::format("{}, {} kernels, {} thread{}", cpu_model_name(), cpu_target_name(),
                                 pool_->num_threads(), pool_->num_threads() == 1 ? "" : "s")) {}

  std::string_view name() const noexcept override { return "cpu"; }
  std::string description() const override { return description_; }
  uint32_t num_threads() const noexcept override { return pool_->num_threads(); }
  std::span<const KernelInfo> kernels() const noexcept override { return cpu_kernels(); }
  StateLayout state_layout() const noexcept override { return kWkvStateLayout; }
  Result<double> measure_read_bandwidth() override {
    return ::skein::measure_read_bandwidth(*pool_);
  }

  void embed(const Dimensions& /*dims*/, const Weights& weights, const Batch& batch,
             const Workspace& work) noexcept override {
    embed_step(weights, batch, work, *pool_);
  }
  void mix6(const LayerArgs& args) noexcept override { mix6_step(args, *pool_); }
  void wkv(const LayerArgs& args) noexcept override { wkv_step(args, *pool_); }
  void mix(const LayerArgs& args) noexcept override { mix_step(args, *pool_); }

  void project_in(const LayerArgs& args) noexcept override;
  void project_out(const LayerArgs& args) noexcept override;
  void output(const LayerArgs& args) noexcept override;
  void ffn_key(const LayerArgs& args) noexcept override;
  void ffn_value(const LayerArgs& args) noexcept override;
  void head(const Dimensions& dims, const Weights& weights, const Batch& batch,
            const Workspace& work) noexcept override;

  Status finish() override { return std::exchange(pending_, Status()); }

 private:
  // Left out: each thread asking, at the end of its share, for the first 1 to 48 KiB of its share
  // of the next step's weights, and for 4 to 24 KiB of the output matrix after each head of the
  // wkv. 0.4B, f16 and int8, Zen 5, 1 and 2 threads, 2026-11-23, 460 to 1,380 layers each: no gain
  // (within 1 %). Where weights lie in the order of use, what a kernel asks for ahead at the end of
  // a matrix is the beginning of the next one anyway.
  void run_dense(std::span<const DenseJob> jobs, uint32_t num_tokens) noexcept {
    dense(jobs, num_tokens, precision_, *pool_, dense_scratch_);
  }

  // The working memory of sparse(), grown if it is too small for `shape`; nullptr without memory,
  // which finish() reports.
  SparseScratch* sparse_scratch(const SparseShape& shape) noexcept;

  std::unique_ptr<ThreadPool> pool_;
  Precision precision_;
  DenseScratch dense_scratch_;
  std::optional<SparseScratch> sparse_scratch_;
  SparseShape sparse_shape_;
  Status pending_;  // what finish() will say
  std::string description_;
};

void CpuBackend::project_in(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  const std::array<DenseJob, 7> jobs = {
      dense_job(w.receptance, work.mix(Mix::kR), work.r),
      dense_job(w.key, work.mix(Mix::kK), work.k),
      dense_job(w.value, work.mix(Mix::kV), work.v),
      dense_job(w.w1, work.mix(Mix::kW), work.low_w, tanh_epilogue()),
      dense_job(w.a1, work.mix(Mix::kA), work.low_a),
      dense_job(w.g1, work.mix(Mix::kG), work.low_g, sigmoid_epilogue()),
      args.layer > 0 ? dense_job(w.v1, work.mix(Mix::kV), work.low_v) : DenseJob(),
  };
  run_dense(std::span(jobs).first(args.layer > 0 ? 7 : 6), args.batch.num_tokens());
}

void CpuBackend::project_out(const LayerArgs& args) noexcept {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  const uint32_t num_tokens = args.batch.num_tokens();
  ValueResidual residual{nullptr, &work.v, &work.v_first};
  std::array<DenseJob, 4> jobs = {
      dense_job(w.w2, work.low_w, work.w, decay_epilogue(f32_row(w.w0))),
      dense_job(w.a2, work.low_a, work.a, sigmoid_epilogue(f32_row(w.a0))),
      dense_job(w.g2, work.low_g, work.g),
      DenseJob(),
  };
  if (args.layer == 0) {
    for (uint32_t t = 0; t < num_tokens; ++t) {
      std::copy_n(work.v.row(t), work.v.num_cols, work.v_first.row(t));
    }
    run_dense(std::span(jobs).first(3), num_tokens);
    return;
  }
  // The projection needs a place beside v; y is free until step 5 writes it.
  residual.v0 = f32_row(w.v0);
  jobs[3] = dense_job(w.v2, work.low_v, work.y, value_residual_epilogue(residual));
  run_dense(jobs, num_tokens);
}

void CpuBackend::output(const LayerArgs& args) noexcept {
  DenseJob job = dense_job(args.weights.output, args.work.y, args.work.x);
  job.add = true;
  run_dense({&job, 1}, args.batch.num_tokens());
}

void CpuBackend::ffn_key(const LayerArgs& args) noexcept {
  const DenseJob job =
      dense_job(args.weights.ffn_key, args.work.z, args.work.f, squared_relu_epilogue());
  run_dense({&job, 1}, args.batch.num_tokens());
}

void CpuBackend::ffn_value(const LayerArgs& args) noexcept {
  const Tensor& weights = args.weights.ffn_value;
  const uint32_t num_tokens = args.batch.num_tokens();
  // Room for max_tokens at once, so that a growing prompt does not grow it again and again.
  const uint32_t max_tokens = std::max(num_tokens, args.work.max_tokens);
  SparseScratch* scratch = sparse_scratch({max_tokens, weights.rows(), weights.cols()});
  if (scratch == nullptr) return;
  const Activation &f = args.work.f, &x = args.work.x;
  sparse(weights, f.row(0), f.stride_elems, x.row(0), x.stride_elems, num_tokens, precision_,
         *pool_, *scratch);
}

SparseScratch* CpuBackend::sparse_scratch(const SparseShape& shape) noexcept {
  if (sparse_scratch_ && sparse_shape_.holds(shape)) return &*sparse_scratch_;
  const SparseShape wanted{std::max(shape.num_tokens, sparse_shape_.num_tokens),
                           std::max(shape.rows, sparse_shape_.rows),
                           std::max(shape.cols, sparse_shape_.cols)};
  Result<SparseScratch> scratch =
      SparseScratch::create(pool_->num_threads(), wanted.num_tokens, wanted.rows, wanted.cols);
  if (!scratch) {
    if (pending_) pending_ = tl::unexpected(std::move(scratch).error());
    return nullptr;
  }
  sparse_scratch_ = *std::move(scratch);
  sparse_shape_ = wanted;
  return &*sparse_scratch_;
}

void CpuBackend::head(const Dimensions& /*dims*/, const Weights& weights, const Batch& batch,
                      const Workspace& work) noexcept {
  if (batch.logit_tokens.empty()) return;
  // The normalised rows need a place beside x; y is free after the last layer, and no token is
  // asked for twice.
  DCHECK(batch.logit_tokens.size() <= work.max_tokens);
  layer_norm_rows(work.x, batch.logit_tokens, weights.ln_out_weight, weights.ln_out_bias, work.y,
                  *pool_);
  const DenseJob job = dense_job(weights.head, work.y, work.logits);
  run_dense({&job, 1}, static_cast<uint32_t>(batch.logit_tokens.size()));
}

}  // namespace

Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuOptions& options) {
  if (options.target.empty()) {
    SKEIN_RETURN_IF_ERROR(select_default_cpu_target());
  } else {
    SKEIN_RETURN_IF_ERROR(select_cpu_target(options.target));
  }
  const uint32_t num_threads =
      options.num_threads == 0 ? num_physical_cores() : options.num_threads;
  SKEIN_ASSIGN_OR_RETURN(std::unique_ptr<ThreadPool> pool, ThreadPool::create(num_threads));
  SKEIN_ASSIGN_OR_RETURN(DenseScratch scratch, DenseScratch::create(num_threads));
  return std::make_unique<CpuBackend>(std::move(pool), options.precision, std::move(scratch));
}

}  // namespace skein
