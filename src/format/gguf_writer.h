// GgufWriter: streams tensors into a .gguf file (version 3) that appears complete or not at all.
//
// Goals: a file that llama.cpp and our own reader load; no copy of the data. Non-goals: what the
// metadata mean, changing a file, sorting tensors (they lie in declaration order).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "format/safetensors_writer.h"

namespace skein {

// One line of the metadata. Texts may hold any bytes.
struct GgufField {
  using Value =
      std::variant<std::string, uint32_t, float, std::vector<std::string>, std::vector<int32_t>>;
  std::string key;
  Value value;
};

class GgufWriter {
 public:
  static constexpr uint64_t kAlignmentBytes = 32;  // of data, the format's default

  // Writes the header. Errors: the file (AtomicFile::open), or a declaration that Gguf would refuse
  // to read: empty or duplicate name, a type that .gguf does not have, too high a rank, overflow.
  static Result<GgufWriter> create(const std::string& path, std::span<const GgufField> metadata,
                                   std::span<const TensorDeclaration> tensors);

  // Appends to the data of tensor `name`, in one piece or several. Tensors are written in
  // declaration order, each to its full length before the next begins. Anything else is a CHECK.
  Status write(std::string_view name, std::span<const std::byte> bytes);

  // All tensors are complete (a CHECK): the file takes its place. Without it the destructor leaves
  // no trace.
  Status commit();

 private:
  struct Section {
    std::string name;
    uint64_t data_bytes = 0;
  };

  explicit GgufWriter(AtomicFile file) : file_(std::move(file)) {}
  Status append(std::span<const std::byte> bytes);
  Status flush();
  Status end_section();

  AtomicFile file_;
  std::string pending_;  // less than a piece
  std::vector<Section> sections_;
  size_t current_ = 0;            // of sections_
  uint64_t remaining_bytes_ = 0;  // of the current section
};

}  // namespace skein
