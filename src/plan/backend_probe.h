// BackendProbe: times single products on a backend, with its own steps.
//
// How: `output` is x += W y, for any W where y has its cols and x its rows, and `ffn_value` the
// same for an input that is mostly zero; so the tuner needs no door of its own into a backend.
// Weights are read from a pool, each sample from where the last one ended, so that what is measured
// is the cache or memory that a pool of that size comes from. Their values are one byte repeated,
// which is a normal number in every dtype: speed does not depend on them, and nothing needs to be
// packed.
#pragma once

#include <map>
#include <memory>
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

  // Bytes/s that plain reads reached, the best of the run.
  double bandwidth() const noexcept { return bandwidth_; }

 private:
  // Input and output of products of one shape.
  struct Vectors {
    Workspace work;
    std::vector<uint32_t> ids;
  };

  BackendProbe(Backend& backend, std::shared_ptr<Buffer> pool, double density)
      : backend_(backend), pool_(std::move(pool)), density_(density) {}

  Result<const Vectors*> vectors_for(const ProbeCase& what);
  Result<Activation> make_activation(uint64_t num_cols, uint32_t num_tokens, double density);
  Result<std::vector<LayerWeights>> place_copies(const ProbeCase& what);

  Backend& backend_;
  std::shared_ptr<Buffer> pool_;
  double density_;
  double bandwidth_ = 0;
  double next_bandwidth_time_ = 0;  // of now()
  uint64_t next_offset_bytes_ = 0;  // in the pool
  // By op, rows, cols, tokens.
  std::map<std::tuple<MatrixOp, uint64_t, uint64_t, uint32_t>, Vectors> vectors_;
};

}  // namespace skein
