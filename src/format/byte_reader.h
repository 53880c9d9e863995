// ByteReader: little-endian numbers and runs of bytes from a span, never beyond its end.
//
// Failure is sticky: a read that does not fit gives zero or nothing, and so does every one after
// it; ok() tells. So a parser reads a whole record and asks once. Loops whose count comes from the
// bytes must ask in every round.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace skein {

static_assert(std::endian::native == std::endian::little);

inline std::string_view text_of(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  bool ok() const noexcept { return ok_; }
  uint64_t position() const noexcept { return position_; }
  uint64_t remaining() const noexcept { return ok_ ? bytes_.size() - position_ : 0; }

  template <typename T>
  requires std::integral<T> || std::floating_point<T> T read()
  noexcept {
    T value{};
    const std::span<const std::byte> bytes = take(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> take(uint64_t num_bytes) noexcept {
    if (num_bytes > remaining()) {
      ok_ = false;
      return {};
    }
    const auto taken = bytes_.subspan(position_, num_bytes);
    position_ += num_bytes;
    return taken;
  }

  std::string_view take_text(uint64_t num_bytes) noexcept {
    const std::span<const std::byte> bytes = take(num_bytes);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  bool ok_ = true;
};

}  // namespace skein
