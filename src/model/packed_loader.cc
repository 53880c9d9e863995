#include "model/packed_loader.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "format/safetensors_header.h"
#include "model/dimensions.h"
#include "model/weight_source.h"

namespace skein {
namespace {

// Whether the backend's kernels read host memory, so that a mapped file serves them as it is.
Result<bool> reads_host_memory(Backend& backend) {
  SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> probe, backend.allocate(1));
  return probe->host_data() != nullptr;
}

// The parts of a header that make no sense for their group.
bool may_be(WeightGroup group, const PackedWeight& weight) {
  if (group == WeightGroup::kVector) {
    return weight.dtype == DType::kF32 && weight.layout == Layout::row_major();
  }
  if (group == WeightGroup::kEmbedding) {
    const bool is_from_file = !is_quantized(weight.dtype) || is_ggml_codec(weight.dtype);
    return is_from_file && weight.layout == Layout::row_major();
  }
  return true;
}

}  // namespace

Status PackedLoader::run() {
  SKEIN_RETURN_IF_ERROR(check_options());
  model_.dims_ = file_.dims();
  specs_ = list_weights(model_.dims_, model_.weights_);
  for (const WeightSpec& spec : specs_) {
    SKEIN_ASSIGN_OR_RETURN(Item item, resolve(spec));
    items_.push_back(item);
  }
  SKEIN_ASSIGN_OR_RETURN(const bool in_place, reads_host_memory(backend_));
  if (in_place) {
    map_items();
  } else {
    SKEIN_RETURN_IF_ERROR(upload_items());
  }
  summarize();
  if (options_.on_progress) options_.on_progress(1.0);
  return {};
}

Status PackedLoader::check_options() const {
  SKEIN_RETURN_IF_ERROR(check_quant_layers(options_.plan, file_.dims(), file_.path()));
  if (options_.plan.placement != Placement::kHot) {
    return error("{}: packed as placement=hot, asked for placement={}", file_.path(),
                 to_string(options_.plan.placement));
  }
  if (options_.lora != nullptr) {
    return error(
        "{}: expected a model that LoRA can still change, found a packed one; give --lora "
        "to skein pack",
        file_.path());
  }
  if (options_.neurons != nullptr) {
    return error("{}: expected a model whose neurons can still be put in order, found a packed one",
                 file_.path());
  }
  return {};
}

// What the options name must be what the file has; what they leave open is the file's.
Status PackedLoader::check_asked(const WeightSpec& spec, const PackedWeight& weight) const {
  const WeightPlan& asked = options_.plan;
  const QuantRule* rule = nullptr;
  for (const QuantRule& candidate : asked.quant) {
    if (candidate.covers(spec.group, layer_of(spec))) rule = &candidate;
  }
  const DType dtype = rule == nullptr ? weight.dtype : rule->dtype.value_or(weight.file_dtype);
  const Layout layout =
      asked.names_layout(spec.group) ? asked.layout_of(spec.group) : weight.layout;
  if (dtype == weight.dtype && layout == weight.layout) return {};
  return error("{}: tensor '{}': packed as {} {}, asked for {} {}; pack it anew for that",
               file_.path(), spec.label(), to_string(weight.dtype), to_string(weight.layout),
               to_string(dtype), to_string(layout));
}

Result<PackedLoader::Item> PackedLoader::resolve(const WeightSpec& spec) const {
  const std::string& path = file_.path();
  const std::string label = spec.label();
  const auto& weights = file_.packed()->weights;
  const auto entry = weights.find(label);
  const TensorInfo* tensor = file_.file()->find(label);
  if (entry == weights.end() || tensor == nullptr) {
    return error("{}: expected a packed tensor '{}' of shape [{}, {}], found no {}", path, label,
                 spec.rows, spec.cols, tensor == nullptr ? "such tensor" : "metadata of it");
  }
  const PackedWeight& weight = entry->second;
  if (tensor->dtype != FileDType::kU8 || tensor->shape.size() != 1) {
    return error("{}: tensor '{}': expected bytes, U8 of one axis, found {} {}", path, label,
                 file_dtype_name(tensor->dtype), shape_text(tensor->shape));
  }
  if (weight.rows != spec.rows || weight.cols != spec.cols) {
    return error("{}: tensor '{}': expected shape [{}, {}], found [{}, {}]", path, label, spec.rows,
                 spec.cols, weight.rows, weight.cols);
  }
  if (!may_be(spec.group, weight)) {
    return error("{}: tensor '{}': expected a plain type or one of ggml's, row_major, found {} {}",
                 path, label, to_string(weight.dtype), to_string(weight.layout));
  }
  SKEIN_RETURN_IF_ERROR(check_asked(spec, weight));
  const auto mapping = make_checked_mapping(spec, weight);
  if (!mapping) return error("{}: tensor '{}': {}", path, label, mapping.error().message);
  const uint64_t span_bytes = Tensor::span_bytes_of(*mapping, weight.dtype);
  if (tensor->data.size() != span_bytes) {
    return error("{}: tensor '{}': expected {} bytes for {} [{}, {}] {}, found {}", path, label,
                 span_bytes, to_string(weight.dtype), spec.rows, spec.cols,
                 to_string(weight.layout), tensor->data.size());
  }
  SKEIN_RETURN_IF_ERROR(check_place(*tensor));
  return Item{&spec, &weight, tensor, *mapping};
}

Result<AnyMapping> PackedLoader::make_checked_mapping(const WeightSpec& spec,
                                                      const PackedWeight& weight) const {
  if (spec.group != WeightGroup::kVector) {
    SKEIN_RETURN_IF_ERROR(check_kernel(backend_.name(), backend_.kernels(), matrix_op(spec.group),
                                       weight.dtype, weight.layout));
  }
  SKEIN_ASSIGN_OR_RETURN(AnyMapping mapping, make_mapping(weight.layout, {spec.rows, spec.cols},
                                                          element_bits(weight.dtype)));
  SKEIN_RETURN_IF_ERROR(make_scale_mapping(mapping, weight.dtype));
  return mapping;
}

// Kernels rely on both.
Status PackedLoader::check_place(const TensorInfo& tensor) const {
  if (tensor.offset_bytes % kPackedAlignBytes != 0) {
    return error("{}: tensor '{}': expected its data at a multiple of {} bytes, found offset {}",
                 file_.path(), tensor.name, kPackedAlignBytes, tensor.offset_bytes);
  }
  const uint64_t behind_bytes =
      file_.file()->file().bytes().size() - tensor.offset_bytes - tensor.data.size();
  if (behind_bytes < kReadSlackBytes) {
    return error("{}: tensor '{}': expected {} bytes of the file behind it, found {}", file_.path(),
                 tensor.name, kReadSlackBytes, behind_bytes);
  }
  return {};
}

// The file is the arena.
void PackedLoader::map_items() {
  const MappedFile& mapped = file_.file()->file();
  mapped.use_huge_pages();
  const auto buffer =
      borrow_host_buffer(mapped.bytes().data(), mapped.bytes().size(), file_.file());
  for (const Item& item : items_) {
    *item.spec->target =
        Tensor(buffer, item.tensor->offset_bytes, item.weight->dtype, item.mapping);
  }
}

// The embedding stays in the file, as it does for every model; the rest goes to the device as it
// lies in the file.
Status PackedLoader::upload_items() {
  const MappedFile& mapped = file_.file()->file();
  uint64_t begin_bytes = mapped.bytes().size(), end_bytes = 0;
  for (const Item& item : items_) {
    if (item.spec->group == WeightGroup::kEmbedding) continue;
    begin_bytes = std::min(begin_bytes, item.tensor->offset_bytes);
    end_bytes = std::max(end_bytes, item.tensor->offset_bytes + item.tensor->data.size());
  }
  SKEIN_ASSIGN_OR_RETURN(const auto arena, backend_.allocate(end_bytes - begin_bytes));
  for (const Item& item : items_) {
    const TensorInfo& tensor = *item.tensor;
    if (item.spec->group == WeightGroup::kEmbedding) {
      auto buffer = borrow_host_buffer(tensor.data.data(), tensor.data.size(), file_.file());
      *item.spec->target = Tensor(std::move(buffer), 0, item.weight->dtype, item.mapping);
      continue;
    }
    const uint64_t offset_bytes = tensor.offset_bytes - begin_bytes;
    SKEIN_RETURN_IF_ERROR(backend_.upload(*arena, offset_bytes, tensor.data));
    mapped.release(tensor.offset_bytes, tensor.data.size());
    *item.spec->target = Tensor(arena, offset_bytes, item.weight->dtype, item.mapping);
  }
  return {};
}

void PackedLoader::summarize() {
  const PackedHeader& header = *file_.packed();
  model_.plan_ = header.plan;
  // Not properties of the weights, so they may be chosen anew.
  model_.plan_.forms = options_.plan.forms;
  if (options_.plan.activations != WeightPlan{}.activations) {
    model_.plan_.activations = options_.plan.activations;
  }
  model_.has_neuron_order_ = header.reordered_neurons;
  model_.hash_ = header.source_hash;
  std::vector<WeightReport> reports;
  std::set<const TensorInfo*> used;
  for (const Item& item : items_) {
    used.insert(item.tensor);
    reports.push_back(
        make_report(*item.spec, item.weight->file_dtype, item.weight->dtype, item.mapping));
  }
  for (const TensorInfo& tensor : file_.file()->tensors()) {
    if (used.contains(&tensor)) continue;
    model_.warnings_.push_back(fmt::format("{}: tensor '{}' is not part of RWKV-7 and is not used",
                                           file_.path(), tensor.name));
  }
  model_.set_reports(std::move(reports), file_.path());
}

}  // namespace skein
