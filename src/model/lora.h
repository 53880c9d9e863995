// LoraSet: low-rank changes of a model's weights (LoRA), read from files and added to the weights
// as these are loaded.
//
// A file holds for some matrices W [rows][cols] two small ones, A [rank][cols] and B [rows][rank];
// W becomes W + weight * alpha / rank * B A. Known are PEFT's files (`...lora_A.weight`, names of
// Hugging Face or of BlinkDL), those of RWKV-PEFT (`...lora_A`) and web-rwkv's (`...lora.0`, A
// transposed), as .safetensors or .pth. Which way a matrix lies follows from its shape. A vector
// that a file holds in full (layer norms, mixes) is moved towards it: v + weight * (v' - v).
//
// alpha is in PEFT's adapter_config.json beside the file; without one alpha / rank counts as 1.
// Goals: any number of files, each with a weight; a tensor that fits nothing is an error; sums in
// f32, rounded once. Non-goals: changing them while the model runs, training, DoRA, embeddings.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "model/model_file.h"
#include "model/weight_list.h"

namespace skein {

struct LoraChoice {
  std::string path;  // a file, or a folder with PEFT's adapter_model.safetensors
  double weight = 1;
};

// "FILE" or "FILE=0.5": what follows the last '=' is the weight where it is a number. Errors: no
// file; a weight that is not finite.
Result<LoraChoice> parse_lora_choice(std::string_view text);

class LoraSet {
 public:
  static Result<std::shared_ptr<const LoraSet>> load(std::span<const LoraChoice> choices,
                                                     const ModelFile& model);

  // Whether the weight of that name (BlinkDL's) changes.
  bool changes(std::string_view name) const { return changes_.find(name) != changes_.end(); }

  // Adds all changes of `name` to its values: [rows][cols], or [cols][rows] where is_transposed.
  void apply(std::string_view name, uint64_t rows, uint64_t cols, bool is_transposed,
             std::span<float> values, ThreadPool& pool) const;

  // Of the tensors' names, shapes and first bytes and of the weights.
  uint64_t hash() const noexcept { return hash_; }

  // One line for each file whose alpha is not known.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

 private:
  // Either a and b, or a vector in `a`.
  struct Change {
    const TensorInfo* a = nullptr;
    const TensorInfo* b = nullptr;
    uint64_t rank = 0;
    bool a_is_cols = false;  // A lies [cols][rank]
    bool b_is_rank = false;  // B lies [rank][rows]
    double scale = 1;
  };

  LoraSet() = default;
  using Specs = std::map<std::string, const WeightSpec*>;
  Status add_file(const LoraChoice& choice, const Specs& specs);
  // Notes what a tensor of the file at `path` changes.
  Status add_tensor(const TensorInfo& tensor, const std::string& path, const Specs& specs,
                    std::map<std::string, Change>& found);

  std::vector<std::shared_ptr<const TensorFile>> files_;
  std::map<std::string, std::vector<Change>, std::less<>> changes_;
  std::vector<std::string> warnings_;
  uint64_t hash_ = 0;
};

// The set of "FILE" or "FILE=WEIGHT" each; nullptr where there is none.
Result<std::shared_ptr<const LoraSet>> load_lora(std::span<const std::string> choices,
                                                 const ModelFile& model);

}  // namespace skein
