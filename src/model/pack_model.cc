#include "model/pack_model.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "format/safetensors_writer.h"
#include "model/weight_source.h"

namespace skein {
namespace {

constexpr uint64_t kPageBytes = 4096;

// The source's name without its folders, for people: what is no plain character becomes '?', since
// metadata are UTF-8 and messages one line.
std::string source_name(const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return name;
}

class ModelPacker {
 public:
  ModelPacker(const ModelFile& file, const Rwkv7::LoadOptions& options,
              const std::function<bool()>& should_stop)
      : file_(file), options_(options), should_stop_(should_stop) {}

  Result<PackSummary> run(const std::string& path, const Backend& backend) {
    Weights weights;
    const std::vector<WeightSpec> specs = list_weights(file_.dims(), weights);
    SKEIN_ASSIGN_OR_RETURN(WeightSource source,
                           WeightSource::create(file_, specs, backend, options_));
    order_weights(source);
    make_header(source);
    SKEIN_ASSIGN_OR_RETURN(SafetensorsWriter writer, create_writer(path));
    SKEIN_ASSIGN_OR_RETURN(const auto pool, ThreadPool::create(options_.num_threads));
    SKEIN_ASSIGN_OR_RETURN(const auto room, allocate_host_buffer(largest_span()));
    for (size_t i = 0; i < weights_.size(); ++i) {
      if (should_stop_ && should_stop_()) return error("{}: interrupted", path);
      report_progress();
      if (i + 1 < weights_.size()) source.read_ahead(*weights_[i + 1]);
      SKEIN_RETURN_IF_ERROR(write(source, *weights_[i], room->host_data(), writer, *pool));
    }
    SKEIN_RETURN_IF_ERROR(writer.replace_metadata(to_metadata(header_)));
    SKEIN_RETURN_IF_ERROR(writer.commit());
    if (options_.on_progress) options_.on_progress(1.0);
    return summarize(source, path);
  }

 private:
  static bool is_embedding(const PlannedWeight& weight) {
    return weight.spec->group == WeightGroup::kEmbedding;
  }

  // The embedding has its place and type from the file, unless it must be decoded.
  static bool stays_as_it_is(const PlannedWeight& weight) {
    return is_embedding(weight) && !weight.is_coded();
  }

  // The arena in the order of use, then what is cold.
  void order_weights(const WeightSource& source) {
    for (const PlannedWeight& weight : source.weights()) weights_.push_back(&weight);
    std::stable_partition(weights_.begin(), weights_.end(),
                          [](const PlannedWeight* weight) { return !is_embedding(*weight); });
  }

  void make_header(const WeightSource& source) {
    header_.dims = file_.dims();
    header_.plan = options_.plan;
    header_.plan.placement = Placement::kHot;
    header_.reordered_neurons = options_.neurons != nullptr;
    header_.source = source_name(file_.path());
    header_.source_hash = source.hash();
    for (const PlannedWeight* weight : weights_) {
      header_.weights[weight->spec->label()] = {weight->dtype,      weight->file_dtype,
                                                weight->spec->rows, weight->spec->cols,
                                                weight->layout(),   0};
    }
  }

  // The checksums in the header are not known yet; their text has the same length whatever they
  // are.
  Result<SafetensorsWriter> create_writer(const std::string& path) const {
    std::vector<TensorDeclaration> tensors;
    for (const PlannedWeight* weight : weights_) {
      tensors.push_back({weight->spec->label(),
                         FileDType::kU8,
                         {weight->span_bytes()},
                         is_embedding(*weight) ? kPageBytes : kPackedAlignBytes});
    }
    return SafetensorsWriter::create(path, tensors, to_metadata(header_),
                                     {kPageBytes, kPackedAlignBytes, kPackedAlignBytes});
  }

  uint64_t largest_span() const {
    uint64_t most = 0;
    for (const PlannedWeight* weight : weights_) {
      if (!stays_as_it_is(*weight)) most = std::max(most, weight->span_bytes());
    }
    return most;
  }

  Status write(WeightSource& source, const PlannedWeight& weight, std::byte* room,
               SafetensorsWriter& writer, ThreadPool& pool) {
    bytes_done_ += weight.file_bytes();
    const std::string label = weight.spec->label();
    std::span<const std::byte> bytes = weight.parts.front()->data;
    if (!stays_as_it_is(weight)) {
      SKEIN_RETURN_IF_ERROR(source.pack(weight, room, pool));
      bytes = {room, weight.span_bytes()};
    }
    header_.weights[label].checksum = hash64(bytes);
    SKEIN_RETURN_IF_ERROR(writer.write(label, bytes));
    if (stays_as_it_is(weight)) source.release(weight);
    return {};
  }

  void report_progress() const {
    if (!options_.on_progress) return;
    options_.on_progress(static_cast<double>(bytes_done_) /
                         static_cast<double>(file_.file()->num_bytes()));
  }

  PackSummary summarize(const WeightSource& source, const std::string& path) const {
    PackSummary summary;
    summary.warnings = source.warnings();
    for (const PlannedWeight& weight : source.weights()) {
      summary.reports.push_back(weight.report());
    }
    if (auto warning = padding_warning(summary.reports, path)) {
      summary.warnings.push_back(*std::move(warning));
    }
    std::error_code ignored;  // a device has no size
    const auto file_bytes = std::filesystem::file_size(path, ignored);
    summary.file_bytes = ignored ? 0 : file_bytes;
    return summary;
  }

  const ModelFile& file_;
  const Rwkv7::LoadOptions& options_;
  const std::function<bool()>& should_stop_;
  std::vector<const PlannedWeight*> weights_;  // in the order of the new file
  PackedHeader header_;
  uint64_t bytes_done_ = 0;
};

}  // namespace

Result<PackSummary> pack_model(const ModelFile& source, const std::string& path,
                               const Backend& backend, const Rwkv7::LoadOptions& options,
                               const std::function<bool()>& should_stop) {
  if (source.packed() != nullptr) {
    return error("{}: expected a model that is not packed, found one that was packed from '{}'",
                 source.path(), source.packed()->source);
  }
  return ModelPacker(source, options, should_stop).run(path, backend);
}

}  // namespace skein
