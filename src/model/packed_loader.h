// PackedLoader: from a packed file (`skein pack`) to weights that lie in it, nothing copied.
//
// Goals: the cost of the header and no more: no byte of a tensor is read before a step of the model
// asks for it; every tensor is checked against the list of weights, its layout, its alignment and
// the backend's kernels first. Non-goals: checksums (verify.h reads everything).
#pragma once

#include "base/result.h"
#include "model/model_file.h"
#include "model/rwkv7.h"
#include "model/weight_list.h"

namespace skein {

class PackedLoader {
 public:
  // `file` is a packed one. What options.plan names must agree with it.
  PackedLoader(Rwkv7& model, Backend& backend, const Rwkv7::LoadOptions& options,
               const ModelFile& file)
      : model_(model), backend_(backend), options_(options), file_(file) {}

  Status run();

 private:
  struct Item {
    const WeightSpec* spec = nullptr;
    const PackedWeight* weight = nullptr;
    const TensorInfo* tensor = nullptr;
    AnyMapping mapping;
  };

  Status check_options() const;
  Status check_asked(const WeightSpec& spec, const PackedWeight& weight) const;
  Result<Item> resolve(const WeightSpec& spec) const;
  Result<AnyMapping> make_checked_mapping(const WeightSpec& spec, const PackedWeight& weight) const;
  Status check_place(const TensorInfo& tensor) const;
  void map_items();
  Status upload_items();
  void summarize();

  Rwkv7& model_;
  Backend& backend_;
  const Rwkv7::LoadOptions& options_;
  const ModelFile& file_;
  std::vector<WeightSpec> specs_;
  std::vector<Item> items_;
};

}  // namespace skein
