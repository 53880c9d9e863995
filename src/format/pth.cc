#include "format/pth.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/bits.h"
#include "format/byte_reader.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"
#include "format/torch_pickle.h"
#include "format/zip.h"

namespace skein {
namespace {

constexpr std::string_view kPickleName = "data.pkl";

// Entries by name.
class Archive {
 public:
  explicit Archive(std::vector<ZipEntry> entries) : entries_(std::move(entries)) {
    std::stable_sort(entries_.begin(), entries_.end(),
                     [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
  }

  const ZipEntry* find(std::string_view name) const {
    const auto found = std::lower_bound(
        entries_.begin(), entries_.end(), name,
        [](const ZipEntry& entry, std::string_view want) { return entry.name < want; });
    return found == entries_.end() || found->name != name ? nullptr : &*found;
  }

  // "NAME/" of the one NAME/data.pkl that there is.
  Result<std::string> root(const std::string& file) const {
    const ZipEntry* pickle = nullptr;
    for (const ZipEntry& entry : entries_) {
      const std::string_view name = entry.name;
      const size_t slash = name.rfind('/');
      if (slash == std::string_view::npos || name.substr(slash + 1) != kPickleName) continue;
      if (pickle != nullptr) {
        return error("{}: expected one {}, found {} and {}", file, kPickleName,
                     quote_name(pickle->name), quote_name(name));
      }
      pickle = &entry;
    }
    if (pickle == nullptr) {
      return error("{}: expected a file of torch.save, found a zip archive without {}", file,
                   kPickleName);
    }
    return pickle->name.substr(0, pickle->name.size() - kPickleName.size());
  }

 private:
  std::vector<ZipEntry> entries_;
};

// Whether the elements lie one after the other, the last axis fastest. Axes of one element may have
// any stride, and so may all where there are no elements.
bool is_contiguous(const PickledTensor& tensor) {
  if (std::find(tensor.shape.begin(), tensor.shape.end(), 0u) != tensor.shape.end()) return true;
  uint64_t stride = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.stride_elems[i] != stride) return false;
    stride *= tensor.shape[i];
  }
  return true;
}

Result<TensorInfo> resolve(const PickledTensor& tensor, const Archive& archive,
                           const std::string& root, const std::string& file) {
  const std::string quoted = quote_name(tensor.name);
  if (!is_tensor_name(tensor.name)) {
    return error("{}: tensor {}: expected a name of 1 to {} bytes without control characters", file,
                 quoted, Safetensors::kMaxNameBytes);
  }
  const auto num_bytes = tensor_bytes(tensor.dtype, tensor.shape);
  if (!num_bytes) {
    return error("{}: tensor {}: expected a shape of less than 2^64 bytes, found [{}]", file,
                 quoted, fmt::join(tensor.shape, ", "));
  }
  if (!is_contiguous(tensor)) {
    return error("{}: tensor {}: expected elements in order, found strides [{}] for shape [{}]",
                 file, quoted, fmt::join(tensor.stride_elems, ", "), fmt::join(tensor.shape, ", "));
  }
  const ZipEntry* entry = archive.find(fmt::format("{}data/{}", root, tensor.storage));
  if (entry == nullptr) {
    return error("{}: tensor {}: expected its bytes in {}, found no such entry", file, quoted,
                 quote_name(fmt::format("{}data/{}", root, tensor.storage)));
  }
  const uint64_t elem_bytes = file_dtype_bytes(tensor.dtype);
  const auto storage_bytes = checked_mul(tensor.storage_elems, elem_bytes);
  const auto offset_bytes = checked_mul(tensor.offset_elems, elem_bytes);
  if (storage_bytes != entry->data.size()) {
    return error("{}: tensor {}: expected {} elements of {} in {}, found {} bytes", file, quoted,
                 tensor.storage_elems, file_dtype_name(tensor.dtype), quote_name(entry->name),
                 entry->data.size());
  }
  if (!offset_bytes || *offset_bytes > entry->data.size() ||
      *num_bytes > entry->data.size() - *offset_bytes) {
    return error("{}: tensor {}: expected {} elements [{}] from {} on, found {} in {}", file,
                 quoted, file_dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "),
                 tensor.offset_elems, tensor.storage_elems, quote_name(entry->name));
  }
  return TensorInfo{tensor.name, tensor.dtype, tensor.shape,
                    entry->data.subspan(*offset_bytes, *num_bytes),
                    entry->offset_bytes + *offset_bytes};
}

}  // namespace

Result<std::vector<TensorInfo>> read_pth(std::span<const std::byte> file, const std::string& name) {
  SKEIN_ASSIGN_OR_RETURN(std::vector<ZipEntry> entries, read_zip(file, name));
  const Archive archive(std::move(entries));
  SKEIN_ASSIGN_OR_RETURN(const std::string root, archive.root(name));
  const ZipEntry* byteorder = archive.find(root + "byteorder");
  if (byteorder != nullptr && text_of(byteorder->data) != "little") {
    return error("{}: expected little-endian data, found the byte order {}", name,
                 quote_name(text_of(byteorder->data)));
  }
  const ZipEntry* pickle = archive.find(root + std::string(kPickleName));
  SKEIN_ASSIGN_OR_RETURN(const std::vector<PickledTensor> pickled,
                         read_torch_pickle(pickle->data, name));
  std::vector<TensorInfo> tensors;
  for (const PickledTensor& tensor : pickled) {
    SKEIN_ASSIGN_OR_RETURN(TensorInfo info, resolve(tensor, archive, root, name));
    tensors.push_back(std::move(info));
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.offset_bytes < b.offset_bytes;
  });
  return tensors;
}

}  // namespace skein
