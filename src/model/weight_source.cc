#include "model/weight_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <numeric>
#include <utility>

#include "base/hash.h"
#include "model/dimensions.h"
#include "model/lora.h"
#include "tensor/pack.h"
#include "tensor/pack_kernels.h"

namespace skein {
namespace {

// How many values are NaN or infinite: those whose exponent bits are all ones.
template <typename Bits>
uint64_t count_non_finite(std::span<const std::byte> bytes, Bits exponent_mask) {
  uint64_t count = 0;
  for (size_t i = 0; i + sizeof(Bits) <= bytes.size(); i += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + i, sizeof bits);
    count += (bits & exponent_mask) == exponent_mask ? 1u : 0u;
  }
  return count;
}

uint64_t count_non_finite(std::span<const std::byte> bytes, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return count_non_finite<uint32_t>(bytes, 0x7f800000u);
    case DType::kF16:
      return count_non_finite<uint16_t>(bytes, 0x7c00u);
    case DType::kBF16:
      return count_non_finite<uint16_t>(bytes, 0x7f80u);
    // Codes are finite: all values of a block whose scale is not.
    case DType::kQ8_0:
    case DType::kQ4_0:
      return block_cols(dtype) * count_non_finite<uint16_t>(bytes, 0x7c00u);
    case DType::kQ4K: {
      uint64_t count = 0;
      for (size_t i = 0; i < bytes.size(); i += scale_bytes(dtype)) {
        const bool is_finite = count_non_finite<uint16_t>(bytes.subspan(i, 4), 0x7c00u) == 0;
        count += is_finite ? 0 : block_cols(dtype);
      }
      return count;
    }
    default:
      break;
  }
  return 0;
}

// Of what read_plain() gave.
uint64_t count_non_finite(const PlainTensor& part, ThreadPool& pool) {
  const DType dtype = part.dtype;
  const std::span<const std::byte> bytes = part.bytes.subspan(part.scales_offset_bytes);
  std::vector<uint64_t> counts(pool.num_threads());
  pool.run([&](uint32_t thread) {
    const Range range = share_of(bytes.size(), 64, thread, pool.num_threads());
    counts[thread] = count_non_finite(bytes.subspan(range.begin, range.end - range.begin), dtype);
  });
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

// Shapes are compared without their ones, so that [1, 1, C] is a vector of C.
std::vector<uint64_t> without_ones(std::span<const uint64_t> shape) {
  std::vector<uint64_t> result;
  std::copy_if(shape.begin(), shape.end(), std::back_inserter(result),
               [](uint64_t n) { return n != 1; });
  return result;
}

// Whether the file holds [inputs][outputs]: BlinkDL's files do so for the low-rank matrices.
bool is_stored_transposed(const WeightSpec& spec, const ModelTensors& tensors) {
  return spec.stored_transposed && !tensors.low_rank_is_rows();
}

// Files of some makers hold them; no engine reads them.
bool is_layer_0_value_residual(std::string_view name) {
  return name == "blocks.0.att.v0" || name == "blocks.0.att.v1" || name == "blocks.0.att.v2";
}

}  // namespace

uint64_t PlannedWeight::file_bytes() const noexcept {
  uint64_t bytes = 0;
  for (const TensorInfo* part : parts) bytes += part->data.size();
  return bytes;
}

WeightReport PlannedWeight::report() const {
  WeightReport report = make_report(*spec, file_dtype, dtype, mapping);
  if (is_coded()) report.file_type = file_dtype_name(parts.front()->dtype);
  return report;
}

Result<WeightSource> WeightSource::create(const ModelFile& file, std::span<const WeightSpec> specs,
                                          const Backend& backend,
                                          const Rwkv7::LoadOptions& options) {
  CHECK(file.packed() == nullptr);
  SKEIN_RETURN_IF_ERROR(check_quant_layers(options.plan, file.dims(), file.path()));
  if (options.neurons != nullptr) {
    const Status status =
        check_neuron_order(*options.neurons, file.dims().num_layers, file.dims().num_hidden);
    if (!status) return error("{}: {}", file.path(), status.error().message);
  }
  WeightSource source(file, options);
  for (const WeightSpec& spec : specs) {
    SKEIN_RETURN_IF_ERROR(source.resolve(spec, backend, options.plan));
  }
  source.warnings_ = warnings_of_unused(file, source.used_);
  if (file.tensors().has_tied_head()) {
    source.warnings_.push_back(
        fmt::format("{}: no tensor 'head.weight'; the embedding is the head", file.path()));
  }
  source.warn_of_decoded();
  if (options.lora != nullptr) {
    const std::vector<std::string>& warnings = options.lora->warnings();
    source.warnings_.insert(source.warnings_.end(), warnings.begin(), warnings.end());
  }
  return source;
}

Status WeightSource::resolve(const WeightSpec& spec, const Backend& backend,
                             const WeightPlan& plan) {
  PlannedWeight weight;
  weight.spec = &spec;
  for (const std::string& name : spec.names) {
    SKEIN_ASSIGN_OR_RETURN(const TensorInfo* part, find_part(file_, spec, name));
    used_.insert(part);
    weight.parts.push_back(part);
  }
  const FileDType type = weight.parts.front()->dtype;
  weight.file_dtype = *plain_dtype(type);
  if (const std::optional<DType> kept = kept_dtype(type)) {
    weight.why_decoded = why_decoded(weight, *kept, backend, plan);
    if (weight.why_decoded.empty()) weight.file_dtype = *kept;
  }
  weight.dtype = spec.group == WeightGroup::kVector
                     ? DType::kF32
                     : plan.dtype_of(spec.group, layer_of(spec)).value_or(weight.file_dtype);
  const Layout layout = plan.layout_of(spec.group, weight.dtype);
  if (spec.group != WeightGroup::kVector) {
    SKEIN_RETURN_IF_ERROR(check_kernel(backend.name(), backend.kernels(), matrix_op(spec.group),
                                       weight.dtype, layout));
  }
  SKEIN_ASSIGN_OR_RETURN(weight.mapping,
                         make_mapping(layout, {spec.rows, spec.cols}, element_bits(weight.dtype)));
  SKEIN_RETURN_IF_ERROR(make_scale_mapping(weight.mapping, weight.dtype));
  weights_.push_back(std::move(weight));
  return {};
}

// Why a weight of a codec that could be kept cannot be; empty where it can.
std::string_view WeightSource::why_decoded(const PlannedWeight& weight, DType kept,
                                           const Backend& backend, const WeightPlan& plan) const {
  const WeightSpec& spec = *weight.spec;
  if (spec.group == WeightGroup::kVector) return "that are vectors";
  if (is_stored_transposed(spec, file_.tensors())) return "whose blocks run along the rows";
  const auto is_changed = [&](const TensorInfo* part) { return lora_->changes(part->name); };
  if (lora_ != nullptr && std::any_of(weight.parts.begin(), weight.parts.end(), is_changed)) {
    return "that LoRA changes";
  }
  if (neurons_ != nullptr && spec.group == WeightGroup::kFfnValue) {
    return "whose cols change places";
  }
  const KernelInfo* kernel =
      find_kernel(backend.kernels(), matrix_op(spec.group), kept, plan.layout_of(spec.group, kept));
  return kernel == nullptr ? "that this backend cannot read" : "";
}

// A line for each reason why weights lie otherwise in memory than in the file: never in silence.
void WeightSource::warn_of_decoded() {
  struct Decoded {
    uint64_t count = 0, file_bytes = 0, memory_bytes = 0;
    bool was_asked_for = true;
    std::set<std::string_view> codecs, types;
  };
  std::map<std::string_view, Decoded> by_reason;
  for (const PlannedWeight& weight : weights_) {
    if (!weight.is_coded() || weight.is_kept()) continue;
    Decoded& decoded = by_reason[weight.why_decoded];
    ++decoded.count;
    decoded.was_asked_for &= weight.dtype != weight.file_dtype;
    decoded.file_bytes += weight.file_bytes();
    decoded.memory_bytes += weight.span_bytes();
    decoded.codecs.insert(file_dtype_name(weight.parts.front()->dtype));
    decoded.types.insert(to_string(weight.dtype));
  }
  for (const auto& [why, decoded] : by_reason) {
    warnings_.push_back(fmt::format(
        "{}: {} {} of {}{}{} {} decoded to {}: {:.1f} MB in the file, {:.1f} MB in memory{}",
        file_.path(), decoded.count, decoded.count == 1 ? "matrix" : "matrices",
        fmt::join(decoded.codecs, ", "), why.empty() ? "" : " ", why,
        decoded.count == 1 ? "is" : "are", fmt::join(decoded.types, ", "),
        static_cast<double>(decoded.file_bytes) / 1e6,
        static_cast<double>(decoded.memory_bytes) / 1e6,
        decoded.was_asked_for ? "" : "; --quant int8 or nf4 makes them smaller"));
  }
}

void WeightSource::warn_of_non_finite(const std::string& name, const PlainTensor& part,
                                      ThreadPool& pool) {
  const uint64_t count = count_non_finite(part, pool);
  if (count == 0) return;
  warnings_.push_back(fmt::format("{}: tensor '{}': {} of its values are NaN or infinite",
                                  file_.path(), name, count));
}

void WeightSource::read_ahead(const PlannedWeight& weight) const {
  for (const TensorInfo* part : weight.parts) {
    file_.file()->will_need(part->data);
  }
}

void WeightSource::release(const PlannedWeight& weight) const {
  for (const TensorInfo* part : weight.parts) {
    file_.file()->release(part->data);
  }
}

Status WeightSource::pack(const PlannedWeight& weight, std::byte* out, ThreadPool& pool) {
  const Extents extents{weight.spec->rows / weight.parts.size(), weight.spec->cols};
  const Layout stored = stored_layout(*weight.spec, file_.tensors());
  for (size_t i = 0; i < weight.parts.size(); ++i) {
    const TensorInfo& part = *weight.parts[i];
    std::vector<std::byte> decoded;
    const PlainTensor plain = read_part(weight, part, decoded, pool);
    const DType dtype = plain.dtype;
    // Quantizing refuses them. Of a mapped embedding all rows would have to be read.
    const bool is_encoded = is_quantized(weight.dtype) && !weight.is_kept();
    if (!is_encoded && weight.spec->group != WeightGroup::kEmbedding) {
      warn_of_non_finite(part.name, plain, pool);
    }
    const Result<AnyMapping> source = make_mapping(stored, extents, element_bits(dtype));
    // Stacked weights are row_major vectors: part i is row i.
    const Result<AnyMapping> target =
        weight.parts.size() == 1
            ? Result<AnyMapping>(weight.mapping)
            : make_mapping(weight.layout(), extents, element_bits(weight.dtype));
    CHECK(source && target);
    std::vector<std::byte> reordered;
    const std::span<const std::byte> data = in_order(weight, plain, reordered, pool);
    const uint64_t part_bytes = i * Tensor::span_bytes_of(*target, weight.dtype);
    const std::optional<RefusedBlock> refused =
        skein::pack({data.data(), dtype, *source}, {out + part_bytes, weight.dtype, *target}, pool);
    if (refused) {
      return error(
          "{}: tensor '{}': cannot quantize to {}: expected absolute values below 65520, found "
          "another, infinity or NaN in row {}, col {} and the {} that follow",
          file_.path(), part.name, to_string(weight.dtype), refused->row, refused->first_col,
          std::min<uint64_t>(block_cols(weight.dtype), extents.cols - refused->first_col) - 1);
    }
  }
  release(weight);
  return {};
}

// The part's values, changed as the LoRA says; `room` is for those that are not the file's.
PlainTensor WeightSource::read_part(const PlannedWeight& weight, const TensorInfo& part,
                                    std::vector<std::byte>& room, ThreadPool& pool) const {
  if (lora_ == nullptr || !lora_->changes(part.name)) {
    const DType to = weight.is_kept() || weight.dtype == DType::kF16 ? weight.dtype : DType::kF32;
    return read_plain(part, to, room, pool);
  }
  const uint64_t rows = weight.spec->rows / weight.parts.size(), cols = weight.spec->cols;
  std::vector<std::byte> decoded;
  const PlainTensor plain = read_plain(part, DType::kF32, decoded, pool);
  room.resize(rows * cols * sizeof(float));
  if (plain.dtype == DType::kF32) {
    std::copy(plain.bytes.begin(), plain.bytes.end(), room.begin());
  } else {
    convert_run(plain.bytes.data(), plain.dtype, room.data(), DType::kF32, rows * cols);
  }
  const std::span<float> values(reinterpret_cast<float*>(room.data()), rows * cols);
  lora_->apply(part.name, rows, cols, is_stored_transposed(*weight.spec, file_.tensors()), values,
               pool);
  return {room, DType::kF32, 0};
}

// The bytes with their neurons in the order that was asked for: themselves, or a copy in `room`.
std::span<const std::byte> WeightSource::in_order(const PlannedWeight& weight,
                                                  const PlainTensor& plain,
                                                  std::vector<std::byte>& room,
                                                  ThreadPool& pool) const {
  const std::span<const std::byte> data = plain.bytes;
  if (neurons_ == nullptr) return data;
  const WeightSpec& spec = *weight.spec;
  const Extents extents{spec.rows, spec.cols};
  const auto order = [&] { return std::span(neurons_->layers[*layer_of(spec)]); };
  if (spec.group == WeightGroup::kFfnKey && is_quantized(plain.dtype)) {
    const uint64_t code_bytes = extents.num_elems() * element_bits(plain.dtype) / 8;
    room = reorder_rows(data.first(code_bytes), extents, order(), pool);
    room.resize(plain.scales_offset_bytes);
    const std::vector<std::byte> scales =
        reorder_rows(data.subspan(plain.scales_offset_bytes), extents, order(), pool);
    room.insert(room.end(), scales.begin(), scales.end());
  } else if (spec.group == WeightGroup::kFfnKey) {
    room = reorder_rows(data, extents, order(), pool);
  } else if (spec.group == WeightGroup::kFfnValue) {
    room = reorder_cols(data, extents, order(), pool);
  } else {
    return data;
  }
  return room;
}

uint64_t WeightSource::hash() const {
  constexpr size_t kHashedBytes = 64;
  uint64_t hash = 0;
  for (const TensorInfo& tensor : file_.file()->tensors()) {
    const std::string head = fmt::format("{} {} {}", tensor.name, file_dtype_name(tensor.dtype),
                                         shape_text(tensor.shape));
    hash = hash64(std::as_bytes(std::span(head)), hash);
    hash = hash64(tensor.data.first(std::min(tensor.data.size(), kHashedBytes)), hash);
  }
  if (lora_ == nullptr) return hash;
  const uint64_t lora_hash = lora_->hash();
  return hash64(std::as_bytes(std::span(&lora_hash, 1)), hash);
}

Result<const TensorInfo*> find_part(const ModelFile& file, const WeightSpec& spec,
                                    const std::string& name) {
  const TensorInfo* part = file.tensors().find(name);
  const uint64_t rows = spec.rows / spec.names.size();
  const std::vector<uint64_t> expected =
      rows == 1 ? std::vector{spec.cols}
                : (is_stored_transposed(spec, file.tensors()) ? std::vector{spec.cols, rows}
                                                              : std::vector{rows, spec.cols});
  if (part == nullptr) {
    return error("{}: expected a tensor '{}' of shape {}, found none", file.path(), name,
                 shape_text(expected));
  }
  const auto product = [](std::span<const uint64_t> shape) {
    return std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
  };
  // r_k is a vector that BlinkDL's files hold as [heads, head size].
  const std::vector<uint64_t> heads = {file.dims().num_heads, file.dims().head_size};
  const bool is_vector = spec.group == WeightGroup::kVector;
  const bool fits = without_ones(part->shape) == without_ones(expected) ||
                    (is_vector && part->shape == heads && product(part->shape) == spec.cols);
  if (!fits) {
    return error("{}: tensor '{}': expected shape {}, found {}", file.path(), name,
                 shape_text(expected), shape_text(part->shape));
  }
  if (!plain_dtype(part->dtype)) {
    return error("{}: tensor '{}': expected dtype F32, F16 or BF16, found {}", file.path(), name,
                 file_dtype_name(part->dtype));
  }
  return part;
}

std::vector<std::string> warnings_of_unused(const ModelFile& file,
                                            const std::set<const TensorInfo*>& used) {
  std::vector<std::string> warnings;
  for (const TensorInfo& tensor : file.tensors().tensors()) {
    if (used.contains(&tensor) || is_layer_0_value_residual(tensor.name)) continue;
    warnings.push_back(fmt::format("{}: tensor '{}' is not part of RWKV-7 and is not used",
                                   file.path(), tensor.name));
  }
  return warnings;
}

Layout stored_layout(const WeightSpec& spec, const ModelTensors& tensors) noexcept {
  return is_stored_transposed(spec, tensors) ? Layout::col_major() : Layout::row_major();
}

std::optional<uint32_t> layer_of(const WeightSpec& spec) {
  constexpr std::string_view kBlocks = "blocks.";
  const std::string& name = spec.names.front();
  if (!name.starts_with(kBlocks)) return std::nullopt;
  uint32_t layer = 0;
  std::from_chars(name.data() + kBlocks.size(), name.data() + name.size(), layer);
  return layer;
}

Status check_quant_layers(const WeightPlan& plan, const Dimensions& dims, const std::string& path) {
  for (const QuantRule& rule : plan.quant) {
    if (!rule.group && rule.last_layer >= dims.num_layers) {
      return error("{}: quant: expected layers 0 to {}, found blocks.{}-{}", path,
                   dims.num_layers - 1, rule.first_layer, rule.last_layer);
    }
  }
  return {};
}

}  // namespace skein
