#include "format/file_dtype.h"

#include <array>
#include <cstddef>

#include "base/check.h"

namespace skein {
namespace {

struct Entry {
  FileDType dtype;
  std::string_view name;
  uint64_t bytes;
  uint64_t elems = 1;
};

// In the order of the enum, so that the enum is the index.
constexpr std::array kEntries = {
    Entry{FileDType::kBool, "BOOL", 1},       Entry{FileDType::kU8, "U8", 1},
    Entry{FileDType::kI8, "I8", 1},           Entry{FileDType::kF8E5M2, "F8_E5M2", 1},
    Entry{FileDType::kF8E4M3, "F8_E4M3", 1},  Entry{FileDType::kF8E8M0, "F8_E8M0", 1},
    Entry{FileDType::kI16, "I16", 2},         Entry{FileDType::kU16, "U16", 2},
    Entry{FileDType::kF16, "F16", 2},         Entry{FileDType::kBF16, "BF16", 2},
    Entry{FileDType::kI32, "I32", 4},         Entry{FileDType::kU32, "U32", 4},
    Entry{FileDType::kF32, "F32", 4},         Entry{FileDType::kC64, "C64", 8},
    Entry{FileDType::kF64, "F64", 8},         Entry{FileDType::kI64, "I64", 8},
    Entry{FileDType::kU64, "U64", 8},         Entry{FileDType::kQ8_0, "Q8_0", 34, 32},
    Entry{FileDType::kQ4_0, "Q4_0", 18, 32},  Entry{FileDType::kQ4_1, "Q4_1", 20, 32},
    Entry{FileDType::kQ5_0, "Q5_0", 22, 32},  Entry{FileDType::kQ5_1, "Q5_1", 24, 32},
    Entry{FileDType::kQ4K, "Q4_K", 144, 256}, Entry{FileDType::kQ5K, "Q5_K", 176, 256},
    Entry{FileDType::kQ6K, "Q6_K", 210, 256},
};

constexpr bool entries_follow_the_enum() {
  for (size_t i = 0; i < kEntries.size(); ++i) {
    if (static_cast<size_t>(kEntries[i].dtype) != i) return false;
  }
  return true;
}
static_assert(entries_follow_the_enum());

}  // namespace

FileBlock file_dtype_block(FileDType dtype) noexcept {
  const Entry& entry = kEntries[static_cast<size_t>(dtype)];
  return {entry.elems, entry.bytes};
}

uint64_t file_dtype_bytes(FileDType dtype) noexcept {
  CHECK(!is_block_coded(dtype));
  return kEntries[static_cast<size_t>(dtype)].bytes;
}

std::string_view file_dtype_name(FileDType dtype) noexcept {
  return kEntries[static_cast<size_t>(dtype)].name;
}

std::optional<FileDType> parse_file_dtype(std::string_view name) noexcept {
  for (const Entry& entry : kEntries) {
    if (entry.name == name && !is_block_coded(entry.dtype)) return entry.dtype;
  }
  return std::nullopt;
}

}  // namespace skein
