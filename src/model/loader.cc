// Rwkv7::load: from a checked file to packed weights, one tensor at a time.
//
// Placement::kHot: the packed weights lie in one arena in the order of use (the seed's idea 6: hot
// data side by side), each at a multiple of kTensorAlignBytes; the embedding, of which a token
// reads one row, stays in the mapped file. Placement::kFile: each weight, the embedding too, in a
// buffer of its own. Pages of the file are given back as soon as their tensor is packed, so that
// the peak is the packed model plus one tensor.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <numeric>
#include <set>

#include "base/bits.h"
#include "base/hash.h"
#include "base/thread_pool.h"
#include "format/safetensors.h"
#include "model/dimensions.h"
#include "model/rwkv7.h"
#include "tensor/pack.h"

namespace skein {
namespace {

// 256 B: the alignment of quantized blocks and of buffer bindings on GPUs, a multiple of every
// cache line.
constexpr uint64_t kTensorAlignBytes = 256;

std::optional<DType> dtype_from(FileDType dtype) {
  switch (dtype) {
    case FileDType::kF32:
      return DType::kF32;
    case FileDType::kF16:
      return DType::kF16;
    case FileDType::kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

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
    default:
      break;
  }
  return 0;
}

uint64_t count_non_finite(std::span<const std::byte> bytes, DType dtype, ThreadPool& pool) {
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

}  // namespace

class WeightLoader {
 public:
  WeightLoader(Rwkv7& model, Backend& backend, const Rwkv7::LoadOptions& options,
               const std::string& path)
      : model_(model), backend_(backend), options_(options), path_(path) {}

  Status run() {
    SKEIN_ASSIGN_OR_RETURN(Safetensors file, Safetensors::open(path_));
    file_ = std::make_shared<Safetensors>(std::move(file));
    SKEIN_ASSIGN_OR_RETURN(model_.dims_, infer_dimensions(*file_, path_));
    specs_ = list_weights(model_.dims_, model_.weights_);
    SKEIN_RETURN_IF_ERROR(check_plan());
    SKEIN_RETURN_IF_ERROR(check_neurons());
    SKEIN_RETURN_IF_ERROR(resolve());
    SKEIN_RETURN_IF_ERROR(place());
    SKEIN_ASSIGN_OR_RETURN(pool_, ThreadPool::create(options_.num_threads));
    for (size_t i = 0; i < order_.size(); ++i) {
      if (i + 1 < order_.size()) read_ahead(*order_[i + 1]);
      SKEIN_RETURN_IF_ERROR(pack_item(*order_[i]));
    }
    summarize();
    return {};
  }

 private:
  // One weight on its way from the file to memory.
  struct Item {
    const WeightSpec* spec;
    std::vector<const TensorInfo*> parts;
    DType file_dtype;
    Layout source_layout;
    Layout layout;
    DType dtype;
    AnyMapping mapping;
    // Where it goes; no buffer: it stays in the file.
    std::shared_ptr<Buffer> buffer;
    uint64_t offset_bytes = 0;
  };

  // The layer of "blocks.3.att.key.weight"; nothing for what lies outside of layers.
  static std::optional<uint32_t> layer_of(const WeightSpec& spec) {
    constexpr std::string_view kBlocks = "blocks.";
    const std::string& name = spec.names.front();
    if (!name.starts_with(kBlocks)) return std::nullopt;
    uint32_t layer = 0;
    std::from_chars(name.data() + kBlocks.size(), name.data() + name.size(), layer);
    return layer;
  }

  Status check_plan() {
    for (const QuantRule& rule : model_.plan_.quant) {
      if (!rule.group && rule.last_layer >= model_.dims_.num_layers) {
        return error("{}: quant: expected layers 0 to {}, found blocks.{}-{}", path_,
                     model_.dims_.num_layers - 1, rule.first_layer, rule.last_layer);
      }
    }
    return {};
  }

  Status check_neurons() {
    model_.has_neuron_order_ = options_.neurons != nullptr;
    if (options_.neurons == nullptr) return {};
    const Status status =
        check_neuron_order(*options_.neurons, model_.dims_.num_layers, model_.dims_.num_hidden);
    if (!status) return error("{}: {}", path_, status.error().message);
    return {};
  }

  // Finds and checks every tensor before the first byte is packed.
  Status resolve() {
    for (const WeightSpec& spec : specs_) {
      Item item{&spec,
                {},
                DType::kF16,
                spec.stored_transposed ? Layout::col_major() : Layout::row_major(),
                {},
                DType::kF32,
                {},
                nullptr,
                0};
      for (const std::string& name : spec.names) {
        SKEIN_ASSIGN_OR_RETURN(const TensorInfo* part, find_part(spec, name));
        item.parts.push_back(part);
      }
      item.file_dtype = *dtype_from(item.parts.front()->dtype);
      item.dtype =
          spec.group == WeightGroup::kVector
              ? DType::kF32
              : model_.plan_.dtype_of(spec.group, layer_of(spec)).value_or(item.file_dtype);
      item.layout = model_.plan_.layout_of(spec.group, item.dtype);
      SKEIN_RETURN_IF_ERROR(check_kernel(backend_.name(), backend_.kernels(), spec.group, item));
      SKEIN_ASSIGN_OR_RETURN(item.mapping, make_mapping(item.layout, {spec.rows, spec.cols},
                                                        element_bits(item.dtype)));
      SKEIN_RETURN_IF_ERROR(make_scale_mapping(item.mapping, item.dtype));
      items_.push_back(std::move(item));
    }
    return {};
  }

  static Status check_kernel(std::string_view backend, std::span<const KernelInfo> kernels,
                             WeightGroup group, const Item& item) {
    if (group == WeightGroup::kVector) return {};
    return skein::check_kernel(backend, kernels, matrix_op(group), item.dtype, item.layout);
  }

  Result<const TensorInfo*> find_part(const WeightSpec& spec, const std::string& name) {
    const TensorInfo* part = file_->find(name);
    const uint64_t rows = spec.rows / spec.names.size();
    const std::vector<uint64_t> expected =
        rows == 1 ? std::vector{spec.cols}
                  : (spec.stored_transposed ? std::vector{spec.cols, rows}
                                            : std::vector{rows, spec.cols});
    if (part == nullptr) {
      return error("{}: expected a tensor '{}' of shape {}, found none", path_, name,
                   shape_text(expected));
    }
    const auto product = [](std::span<const uint64_t> shape) {
      return std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
    };
    // r_k is a vector that BlinkDL's files hold as [heads, head size].
    const std::vector<uint64_t> heads = {model_.dims_.num_heads, model_.dims_.head_size};
    const bool is_vector = spec.group == WeightGroup::kVector;
    const bool fits = without_ones(part->shape) == without_ones(expected) ||
                      (is_vector && part->shape == heads && product(part->shape) == spec.cols);
    if (!fits) {
      return error("{}: tensor '{}': expected shape {}, found {}", path_, name,
                   shape_text(expected), shape_text(part->shape));
    }
    if (!dtype_from(part->dtype)) {
      return error("{}: tensor '{}': expected dtype F32, F16 or BF16, found {}", path_, name,
                   file_dtype_name(part->dtype));
    }
    used_.insert(part);
    return part;
  }

  // Gives every item its place, and the items the order in which they are packed.
  Status place() {
    for (Item& item : items_) order_.push_back(&item);
    return model_.plan_.placement == Placement::kHot ? place_in_arena() : place_apart();
  }

  // One arena for all but the embedding, in the order of use.
  Status place_in_arena() {
    uint64_t arena_bytes = 0;
    for (Item* item : order_) {
      if (item->spec->group == WeightGroup::kEmbedding) continue;
      item->offset_bytes = arena_bytes;
      arena_bytes = round_up(arena_bytes + Tensor::span_bytes_of(item->mapping, item->dtype),
                             kTensorAlignBytes);
    }
    SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> arena, backend_.allocate(arena_bytes));
    for (Item* item : order_) {
      if (item->spec->group != WeightGroup::kEmbedding) item->buffer = arena;
    }
    return {};
  }

  // A buffer for each, in the order of the file.
  Status place_apart() {
    std::sort(order_.begin(), order_.end(), [](const Item* a, const Item* b) {
      return a->parts.front()->offset_bytes < b->parts.front()->offset_bytes;
    });
    for (Item* item : order_) {
      const uint64_t num_bytes = Tensor::span_bytes_of(item->mapping, item->dtype);
      SKEIN_ASSIGN_OR_RETURN(item->buffer, backend_.allocate(num_bytes));
      use_small_pages(*item->buffer);
    }
    return {};
  }

  // The disk fetches the next tensor while this one is packed.
  void read_ahead(const Item& item) {
    if (item.buffer == nullptr) return;
    for (const TensorInfo* part : item.parts) {
      file_->file().will_need(part->offset_bytes, part->data.size());
    }
  }

  Status pack_item(Item& item) {
    const uint64_t bytes_done = std::exchange(bytes_done_, bytes_done_ + file_bytes(item));
    if (options_.on_progress) {
      options_.on_progress(static_cast<double>(bytes_done) /
                           static_cast<double>(file_->file().bytes().size()));
    }
    if (item.buffer == nullptr) {
      const std::span<const std::byte> data = item.parts.front()->data;
      auto buffer = borrow_host_buffer(data.data(), data.size(), file_);
      *item.spec->target = Tensor(std::move(buffer), 0, item.dtype, item.mapping);
      return {};
    }
    // Quantizing refuses them. Of the embedding a mapped file's rows would all have to be read.
    if (!is_quantized(item.dtype) && item.spec->group != WeightGroup::kEmbedding) {
      for (const TensorInfo* part : item.parts) warn_of_non_finite(*part);
    }
    if (std::byte* data = item.buffer->host_data(); data != nullptr) {
      SKEIN_RETURN_IF_ERROR(pack_parts(item, data + item.offset_bytes));
    } else {
      std::vector<std::byte> staging(Tensor::span_bytes_of(item.mapping, item.dtype));
      SKEIN_RETURN_IF_ERROR(pack_parts(item, staging.data()));
      SKEIN_RETURN_IF_ERROR(backend_.upload(*item.buffer, item.offset_bytes, staging));
    }
    for (const TensorInfo* part : item.parts)
      file_->file().release(part->offset_bytes, part->data.size());
    *item.spec->target = Tensor(item.buffer, item.offset_bytes, item.dtype, item.mapping);
    return {};
  }

  Status pack_parts(const Item& item, std::byte* out) {
    const uint64_t rows = item.spec->rows / item.parts.size();
    const Extents extents{rows, item.spec->cols};
    for (size_t i = 0; i < item.parts.size(); ++i) {
      const DType dtype = *dtype_from(item.parts[i]->dtype);
      const Result<AnyMapping> source =
          make_mapping(item.source_layout, extents, element_bits(dtype));
      // Stacked weights are row_major vectors: part i is row i.
      const Result<AnyMapping> target =
          item.parts.size() == 1 ? Result<AnyMapping>(item.mapping)
                                 : make_mapping(item.layout, extents, element_bits(item.dtype));
      CHECK(source && target);
      std::vector<std::byte> reordered;
      const std::span<const std::byte> data = in_order(item, item.parts[i]->data, reordered);
      const uint64_t part_bytes = i * Tensor::span_bytes_of(*target, item.dtype);
      const std::optional<RefusedBlock> refused =
          pack({data.data(), dtype, *source}, {out + part_bytes, item.dtype, *target}, *pool_);
      if (refused) {
        return error(
            "{}: tensor '{}': cannot quantize to {}: expected absolute values below 65520, found "
            "another, infinity or NaN in row {}, col {} and the {} that follow",
            path_, item.parts[i]->name, to_string(item.dtype), refused->row, refused->first_col,
            std::min<uint64_t>(block_cols(item.dtype), extents.cols - refused->first_col) - 1);
      }
    }
    return {};
  }

  // `data` with its neurons in the order that was asked for: itself, or a copy in `room`.
  std::span<const std::byte> in_order(const Item& item, std::span<const std::byte> data,
                                      std::vector<std::byte>& room) {
    if (options_.neurons == nullptr) return data;
    const Extents extents{item.spec->rows, item.spec->cols};
    const auto order = [&] { return std::span(options_.neurons->layers[*layer_of(*item.spec)]); };
    if (item.spec->group == WeightGroup::kFfnKey) {
      room = reorder_rows(data, extents, order(), *pool_);
    } else if (item.spec->group == WeightGroup::kFfnValue) {
      room = reorder_cols(data, extents, order(), *pool_);
    } else {
      return data;
    }
    return room;
  }

  void warn_of_non_finite(const TensorInfo& part) {
    const uint64_t count = count_non_finite(part.data, *dtype_from(part.dtype), *pool_);
    if (count == 0) return;
    model_.warnings_.push_back(fmt::format("{}: tensor '{}': {} of its values are NaN or infinite",
                                           path_, part.name, count));
  }

  static uint64_t file_bytes(const Item& item) {
    uint64_t bytes = 0;
    for (const TensorInfo* part : item.parts) bytes += part->data.size();
    return bytes;
  }

  void summarize() {
    std::array<uint64_t, kDTypes.size()> elems_of_dtype{};
    for (const Item& item : items_) {
      const Tensor& tensor = *item.spec->target;
      model_.reports_.push_back({item.spec->label(), item.spec->group, item.file_dtype, item.dtype,
                                 item.layout, tensor.rows(), tensor.cols(), tensor.span_bytes()});
      model_.num_parameters_ += tensor.num_elems();
      elems_of_dtype[static_cast<size_t>(item.file_dtype)] += tensor.num_elems();
    }
    const auto most = std::max_element(elems_of_dtype.begin(), elems_of_dtype.end());
    model_.file_dtype_ = static_cast<DType>(most - elems_of_dtype.begin());
    for (const TensorInfo& tensor : file_->tensors()) {
      hash_tensor(tensor);
      if (!used_.contains(&tensor) && !is_layer_0_value_residual(tensor.name)) {
        model_.warnings_.push_back(fmt::format(
            "{}: tensor '{}' is not part of RWKV-7 and is not used", path_, tensor.name));
      }
    }
    if (options_.on_progress) options_.on_progress(1.0);
  }

  // Files of some makers hold them; no engine reads them.
  static bool is_layer_0_value_residual(std::string_view name) {
    return name == "blocks.0.att.v0" || name == "blocks.0.att.v1" || name == "blocks.0.att.v2";
  }

  void hash_tensor(const TensorInfo& tensor) {
    constexpr size_t kHashedBytes = 64;
    const std::string head = fmt::format("{} {} {}", tensor.name, file_dtype_name(tensor.dtype),
                                         shape_text(tensor.shape));
    model_.hash_ = hash64(std::as_bytes(std::span(head)), model_.hash_);
    model_.hash_ =
        hash64(tensor.data.first(std::min(tensor.data.size(), kHashedBytes)), model_.hash_);
  }

  Rwkv7& model_;
  Backend& backend_;
  const Rwkv7::LoadOptions& options_;
  const std::string& path_;
  std::shared_ptr<Safetensors> file_;
  std::vector<WeightSpec> specs_;
  std::vector<Item> items_;
  std::set<const TensorInfo*> used_;
  std::vector<Item*> order_;  // of packing
  std::unique_ptr<ThreadPool> pool_;
  uint64_t bytes_done_ = 0;
};

Result<std::unique_ptr<Rwkv7>> Rwkv7::load(const std::string& path, Backend& backend,
                                           const LoadOptions& options) {
  std::unique_ptr<Rwkv7> model(new Rwkv7(backend));
  model->plan_ = options.plan;
  SKEIN_RETURN_IF_ERROR(WeightLoader(*model, backend, options, path).run());
  return model;
}

}  // namespace skein
