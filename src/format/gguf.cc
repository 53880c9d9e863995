#include "format/gguf.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/bits.h"
#include "format/byte_reader.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"

namespace skein {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kMinVersion = 2, kMaxVersion = 3;
constexpr uint64_t kDefaultAlignment = 32, kMaxAlignment = uint64_t{1} << 30;

// Bytes of a number; 0 for what is none.
constexpr uint64_t bytes_of(GgufType type) noexcept {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

// ggml's types by number; those without a FileDType are refused.
struct TensorType {
  uint32_t number;
  std::string_view name;
  std::optional<FileDType> dtype;
};

constexpr std::array kTensorTypes = {
    TensorType{0, "F32", FileDType::kF32},    TensorType{1, "F16", FileDType::kF16},
    TensorType{2, "Q4_0", FileDType::kQ4_0},  TensorType{3, "Q4_1", FileDType::kQ4_1},
    TensorType{6, "Q5_0", FileDType::kQ5_0},  TensorType{7, "Q5_1", FileDType::kQ5_1},
    TensorType{8, "Q8_0", FileDType::kQ8_0},  TensorType{9, "Q8_1", std::nullopt},
    TensorType{10, "Q2_K", std::nullopt},     TensorType{11, "Q3_K", std::nullopt},
    TensorType{12, "Q4_K", FileDType::kQ4K},  TensorType{13, "Q5_K", FileDType::kQ5K},
    TensorType{14, "Q6_K", FileDType::kQ6K},  TensorType{15, "Q8_K", std::nullopt},
    TensorType{16, "IQ2_XXS", std::nullopt},  TensorType{17, "IQ2_XS", std::nullopt},
    TensorType{18, "IQ3_XXS", std::nullopt},  TensorType{19, "IQ1_S", std::nullopt},
    TensorType{20, "IQ4_NL", std::nullopt},   TensorType{21, "IQ3_S", std::nullopt},
    TensorType{22, "IQ2_S", std::nullopt},    TensorType{23, "IQ4_XS", std::nullopt},
    TensorType{24, "I8", FileDType::kI8},     TensorType{25, "I16", FileDType::kI16},
    TensorType{26, "I32", FileDType::kI32},   TensorType{27, "I64", FileDType::kI64},
    TensorType{28, "F64", FileDType::kF64},   TensorType{29, "IQ1_M", std::nullopt},
    TensorType{30, "BF16", FileDType::kBF16}, TensorType{34, "TQ1_0", std::nullopt},
    TensorType{35, "TQ2_0", std::nullopt},    TensorType{39, "MXFP4", std::nullopt},
};

// A tensor as the file describes it.
struct TensorRecord {
  std::string name;
  FileDType dtype = FileDType::kF32;
  std::vector<uint64_t> shape;  // slowest axis first
  uint64_t num_bytes = 0;
  uint64_t offset_bytes = 0;  // from the start of the data
};

class Parser {
 public:
  Parser(std::span<const std::byte> file, const std::string& name)
      : reader_(file), file_(file), name_(name) {}

  Result<Gguf> run() {
    SKEIN_RETURN_IF_ERROR(read_head());
    for (uint64_t i = 0; i < num_metadata_; ++i) SKEIN_RETURN_IF_ERROR(read_metadatum());
    SKEIN_ASSIGN_OR_RETURN(const uint64_t alignment, read_alignment());
    std::vector<TensorRecord> records;
    for (uint64_t i = 0; i < num_tensors_; ++i) {
      SKEIN_ASSIGN_OR_RETURN(TensorRecord record, read_tensor(alignment));
      records.push_back(std::move(record));
    }
    SKEIN_RETURN_IF_ERROR(place(std::move(records), alignment));
    return std::move(gguf_);
  }

 private:
  tl::unexpected<Error> cut_short(std::string_view what) const {
    return error("{}: expected {}, found the end of {} bytes (is the file cut short?)", name_, what,
                 file_.size());
  }

  Status read_head() {
    if (reader_.read<uint32_t>() != kMagic || !reader_.ok()) {
      return error("{}: expected a .gguf file, found another", name_);
    }
    gguf_.version = reader_.read<uint32_t>();
    num_tensors_ = reader_.read<uint64_t>();
    num_metadata_ = reader_.read<uint64_t>();
    if (!reader_.ok()) return cut_short("a .gguf header");
    if ((gguf_.version & 0xffff) == 0 && gguf_.version != 0) {
      return error("{}: expected a little-endian .gguf file, found a big-endian one", name_);
    }
    if (gguf_.version < kMinVersion || gguf_.version > kMaxVersion) {
      return error("{}: expected version {} or {} of .gguf, found {}", name_, kMinVersion,
                   kMaxVersion, gguf_.version);
    }
    if (num_tensors_ > Gguf::kMaxTensors || num_metadata_ > Gguf::kMaxMetadata) {
      return error("{}: expected at most {} tensors and {} metadata, found {} and {}", name_,
                   Gguf::kMaxTensors, Gguf::kMaxMetadata, num_tensors_, num_metadata_);
    }
    return {};
  }

  std::string_view read_text() { return reader_.take_text(reader_.read<uint64_t>()); }

  Status read_metadatum() {
    const std::string_view key = read_text();
    const auto type = reader_.read<uint32_t>();
    if (!reader_.ok()) return cut_short("metadata");
    SKEIN_ASSIGN_OR_RETURN(GgufValue value, read_value(key, static_cast<GgufType>(type)));
    if (!reader_.ok()) return cut_short(fmt::format("the value of {}", quote_name(key)));
    if (!gguf_.metadata.emplace(key, std::move(value)).second) {
      return error("{}: expected the key {} once, found it twice", name_, quote_name(key));
    }
    return {};
  }

  Result<GgufValue> read_value(std::string_view key, GgufType type) {
    switch (type) {
      case GgufType::kU8:
        return int64_t{reader_.read<uint8_t>()};
      case GgufType::kI8:
        return int64_t{reader_.read<int8_t>()};
      case GgufType::kU16:
        return int64_t{reader_.read<uint16_t>()};
      case GgufType::kI16:
        return int64_t{reader_.read<int16_t>()};
      case GgufType::kU32:
        return int64_t{reader_.read<uint32_t>()};
      case GgufType::kI32:
        return int64_t{reader_.read<int32_t>()};
      case GgufType::kU64:
        return reader_.read<uint64_t>();
      case GgufType::kI64:
        return reader_.read<int64_t>();
      case GgufType::kF32:
        return double{reader_.read<float>()};
      case GgufType::kF64:
        return reader_.read<double>();
      case GgufType::kBool:
        return reader_.read<uint8_t>() != 0;
      case GgufType::kString:
        return read_text();
      case GgufType::kArray:
        return read_array(key);
    }
    return error("{}: key {}: expected a type of .gguf, found number {}", name_, quote_name(key),
                 static_cast<uint32_t>(type));
  }

  Result<GgufValue> read_array(std::string_view key) {
    const auto type = static_cast<GgufType>(reader_.read<uint32_t>());
    const auto count = reader_.read<uint64_t>();
    if (!reader_.ok()) return cut_short("an array");
    if (type == GgufType::kString) {
      std::vector<std::string_view> texts;
      for (uint64_t i = 0; i < count && reader_.ok(); ++i) texts.push_back(read_text());
      return texts;
    }
    const uint64_t elem_bytes = bytes_of(type);
    if (elem_bytes == 0) {
      return error("{}: key {}: expected an array of numbers or strings, found type number {}",
                   name_, quote_name(key), static_cast<uint32_t>(type));
    }
    if (count > reader_.remaining() / elem_bytes) return cut_short("an array");
    return GgufNumbers{type, reader_.take(count * elem_bytes)};
  }

  Result<uint64_t> read_alignment() const {
    constexpr std::string_view kKey = "general.alignment";
    if (!gguf_.metadata.contains(kKey)) return kDefaultAlignment;
    const std::optional<uint64_t> alignment = gguf_.number(kKey);
    if (!alignment || !is_power_of_two(*alignment) || *alignment > kMaxAlignment) {
      return error("{}: expected a power of two up to {} as {}, found another", name_,
                   kMaxAlignment, kKey);
    }
    return *alignment;
  }

  Result<TensorRecord> read_tensor(uint64_t alignment) {
    TensorRecord record;
    record.name = read_text();
    const auto rank = reader_.read<uint32_t>();
    if (!reader_.ok()) return cut_short("the list of tensors");
    const std::string quoted = quote_name(record.name);
    if (!is_tensor_name(record.name)) {
      return error("{}: tensor {}: expected a name of 1 to {} bytes without control characters",
                   name_, quoted, Safetensors::kMaxNameBytes);
    }
    if (rank > Gguf::kMaxRank) {
      return error("{}: tensor {}: expected at most {} dimensions, found {}", name_, quoted,
                   Gguf::kMaxRank, rank);
    }
    for (uint32_t i = 0; i < rank; ++i) record.shape.push_back(reader_.read<uint64_t>());
    std::reverse(record.shape.begin(), record.shape.end());
    const auto type = reader_.read<uint32_t>();
    record.offset_bytes = reader_.read<uint64_t>();
    if (!reader_.ok()) return cut_short("the list of tensors");
    SKEIN_ASSIGN_OR_RETURN(record.dtype, dtype_of(type, quoted));
    const auto num_bytes = tensor_bytes(record.dtype, record.shape);
    if (!num_bytes) {
      return error(
          "{}: tensor {}: expected a shape of whole blocks of {}, less than 2^64 bytes, "
          "found [{}]",
          name_, quoted, file_dtype_name(record.dtype), fmt::join(record.shape, ", "));
    }
    record.num_bytes = *num_bytes;
    if (record.offset_bytes % alignment != 0) {
      return error("{}: tensor {}: expected its data at a multiple of {}, found offset {}", name_,
                   quoted, alignment, record.offset_bytes);
    }
    return record;
  }

  Result<FileDType> dtype_of(uint32_t type, const std::string& quoted) const {
    for (const TensorType& known : kTensorTypes) {
      if (known.number != type) continue;
      if (known.dtype) return *known.dtype;
      return error(
          "{}: tensor {}: expected F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, "
          "Q5_K or Q6_K, found {}",
          name_, quoted, known.name);
    }
    return error("{}: tensor {}: expected a type of ggml, found number {}", name_, quoted, type);
  }

  // Gives every tensor its bytes. Law: afterwards none reaches into another one or outside.
  Status place(std::vector<TensorRecord> records, uint64_t alignment) {
    const uint64_t begin = round_up(reader_.position(), alignment);
    const uint64_t data_bytes = begin > file_.size() ? 0 : file_.size() - begin;
    std::stable_sort(records.begin(), records.end(),
                     [](const TensorRecord& a, const TensorRecord& b) {
                       return a.offset_bytes < b.offset_bytes;
                     });
    uint64_t end_bytes = 0;
    for (TensorRecord& record : records) {
      const std::string quoted = quote_name(record.name);
      if (record.offset_bytes > data_bytes || record.num_bytes > data_bytes - record.offset_bytes) {
        return error(
            "{}: tensor {}: expected {} bytes from {} on, found {} bytes of data (is the "
            "file cut short?)",
            name_, quoted, record.num_bytes, record.offset_bytes, data_bytes);
      }
      if (record.offset_bytes < end_bytes) {
        return error("{}: tensor {}: expected its own bytes, found those of another tensor too",
                     name_, quoted);
      }
      end_bytes = record.offset_bytes + record.num_bytes;
      const auto data = record.num_bytes == 0
                            ? std::span<const std::byte>()
                            : file_.subspan(begin + record.offset_bytes, record.num_bytes);
      gguf_.tensors.push_back({std::move(record.name), record.dtype, std::move(record.shape), data,
                               record.num_bytes == 0 ? 0 : begin + record.offset_bytes});
    }
    return {};
  }

  ByteReader reader_;
  std::span<const std::byte> file_;
  const std::string& name_;
  uint64_t num_tensors_ = 0, num_metadata_ = 0;
  Gguf gguf_;
};

template <typename T>
int64_t load(std::span<const std::byte> bytes, uint64_t i) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  if constexpr (std::is_floating_point_v<T>) {
    return value > -9e18 && value < 9e18 ? static_cast<int64_t>(value) : 0;
  } else {
    return static_cast<int64_t>(value);
  }
}

template <typename T>
const T* find(const GgufMetadata& metadata, std::string_view key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : std::get_if<T>(&found->second);
}

}  // namespace

uint64_t GgufNumbers::count() const noexcept { return bytes.size() / bytes_of(type); }

int64_t GgufNumbers::integer(uint64_t i) const noexcept {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kBool:
      return load<uint8_t>(bytes, i);
    case GgufType::kI8:
      return load<int8_t>(bytes, i);
    case GgufType::kU16:
      return load<uint16_t>(bytes, i);
    case GgufType::kI16:
      return load<int16_t>(bytes, i);
    case GgufType::kU32:
      return load<uint32_t>(bytes, i);
    case GgufType::kI32:
      return load<int32_t>(bytes, i);
    case GgufType::kF32:
      return load<float>(bytes, i);
    case GgufType::kU64:
      return load<uint64_t>(bytes, i);
    case GgufType::kI64:
      return load<int64_t>(bytes, i);
    case GgufType::kF64:
      return load<double>(bytes, i);
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

std::optional<uint32_t> ggml_type_number(FileDType dtype) noexcept {
  for (const TensorType& known : kTensorTypes) {
    if (known.dtype == dtype) return known.number;
  }
  return std::nullopt;
}

Result<Gguf> Gguf::parse(std::span<const std::byte> file, const std::string& name) {
  return Parser(file, name).run();
}

std::optional<std::string_view> Gguf::text(std::string_view key) const {
  const auto* value = find<std::string_view>(metadata, key);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<uint64_t> Gguf::number(std::string_view key) const {
  if (const auto* value = find<uint64_t>(metadata, key)) return *value;
  const auto* value = find<int64_t>(metadata, key);
  return value == nullptr || *value < 0 ? std::nullopt
                                        : std::optional(static_cast<uint64_t>(*value));
}

const std::vector<std::string_view>* Gguf::texts(std::string_view key) const {
  return find<std::vector<std::string_view>>(metadata, key);
}

const GgufNumbers* Gguf::numbers(std::string_view key) const {
  return find<GgufNumbers>(metadata, key);
}

}  // namespace skein
