// SafetensorsWriter: streams tensors into a .safetensors file that appears complete or not at all.
//
// Goals: a file that every reader of the format loads; data at the alignment asked for, so that it
// can be used straight from a mapping; no copy of the data. Non-goals: changing a file, sorting
// tensors (they lie in declaration order).
//
// Alignment is made legal in two ways, since the format forbids holes: the header is padded with
// spaces until the data starts at a multiple of data_alignment_bytes, and the gap before a tensor,
// as the tail, is itself a tensor of zero bytes, named Safetensors::kPaddingPrefix plus a number.
// Our reader leaves those out; other readers list them.
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
  // A power of two as below, for this tensor; the options' where that is larger.
  uint64_t alignment_bytes = 1;
};

struct SafetensorsOptions {
  // Powers of two up to 2^30, counted from the start of the file. The data start takes the larger
  // of both.
  uint64_t data_alignment_bytes = 8;
  uint64_t tensor_alignment_bytes = 1;
  // Zeros behind the last tensor, for readers that look ahead of what they use.
  uint64_t tail_bytes = 0;
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

  // Puts other metadata into the header: checksums, say, which are known once the data is written.
  // They must take as many bytes in the header as those of create() (a CHECK). Errors: the target
  // cannot go back, such as a fifo; text that is no UTF-8.
  Status replace_metadata(const std::map<std::string, std::string>& metadata);

  // All tensors are complete (a CHECK): the file takes its place. Without it the destructor leaves
  // no trace.
  Status commit();

 private:
  struct Section {
    std::string name;
    uint64_t padding_bytes = 0;  // zeros before the data
    uint64_t data_bytes = 0;
  };

  // Where everything lies: what of the file is the same for all metadata.
  struct Frame {
    std::vector<Section> sections;  // the last one has no name where there is a tail
    std::string tensor_members;     // of the header
    uint64_t alignment_bytes = 1;   // of the data's start
    uint64_t data_bytes = 0;
    uint64_t header_bytes = 0;  // with the length in front
  };

  SafetensorsWriter(AtomicFile file, Frame frame);
  static Result<Frame> lay_out(const std::string& path, std::span<const TensorDeclaration> tensors,
                               const SafetensorsOptions& options);
  Status begin_section();
  Status append_zeros(uint64_t num_bytes);
  Status append(std::span<const std::byte> bytes);
  Status flush();

  AtomicFile file_;
  uint64_t offset_bytes_ = 0;       // of the file, where pending_ goes
  std::vector<std::byte> pending_;  // less than a piece
  Frame frame_;
  std::vector<Section> sections_;  // the last one has no name where there is a tail
  size_t current_ = 0;             // of sections_
  uint64_t remaining_bytes_ = 0;   // of the current section's data
};

}  // namespace skein
