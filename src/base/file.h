// Whole files: text in, bytes out. A written file appears complete or not at all.
//
// Goals: no half-written result, whatever fails; errors that name the path and the reason; devices
// and fifos as targets without harm. Non-goals: appending, random access, reading large data
// (mapped_file.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace skein {

// A file being written. The bytes go to a temporary file in the target's folder; commit() makes
// them durable and renames them over the target. Destroyed without commit(), it removes the
// temporary and leaves the target alone.
//
// A target that exists and is no regular file (/dev/full, /dev/null, a fifo) is written directly,
// since a rename would destroy it. A symbolic link stays: the file that it points to is replaced.
// An existing target's permission bits are kept; a new file gets the usual ones (0666 less the
// umask).
class AtomicFile {
 public:
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Errors: the folder does not exist or cannot be written, or the path is a folder.
  static Result<AtomicFile> open(const std::string& path);

  // Asks for room for `num_bytes` at once, so that a full disk is an error now and not after long
  // work. Where the file system cannot say, write() finds out. The length does not change.
  Status reserve(uint64_t num_bytes);

  // Appends all of `bytes`, unbuffered. After an error only destruction makes sense.
  Status write(std::span<const std::byte> bytes);

  // Replaces the bytes from `offset_bytes` on; what was appended so far reaches beyond them. Errors
  // too: a target that cannot go back, such as a fifo.
  Status overwrite(uint64_t offset_bytes, std::span<const std::byte> bytes);

  // fsync, rename, fsync of the folder. Nothing may be written afterwards.
  Status commit();

  const std::string& path() const noexcept { return path_; }

 private:
  AtomicFile() = default;
  void abandon() noexcept;

  std::string path_;            // as the user wrote it, for messages
  std::string target_path_;     // links resolved
  std::string temporary_path_;  // empty: the target is written directly
  int fd_ = -1;
};

// open, write, commit.
Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

// The content of a file of at most `max_bytes`; fifos and character devices are read to their end.
// Errors: the file cannot be read, is a folder, or is longer than max_bytes (found before it is all
// in memory).
Result<std::string> read_text_file(const std::string& path, uint64_t max_bytes);

}  // namespace skein
