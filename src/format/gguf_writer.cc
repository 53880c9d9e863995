#include "format/gguf_writer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <type_traits>
#include <utility>

#include "base/bits.h"
#include "base/check.h"
#include "format/gguf.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"

namespace skein {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint64_t kGatherBytes = uint64_t{2} << 20;  // what is shorter is gathered
constexpr uint64_t kMaxTensorBytes = uint64_t{1} << 62;

// Little-endian numbers and strings with their length in front.
class TextBuilder {
 public:
  template <typename T>
  void number(T value) {
    const size_t begin = text_.size();
    text_.resize(begin + sizeof value);
    std::memcpy(text_.data() + begin, &value, sizeof value);
  }

  void string(std::string_view text) {
    number(static_cast<uint64_t>(text.size()));
    text_ += text;
  }

  void type(GgufType type) { number(static_cast<uint32_t>(type)); }

  void pad() { text_.resize(round_up<uint64_t>(text_.size(), GgufWriter::kAlignmentBytes)); }

  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void add_value(TextBuilder& out, const GgufField::Value& value) {
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          out.type(GgufType::kString);
          out.string(v);
        } else if constexpr (std::is_same_v<T, uint32_t>) {
          out.type(GgufType::kU32);
          out.number(v);
        } else if constexpr (std::is_same_v<T, float>) {
          out.type(GgufType::kF32);
          out.number(v);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          out.type(GgufType::kArray);
          out.type(GgufType::kString);
          out.number(static_cast<uint64_t>(v.size()));
          for (const std::string& text : v) out.string(text);
        } else {
          out.type(GgufType::kArray);
          out.type(GgufType::kI32);
          out.number(static_cast<uint64_t>(v.size()));
          for (const int32_t number : v) out.number(number);
        }
      },
      value);
}

Status check_declaration(const TensorDeclaration& tensor, const std::string& path) {
  if (!is_tensor_name(tensor.name)) {
    return error("{}: tensor {}: expected a name of 1 to {} bytes without control characters", path,
                 quote_name(tensor.name), Safetensors::kMaxNameBytes);
  }
  if (!ggml_type_number(tensor.dtype)) {
    return error("{}: tensor {}: expected a type that .gguf has, found {}", path,
                 quote_name(tensor.name), file_dtype_name(tensor.dtype));
  }
  if (tensor.shape.size() > Gguf::kMaxRank) {
    return error("{}: tensor {}: expected at most {} dimensions, found {}", path,
                 quote_name(tensor.name), Gguf::kMaxRank, tensor.shape.size());
  }
  return {};
}

}  // namespace

Result<GgufWriter> GgufWriter::create(const std::string& path, std::span<const GgufField> metadata,
                                      std::span<const TensorDeclaration> tensors) {
  TextBuilder header;
  for (const char c : std::string_view("GGUF")) header.number(c);
  header.number(kVersion);
  header.number(static_cast<uint64_t>(tensors.size()));
  header.number(static_cast<uint64_t>(metadata.size()));
  for (const GgufField& field : metadata) {
    header.string(field.key);
    add_value(header, field.value);
  }
  std::vector<Section> sections;
  std::set<std::string_view> names;
  uint64_t offset_bytes = 0;
  for (const TensorDeclaration& tensor : tensors) {
    SKEIN_RETURN_IF_ERROR(check_declaration(tensor, path));
    if (!names.insert(tensor.name).second) {
      return error("{}: tensor {}: expected the name once, found it twice", path,
                   quote_name(tensor.name));
    }
    const auto data_bytes = tensor_bytes(tensor.dtype, tensor.shape);
    if (!data_bytes || *data_bytes > kMaxTensorBytes - offset_bytes) {
      return error("{}: tensor {}: expected less than 2^62 bytes of data, found {} [{}]", path,
                   quote_name(tensor.name), file_dtype_name(tensor.dtype),
                   fmt::join(tensor.shape, ", "));
    }
    header.string(tensor.name);
    header.number(static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) header.number(tensor.shape[i]);
    header.number(*ggml_type_number(tensor.dtype));
    header.number(offset_bytes);
    offset_bytes = round_up(offset_bytes + *data_bytes, kAlignmentBytes);
    sections.push_back({tensor.name, *data_bytes});
  }
  header.pad();
  const std::string text = header.take();

  SKEIN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::open(path));
  SKEIN_RETURN_IF_ERROR(file.reserve(text.size() + offset_bytes));
  GgufWriter writer(std::move(file));
  writer.sections_ = std::move(sections);
  if (!writer.sections_.empty()) writer.remaining_bytes_ = writer.sections_.front().data_bytes;
  // At once: a target that cannot be written is found before the data are made.
  SKEIN_RETURN_IF_ERROR(writer.file_.write(std::as_bytes(std::span(text))));
  return writer;
}

Status GgufWriter::append(std::span<const std::byte> bytes) {
  if (pending_.size() + bytes.size() >= kGatherBytes) {
    SKEIN_RETURN_IF_ERROR(flush());
    if (bytes.size() >= kGatherBytes) return file_.write(bytes);
  }
  pending_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return {};
}

Status GgufWriter::flush() {
  SKEIN_RETURN_IF_ERROR(file_.write(std::as_bytes(std::span(pending_))));
  pending_.clear();
  return {};
}

// The zeros behind the current section; then the next one is current.
Status GgufWriter::end_section() {
  CHECK(remaining_bytes_ == 0);
  const uint64_t data_bytes = sections_[current_].data_bytes;
  const std::string zeros(round_up(data_bytes, kAlignmentBytes) - data_bytes, '\0');
  SKEIN_RETURN_IF_ERROR(append(std::as_bytes(std::span(zeros))));
  ++current_;
  if (current_ < sections_.size()) remaining_bytes_ = sections_[current_].data_bytes;
  return {};
}

Status GgufWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  CHECK(current_ < sections_.size());
  while (sections_[current_].name != name) {
    SKEIN_RETURN_IF_ERROR(end_section());
    CHECK(current_ < sections_.size());
  }
  CHECK(bytes.size() <= remaining_bytes_);
  remaining_bytes_ -= bytes.size();
  return append(bytes);
}

Status GgufWriter::commit() {
  while (current_ < sections_.size()) SKEIN_RETURN_IF_ERROR(end_section());
  SKEIN_RETURN_IF_ERROR(flush());
  return file_.commit();
}

}  // namespace skein
