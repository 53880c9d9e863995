// PlanFile: what `skein tune` found out about one device, as a file: the layouts that it chose, on
// a GPU also the kernels' forms, and what it measured to choose them.
//
// Goals: a person can read and edit it; a program can trust it once it is read; one file holds many
// models, since a layout belongs to matrices and not to a model's name. Non-goals: dtypes (a user
// chooses those for their quality), measuring (tuner.h).
//
// The weights lie once in memory, so that a group of matrices has one layout for every number of
// tokens; "fastest" in the file says which one each token range would have liked best.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/kernel_form.h"
#include "base/result.h"
#include "model/matrix_kinds.h"
#include "model/weight_plan.h"

namespace skein {

// What the figures of a plan hold for: a device, as this process uses it.
struct PlanKey {
  std::string backend;     // "cpu", "webgpu"
  std::string device;      // "AMD EPYC, zen4 kernels, 2 threads"
  std::string precision;   // "exact", "fast"
  uint32_t num_cores = 0;  // physical, that this process may use; 0: of no account
  std::vector<std::string>
      caches;  // "L2 1024 KiB", innermost first; empty: the system does not say
  // A device that is no CPU has no cores and caches here; what its kernels make use of:
  // "subgroups".
  std::vector<std::string> features = {};

  friend bool operator==(const PlanKey&, const PlanKey&) = default;
};

PlanKey make_plan_key(const Backend& backend, Precision precision);

// "cpu: AMD EPYC, zen4 kernels, 2 threads, exact; 2 cores; L1d 48 KiB, L2 1024 KiB"
std::string to_string(const PlanKey& key);

// "cpu-amd-epyc-zen4-kernels-2-threads-exact-0123abcd.json": letters, digits and dashes; differs
// where the key does.
std::string plan_file_name(const PlanKey& key);

// One layout and form of one kind of matrices, measured with one number of tokens.
struct TriedLayout {
  Layout layout;
  KernelForm form;
  uint32_t num_tokens = 1;
  double microseconds = 0;       // of all matrices of the kind, once
  double gb_s = 0;               // of weights really read
  double bandwidth_percent = 0;  // of what plain reads reached in the same run
  uint32_t num_samples = 0;      // whose smallest this is
};

struct MatrixPlan {
  MatrixKind kind;
  Layout layout;
  KernelForm form;
  std::vector<TriedLayout> tried;
};

// The end of a tuning: the whole model with the default plan and with this one.
struct PlanCheck {
  std::string model;                              // name of the file
  double default_decode = 0, tuned_decode = 0;    // tokens/s
  double default_prefill = 0, tuned_prefill = 0;  // tokens/s
};

struct PlanFile {
  // Larger files are refused unread; one model's tuning takes some 20 KiB.
  static constexpr uint64_t kMaxBytes = uint64_t{4} << 20;

  PlanKey key;
  std::string version;  // of Skein
  std::string date;     // "2026-11-23T09:00:00Z"
  double bandwidth_gb_s = 0;
  // Of the machine, not of a model: those of the last tuning.
  ActivationLayout activations = ActivationLayout::kPacked;
  Placement placement = Placement::kHot;
  std::vector<MatrixPlan> matrices;
  std::vector<PlanCheck> checks;

  // The plan of those matrices, or nullptr.
  const MatrixPlan* find(const MatrixKind& kind) const noexcept;

  // Takes over what `newer` says; keeps what is said of other matrices and models here.
  void merge(const PlanFile& newer);
};

// JSON, indented, a newline behind. Law: parse_plan_file(to_text(f)) has the same text.
std::string to_text(const PlanFile& file);

// `name` stands for the path in messages. Errors, one line each: no JSON, too deeply nested,
// another format or version, a member that is missing, unknown or no such value.
Result<PlanFile> parse_plan_file(std::string_view text, const std::string& name);

Result<PlanFile> read_plan_file(const std::string& path);

// Complete or not at all; makes the folder.
Status write_plan_file(const PlanFile& file, const std::string& path);

}  // namespace skein
