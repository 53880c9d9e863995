#include "base/hash.h"

#include <fmt/format.h>

// Header-only use: the compiler sees the vector loops, and there is nothing to link.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace skein {

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }

}  // namespace skein
