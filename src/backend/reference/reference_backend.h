// ReferenceBackend: the ten steps written as the formulas stand, one number after the other. The
// oracle of every other backend.
//
// Goals: readable against the formulas (docs/architecture.md, "The ten steps"); any layout, any
// dtype; sums in double. Non-goals: speed. Weights are read element by element through their
// mapping and work memory is allocated in the steps.
//
// Laws: what is stored between steps is f32, rounded once from double. A token's numbers do not
// depend on the tokens that share its batch, so T = 1, T = n and any chunking agree bit for bit.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "backend/host_backend.h"

namespace skein {

class ReferenceBackend final : public HostBackend {
 public:
  std::string_view name() const noexcept override { return "reference"; }
  std::string description() const override { return "scalar, sums in double, 1 thread"; }
  uint32_t num_threads() const noexcept override { return 1; }

  // Every op, dtype and layout.
  std::span<const KernelInfo> kernels() const noexcept override;
  // [H][V][K] as in the mathematics: another order than that of the fast backends, so that what
  // confuses the two fails.
  StateLayout state_layout() const noexcept override { return StateLayout::kHeadValueKey; }

  Result<double> measure_read_bandwidth() override;

  void embed(const Dimensions& dims, const Weights& weights, const Batch& batch,
             const Workspace& work) noexcept override;
  void mix6(const LayerArgs& args) noexcept override;
  void project_in(const LayerArgs& args) noexcept override;
  void project_out(const LayerArgs& args) noexcept override;
  void wkv(const LayerArgs& args) noexcept override;
  void output(const LayerArgs& args) noexcept override;
  void mix(const LayerArgs& args) noexcept override;
  void ffn_key(const LayerArgs& args) noexcept override;
  void ffn_value(const LayerArgs& args) noexcept override;
  void head(const Dimensions& dims, const Weights& weights, const Batch& batch,
            const Workspace& work) noexcept override;
};

// Never fails; a Result because every backend's factory is one.
Result<std::unique_ptr<Backend>> make_reference_backend();

}  // namespace skein
