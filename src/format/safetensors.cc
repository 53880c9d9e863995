#include "format/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "format/safetensors_header.h"

namespace skein {
namespace {

// The data is little-endian; readers of it do not swap.
static_assert(std::endian::native == std::endian::little);

uint64_t read_u64(std::span<const std::byte> bytes) noexcept {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  }
  return value;
}

Result<uint64_t> read_header_bytes(std::span<const std::byte> file, const std::string& name) {
  if (file.size() < Safetensors::kLengthBytes) {
    return error("{}: expected a .safetensors file, found {} bytes, too few for its header length",
                 name, file.size());
  }
  const uint64_t header_bytes = read_u64(file);
  if (header_bytes > Safetensors::kMaxHeaderBytes) {
    return error("{}: expected a .safetensors header of at most {} bytes, found a length of {}",
                 name, Safetensors::kMaxHeaderBytes, header_bytes);
  }
  if (header_bytes > file.size() - Safetensors::kLengthBytes) {
    return error("{}: expected a header of {} bytes, found only {} (is the file cut short?)", name,
                 header_bytes, file.size() - Safetensors::kLengthBytes);
  }
  return header_bytes;
}

// Law: afterwards begin <= end <= data_bytes, and the length is that of dtype and shape.
Status check_extent(const HeaderTensor& tensor, uint64_t data_bytes, const std::string& name) {
  const auto want = tensor_bytes(tensor.dtype, tensor.shape);
  if (!want) {
    return error("{}: tensor {}: expected a shape of less than 2^64 bytes, found {} [{}]", name,
                 quote_name(tensor.name), file_dtype_name(tensor.dtype),
                 fmt::join(tensor.shape, ", "));
  }
  if (tensor.begin_bytes > tensor.end_bytes) {
    return error("{}: tensor {}: expected data_offsets in order, found [{}, {}]", name,
                 quote_name(tensor.name), tensor.begin_bytes, tensor.end_bytes);
  }
  if (tensor.end_bytes - tensor.begin_bytes != *want) {
    return error("{}: tensor {}: expected {} bytes for {} [{}], found {} in data_offsets [{}, {}]",
                 name, quote_name(tensor.name), *want, file_dtype_name(tensor.dtype),
                 fmt::join(tensor.shape, ", "), tensor.end_bytes - tensor.begin_bytes,
                 tensor.begin_bytes, tensor.end_bytes);
  }
  if (tensor.end_bytes > data_bytes) {
    return error(
        "{}: tensor {}: expected data up to offset {}, found only {} bytes of data "
        "(is the file cut short?)",
        name, quote_name(tensor.name), tensor.end_bytes, data_bytes);
  }
  return {};
}

// `tensors` are sorted by offset. Law: afterwards they cover the data exactly, one after another.
Status check_cover(std::span<const HeaderTensor> tensors, uint64_t data_bytes,
                   const std::string& name) {
  uint64_t end_bytes = 0;
  for (const HeaderTensor& tensor : tensors) {
    if (tensor.begin_bytes != end_bytes) {
      return error(
          "{}: tensor {}: expected its data at offset {}, where the tensor before it ends, "
          "found {} ({})",
          name, quote_name(tensor.name), end_bytes, tensor.begin_bytes,
          tensor.begin_bytes < end_bytes ? "an overlap" : "a hole");
    }
    end_bytes = tensor.end_bytes;
  }
  if (end_bytes != data_bytes) {
    return error("{}: expected {} bytes of data, all in tensors, found {}", name, end_bytes,
                 data_bytes);
  }
  return {};
}

// The indices of `tensors` in the order of their names.
template <typename Tensor>
std::vector<size_t> order_by_name(std::span<const Tensor> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return tensors[a].name < tensors[b].name; });
  return order;
}

Status check_names(std::span<const HeaderTensor> tensors, const std::string& name) {
  const std::vector<size_t> order = order_by_name(tensors);
  for (size_t i = 1; i < order.size(); ++i) {
    const std::string& here = tensors[order[i]].name;
    if (tensors[order[i - 1]].name == here) {
      return error("{}: tensor {}: expected the name once, found it twice", name, quote_name(here));
    }
  }
  return {};
}

}  // namespace

Result<Safetensors> Safetensors::open(const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  SKEIN_ASSIGN_OR_RETURN(Safetensors tensors, parse(file.bytes(), path));
  tensors.file_ = std::move(file);
  return tensors;
}

Result<Safetensors> Safetensors::parse(std::span<const std::byte> file, const std::string& name) {
  SKEIN_ASSIGN_OR_RETURN(const uint64_t header_bytes, read_header_bytes(file, name));
  const auto* text = reinterpret_cast<const char*>(file.data() + Safetensors::kLengthBytes);
  SKEIN_ASSIGN_OR_RETURN(SafetensorsHeader header,
                         parse_safetensors_header({text, header_bytes}, name));
  const std::span<const std::byte> data = file.subspan(Safetensors::kLengthBytes + header_bytes);

  SKEIN_RETURN_IF_ERROR(check_names(header.tensors, name));
  for (const HeaderTensor& tensor : header.tensors) {
    SKEIN_RETURN_IF_ERROR(check_extent(tensor, data.size(), name));
  }
  // Stable, and by the end too: tensors without elements come before their neighbour at the same
  // offset.
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin_bytes, a.end_bytes) < std::tie(b.begin_bytes, b.end_bytes);
  });
  SKEIN_RETURN_IF_ERROR(check_cover(header.tensors, data.size(), name));

  Safetensors result;
  result.metadata_ = std::move(header.metadata);
  result.tensors_.reserve(header.tensors.size());
  for (HeaderTensor& tensor : header.tensors) {
    if (tensor.name.starts_with(kPaddingPrefix)) continue;
    const uint64_t length_bytes = tensor.end_bytes - tensor.begin_bytes;
    result.tensors_.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape),
                               data.subspan(tensor.begin_bytes, length_bytes),
                               Safetensors::kLengthBytes + header_bytes + tensor.begin_bytes});
  }
  result.by_name_ = order_by_name(std::span<const TensorInfo>(result.tensors_));
  return result;
}

const TensorInfo* Safetensors::find(std::string_view name) const noexcept {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](size_t i, std::string_view want) { return tensors_[i].name < want; });
  if (found == by_name_.end() || tensors_[*found].name != name) return nullptr;
  return &tensors_[*found];
}

}  // namespace skein
