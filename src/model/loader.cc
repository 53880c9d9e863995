// Rwkv7::load: from a checked file to weights in memory, one at a time.
//
// Placement::kHot: the packed weights lie in one arena in the order of use (the seed's idea 6: hot
// data side by side), each at a multiple of kPackedAlignBytes; the embedding, of which a token
// reads one row, stays in the mapped file unless it must be decoded. Placement::kFile: each weight,
// the embedding too, in a buffer of its own. Pages of the file are given back as soon as their
// tensor is packed, so that the peak is the packed model plus one tensor.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/bits.h"
#include "base/thread_pool.h"
#include "model/model_file.h"
#include "model/packed_loader.h"
#include "model/rwkv7.h"
#include "model/weight_source.h"

namespace skein {

class WeightLoader {
 public:
  WeightLoader(Rwkv7& model, Backend& backend, const Rwkv7::LoadOptions& options,
               const ModelFile& file)
      : model_(model), backend_(backend), options_(options), file_(file) {}

  Status run() {
    model_.dims_ = file_.dims();
    model_.plan_ = options_.plan;
    model_.has_neuron_order_ = options_.neurons != nullptr;
    specs_ = list_weights(model_.dims_, model_.weights_);
    SKEIN_ASSIGN_OR_RETURN(WeightSource source,
                           WeightSource::create(file_, specs_, backend_, options_));
    SKEIN_RETURN_IF_ERROR(place(source));
    SKEIN_ASSIGN_OR_RETURN(const auto pool, ThreadPool::create(options_.num_threads));
    for (size_t i = 0; i < items_.size(); ++i) {
      if (i + 1 < items_.size() && items_[i + 1].buffer != nullptr) {
        source.read_ahead(*items_[i + 1].weight);
      }
      SKEIN_RETURN_IF_ERROR(load(source, items_[i], *pool));
    }
    std::vector<WeightReport> reports;
    for (const PlannedWeight& weight : source.weights()) {
      reports.push_back(weight.report());
    }
    model_.hash_ = source.hash();
    model_.warnings_ = source.warnings();
    model_.set_reports(std::move(reports), file_.path());
    if (options_.on_progress) options_.on_progress(1.0);
    return {};
  }

 private:
  // A weight and its place; no buffer: it stays in the file.
  struct Item {
    const PlannedWeight* weight = nullptr;
    std::shared_ptr<Buffer> buffer;
    uint64_t offset_bytes = 0;

    bool is_embedding() const noexcept { return weight->spec->group == WeightGroup::kEmbedding; }
  };

  // Gives every weight its place; items_ are in the order in which they are packed.
  Status place(const WeightSource& source) {
    for (const PlannedWeight& weight : source.weights()) items_.push_back({&weight, nullptr, 0});
    return model_.plan_.placement == Placement::kHot ? place_in_arena() : place_apart();
  }

  // One arena for all but the embedding, in the order of use; more than one where the backend
  // cannot give so much at once.
  Status place_in_arena() {
    std::vector<Item*> in_arena;
    uint64_t arena_bytes = 0;
    const auto allocate = [&]() -> Status {
      SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> arena, backend_.allocate(arena_bytes));
      for (Item* item : in_arena) item->buffer = arena;
      in_arena.clear();
      arena_bytes = 0;
      return {};
    };
    for (Item& item : items_) {
      if (item.is_embedding()) {
        // What the file has in blocks cannot stay there.
        if (item.weight->is_coded()) {
          SKEIN_ASSIGN_OR_RETURN(item.buffer, allocate_host_buffer(item.weight->span_bytes()));
        }
        continue;
      }
      const uint64_t num_bytes = round_up(item.weight->span_bytes(), kPackedAlignBytes);
      if (arena_bytes != 0 && arena_bytes + num_bytes > backend_.max_buffer_bytes()) {
        SKEIN_RETURN_IF_ERROR(allocate());
      }
      item.offset_bytes = arena_bytes;
      arena_bytes += num_bytes;
      in_arena.push_back(&item);
    }
    return allocate();
  }

  // A buffer for each, in the order of the file.
  Status place_apart() {
    std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) {
      return a.weight->parts.front()->offset_bytes < b.weight->parts.front()->offset_bytes;
    });
    for (Item& item : items_) {
      SKEIN_ASSIGN_OR_RETURN(item.buffer, backend_.allocate(item.weight->span_bytes()));
      use_small_pages(*item.buffer);
    }
    return {};
  }

  Status load(WeightSource& source, const Item& item, ThreadPool& pool) {
    const PlannedWeight& weight = *item.weight;
    const uint64_t bytes_done = std::exchange(bytes_done_, bytes_done_ + weight.file_bytes());
    if (options_.on_progress) {
      options_.on_progress(static_cast<double>(bytes_done) /
                           static_cast<double>(file_.file()->num_bytes()));
    }
    Tensor& target = *weight.spec->target;
    if (item.buffer == nullptr) {
      const std::span<const std::byte> data = weight.parts.front()->data;
      target = Tensor(borrow_host_buffer(data.data(), data.size(), file_.file()), 0, weight.dtype,
                      weight.mapping);
      return {};
    }
    if (std::byte* data = item.buffer->host_data(); data != nullptr) {
      SKEIN_RETURN_IF_ERROR(source.pack(weight, data + item.offset_bytes, pool));
    } else {
      std::vector<std::byte> staging(weight.span_bytes());
      SKEIN_RETURN_IF_ERROR(source.pack(weight, staging.data(), pool));
      SKEIN_RETURN_IF_ERROR(backend_.upload(*item.buffer, item.offset_bytes, staging));
    }
    target = Tensor(item.buffer, item.offset_bytes, weight.dtype, weight.mapping);
    return {};
  }

  Rwkv7& model_;
  Backend& backend_;
  const Rwkv7::LoadOptions& options_;
  const ModelFile& file_;
  std::vector<WeightSpec> specs_;
  std::vector<Item> items_;
  uint64_t bytes_done_ = 0;
};

Result<std::unique_ptr<Rwkv7>> Rwkv7::load(const std::string& path, Backend& backend,
                                           const LoadOptions& options) {
  SKEIN_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::open(path));
  return load(file, backend, options);
}

Result<std::unique_ptr<Rwkv7>> Rwkv7::load(const ModelFile& file, Backend& backend,
                                           const LoadOptions& options) {
  std::unique_ptr<Rwkv7> model(new Rwkv7(backend));
  SKEIN_RETURN_IF_ERROR(file.packed() != nullptr
                            ? PackedLoader(*model, backend, options, file).run()
                            : WeightLoader(*model, backend, options, file).run());
  return model;
}

}  // namespace skein
