// The one place that names concrete backends.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "skein/precision.h"

namespace skein {

// The names that make_backend() takes, "auto" first.
std::span<const std::string_view> backend_names() noexcept;

// "auto" is the CPU here: choose_backend() and Model::load() look for a GPU first. num_threads 0:
// one per physical core. Errors: an unknown name (the known ones are listed), a number of threads
// beyond ThreadPool's bounds, a device that is not there. `adapter`: of gpu_adapters(), for a
// backend of GPUs; without one the best.
Result<std::unique_ptr<Backend>> make_backend(std::string_view name, uint32_t num_threads,
                                              Precision precision,
                                              std::optional<uint32_t> adapter = {});

// One line for each GPU adapter that backend webgpu could use, in the order of their numbers.
std::vector<std::string> gpu_adapters();

// Whether this machine has a GPU that backend webgpu could use, software adapters not counted.
// False, and no driver is loaded, where the system shows no device among the files of `devices`.
// Errors: it shows one, and there is no library, no driver, or nothing but software.
Result<bool> find_gpu(const std::string& devices = "/dev");

// A backend that was made, and why it is no GPU although there may be one; empty: no reason to say.
struct ChosenBackend {
  std::unique_ptr<Backend> backend;
  std::string warning;
};

// make_backend(), but "auto" is a GPU where find_gpu() finds one or `adapter` names one, and the
// CPU where there is none or it does not open.
Result<ChosenBackend> choose_backend(std::string_view name, uint32_t num_threads,
                                     Precision precision, std::optional<uint32_t> adapter);

// "backend auto: the CPU, not a GPU: REASON"
std::string cpu_warning(std::string_view reason);

// The instruction sets that backend cpu can be told to use on this machine (environment variable
// SKEIN_CPU), worst first, and the one that it uses now.
std::vector<std::string_view> cpu_targets();
std::string_view cpu_target() noexcept;

}  // namespace skein
