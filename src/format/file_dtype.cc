#include "format/file_dtype.h"

#include <array>
#include <cstddef>

namespace skein {
namespace {

struct Entry {
  FileDType dtype;
  std::string_view name;
  uint64_t bytes;
};

// In the order of the enum, so that the enum is the index.
constexpr std::array kEntries = {
    Entry{FileDType::kBool, "BOOL", 1},      Entry{FileDType::kU8, "U8", 1},
    Entry{FileDType::kI8, "I8", 1},          Entry{FileDType::kF8E5M2, "F8_E5M2", 1},
    Entry{FileDType::kF8E4M3, "F8_E4M3", 1}, Entry{FileDType::kF8E8M0, "F8_E8M0", 1},
    Entry{FileDType::kI16, "I16", 2},        Entry{FileDType::kU16, "U16", 2},
    Entry{FileDType::kF16, "F16", 2},        Entry{FileDType::kBF16, "BF16", 2},
    Entry{FileDType::kI32, "I32", 4},        Entry{FileDType::kU32, "U32", 4},
    Entry{FileDType::kF32, "F32", 4},        Entry{FileDType::kC64, "C64", 8},
    Entry{FileDType::kF64, "F64", 8},        Entry{FileDType::kI64, "I64", 8},
    Entry{FileDType::kU64, "U64", 8},
};

constexpr bool entries_follow_the_enum() {
  for (size_t i = 0; i < kEntries.size(); ++i) {
    if (static_cast<size_t>(kEntries[i].dtype) != i) return false;
  }
  return true;
}
static_assert(entries_follow_the_enum());

}  // namespace

uint64_t file_dtype_bytes(FileDType dtype) noexcept {
  return kEntries[static_cast<size_t>(dtype)].bytes;
}

std::string_view file_dtype_name(FileDType dtype) noexcept {
  return kEntries[static_cast<size_t>(dtype)].name;
}

std::optional<FileDType> parse_file_dtype(std::string_view name) noexcept {
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

}  // namespace skein
