// CacheModel: a set-associative model of a CPU's data caches, for machines without hardware
// counters. It is given addresses and counts which level has them.
//
// Goals: where the bytes of a layout come from, the same on every machine; fast enough to replay
// whole layers; counts that cachegrind confirms (tests/cache_model_cachegrind_test.py).
//
// What it models: one thread; LRU in each set; 64 B lines as the system says; a store is a load
// (write-allocate, and what is written back is not counted). A line that a level misses is brought
// into every level asked. Levels are neither inclusive nor exclusive: an outer level that drops a
// line leaves the copies in the inner ones alone, as cachegrind does. A victim cache (AMD's L3)
// therefore holds up to an L2 less here than in hardware.
//
// Non-goals: time; prefetching, by hardware or by instruction, so a hit rate says which lines were
// there before, not how long anybody waited; TLBs; hashed set indices (Intel's L3); pages (an
// address is taken as physical); other threads' lines.
//
// Layout, since that is our subject: a set is one line of the host, 16 tags of 4 B (two lines from
// 17 ways on), most recently used first. The position of a tag is its LRU stamp, so nothing but
// tags is stored: 32 MiB of L3 are 2 MiB of tags. Cost on a core shared with other work (Zen 5,
// 2026-11-23, 12 + 16 + 16 ways): 3 ns for the most recent line of a set of L1, 20 for a hit in L2,
// 29 for a miss of all three. Passing each tag to its neighbour in one loop took twice that.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/result.h"

namespace skein {

struct CacheLevel {
  std::string name;  // "L1d", "L2", "L3"
  uint64_t num_bytes = 0;
  uint32_t num_ways = 0;
  uint32_t num_sharing = 1;  // logical CPUs that share it; the model gives all of it to one thread
};

struct CacheConfig {
  uint32_t line_bytes = 64;
  std::vector<CacheLevel> levels;  // innermost first
};

inline constexpr size_t kMaxCacheLevels = 4;

// Addresses are below this: tags are 4 B, and those of simulated streams start near 0.
inline constexpr uint64_t kMaxModelAddress = uint64_t{1} << 36;

// The data and unified caches of the first CPU, as the system describes them. `folder` is for
// tests. Errors: no such files (another system, a container), or values that are no cache.
Result<CacheConfig> read_cache_config(
    const std::string& folder = "/sys/devices/system/cpu/cpu0/cache");

// Caches as a CPU of 2026 has them, for simulations where the system describes none: L1d 48 KiB, L2
// 1 MiB, L3 32 MiB.
CacheConfig usual_cache_config();

// "L1d 48 KiB 12-way, L2 1024 KiB 16-way, L3 32768 KiB 16-way, lines of 64 B"
std::string to_string(const CacheConfig& config);

struct CacheCount {
  uint64_t accesses = 0;
  uint64_t hits = 0;

  uint64_t misses() const noexcept { return accesses - hits; }
  // 100 where nothing was asked for.
  double hit_percent() const noexcept {
    return accesses == 0 ? 100.0
                         : 100.0 * static_cast<double>(hits) / static_cast<double>(accesses);
  }
};

class CacheModel {
 public:
  // Errors: no level or more than kMaxCacheLevels; a line that is no power of two from 32 to 4096
  // bytes; a level whose bytes are no whole number of sets, or 4 GiB and more.
  static Result<CacheModel> create(const CacheConfig& config);

  const CacheConfig& config() const noexcept { return config_; }

  // One load or store of `num_bytes` > 0 at `address`. Each line that it touches counts as one
  // access. address + num_bytes <= kMaxModelAddress.
  void access(uint64_t address, uint64_t num_bytes) noexcept {
    DCHECK(num_bytes > 0);
    CHECK(address <= kMaxModelAddress && num_bytes <= kMaxModelAddress - address);
    const uint64_t last = (address + num_bytes - 1) >> line_shift_;
    for (uint64_t line = address >> line_shift_; line <= last; ++line) {
      access_line(static_cast<uint32_t>(line), 1);
    }
  }

  // Law: the same as `count` calls access(address + i * element_bytes, element_bytes), at the cost
  // of one look-up a line. element_bytes divides the line, address is a multiple of it.
  void access_elements(uint64_t address, uint64_t element_bytes, uint64_t count) noexcept;

  // One for each level. Accesses of a level are the misses of the one before it.
  std::span<const CacheCount> counts() const noexcept { return {counts_.data(), levels_.size()}; }
  // Lines that no level had: what memory delivers.
  uint64_t memory_lines() const noexcept { return counts_[levels_.size() - 1].misses(); }

  // Counts from 0; what the caches hold stays.
  void reset_counts() noexcept { counts_ = {}; }
  // Empty caches; the counts stay.
  void clear() noexcept;

 private:
  static constexpr uint32_t kTagsPerLine = 16;
  static constexpr uint32_t kNoLine = ~uint32_t{0};

  struct alignas(64) TagLine {
    std::array<uint32_t, kTagsPerLine> tags;
  };

  struct Level {
    uint32_t num_ways = 0;
    uint32_t lines_per_set = 0;
    uint64_t num_sets = 0;
    uint64_t set_mask = 0;  // num_sets - 1 where that is a power of two, else 0
    std::vector<TagLine> sets;

    // Whether the level had the line. It has it now, as the most recent of its set.
    bool touch(uint32_t line) noexcept {
      const uint64_t set = set_mask != 0 ? line & set_mask : line % num_sets;
      uint32_t* tags = sets[set * lines_per_set].tags.data();
      if (tags[0] == line) return true;
      // All ways are compared, with no branch, so that the compiler makes vectors of it; a miss
      // finds the last way, whose line falls out.
      uint32_t found = num_ways - 1;
      for (uint32_t way = 0; way < num_ways; ++way) found = tags[way] == line ? way : found;
      const bool hit = tags[found] == line;
      std::memmove(tags + 1, tags, found * sizeof(uint32_t));
      tags[0] = line;
      return hit;
    }
  };

  CacheModel() = default;

  // `repeats` accesses of one line in a row: all but the first are hits of the first level.
  void access_line(uint32_t line, uint64_t repeats) noexcept {
    counts_[0].accesses += repeats - 1;
    counts_[0].hits += repeats - 1;
    for (size_t i = 0; i < levels_.size(); ++i) {
      ++counts_[i].accesses;
      if (levels_[i].touch(line)) {
        ++counts_[i].hits;
        return;
      }
    }
  }

  CacheConfig config_;
  uint32_t line_shift_ = 6;
  std::vector<Level> levels_;
  std::array<CacheCount, kMaxCacheLevels> counts_;
};

}  // namespace skein
