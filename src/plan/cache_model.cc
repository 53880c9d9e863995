#include "plan/cache_model.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>
#include <utility>

#include "base/bits.h"
#include "base/file.h"

namespace skein {
namespace {

constexpr uint32_t kMaxWays = 128;
constexpr uint64_t kMaxLevelBytes = uint64_t{1} << 32;
// Files of the kernel are a page at most.
constexpr uint64_t kMaxFileBytes = 4096;
// index0 to index15: a CPU of today has four.
constexpr int kMaxIndices = 16;

// The first line of `folder`/`name`.
Result<std::string> read_line(const std::string& folder, const std::string& name) {
  SKEIN_ASSIGN_OR_RETURN(std::string text, read_text_file(folder + "/" + name, kMaxFileBytes));
  return text.substr(0, text.find('\n'));
}

// A number with the kernel's suffix: "48K", "12", "1M".
std::optional<uint64_t> parse_number(const std::string& text) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc()) return std::nullopt;
  if (at == end) return value;
  if (at + 1 != end || (*at != 'K' && *at != 'M')) return std::nullopt;
  return checked_mul(value, *at == 'K' ? 1u << 10 : 1u << 20);
}

// Of a file whose numbers are all small.
Result<uint64_t> read_number(const std::string& folder, const std::string& name) {
  SKEIN_ASSIGN_OR_RETURN(const std::string text, read_line(folder, name));
  const std::optional<uint64_t> value = parse_number(text);
  if (!value || *value == 0 || *value > kMaxLevelBytes) {
    return error("{}/{}: expected a number from 1 to {}, found '{}'", folder, name, kMaxLevelBytes,
                 text);
  }
  return *value;
}

// CPUs in a list of the kernel's: "0-3,8" has five. 1 where it is no such list.
uint32_t count_cpus(const std::string& list) {
  uint64_t count = 0;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    uint32_t first = 0;
    const auto from = std::from_chars(at, end, first);
    if (from.ec != std::errc()) return 1;
    at = from.ptr;
    uint32_t last = first;
    if (at < end && *at == '-') at = std::from_chars(at + 1, end, last).ptr;
    if (last >= first) count += uint64_t{last} - first + 1;
    if (at < end) ++at;
  }
  return static_cast<uint32_t>(std::clamp<uint64_t>(count, 1, 1u << 16));
}

Status validate(const CacheConfig& config) {
  if (config.levels.empty() || config.levels.size() > kMaxCacheLevels) {
    return error("cache: expected 1 to {} levels, found {}", kMaxCacheLevels, config.levels.size());
  }
  if (!is_power_of_two(config.line_bytes) || config.line_bytes < 32 || config.line_bytes > 4096) {
    return error("cache: expected lines of a power of two from 32 to 4096 bytes, found {}",
                 config.line_bytes);
  }
  for (const CacheLevel& level : config.levels) {
    if (level.num_ways == 0 || level.num_ways > kMaxWays) {
      return error("cache {}: expected 1 to {} ways, found {}", level.name, kMaxWays,
                   level.num_ways);
    }
    const uint64_t set_bytes = uint64_t{level.num_ways} * config.line_bytes;
    if (level.num_bytes == 0 || level.num_bytes % set_bytes != 0 ||
        level.num_bytes >= kMaxLevelBytes) {
      return error("cache {}: expected a multiple of {} bytes ({} ways) below {}, found {}",
                   level.name, set_bytes, level.num_ways, kMaxLevelBytes, level.num_bytes);
    }
  }
  return {};
}

}  // namespace

Result<CacheConfig> read_cache_config(const std::string& folder) {
  CacheConfig config;
  for (int index = 0; index < kMaxIndices; ++index) {
    const std::string at = fmt::format("{}/index{}", folder, index);
    const Result<std::string> type = read_line(at, "type");
    if (!type) {
      if (index == 0) return tl::unexpected(type.error());
      break;
    }
    if (*type != "Data" && *type != "Unified") continue;
    SKEIN_ASSIGN_OR_RETURN(const uint64_t number, read_number(at, "level"));
    CacheLevel level;
    level.name = fmt::format("L{}{}", number, *type == "Data" ? "d" : "");
    SKEIN_ASSIGN_OR_RETURN(level.num_bytes, read_number(at, "size"));
    SKEIN_ASSIGN_OR_RETURN(const uint64_t ways, read_number(at, "ways_of_associativity"));
    level.num_ways = static_cast<uint32_t>(std::min<uint64_t>(ways, kMaxWays + 1));
    SKEIN_ASSIGN_OR_RETURN(const uint64_t line_bytes, read_number(at, "coherency_line_size"));
    config.line_bytes = static_cast<uint32_t>(std::min<uint64_t>(line_bytes, 1u << 20));
    // Only to be told: a kernel without the list shares nothing.
    const Result<std::string> sharing = read_line(at, "shared_cpu_list");
    if (sharing) level.num_sharing = count_cpus(*sharing);
    config.levels.push_back(std::move(level));
  }
  SKEIN_RETURN_IF_ERROR(validate(config));
  // The kernel lists a CPU's caches inside out; a hypervisor need not.
  std::stable_sort(
      config.levels.begin(), config.levels.end(),
      [](const CacheLevel& a, const CacheLevel& b) { return a.num_bytes < b.num_bytes; });
  return config;
}

CacheConfig usual_cache_config() {
  constexpr uint64_t kKiB = 1024;
  return {64, {{"L1d", 48 * kKiB, 12}, {"L2", 1024 * kKiB, 16}, {"L3", 32 * 1024 * kKiB, 16}}};
}

std::string to_string(const CacheConfig& config) {
  std::string text;
  for (const CacheLevel& level : config.levels) {
    text += fmt::format("{} {} KiB {}-way, ", level.name, level.num_bytes >> 10, level.num_ways);
  }
  return text + fmt::format("lines of {} B", config.line_bytes);
}

Result<CacheModel> CacheModel::create(const CacheConfig& config) {
  SKEIN_RETURN_IF_ERROR(validate(config));
  CacheModel model;
  model.config_ = config;
  model.line_shift_ = static_cast<uint32_t>(std::countr_zero(config.line_bytes));
  for (const CacheLevel& from : config.levels) {
    Level level;
    level.num_ways = from.num_ways;
    level.lines_per_set = ceil_div(from.num_ways, kTagsPerLine);
    level.num_sets = from.num_bytes / (uint64_t{from.num_ways} * config.line_bytes);
    level.set_mask = is_power_of_two(level.num_sets) ? level.num_sets - 1 : 0;
    level.sets.resize(level.num_sets * level.lines_per_set);
    model.levels_.push_back(std::move(level));
  }
  model.clear();
  return model;
}

void CacheModel::clear() noexcept {
  for (Level& level : levels_) {
    for (TagLine& line : level.sets) line.tags.fill(kNoLine);
  }
}

void CacheModel::access_elements(uint64_t address, uint64_t element_bytes,
                                 uint64_t count) noexcept {
  const uint64_t line_bytes = uint64_t{1} << line_shift_;
  DCHECK(element_bytes != 0 && line_bytes % element_bytes == 0 && address % element_bytes == 0);
  CHECK(address <= kMaxModelAddress && count <= (kMaxModelAddress - address) / element_bytes);
  while (count > 0) {
    const uint64_t in_line = (line_bytes - address % line_bytes) / element_bytes;
    const uint64_t repeats = std::min(count, in_line);
    access_line(static_cast<uint32_t>(address >> line_shift_), repeats);
    address += repeats * element_bytes;
    count -= repeats;
  }
}

}  // namespace skein
