// Rwkv7: the weights of one model on one backend, and the forward pass as the ten steps in order.
//
// Goals: load any valid file in one pass over its bytes with no second copy of the model in memory;
// never touch a byte before the file is checked. Non-goals: sessions, sampling, text (engine/),
// choosing layouts (plan/).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/rwkv7.h"
#include "base/result.h"
#include "model/neuron_order.h"
#include "model/weight_list.h"
#include "model/weight_plan.h"
#include "model/weight_report.h"

namespace skein {

class LoraSet;
class ModelFile;

class Rwkv7 {
 public:
  struct LoadOptions {
    // Of a packed model the plan is in the file: what this one names must agree with it.
    WeightPlan plan;
    uint32_t num_threads = 1;                          // of the host, for packing
    std::function<void(double fraction)> on_progress;  // may be empty
    std::shared_ptr<const NeuronOrder> neurons;        // none: as in the file
    std::shared_ptr<const LoraSet> lora = {};          // none: weights as in the file
  };

  // `backend` must outlive the model; `file` need not. Errors: a tensor that is missing, has
  // another shape than list_weights() expects or no float dtype; a layout that the backend has no
  // kernel for; an order of neurons for another model; no memory; a packed model that is not what
  // the options ask for.
  static Result<std::unique_ptr<Rwkv7>> load(const ModelFile& file, Backend& backend,
                                             const LoadOptions& options);
  // The same, and what ModelFile::open refuses.
  static Result<std::unique_ptr<Rwkv7>> load(const std::string& path, Backend& backend,
                                             const LoadOptions& options);

  const Dimensions& dims() const noexcept { return dims_; }
  const Weights& weights() const noexcept { return weights_; }
  const WeightPlan& plan() const noexcept { return plan_; }
  // Whether the neurons were brought into another order than the file's.
  bool has_neuron_order() const noexcept { return has_neuron_order_; }
  Backend& backend() const noexcept { return backend_; }
  // One line each: values that are NaN or infinite, tensors that nothing uses.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }
  const std::vector<WeightReport>& reports() const noexcept { return reports_; }
  // Of the tensors' names, shapes and first bytes: the same file gives the same hash on every
  // machine.
  uint64_t hash() const noexcept { return hash_; }
  // The dtype of most of the file's matrix elements.
  DType file_dtype() const noexcept { return file_dtype_; }
  // The same as the file names it: "f16", or a block codec such as "Q4_K".
  const std::string& file_type() const noexcept { return file_type_; }
  uint64_t num_parameters() const noexcept { return num_parameters_; }
  // Weight bytes that one decoded token reads: all but the embedding, of which it reads one row.
  uint64_t bytes_per_token() const noexcept;

  // Zero: the state of an empty sequence, in the backend's own layout.
  Result<State> make_state(uint32_t num_slots) const;
  Result<Workspace> make_workspace(uint32_t max_tokens, uint32_t max_logits,
                                   ActivationLayout layout = ActivationLayout::kPacked) const;

  // Runs the batch: advances the slots of its runs in `state`, leaves the asked-for logits in
  // work.logits. Errors: an id that the model does not have (nothing has run then), device errors.
  // Preconditions (CHECKed): runs cover the ids in order, slots are distinct and exist, the
  // workspace is large enough. `after_layer`, if any, is called when the steps of a layer have been
  // given to the backend: for measurements.
  Status forward(const Batch& batch, const State& state, const Workspace& work,
                 const std::function<void(uint32_t layer)>& after_layer = {}) const;
  // The same without waiting for the device: backend().finish() does, and has its errors. What
  // `work` holds may be downloaded, which waits too.
  Status submit(const Batch& batch, const State& state, const Workspace& work,
                const std::function<void(uint32_t layer)>& after_layer = {}) const;

 private:
  friend class WeightLoader;
  friend class PackedLoader;
  explicit Rwkv7(Backend& backend) : backend_(backend) {}

  // In the order of use; also counts parameters and warns of padding.
  void set_reports(std::vector<WeightReport> reports, const std::string& path);

  Backend& backend_;
  Dimensions dims_;
  Weights weights_;
  WeightPlan plan_;
  bool has_neuron_order_ = false;
  std::vector<std::string> warnings_;
  std::vector<WeightReport> reports_;
  uint64_t hash_ = 0;
  DType file_dtype_ = DType::kF16;
  std::string file_type_;
  uint64_t num_parameters_ = 0;
};

}  // namespace skein
