#include "format/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/bits.h"
#include "format/safetensors.h"

namespace skein {
namespace {

using Json = nlohmann::json;

// What the next JSON event may be. Every state names the one thing that is legal in it, so depth is
// at most three.
enum class Expect : uint8_t {
  kHeader,         // the outermost object
  kTensorName,     // a key of it, or its end
  kTensor,         // the object of a tensor
  kField,          // a key of that, or its end
  kDType,          // a string
  kShape,          // an array
  kExtent,         // a number of it, or its end
  kOffsets,        // an array
  kOffset,         // a number of it, or its end
  kMetadata,       // an object
  kMetadataName,   // a key of it, or its end
  kMetadataValue,  // a string
};

const char* expected_text(Expect expect) noexcept {
  switch (expect) {
    case Expect::kHeader:
      return "an object";
    case Expect::kTensorName:
      return "a tensor's name";
    case Expect::kTensor:
      return "an object with dtype, shape and data_offsets";
    case Expect::kField:
      return "dtype, shape or data_offsets";
    case Expect::kDType:
      return "dtype to be a string";
    case Expect::kShape:
      return "shape to be an array";
    case Expect::kExtent:
      return "shape to hold whole numbers below 2^64";
    case Expect::kOffsets:
      return "data_offsets to be an array";
    case Expect::kOffset:
      return "data_offsets to hold whole numbers below 2^64";
    case Expect::kMetadata:
      return "an object of strings";
    case Expect::kMetadataName:
      return "a name";
    case Expect::kMetadataValue:
      return "a string";
  }
  return "";
}

// Receives the parser's events. A method that returns false ends the parse; error_ says why. The
// parser keeps its own stack of one bit a level on the heap, and the first level that does not
// belong ends it.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const std::string& file, SafetensorsHeader& header) : file_(file), header_(header) {}

  const Error& failure() const noexcept { return error_; }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override {
    return unexpected(fmt::format("the number {}", quote_name(text)));
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t number) override {
    if (expect_ == Expect::kExtent) {
      if (tensor_.shape.size() == Safetensors::kMaxRank) {
        return fail("expected a shape of at most {} numbers, found more", Safetensors::kMaxRank);
      }
      tensor_.shape.push_back(number);
      return true;
    }
    if (expect_ != Expect::kOffset) return unexpected("a number");
    if (num_offsets_ == 2) return fail("expected two data_offsets, found more");
    (num_offsets_++ == 0 ? tensor_.begin_bytes : tensor_.end_bytes) = number;
    return true;
  }

  bool string(string_t& text) override {
    if (expect_ == Expect::kMetadataValue) {
      header_.metadata[metadata_name_] = std::move(text);
      expect_ = Expect::kMetadataName;
      return true;
    }
    if (expect_ != Expect::kDType) return unexpected("a string");
    const auto dtype = parse_file_dtype(text);
    if (!dtype) {
      return fail("expected a dtype such as F16, BF16 or F32, found {}", quote_name(text));
    }
    tensor_.dtype = *dtype;
    expect_ = Expect::kField;
    return true;
  }

  bool start_object(size_t) override {
    switch (expect_) {
      case Expect::kHeader:
        expect_ = Expect::kTensorName;
        return true;
      case Expect::kTensor:
        expect_ = Expect::kField;
        return true;
      case Expect::kMetadata:
        expect_ = Expect::kMetadataName;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool key(string_t& name) override {
    switch (expect_) {
      case Expect::kTensorName:
        return begin_entry(name);
      case Expect::kField:
        return begin_field(name);
      default:  // the parser gives keys in objects only, so this is the metadata
        metadata_name_ = std::move(name);
        if (header_.metadata.contains(metadata_name_)) return fail("found the name twice");
        expect_ = Expect::kMetadataValue;
        return true;
    }
  }

  bool end_object() override {
    if (expect_ == Expect::kField) {
      if (!has_dtype_) return fail("expected a dtype, found none");
      if (!has_shape_) return fail("expected a shape, found none");
      if (!has_offsets_) return fail("expected data_offsets, found none");
      header_.tensors.push_back(std::move(tensor_));
      tensor_ = {};
    }
    in_metadata_ = false;
    metadata_name_.clear();
    expect_ = Expect::kTensorName;
    return true;
  }

  bool start_array(size_t) override {
    if (expect_ == Expect::kShape) {
      expect_ = Expect::kExtent;
    } else if (expect_ == Expect::kOffsets) {
      expect_ = Expect::kOffset;
    } else {
      return unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    if (expect_ == Expect::kOffset && num_offsets_ != 2) {
      return fail("expected two data_offsets, found {}", num_offsets_);
    }
    expect_ = Expect::kField;
    return true;
  }

  // The library's own text quotes the input at any length and is left out.
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_.message = fmt::format(
        "{}: header: expected JSON in UTF-8, found a mistake at its byte {}", file_, position);
    return false;
  }

 private:
  template <typename... Args>
  bool fail(fmt::format_string<Args...> format, Args&&... args) {
    const std::string what = fmt::format(format, std::forward<Args>(args)...);
    if (in_metadata_) {
      const std::string name = metadata_name_.empty() ? "" : quote_name(metadata_name_);
      error_.message =
          fmt::format("{}: {}{}{}: {}", file_, kMetadataKey, name.empty() ? "" : " ", name, what);
    } else if (expect_ == Expect::kHeader || expect_ == Expect::kTensorName) {
      error_.message = fmt::format("{}: header: {}", file_, what);
    } else {
      error_.message = fmt::format("{}: tensor {}: {}", file_, quote_name(tensor_.name), what);
    }
    return false;
  }

  bool unexpected(std::string_view found) {
    return fail("expected {}, found {}", expected_text(expect_), found);
  }

  bool begin_entry(string_t& name) {
    if (name == kMetadataKey) {
      if (std::exchange(has_metadata_, true)) return fail("found {} twice", kMetadataKey);
      in_metadata_ = true;
      expect_ = Expect::kMetadata;
      return true;
    }
    if (!is_tensor_name(name)) {
      return fail("expected a tensor's name of 1 to {} bytes without control characters, found {}",
                  Safetensors::kMaxNameBytes, quote_name(name));
    }
    tensor_.name = std::move(name);
    has_dtype_ = has_shape_ = has_offsets_ = false;
    num_offsets_ = 0;
    expect_ = Expect::kTensor;
    return true;
  }

  bool begin_field(const string_t& name) {
    bool seen = false;
    if (name == "dtype") {
      seen = std::exchange(has_dtype_, true);
      expect_ = Expect::kDType;
    } else if (name == "shape") {
      seen = std::exchange(has_shape_, true);
      expect_ = Expect::kShape;
    } else if (name == "data_offsets") {
      seen = std::exchange(has_offsets_, true);
      expect_ = Expect::kOffsets;
    } else {
      return unexpected(quote_name(name));
    }
    return !seen || fail("found {} twice", name);
  }

  const std::string& file_;
  SafetensorsHeader& header_;
  Error error_;
  Expect expect_ = Expect::kHeader;
  HeaderTensor tensor_;
  std::string metadata_name_;
  size_t num_offsets_ = 0;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  bool in_metadata_ = false, has_metadata_ = false;
};

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::string_view text, const std::string& file) {
  // The library skips a byte order mark and takes a raw NUL for the end of the text; the format
  // allows neither.
  if (text.empty() || text.front() != '{') {
    return error("{}: header: expected JSON that starts with '{{', found {}", file,
                 text.empty() ? "nothing" : "something else");
  }
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return error("{}: header: expected JSON in UTF-8, found a NUL at its byte {}", file, nul);
  }
  SafetensorsHeader header;
  HeaderReader reader(file, header);
  if (!Json::sax_parse(text.begin(), text.end(), &reader)) return tl::unexpected(reader.failure());
  return header;
}

bool is_tensor_name(std::string_view name) noexcept {
  const auto is_control = [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; };
  return !name.empty() && name.size() <= Safetensors::kMaxNameBytes &&
         std::none_of(name.begin(), name.end(), is_control);
}

std::string quote_name(std::string_view name) {
  constexpr size_t kMaxBytes = 96, kHalf = kMaxBytes / 2;
  const bool cut = name.size() > kMaxBytes;
  // Cut anywhere would split a character; skip its continuation bytes (10xxxxxx).
  const auto is_continuation = [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0u) == 0x80;
  };
  size_t head = cut ? kHalf : name.size();
  size_t tail = cut ? name.size() - kHalf : name.size();
  while (cut && head > 0 && is_continuation(name[head])) --head;
  while (cut && tail < name.size() && is_continuation(name[tail])) ++tail;
  std::string text = "'";
  const auto append = [&text](std::string_view part) {
    for (const char c : part) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20 || byte == 0x7f) {
        text += fmt::format("\\x{:02x}", byte);
      } else {
        text += c;
      }
    }
  };
  append(name.substr(0, head));
  if (cut) text += "[...]";
  append(name.substr(tail));
  text += '\'';
  return text;
}

std::optional<uint64_t> tensor_bytes(FileDType dtype, std::span<const uint64_t> shape) noexcept {
  const FileBlock block = file_dtype_block(dtype);
  if (block.elems != 1 && (shape.empty() || shape.back() % block.elems != 0)) return std::nullopt;
  std::optional<uint64_t> bytes = block.bytes;
  for (size_t i = 0; i < shape.size() && bytes; ++i) {
    bytes = checked_mul(*bytes, i + 1 == shape.size() ? shape[i] / block.elems : shape[i]);
  }
  return bytes;
}

}  // namespace skein
