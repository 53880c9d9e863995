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

constexpr uint64_t kLengthBytes = 8;  // of the header length in front of everything
constexpr uint64_t kMaxDataBytes = uint64_t{1} << 62;  // leaves room for padding and header

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
    if (tensor.shape.size() > Safetensors::kMaxRank) {
      return error("{}: tensor {}: expected a shape of at most {} numbers, found {}", path,
                   quote_name(tensor.name), Safetensors::kMaxRank, tensor.shape.size());
    }
  }
  return {};
}

// Collects the members of the header object.
class HeaderText {
 public:
  void add_tensor(std::string_view json_name, FileDType dtype, std::span<const uint64_t> shape,
                  uint64_t begin_bytes, uint64_t end_bytes) {
    add(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json_name,
                    file_dtype_name(dtype), fmt::join(shape, ","), begin_bytes, end_bytes));
  }

  Status add_metadata(const std::map<std::string, std::string>& metadata, const std::string& path) {
    if (metadata.empty()) return {};
    std::string members;
    for (const auto& [name, value] : metadata) {
      SKEIN_ASSIGN_OR_RETURN(const std::string json_name, json_string(name, path));
      SKEIN_ASSIGN_OR_RETURN(const std::string json_value, json_string(value, path));
      members += fmt::format("{}{}:{}", members.empty() ? "" : ",", json_name, json_value);
    }
    add(fmt::format(R"("{}":{{{}}})", kMetadataKey, members));
    return {};
  }

  // Length, object, and spaces until the data starts at a multiple of alignment_bytes.
  std::string finish(uint64_t alignment_bytes) && {
    text_ += '}';
    const uint64_t total_bytes = round_up(kLengthBytes + text_.size(), alignment_bytes);
    text_.resize(total_bytes - kLengthBytes, ' ');
    std::string prefix;
    for (uint64_t i = 0; i < kLengthBytes; ++i) {
      prefix += static_cast<char>((text_.size() >> (8 * i)) & 0xffu);
    }
    return prefix + text_;
  }

 private:
  void add(std::string_view member) {
    if (text_.size() > 1) text_ += ',';
    text_ += member;
  }

  std::string text_ = "{";
};

}  // namespace

SafetensorsWriter::SafetensorsWriter(AtomicFile file, std::vector<Section> sections)
    : file_(std::move(file)), sections_(std::move(sections)) {}

Result<SafetensorsWriter> SafetensorsWriter::create(
    const std::string& path, std::span<const TensorDeclaration> tensors,
    const std::map<std::string, std::string>& metadata, const SafetensorsOptions& options) {
  CHECK(is_alignment(options.tensor_alignment_bytes));
  CHECK(is_alignment(options.data_alignment_bytes));
  SKEIN_RETURN_IF_ERROR(check_declarations(tensors, path));
  HeaderText header;
  SKEIN_RETURN_IF_ERROR(header.add_metadata(metadata, path));
  std::vector<Section> sections;
  uint64_t end_bytes = 0;
  for (const TensorDeclaration& tensor : tensors) {
    SKEIN_ASSIGN_OR_RETURN(const std::string json_name, json_string(tensor.name, path));
    // The data start is a multiple of the tensor alignment too, so offsets in the data are as
    // aligned as in the file.
    const uint64_t begin_bytes = round_up(end_bytes, options.tensor_alignment_bytes);
    const uint64_t padding_bytes = begin_bytes - end_bytes;
    if (padding_bytes != 0) {
      const auto name = fmt::format(R"("{}{}")", Safetensors::kPaddingPrefix, sections.size());
      header.add_tensor(name, FileDType::kU8, std::array{padding_bytes}, end_bytes, begin_bytes);
    }
    const auto data_bytes = tensor_bytes(tensor.dtype, tensor.shape);
    if (!data_bytes || begin_bytes > kMaxDataBytes || *data_bytes > kMaxDataBytes - begin_bytes) {
      return error("{}: tensor {}: expected less than 2^62 bytes of data, found {} [{}]", path,
                   quote_name(tensor.name), file_dtype_name(tensor.dtype),
                   fmt::join(tensor.shape, ", "));
    }
    end_bytes = begin_bytes + *data_bytes;
    header.add_tensor(json_name, tensor.dtype, tensor.shape, begin_bytes, end_bytes);
    sections.push_back({tensor.name, padding_bytes, *data_bytes});
  }
  const std::string text = std::move(header).finish(
      std::max(options.data_alignment_bytes, options.tensor_alignment_bytes));
  if (text.size() - kLengthBytes > Safetensors::kMaxHeaderBytes) {
    return header_too_long(path, text.size() - kLengthBytes);
  }

  SKEIN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::open(path));
  SKEIN_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(text))));
  SafetensorsWriter writer(std::move(file), std::move(sections));
  if (!writer.sections_.empty()) SKEIN_RETURN_IF_ERROR(writer.begin_section());
  return writer;
}

Status SafetensorsWriter::begin_section() {
  static constexpr std::array<std::byte, 4096> kZeros{};
  const Section& section = sections_[current_];
  remaining_bytes_ = section.data_bytes;
  for (uint64_t left = section.padding_bytes; left != 0;) {
    const uint64_t length = std::min<uint64_t>(left, kZeros.size());
    SKEIN_RETURN_IF_ERROR(file_.write(std::span(kZeros).first(length)));
    left -= length;
  }
  return {};
}

Status SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  CHECK(current_ < sections_.size());
  while (sections_[current_].name != name) {
    CHECK(remaining_bytes_ == 0);
    ++current_;
    CHECK(current_ < sections_.size());
    SKEIN_RETURN_IF_ERROR(begin_section());
  }
  CHECK(bytes.size() <= remaining_bytes_);
  remaining_bytes_ -= bytes.size();
  return file_.write(bytes);
}

Status SafetensorsWriter::commit() {
  while (remaining_bytes_ == 0 && current_ + 1 < sections_.size()) {
    ++current_;
    SKEIN_RETURN_IF_ERROR(begin_section());
  }
  CHECK(remaining_bytes_ == 0);
  return file_.commit();
}

}  // namespace skein
