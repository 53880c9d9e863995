// The one place that names concrete backends.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "backend/backend.h"
#include "base/result.h"
#include "skein/precision.h"

namespace skein {

// The names that make_backend() takes, "auto" first.
std::span<const std::string_view> backend_names() noexcept;

// "auto" is the fastest backend that this machine has. num_threads 0: one per physical core. Errors: an unknown name (the
// known ones are listed), a number of threads beyond ThreadPool's bounds, a device that is not there.
Result<std::unique_ptr<Backend>> make_backend(std::string_view name, uint32_t num_threads, Precision precision);

}  // namespace skein
