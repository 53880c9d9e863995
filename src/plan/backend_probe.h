// BackendProbe: times single products on a backend, with its own steps.
//
// How: `output` is x += W y, for any W where y has its cols and x its rows, and `ffn_value` the
// same for an input that is mostly zero; so the tuner needs no door of its own into a backend.
// Weights are read from a pool, each sample from where the last one ended, so that what is measured
// is the cache or memory that a pool of that size comes from. Their values are one byte repeated,
// which is a normal number in every dtype: speed does not depend on them, and nothing needs to be
// packed.
//
// On a device a sample is so many products, each of which waits for the one before, that they take
// a while together, by the clock of the device where it has one, after a first run that compiles.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "backend/backend.h"
#include "plan/tuner.h"

namespace skein {

class BackendProbe final : public LayoutProbe {
 public:
  // `density`: the share of f that is not zero. The pool is at least `pool_bytes`, and holds the
  // largest of `kinds` in any layout that pads by half at most. Errors: no memory.
  static Result<std::unique_ptr<BackendProbe>> create(Backend& backend,
                                                      std::span<const MatrixKind> kinds,
                                                      uint64_t pool_bytes, double density);

  Status begin_stage() override;
  Result<double> time_product(const ProbeCase& what) override;
  double bytes_read(const ProbeCase& what) const override;
  double now() const override;

  // Gives the backend back its own rules; products may be timed again afterwards.
  Status forget_forms();

  // Bytes/s that plain reads reached, the best of the run.
  double bandwidth() const noexcept { return bandwidth_; }

 private:
  // Input and output of products of one shape.
  struct Vectors {
    Workspace work;
    std::vector<uint32_t> ids;
    uint64_t num_copies = 0;  // of a sample on a device; 0: not known yet
  };

  BackendProbe(Backend& backend, std::shared_ptr<Buffer> pool, double density)
      : backend_(backend), pool_(std::move(pool)), density_(density) {}

  Result<Vectors*> vectors_for(const ProbeCase& what);
  Status use_form(const KernelForm& form);
  Result<double> time_copies(const ProbeCase& what, const Vectors& vectors, uint64_t num_copies);
  Result<uint64_t> choose_copies(const ProbeCase& what, const Vectors& vectors);
  Result<Activation> make_activation(uint64_t num_cols, uint32_t num_tokens, double density);
  Result<std::vector<LayerWeights>> place_copies(const ProbeCase& what, uint64_t num_copies);

  Backend& backend_;
  std::shared_ptr<Buffer> pool_;
  double density_;
  double bandwidth_ = 0;
  double next_bandwidth_time_ = 0;  // of now()
  uint64_t next_offset_bytes_ = 0;  // in the pool
  KernelForm form_;                 // that the backend has
  // What has run on a device, and is compiled: as texts.
  std::set<std::string> compiled_;
  // By op, rows, cols, tokens.
  std::map<std::tuple<MatrixOp, uint64_t, uint64_t, uint32_t>, Vectors> vectors_;
};

}  // namespace skein
