// A fast 64-bit hash of bytes (XXH3): checksums of tensors, the identity of a model.
//
// The value is part of file formats: the same bytes and seed give the same hash on every machine
// and in every version. It finds accidents, not attackers: anybody can make two inputs with the
// same hash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace skein {

// About the speed of reading memory. To hash several pieces in order, hand the hash so far on as
// the seed.
uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0) noexcept;

// 16 lower-case hexadecimal digits, the way hashes stand in files and messages.
std::string hash_text(uint64_t hash);

}  // namespace skein
