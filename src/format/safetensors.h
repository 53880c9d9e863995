// Safetensors: a .safetensors file, checked in full before anything of it is used, its tensors as
// views of the file.
//
// The format: u64 little-endian header length; the header, a JSON object {"name": {"dtype",
// "shape", "data_offsets": [begin, end]}, "__metadata__": {string: string}}, spaces after it
// allowed; then the data, which the tensors cover without holes and without overlap. Offsets count
// from the start of the data.
//
// Goals: no input, however hostile, crashes, hangs or allocates more than a small multiple of its
// header; every refusal is one line, `FILE: tensor 'x': expected ..., found ...`. Stricter than the
// reference implementation in this: a duplicate name, an unknown key, a name with control
// characters and a rank over kMaxRank are refused. Non-goals: writing (safetensors_writer.h),
// converting elements, sharded models (tensor_file.h).
//
// Alignment: nothing of the format aligns data. Where the header length is no multiple of 8, or a
// tensor of bytes comes before one of floats, TensorInfo::data is misaligned for its type. Readers
// use memcpy or unaligned vector loads, never a cast of data.data() to a typed pointer, unless they
// have checked the address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "format/tensor_info.h"

namespace skein {

class Safetensors {
 public:
  // The reference implementation's cap too; the largest known header is a few MB.
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;
  // Of the header's length, in front of everything.
  static constexpr uint64_t kLengthBytes = 8;
  static constexpr size_t kMaxNameBytes = 1024;
  static constexpr size_t kMaxRank = 32;
  // A tensor with such a name is padding that SafetensorsWriter put between aligned tensors, since
  // the format forbids holes. It is checked like any other and then left out of tensors() and
  // find().
  static constexpr std::string_view kPaddingPrefix = "__pad__.";

  // Maps the file and checks it. Cost: the header's length; the data is not touched.
  static Result<Safetensors> open(const std::string& path);

  // The same for bytes in memory, which must outlive the result. `name` stands for the path in
  // messages.
  static Result<Safetensors> parse(std::span<const std::byte> file, const std::string& name);

  // The tensor of that name, or nullptr. O(log tensors).
  const TensorInfo* find(std::string_view name) const noexcept;

  // In the order of their data in the file.
  std::span<const TensorInfo> tensors() const noexcept { return tensors_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

  // The mapped file; empty after parse(). Its lifetime is that of every TensorInfo::data.
  const MappedFile& file() const noexcept { return file_; }

 private:
  Safetensors() = default;

  MappedFile file_;
  std::vector<TensorInfo> tensors_;
  std::vector<size_t> by_name_;  // indices into tensors_, sorted by name: no hash table for a
                                 // hostile file to attack
  std::map<std::string, std::string> metadata_;
};

}  // namespace skein
