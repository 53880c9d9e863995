#include "plan/backend_probe.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include <fmt/format.h>

#include "base/bits.h"
#include "base/check.h"

namespace skein {
namespace {

// 0.0649 as f16, 2.4e-12 as f32 and bf16; codes 44, 12 and 2.
constexpr std::byte kFill{0x2c};

// Starts of weights in the pool.
constexpr uint64_t kPlaceBytes = 4096;

// Of one sample: a tenth of a millisecond at least, a hundred times what starting a product and
// reading a clock take.
constexpr uint64_t kSampleBytes = uint64_t{4} << 20;
constexpr uint64_t kSampleProducts = uint64_t{1} << 27;  // multiplications, with many tokens
constexpr uint64_t kMaxCopies = 64;
// On a device, where a submission costs as much as many small products.
constexpr double kDeviceSampleSeconds = 1.5e-3;
constexpr uint64_t kMaxDeviceCopies = 256;

// The same numbers in [0, 1) on every machine (splitmix64).
class Random {
 public:
  double next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_ = 1;
};

Result<AnyMapping> mapping_of(const ProbeCase& what) {
  return make_mapping(what.layout, {what.shape.rows, what.shape.cols}, element_bits(what.dtype));
}

uint64_t span_bytes_of(const ProbeCase& what) {
  const Result<AnyMapping> mapping = mapping_of(what);
  CHECK(mapping.has_value());
  return Tensor::span_bytes_of(*mapping, what.dtype);
}

uint64_t copies_in_a_sample(const ProbeCase& what, uint64_t span_bytes) {
  const uint64_t products = what.shape.rows * what.shape.cols * what.num_tokens;
  const uint64_t for_bytes = kSampleBytes / span_bytes;
  const uint64_t for_products = kSampleProducts / products;
  return std::clamp(what.num_tokens == 1 ? for_bytes : std::min(for_bytes, for_products),
                    uint64_t{1}, kMaxCopies);
}

}  // namespace

Result<std::unique_ptr<BackendProbe>> BackendProbe::create(Backend& backend,
                                                           std::span<const MatrixKind> kinds,
                                                           uint64_t pool_bytes, double density) {
  for (const MatrixKind& kind : kinds) {
    for (const MatrixShape& shape : kind.shapes) {
      const uint64_t bytes = shape.rows * shape.cols * element_bits(kind.dtype) / 8;
      pool_bytes = std::max(pool_bytes, bytes + bytes / 2);
    }
  }
  pool_bytes = round_up(pool_bytes, kPlaceBytes);
  SKEIN_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> pool, backend.allocate(pool_bytes));
  const std::vector<std::byte> fill(size_t{1} << 20, kFill);
  for (uint64_t done = 0; done < pool_bytes; done += fill.size()) {
    const uint64_t count = std::min<uint64_t>(fill.size(), pool_bytes - done);
    SKEIN_RETURN_IF_ERROR(backend.upload(*pool, done, std::span(fill).first(count)));
  }
  SKEIN_RETURN_IF_ERROR(backend.set_forms({}));
  return std::unique_ptr<BackendProbe>(new BackendProbe(backend, std::move(pool), density));
}

Result<Activation> BackendProbe::make_activation(uint64_t num_cols, uint32_t num_tokens,
                                                 double density) {
  std::vector<float> values(num_cols * num_tokens);
  Random random;
  for (float& value : values) {
    const bool fires = density >= 1 || random.next() < density;
    value = fires ? static_cast<float>(0.5 + random.next()) : 0.0f;
  }
  const auto bytes = std::as_bytes(std::span(values));
  SKEIN_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> buffer, backend_.allocate(bytes.size()));
  SKEIN_RETURN_IF_ERROR(backend_.upload(*buffer, 0, bytes));
  return Activation{std::move(buffer), 0, num_cols, static_cast<uint32_t>(num_cols)};
}

Result<BackendProbe::Vectors*> BackendProbe::vectors_for(const ProbeCase& what) {
  const MatrixOp op = matrix_op(what.group);
  Vectors& vectors = vectors_[{op, what.shape.rows, what.shape.cols, what.num_tokens}];
  if (!vectors.ids.empty()) return &vectors;
  Workspace& work = vectors.work;
  work.max_tokens = what.num_tokens;
  SKEIN_ASSIGN_OR_RETURN(work.x, make_activation(what.shape.rows, what.num_tokens, 1));
  Activation& input = op == MatrixOp::kSparse ? work.f : work.y;
  const double density = op == MatrixOp::kSparse ? density_ : 1;
  SKEIN_ASSIGN_OR_RETURN(input, make_activation(what.shape.cols, what.num_tokens, density));
  vectors.ids.resize(what.num_tokens);
  return &vectors;
}

// Weights for one sample, from where the last one ended.
Result<std::vector<LayerWeights>> BackendProbe::place_copies(const ProbeCase& what,
                                                             uint64_t num_copies) {
  SKEIN_ASSIGN_OR_RETURN(const AnyMapping mapping, mapping_of(what));
  const uint64_t span_bytes = Tensor::span_bytes_of(mapping, what.dtype);
  if (span_bytes > pool_->num_bytes()) {
    return error("tune: {} of {} x {} {}: expected at most {} bytes, found {}",
                 to_string(what.layout), what.shape.rows, what.shape.cols, to_string(what.dtype),
                 pool_->num_bytes(), span_bytes);
  }
  std::vector<LayerWeights> copies(num_copies);
  // The same places again and again, since a device binds each once.
  const uint64_t stride_bytes = round_up(span_bytes, kPlaceBytes);
  next_offset_bytes_ = round_up(next_offset_bytes_, stride_bytes);
  for (LayerWeights& copy : copies) {
    if (next_offset_bytes_ + span_bytes > pool_->num_bytes()) next_offset_bytes_ = 0;
    Tensor& tensor = matrix_op(what.group) == MatrixOp::kSparse ? copy.ffn_value : copy.output;
    tensor = Tensor(pool_, next_offset_bytes_, what.dtype, mapping);
    next_offset_bytes_ += stride_bytes;
  }
  return copies;
}

// The first time, and then as often as takes no more than a tenth of the time.
Status BackendProbe::begin_stage() {
  const double start = now();
  if (start < next_bandwidth_time_) return {};
  SKEIN_ASSIGN_OR_RETURN(const double bandwidth, backend_.measure_read_bandwidth());
  bandwidth_ = std::max(bandwidth_, bandwidth);
  next_bandwidth_time_ = now() + 10 * (now() - start);
  return {};
}

// Of the steps that products are timed with.
Status BackendProbe::use_form(const KernelForm& form) {
  if (form == form_) return {};
  KernelForms forms;
  forms.attention = forms.ffn_value = form;
  SKEIN_RETURN_IF_ERROR(backend_.set_forms(forms));
  form_ = form;
  return {};
}

Status BackendProbe::forget_forms() { return use_form({}); }

Result<double> BackendProbe::time_product(const ProbeCase& what) {
  SKEIN_ASSIGN_OR_RETURN(Vectors * vectors, vectors_for(what));
  SKEIN_RETURN_IF_ERROR(use_form(what.form));
  if (backend_.is_host()) {
    return time_copies(what, *vectors, copies_in_a_sample(what, span_bytes_of(what)));
  }
  if (vectors->num_copies == 0) {
    SKEIN_ASSIGN_OR_RETURN(vectors->num_copies, choose_copies(what, *vectors));
  }
  const bool is_new =
      compiled_
          .insert(fmt::format("{} {} {} {} {} {} {}", static_cast<int>(what.group),
                              to_string(what.dtype), what.shape.rows, what.shape.cols,
                              to_string(what.layout), what.num_tokens, to_string(what.form)))
          .second;
  if (is_new) SKEIN_RETURN_IF_ERROR(time_copies(what, *vectors, 1));
  return time_copies(what, *vectors, vectors->num_copies);
}

Result<uint64_t> BackendProbe::choose_copies(const ProbeCase& what, const Vectors& vectors) {
  double seconds = 0;
  for (int i = 0; i < 3; ++i) {
    SKEIN_ASSIGN_OR_RETURN(seconds, time_copies(what, vectors, i == 0 ? 1 : 4));
  }
  return static_cast<uint64_t>(std::clamp(kDeviceSampleSeconds / std::max(seconds, 1e-9), 1.0,
                                          static_cast<double>(kMaxDeviceCopies)));
}

Result<double> BackendProbe::time_copies(const ProbeCase& what, const Vectors& vectors,
                                         uint64_t num_copies) {
  SKEIN_ASSIGN_OR_RETURN(const std::vector<LayerWeights> copies, place_copies(what, num_copies));
  Dimensions dims;
  dims.num_layers = static_cast<uint32_t>(copies.size());
  dims.num_emb = static_cast<uint32_t>(what.shape.rows);
  dims.num_hidden = static_cast<uint32_t>(what.shape.cols);
  const Run run{0, 0, what.num_tokens};
  const Batch batch{vectors.ids, {&run, 1}, {}};
  const State no_state;
  const bool sparse = matrix_op(what.group) == MatrixOp::kSparse;
  const bool has_clock = !backend_.is_host() && backend_.time_submissions(true);
  backend_.take_op_times();
  const double start = now();
  for (uint32_t layer = 0; layer < copies.size(); ++layer) {
    const LayerArgs args{dims, copies[layer], layer, batch, no_state, vectors.work};
    if (sparse) {
      backend_.ffn_value(args);
    } else {
      backend_.output(args);
    }
  }
  const Status finished = backend_.finish();
  double seconds = now() - start;
  if (has_clock) {
    backend_.time_submissions(false);
    double by_device = 0;
    for (const OpTime& time : backend_.take_op_times()) by_device += time.seconds;
    // A clock that stands still is none.
    if (by_device > 0) seconds = by_device;
  }
  SKEIN_RETURN_IF_ERROR(finished);
  return seconds / static_cast<double>(copies.size());
}

double BackendProbe::bytes_read(const ProbeCase& what) const {
  const auto bytes = static_cast<double>(span_bytes_of(what));
  // As cli/measure.h counts: only col_major skips the cols of zeros, and only for single tokens.
  const bool skips = matrix_op(what.group) == MatrixOp::kSparse && what.num_tokens == 1 &&
                     what.layout.kind == LayoutKind::kColMajor && backend_.name() != "reference";
  return skips ? density_ * bytes : bytes;
}

double BackendProbe::now() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace skein
