// WeightSource: the weights of an ordinary model file, each checked, planned, and packed into
// memory of the caller's when asked.
//
// Goals: everything that can be refused is refused before the first byte is packed; a weight may be
// packed into an arena, a staging buffer or the next piece of a file, all the same. Non-goals:
// deciding where a weight goes (loader.cc, pack_model.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "model/model_file.h"
#include "model/plain_tensor.h"
#include "model/rwkv7.h"
#include "model/weight_list.h"

namespace skein {

// One weight between the file and memory.
struct PlannedWeight {
  const WeightSpec* spec = nullptr;
  std::vector<const TensorInfo*> parts;  // several are the rows of one weight, in order
  // kept_dtype() of the parts where they can stay in it, else their plain_dtype().
  DType file_dtype = DType::kF32;
  DType dtype = DType::kF32;
  // Why the file's codec cannot stay though it could be kept: "that LoRA changes".
  std::string_view why_decoded;
  AnyMapping mapping;

  const Layout& layout() const noexcept { return mapping.layout(); }
  uint64_t file_bytes() const noexcept;
  // Whether the file has it in a block codec, so that its bytes serve nobody as they are; and
  // whether it stays in that.
  bool is_coded() const noexcept { return is_block_coded(parts.front()->dtype); }
  bool is_kept() const noexcept { return is_ggml_codec(file_dtype) && dtype == file_dtype; }
  WeightReport report() const;
  uint64_t span_bytes() const noexcept { return Tensor::span_bytes_of(mapping, dtype); }
};

class WeightSource {
 public:
  // `file` is no packed one; it and `specs` (of its dimensions) must outlive the result. Errors:
  // tensors that are missing, misshapen or no floats; what the plan or the order of neurons asks
  // for and the model or the backend does not have.
  static Result<WeightSource> create(const ModelFile& file, std::span<const WeightSpec> specs,
                                     const Backend& backend, const Rwkv7::LoadOptions& options);

  // In the order of `specs`.
  std::span<const PlannedWeight> weights() const noexcept { return weights_; }

  // Asks the disk for the weight: the next one, say, while this one is packed.
  void read_ahead(const PlannedWeight& weight) const;

  // Gives the weight's pages of the file back.
  void release(const PlannedWeight& weight) const;

  // Writes the span of the weight, weight.span_bytes() from `out` on, and gives the pages of the
  // file back. Notes values that are NaN or infinite in warnings(). Errors: such a value where the
  // weight is to be quantized.
  Status pack(const PlannedWeight& weight, std::byte* out, ThreadPool& pool);

  // One line each; those about tensors that nothing uses are there from the start.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

  // Rwkv7::hash() of the file, with its LoRA.
  uint64_t hash() const;

 private:
  WeightSource(const ModelFile& file, const Rwkv7::LoadOptions& options)
      : file_(file), neurons_(options.neurons), lora_(options.lora) {}

  Status resolve(const WeightSpec& spec, const Backend& backend, const WeightPlan& plan);
  std::string_view why_decoded(const PlannedWeight& weight, DType kept, const Backend& backend,
                               const WeightPlan& plan) const;
  void warn_of_decoded();
  PlainTensor read_part(const PlannedWeight& weight, const TensorInfo& part,
                        std::vector<std::byte>& room, ThreadPool& pool) const;
  void warn_of_non_finite(const std::string& name, const PlainTensor& part, ThreadPool& pool);
  std::span<const std::byte> in_order(const PlannedWeight& weight, const PlainTensor& plain,
                                      std::vector<std::byte>& room, ThreadPool& pool) const;

  const ModelFile& file_;
  std::shared_ptr<const NeuronOrder> neurons_;
  std::shared_ptr<const LoraSet> lora_;
  std::vector<PlannedWeight> weights_;
  std::set<const TensorInfo*> used_;
  std::vector<std::string> warnings_;
};

// The tensor `name`, one of the spec's. Errors: there is none; it has another shape than the
// weight, or no type that has a plain_dtype().
Result<const TensorInfo*> find_part(const ModelFile& file, const WeightSpec& spec,
                                    const std::string& name);

// One line for each tensor of the file that is not in `used` and not one that no engine reads.
std::vector<std::string> warnings_of_unused(const ModelFile& file,
                                            const std::set<const TensorInfo*>& used);

// How the file holds the weight.
Layout stored_layout(const WeightSpec& spec, const ModelTensors& tensors) noexcept;

// The layer of "blocks.3.att.key.weight"; nothing for what lies outside of layers.
std::optional<uint32_t> layer_of(const WeightSpec& spec);

// Whether the model has the layers that the plan's rules name.
Status check_quant_layers(const WeightPlan& plan, const Dimensions& dims, const std::string& path);

}  // namespace skein
