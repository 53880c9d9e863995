#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "plan/cache_model.h"
#include "plan/plan_file.h"

namespace skein {
namespace {

// Lower-case letters and digits, a dash for each run of anything else.
std::string slug(std::string_view text) {
  constexpr size_t kMaxLength = 80;
  std::string out;
  for (const char c : text) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool kept = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (kept) {
      out += upper ? static_cast<char>(c - 'A' + 'a') : c;
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  if (out.size() > kMaxLength) out.resize(kMaxLength);
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

}  // namespace

PlanKey make_plan_key(const Backend& backend, Precision precision) {
  PlanKey key;
  key.backend = backend.name();
  key.device = backend.description();
  if (!backend.is_host()) {
    // The host has no part in the kernels' speed, and they have one precision.
    key.precision = "exact";
    key.features = backend.features();
    return key;
  }
  key.precision = precision == Precision::kFast ? "fast" : "exact";
  key.num_cores = num_physical_cores();
  if (const Result<CacheConfig> caches = read_cache_config()) {
    for (const CacheLevel& level : caches->levels) {
      key.caches.push_back(fmt::format("{} {} KiB", level.name, level.num_bytes >> 10));
    }
  }
  return key;
}

std::string to_string(const PlanKey& key) {
  if (key.num_cores == 0) {
    return fmt::format(
        "{}: {}, {}; {}", key.backend, key.device, key.precision,
        key.features.empty() ? "no features" : fmt::format("{}", fmt::join(key.features, ", ")));
  }
  return fmt::format(
      "{}: {}, {}; {} core{}; {}", key.backend, key.device, key.precision, key.num_cores,
      key.num_cores == 1 ? "" : "s",
      key.caches.empty() ? "caches unknown" : fmt::format("{}", fmt::join(key.caches, ", ")));
}

std::string plan_file_name(const PlanKey& key) {
  const std::string text = to_string(key);
  const uint64_t hash = hash64(std::as_bytes(std::span(text)), 0);
  return fmt::format("{}-{:08x}.json",
                     slug(fmt::format("{} {} {}", key.backend, key.device, key.precision)),
                     static_cast<uint32_t>(hash));
}

}  // namespace skein
