// NpyWriter: a two-dimensional f32 array as a NumPy .npy file (format 1.0), row by row.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/file.h"
#include "base/result.h"

namespace skein::cli {

// The magic, version and header of a little-endian f32 array [rows][cols] in C order. Its length is
// a multiple of 64.
std::string npy_header(uint64_t rows, uint64_t cols);

class NpyWriter {
 public:
  // "-" is stdout; any other path appears complete at commit() or not at all.
  static Result<NpyWriter> open(const std::string& path, uint64_t rows, uint64_t cols);

  Status write_row(std::span<const float> row);
  Status commit();

 private:
  NpyWriter() = default;
  Status write(std::span<const std::byte> bytes);

  std::optional<AtomicFile> file_;  // none: stdout
};

}  // namespace skein::cli
