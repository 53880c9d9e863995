// ModelTensors: the tensors of a model file under BlinkDL's names, whoever named them, and which
// way the low-rank matrices lie.
//
// Three families of names are known: BlinkDL's (`blocks.0.att.w1`, also web-rwkv's, whose low-rank
// matrices are transposed), those of Hugging Face and fla
// (`model.layers.0.attn.w_lora.lora.0.weight`) and ggml's (`blk.0.time_mix_w1.weight`). Where six
// mixes are one tensor, it is split.
//
// Goals: whoever reads a model knows one set of names; orientation follows from shapes, not from
// names. Non-goals: checking shapes and types (weight_source.cc).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/tensor_file.h"

namespace skein {

enum class Naming : uint8_t { kBlinkDL, kHuggingFace, kGgml };

// "BlinkDL", "Hugging Face", "ggml"
std::string_view to_string(Naming naming) noexcept;

// `name`, which is of family `naming`, as BlinkDL calls it; empty where it has no such name.
// "blocks.0.att.x_?" stands for the six mixes in one tensor, in the order r, w, k, v, a, g.
std::string blink_name(Naming naming, std::string_view name);

// The other way, for writing: BlinkDL's `name` as ggml calls it. A CHECK: there is such a name.
std::string ggml_name_of(std::string_view name);

class ModelTensors {
 public:
  // None.
  ModelTensors() = default;

  // A model without a head has that of its embedding, as "head.weight". Errors: two tensors are the
  // same weight; six mixes that are not six.
  static Result<ModelTensors> create(const TensorFile& file, const std::string& path);

  Naming naming() const noexcept { return naming_; }

  // Whether w1, w2, a1, ... lie [outputs][inputs], as web-rwkv, Hugging Face and ggml have them;
  // BlinkDL has [inputs][outputs]. The first one that is not square tells; without such a one the
  // family of names does.
  bool low_rank_is_rows() const noexcept { return low_rank_is_rows_; }

  // Whether the head is the embedding.
  bool has_tied_head() const noexcept { return has_tied_head_; }

  // By BlinkDL's name; nullptr where the file has none.
  const TensorInfo* find(std::string_view name) const noexcept;

  // Under BlinkDL's names, in the order of the file. What has no such name keeps its own.
  std::span<const TensorInfo> tensors() const noexcept { return tensors_; }

 private:
  Status add(const TensorInfo& tensor, const std::string& path);
  Status sort(const std::string& path);
  void tie_head();
  void find_orientation();

  Naming naming_ = Naming::kBlinkDL;
  bool low_rank_is_rows_ = false;
  bool has_tied_head_ = false;
  std::vector<TensorInfo> tensors_;
  std::vector<size_t> by_name_;
};

}  // namespace skein
