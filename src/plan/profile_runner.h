// Runs variants of one model in rounds: what profile_model() measures with.
//
// Variants are loaded in groups, as many at once as memory allows, the baseline in each; a group
// runs in rounds until its share of the budget is spent.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/profile.h"

namespace skein {

// A variant in memory, ready to run.
struct LoadedVariant {
  std::unique_ptr<Rwkv7> model;
  State state;
  Workspace decode_work, prefill_work;
};

Result<LoadedVariant> load_variant(const std::string& path, Backend& backend,
                                   const WeightPlan& plan, uint32_t max_tokens);

// Random ids, the same on every machine.
std::vector<uint32_t> profile_ids(uint32_t count, uint32_t num_vocab);

class ProfileRunner {
 public:
  // `baseline` is loaded for good. Errors: it cannot be; device errors.
  static Result<ProfileRunner> create(const std::string& path, Backend& backend,
                                      const ProfileOptions& options, const WeightPlan& baseline);

  // Called when a group is loaded and has been measured, for each of its variants.
  using OnLoaded = std::function<Status(const LoadedVariant& loaded, VariantFigures& figures)>;

  // Measures `variants`, the baseline's own figures among them where its plan is there. Spends
  // about budget_seconds; `progress` gets the share of it that is spent.
  Status run(std::span<VariantFigures* const> variants, double budget_seconds,
             const OnLoaded& on_loaded, const ProfileProgress& progress);

  const LoadedVariant& baseline() const noexcept { return baseline_; }
  const Sparsity& sparsity() const noexcept { return sparsity_; }
  // Bytes/s, one value a group.
  const std::vector<double>& bandwidths() const noexcept { return bandwidths_; }
  // Decodes the ids of a sample once more, for counters.
  Status decode(const LoadedVariant& loaded) const;

 private:
  struct Sample {
    double decode = 0, prefill = 0;  // tokens/s
  };
  // One variant of a group, and the samples of the steps that medians are taken of.
  struct Member {
    VariantFigures* figures = nullptr;
    LoadedVariant loaded;
    std::vector<StepSeconds> decode_steps, prefill_steps;
  };

  ProfileRunner(std::string path, Backend& backend, const ProfileOptions& options)
      : path_(std::move(path)), backend_(backend), options_(options) {}

  size_t max_group() const;
  Result<std::vector<Member>> load_group(std::span<VariantFigures* const> variants) const;
  Status run_group(std::vector<Member>& group, double budget_seconds,
                   const ProfileProgress& progress);
  Status run_round(std::vector<Member>& group, uint32_t round);
  Result<Sample> sample(const LoadedVariant& loaded) const;
  Status sample_steps(Member& member) const;
  Status sample_device_steps(Member& member) const;
  Status warm_up(const LoadedVariant& loaded) const;
  Status empty_state(const LoadedVariant& loaded) const;
  void finish(Member& member) const;

  std::string path_;
  Backend& backend_;
  ProfileOptions options_;
  LoadedVariant baseline_;
  Sparsity sparsity_;
  std::vector<uint32_t> decode_ids_, prefill_ids_;
  std::vector<std::byte> zeros_;  // an empty state
  std::vector<double> bandwidths_;
};

}  // namespace skein
