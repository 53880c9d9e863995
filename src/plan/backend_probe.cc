#include "plan/backend_probe.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include "base/bits.h"
#include "base/check.h"

namespace skein {
namespace {

// 0.0649 as f16, 2.4e-12 as f32 and bf16; codes 44, 12 and 2.
constexpr std::byte kFill{0x2c};

// Starts of weights in the pool.
constexpr uint64_t kPlaceBytes = 4096;

// // Of one sample: a tenth of a millisecond at least, a hundred times what starting a product and
// reading a clock take.
constexpr uint64_t kSampleBytes = uint64_t{4} << 20;
constexpr uint64_t kSampleProducts = uint64_t{1} << 27;  // multiplications, with many tokens
constexpr uint64_t kMaxCopies = 64;

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

Result<const BackendProbe::Vectors*> BackendProbe::vectors_for(const ProbeCase& what) {
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
Result<std::vector<LayerWeights>> BackendProbe::place_copies(const ProbeCase& what) {
  SKEIN_ASSIGN_OR_RETURN(const AnyMapping mapping, mapping_of(what));
  const uint64_t span_bytes = Tensor::span_bytes_of(mapping, what.dtype);
  if (span_bytes > pool_->num_bytes()) {
    return error("tune: {} of {} x {} {}: expected at most {} bytes, found {}",
                 to_string(what.layout), what.shape.rows, what.shape.cols, to_string(what.dtype),
                 pool_->num_bytes(), span_bytes);
  }
  std::vector<LayerWeights> copies(copies_in_a_sample(what, span_bytes));
  for (LayerWeights& copy : copies) {
    if (next_offset_bytes_ + span_bytes > pool_->num_bytes()) next_offset_bytes_ = 0;
    Tensor& tensor = matrix_op(what.group) == MatrixOp::kSparse ? copy.ffn_value : copy.output;
    tensor = Tensor(pool_, next_offset_bytes_, what.dtype, mapping);
    next_offset_bytes_ = round_up(next_offset_bytes_ + span_bytes, kPlaceBytes);
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

Result<double> BackendProbe::time_product(const ProbeCase& what) {
  SKEIN_ASSIGN_OR_RETURN(const Vectors* vectors, vectors_for(what));
  SKEIN_ASSIGN_OR_RETURN(const std::vector<LayerWeights> copies, place_copies(what));
  Dimensions dims;
  dims.num_layers = static_cast<uint32_t>(copies.size());
  dims.num_emb = static_cast<uint32_t>(what.shape.rows);
  dims.num_hidden = static_cast<uint32_t>(what.shape.cols);
  const Run run{0, 0, what.num_tokens};
  const Batch batch{vectors->ids, {&run, 1}, {}};
  const State no_state;
  const bool sparse = matrix_op(what.group) == MatrixOp::kSparse;
  const double start = now();
  for (uint32_t layer = 0; layer < copies.size(); ++layer) {
    const LayerArgs args{dims, copies[layer], layer, batch, no_state, vectors->work};
    if (sparse) {
      backend_.ffn_value(args);
    } else {
      backend_.output(args);
    }
  }
  SKEIN_RETURN_IF_ERROR(backend_.finish());
  return (now() - start) / static_cast<double>(copies.size());
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
