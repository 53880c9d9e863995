// SafetensorsWriter: streams tensors into a .safetensors file that appears complete or not at all.
//
// Goals: a file that every reader of the format loads; data at the alignment asked for, so that it
// can be used straight from a mapping; no copy of the data. Non-goals: changing a file, sorting
// tensors (they lie in declaration order).
//
// Alignment is made legal in two ways, since the format forbids holes: the header is padded with
// spaces until the data starts at a multiple of data_alignment_bytes, and the gap before a tensor
// is itself a tensor of zero bytes, named Safetensors::kPaddingPrefix plus a number. Our reader
// leaves those out; other readers list them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "format/file_dtype.h"

namespace skein {

struct TensorDeclaration {
  std::string name;
  FileDType dtype = FileDType::kU8;
  std::vector<uint64_t> shape;  // slowest axis first
};

struct SafetensorsOptions {
  // Powers of two up to 2^30, counted from the start of the file. The data start takes the larger
  // of both.
  uint64_t data_alignment_bytes = 8;
  uint64_t tensor_alignment_bytes = 1;
};

class SafetensorsWriter {
 public:
  // Writes the header. Errors: the file (AtomicFile::open), or a declaration that Safetensors would
  // refuse to read: empty, duplicate or reserved name, too high a rank, overflow, text that is no
  // UTF-8.
  static Result<SafetensorsWriter> create(const std::string& path,
                                          std::span<const TensorDeclaration> tensors,
                                          const std::map<std::string, std::string>& metadata = {},
                                          const SafetensorsOptions& options = {});

  // Appends to the data of tensor `name`, in one piece or several. Tensors are written in
  // declaration order, each to its full length before the next begins; one without elements may be
  // skipped. Anything else is a CHECK.
  Status write(std::string_view name, std::span<const std::byte> bytes);

  // All tensors are complete (a CHECK): the file takes its place. Without it the destructor leaves
  // no trace.
  Status commit();

 private:
  struct Section {
    std::string name;
    uint64_t padding_bytes = 0;  // zeros before the data
    uint64_t data_bytes = 0;
  };

  SafetensorsWriter(AtomicFile file, std::vector<Section> sections);
  Status begin_section();

  AtomicFile file_;
  std::vector<Section> sections_;
  size_t current_ = 0;            // of sections_
  uint64_t remaining_bytes_ = 0;  // of the current section's data
};

}  // namespace skein
