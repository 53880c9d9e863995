// For tests that put files together byte by byte.
#pragma once

#include <cstring>
#include <string>

namespace skein {

// The bytes of a number as this machine has them, which is little-endian as the files are.
template <typename T>
std::string le(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

}  // namespace skein
