#include "model/weight_list.h"

#include <fmt/format.h>

namespace skein {
namespace {

// Collects the specs; each method is one kind of line in the list.
class ListBuilder {
 public:
  explicit ListBuilder(std::vector<WeightSpec>& specs) : specs_(specs) {}

  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }

  void vector(std::string_view name, uint64_t cols, Tensor& target) {
    add(name, WeightGroup::kVector, 1, cols, target);
  }

  void matrix(std::string_view name, WeightGroup group, uint64_t rows, uint64_t cols,
              Tensor& target) {
    add(name, group, rows, cols, target);
  }

  // `x @ m`, stored [cols][rows].
  void low_rank(std::string_view name, uint64_t rows, uint64_t cols, Tensor& target) {
    add(name, WeightGroup::kLowRank, rows, cols, target).stored_transposed = true;
  }

  void stacked(std::vector<std::string> names, uint64_t cols, Tensor& target) {
    for (std::string& name : names) name.insert(0, prefix_);
    const uint64_t rows = names.size();
    specs_.push_back({std::move(names), WeightGroup::kVector, rows, cols, false, &target});
  }

 private:
  WeightSpec& add(std::string_view name, WeightGroup group, uint64_t rows, uint64_t cols,
                  Tensor& target) {
    specs_.push_back({{fmt::format("{}{}", prefix_, name)}, group, rows, cols, false, &target});
    return specs_.back();
  }

  std::vector<WeightSpec>& specs_;
  std::string prefix_;
};

void list_attention(ListBuilder& list, const Dimensions& dims, uint32_t layer, LayerWeights& w) {
  const uint64_t C = dims.num_emb;
  list.stacked({"att.x_r", "att.x_w", "att.x_k", "att.x_v", "att.x_a", "att.x_g"}, C, w.mix);
  list.matrix("att.receptance.weight", WeightGroup::kAttention, C, C, w.receptance);
  list.matrix("att.key.weight", WeightGroup::kAttention, C, C, w.key);
  list.matrix("att.value.weight", WeightGroup::kAttention, C, C, w.value);
  list.low_rank("att.w1", dims.rank_w, C, w.w1);
  list.low_rank("att.a1", dims.rank_a, C, w.a1);
  list.low_rank("att.g1", dims.rank_g, C, w.g1);
  if (layer > 0) list.low_rank("att.v1", dims.rank_v, C, w.v1);
  list.vector("att.w0", C, w.w0);
  list.low_rank("att.w2", C, dims.rank_w, w.w2);
  list.vector("att.a0", C, w.a0);
  list.low_rank("att.a2", C, dims.rank_a, w.a2);
  list.low_rank("att.g2", C, dims.rank_g, w.g2);
  if (layer > 0) {
    list.vector("att.v0", C, w.v0);
    list.low_rank("att.v2", C, dims.rank_v, w.v2);
  }
  list.vector("att.k_k", C, w.k_k);
  list.vector("att.k_a", C, w.k_a);
  list.vector("att.r_k", C, w.r_k);
  list.vector("att.ln_x.weight", C, w.ln_x_weight);
  list.vector("att.ln_x.bias", C, w.ln_x_bias);
  list.matrix("att.output.weight", WeightGroup::kAttention, C, C, w.output);
}

void list_layer(ListBuilder& list, const Dimensions& dims, uint32_t layer, LayerWeights& w) {
  const uint64_t C = dims.num_emb, F = dims.num_hidden;
  list.vector("ln1.weight", C, w.ln1_weight);
  list.vector("ln1.bias", C, w.ln1_bias);
  list_attention(list, dims, layer, w);
  list.vector("ln2.weight", C, w.ln2_weight);
  list.vector("ln2.bias", C, w.ln2_bias);
  list.vector("ffn.x_k", C, w.ffn_mix);
  list.matrix("ffn.key.weight", WeightGroup::kFfnKey, F, C, w.ffn_key);
  list.matrix("ffn.value.weight", WeightGroup::kFfnValue, C, F, w.ffn_value);
}

}  // namespace

std::string_view to_string(WeightGroup group) noexcept {
  switch (group) {
    case WeightGroup::kVector:
      return "vector";
    case WeightGroup::kEmbedding:
      return "emb";
    case WeightGroup::kAttention:
      return "att";
    case WeightGroup::kLowRank:
      return "low_rank";
    case WeightGroup::kFfnKey:
      return "ffn.key";
    case WeightGroup::kFfnValue:
      return "ffn.value";
    case WeightGroup::kHead:
      return "head";
  }
  return "?";
}

MatrixOp matrix_op(WeightGroup group) noexcept {
  if (group == WeightGroup::kEmbedding) return MatrixOp::kGather;
  return group == WeightGroup::kFfnValue ? MatrixOp::kSparse : MatrixOp::kDense;
}

std::string WeightSpec::label() const {
  if (names.size() == 1) return names.front();
  const std::string& last = names.back();
  return fmt::format("{} .. {}", names.front(), last.substr(last.rfind('.') + 1));
}

std::vector<WeightSpec> list_weights(const Dimensions& dims, Weights& weights) {
  const uint64_t C = dims.num_emb, N = dims.num_vocab;
  weights.layers.resize(dims.num_layers);
  std::vector<WeightSpec> specs;
  ListBuilder list(specs);
  list.matrix("emb.weight", WeightGroup::kEmbedding, N, C, weights.emb);
  list.vector("blocks.0.ln0.weight", C, weights.ln0_weight);
  list.vector("blocks.0.ln0.bias", C, weights.ln0_bias);
  for (uint32_t layer = 0; layer < dims.num_layers; ++layer) {
    list.set_prefix(fmt::format("blocks.{}.", layer));
    list_layer(list, dims, layer, weights.layers[layer]);
  }
  list.set_prefix("");
  list.vector("ln_out.weight", C, weights.ln_out_weight);
  list.vector("ln_out.bias", C, weights.ln_out_bias);
  list.matrix("head.weight", WeightGroup::kHead, N, C, weights.head);
  return specs;
}

}  // namespace skein
