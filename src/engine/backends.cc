#include "engine/backends.h"

#include <fmt/ranges.h>

#include <array>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/cpu_target.h"
#include "backend/reference/reference_backend.h"

namespace skein {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"auto", "reference", "cpu"};

}  // namespace

std::span<const std::string_view> backend_names() noexcept { return kNames; }

Result<std::unique_ptr<Backend>> make_backend(std::string_view name, uint32_t num_threads,
                                              Precision precision) {
  if (name == "reference") return make_reference_backend();
  if (name == "auto" || name == "cpu") {
    return make_cpu_backend({.num_threads = num_threads, .precision = precision, .target = ""});
  }
  return error("backend: expected one of {}, found '{}'", fmt::join(kNames, ", "), name);
}

std::vector<std::string_view> cpu_targets() { return supported_cpu_targets(); }
std::string_view cpu_target() noexcept { return cpu_target_name(); }

}  // namespace skein
