#include "format/safetensors_writer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/bits.h"
#include "base/check.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"

namespace skein {
namespace {

constexpr uint64_t kMaxDataBytes = uint64_t{1} << 62;  // leaves room for padding and header

// Data reaches the file in pieces of 2 MiB, each at a multiple of that: file systems with large
// folios (ext4 since Linux 6.16) then cache them as huge pages, and a mapping of the file maps
// those. 256 MiB, first read of a fresh mapping: 16 ms, and 56 ms when written in pieces of 64 KiB
// (Linux 6.18, ext4, AMD EPYC, 2026-11-23).
constexpr uint64_t kPieceBytes = uint64_t{2} << 20;

// A gigabyte is beyond every page and stripe; the cap keeps sums of offsets far from overflow.
constexpr bool is_alignment(uint64_t bytes) noexcept {
  return is_power_of_two(bytes) && bytes <= (uint64_t{1} << 30);
}

tl::unexpected<Error> header_too_long(const std::string& path, uint64_t found_bytes) {
  return error("{}: expected a header of at most {} bytes, found {}", path,
               Safetensors::kMaxHeaderBytes, found_bytes);
}

// `text` as a JSON string with its quotes.
Result<std::string> json_string(const std::string& text, const std::string& path) {
  // Never shorter than the text: spares the copies of one that cannot fit.
  if (text.size() > Safetensors::kMaxHeaderBytes) return header_too_long(path, text.size());
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {  // the library's only way to say so
    return error("{}: expected names and metadata in UTF-8, found {}", path,
                 nlohmann::json(quote_name(text))
                     .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  }
}

Status check_declarations(std::span<const TensorDeclaration> tensors, const std::string& path) {
  std::set<std::string_view> names;
  for (const TensorDeclaration& tensor : tensors) {
    if (!is_tensor_name(tensor.name)) {
      return error("{}: tensor {}: expected a name of 1 to {} bytes without control characters",
                   path, quote_name(tensor.name), Safetensors::kMaxNameBytes);
    }
    if (tensor.name == kMetadataKey || tensor.name.starts_with(Safetensors::kPaddingPrefix)) {
      return error("{}: tensor {}: expected a name of the caller's, found a reserved one", path,
                   quote_name(tensor.name));
    }
    if (!names.insert(tensor.name).second) {
      return error("{}: tensor {}: expected the name once, found it twice", path,
                   quote_name(tensor.name));
    }
    CHECK(is_alignment(tensor.alignment_bytes));
    if (tensor.shape.size() > Safetensors::kMaxRank) {
      return error("{}: tensor {}: expected a shape of at most {} numbers, found {}", path,
                   quote_name(tensor.name), Safetensors::kMaxRank, tensor.shape.size());
    }
  }
  return {};
}

// `, "name": {...}`
std::string tensor_member(std::string_view json_name, FileDType dtype,
                          std::span<const uint64_t> shape, uint64_t begin_bytes,
                          uint64_t end_bytes) {
  return fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json_name,
                     file_dtype_name(dtype), fmt::join(shape, ","), begin_bytes, end_bytes);
}

std::string padding_member(size_t index, uint64_t begin_bytes, uint64_t end_bytes) {
  const auto name = fmt::format(R"("{}{}")", Safetensors::kPaddingPrefix, index);
  return tensor_member(name, FileDType::kU8, std::array{end_bytes - begin_bytes}, begin_bytes,
                       end_bytes);
}

// `, "__metadata__": {...}`, or nothing without metadata.
Result<std::string> metadata_member(const std::map<std::string, std::string>& metadata,
                                    const std::string& path) {
  if (metadata.empty()) return std::string();
  std::string members;
  for (const auto& [name, value] : metadata) {
    SKEIN_ASSIGN_OR_RETURN(const std::string json_name, json_string(name, path));
    SKEIN_ASSIGN_OR_RETURN(const std::string json_value, json_string(value, path));
    members += fmt::format("{}{}:{}", members.empty() ? "" : ",", json_name, json_value);
  }
  return fmt::format(R"(,"{}":{{{}}})", kMetadataKey, members);
}

// Length, object, and spaces until the data starts at a multiple of alignment_bytes. Every member
// has a comma in front, of which the first one's is dropped.
std::string header_text(std::string_view metadata, std::string_view tensors,
                        uint64_t alignment_bytes) {
  std::string members = fmt::format("{}{}", metadata, tensors);
  if (!members.empty()) members.erase(0, 1);
  std::string text = fmt::format("{{{}}}", members);
  text.resize(round_up(Safetensors::kLengthBytes + text.size(), alignment_bytes) -
                  Safetensors::kLengthBytes,
              ' ');
  std::string prefix;
  for (uint64_t i = 0; i < Safetensors::kLengthBytes; ++i) {
    prefix += static_cast<char>((text.size() >> (8 * i)) & 0xffu);
  }
  return prefix + text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(AtomicFile file, Frame frame)
    : file_(std::move(file)), frame_(std::move(frame)) {}

Result<SafetensorsWriter::Frame> SafetensorsWriter::lay_out(
    const std::string& path, std::span<const TensorDeclaration> tensors,
    const SafetensorsOptions& options) {
  Frame frame;
  frame.alignment_bytes = std::max(options.data_alignment_bytes, options.tensor_alignment_bytes);
  uint64_t end_bytes = 0;
  for (const TensorDeclaration& tensor : tensors) {
    SKEIN_ASSIGN_OR_RETURN(const std::string json_name, json_string(tensor.name, path));
    // The data start is a multiple of every alignment, so offsets in the data are as aligned as in
    // the file.
    const uint64_t alignment = std::max(options.tensor_alignment_bytes, tensor.alignment_bytes);
    frame.alignment_bytes = std::max(frame.alignment_bytes, alignment);
    const uint64_t begin_bytes = round_up(end_bytes, alignment);
    if (begin_bytes != end_bytes) {
      frame.tensor_members += padding_member(frame.sections.size(), end_bytes, begin_bytes);
    }
    const auto data_bytes = tensor_bytes(tensor.dtype, tensor.shape);
    if (!data_bytes || begin_bytes > kMaxDataBytes || *data_bytes > kMaxDataBytes - begin_bytes) {
      return error("{}: tensor {}: expected less than 2^62 bytes of data, found {} [{}]", path,
                   quote_name(tensor.name), file_dtype_name(tensor.dtype),
                   fmt::join(tensor.shape, ", "));
    }
    frame.sections.push_back({tensor.name, begin_bytes - end_bytes, *data_bytes});
    end_bytes = begin_bytes + *data_bytes;
    frame.tensor_members +=
        tensor_member(json_name, tensor.dtype, tensor.shape, begin_bytes, end_bytes);
  }
  if (options.tail_bytes != 0) {
    const uint64_t begin_bytes = std::exchange(end_bytes, end_bytes + options.tail_bytes);
    frame.tensor_members += padding_member(frame.sections.size(), begin_bytes, end_bytes);
    frame.sections.push_back({"", options.tail_bytes, 0});
  }
  frame.data_bytes = end_bytes;
  return frame;
}

Result<SafetensorsWriter> SafetensorsWriter::create(
    const std::string& path, std::span<const TensorDeclaration> tensors,
    const std::map<std::string, std::string>& metadata, const SafetensorsOptions& options) {
  CHECK(is_alignment(options.tensor_alignment_bytes));
  CHECK(is_alignment(options.data_alignment_bytes));
  CHECK(options.tail_bytes <= kMaxDataBytes);
  SKEIN_RETURN_IF_ERROR(check_declarations(tensors, path));
  SKEIN_ASSIGN_OR_RETURN(const std::string member, metadata_member(metadata, path));
  SKEIN_ASSIGN_OR_RETURN(Frame frame, lay_out(path, tensors, options));
  const std::string text = header_text(member, frame.tensor_members, frame.alignment_bytes);
  if (text.size() - Safetensors::kLengthBytes > Safetensors::kMaxHeaderBytes) {
    return header_too_long(path, text.size() - Safetensors::kLengthBytes);
  }
  frame.header_bytes = text.size();

  SKEIN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::open(path));
  SKEIN_RETURN_IF_ERROR(file.reserve(text.size() + frame.data_bytes));
  SafetensorsWriter writer(std::move(file), std::move(frame));
  SKEIN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(text))));
  // At once: a target that cannot be written is found before the data are made.
  SKEIN_RETURN_IF_ERROR(writer.flush());
  if (!writer.frame_.sections.empty()) SKEIN_RETURN_IF_ERROR(writer.begin_section());
  return writer;
}

Status SafetensorsWriter::replace_metadata(const std::map<std::string, std::string>& metadata) {
  SKEIN_ASSIGN_OR_RETURN(const std::string member, metadata_member(metadata, file_.path()));
  const std::string text = header_text(member, frame_.tensor_members, frame_.alignment_bytes);
  CHECK(text.size() == frame_.header_bytes);
  return file_.overwrite(0, std::as_bytes(std::span(text)));
}

Status SafetensorsWriter::begin_section() {
  const Section& section = frame_.sections[current_];
  remaining_bytes_ = section.data_bytes;
  return append_zeros(section.padding_bytes);
}

Status SafetensorsWriter::append_zeros(uint64_t num_bytes) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (num_bytes != 0) {
    const uint64_t length = std::min<uint64_t>(num_bytes, kZeros.size());
    SKEIN_RETURN_IF_ERROR(append(std::span(kZeros).first(length)));
    num_bytes -= length;
  }
  return {};
}

Status SafetensorsWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const uint64_t room_bytes = kPieceBytes - (offset_bytes_ + pending_.size()) % kPieceBytes;
    if (pending_.empty() && room_bytes == kPieceBytes && bytes.size() >= kPieceBytes) {
      const uint64_t whole_bytes = bytes.size() / kPieceBytes * kPieceBytes;
      SKEIN_RETURN_IF_ERROR(file_.write(bytes.first(whole_bytes)));
      offset_bytes_ += whole_bytes;
      bytes = bytes.subspan(whole_bytes);
      continue;
    }
    const auto piece = bytes.first(std::min<uint64_t>(room_bytes, bytes.size()));
    pending_.insert(pending_.end(), piece.begin(), piece.end());
    bytes = bytes.subspan(piece.size());
    if (piece.size() == room_bytes) SKEIN_RETURN_IF_ERROR(flush());
  }
  return {};
}

Status SafetensorsWriter::flush() {
  SKEIN_RETURN_IF_ERROR(file_.write(pending_));
  offset_bytes_ += pending_.size();
  pending_.clear();
  return {};
}

Status SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  CHECK(current_ < frame_.sections.size());
  while (frame_.sections[current_].name != name) {
    CHECK(remaining_bytes_ == 0);
    ++current_;
    CHECK(current_ < frame_.sections.size());
    SKEIN_RETURN_IF_ERROR(begin_section());
  }
  CHECK(bytes.size() <= remaining_bytes_);
  remaining_bytes_ -= bytes.size();
  return append(bytes);
}

Status SafetensorsWriter::commit() {
  while (remaining_bytes_ == 0 && current_ + 1 < frame_.sections.size()) {
    ++current_;
    SKEIN_RETURN_IF_ERROR(begin_section());
  }
  CHECK(remaining_bytes_ == 0);
  SKEIN_RETURN_IF_ERROR(flush());
  return file_.commit();
}

}  // namespace skein
