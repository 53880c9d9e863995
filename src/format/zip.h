// Zip: the entries of a zip archive as views of the file.
//
// Goals: the archives that torch.save writes (stored entries, zip64 where it is needed), mapped and
// used in place; the central directory checked in full first: no entry reaches outside the file or
// into another one, so that nothing can be larger than the file. Non-goals: compressed or encrypted
// entries and archives of several disks, which are refused by name; checksums, which would read
// everything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace skein {

struct ZipEntry {
  std::string name;
  std::span<const std::byte> data;
  uint64_t offset_bytes = 0;  // of data, from the start of the archive
};

// In the order of the directory. `file` stands at the start of every message. Cost: the directory
// and one header an entry.
Result<std::vector<ZipEntry>> read_zip(std::span<const std::byte> archive, const std::string& file);

}  // namespace skein
