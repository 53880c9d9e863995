// Any bytes as a .pth file: tensors or a refusal in one line; what is accepted lies in the file.
// Bytes that do not begin like an archive are tried as the pickle inside of one.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/check.h"
#include "format/pth.h"
#include "format/safetensors_header.h"
#include "format/torch_pickle.h"

namespace skein {
namespace {

void check_message(const Error& error) {
  CHECK(error.message.starts_with("FILE: "));
  CHECK(error.message.find('\n') == std::string::npos);
}

void check_pickle(std::span<const std::byte> bytes) {
  const auto tensors = read_torch_pickle(bytes, "FILE");
  if (!tensors) return check_message(tensors.error());
  for (const PickledTensor& tensor : *tensors) {
    CHECK(tensor.shape.size() == tensor.stride_elems.size());
  }
}

void check_archive(std::span<const std::byte> bytes) {
  const auto tensors = read_pth(bytes, "FILE");
  if (!tensors) return check_message(tensors.error());
  for (const TensorInfo& tensor : *tensors) {
    CHECK(is_tensor_name(tensor.name));
    CHECK(tensor.data.size() == tensor_bytes(tensor.dtype, tensor.shape));
    CHECK(tensor.offset_bytes <= bytes.size());
    CHECK(tensor.data.size() <= bytes.size() - tensor.offset_bytes);
    CHECK(tensor.data.data() == bytes.data() + tensor.offset_bytes);
  }
}

}  // namespace
}  // namespace skein

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with("PK")) {
    skein::check_archive(bytes);
  } else {
    skein::check_pickle(bytes);
  }
  return 0;
}
