// MappedFile: a whole file, read-only, as bytes in memory.
//
// Goals: load a model without a second copy; say what is wrong with a path in one line; give pages
// back when asked. Non-goals: writing, growing, windows of a file. A file that is cut short by
// somebody else while it is mapped is out of scope: reading the lost pages raises SIGBUS, as for
// every program that maps files. Replace files by rename (AtomicFile in file.h does); a mapping
// keeps the old content then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace skein {

class MappedFile {
 public:
  // No file: zero bytes and an empty path.
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  // Maps all of `path`; symbolic links are followed. An empty file is fine and has zero bytes.
  // Errors, each one line that starts with the path: it does not exist, cannot be read, or is no
  // regular file (folder, fifo, device, socket). Never blocks on a fifo.
  static Result<MappedFile> open(const std::string& path);

  // The content. The address stays the same when the MappedFile is moved; it is a multiple of the
  // page size.
  std::span<const std::byte> bytes() const noexcept { return {data_, size_bytes_}; }
  const std::string& path() const noexcept { return path_; }

  // Asks for the pages that [offset_bytes, offset_bytes + length_bytes) touches to be read soon.
  // Returns at once. The range must lie inside the file; the same for release().
  void will_need(uint64_t offset_bytes, uint64_t length_bytes) const noexcept;

  // Asks for huge pages where the file system caches the file in such, and for reading ahead in
  // steps of them: for a file that will be read again and again.
  void use_huge_pages() const noexcept;

  // Takes the pages that lie fully inside the range out of this process's resident memory. The data
  // stays readable: the next access brings it back from the file. The tail page counts as inside
  // where the range ends with the file.
  void release(uint64_t offset_bytes, uint64_t length_bytes) const noexcept;

 private:
  void unmap() noexcept;

  const std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
  std::string path_;
};

}  // namespace skein
