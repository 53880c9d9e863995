// Any bytes as a .safetensors file: parsed or refused in one line, and what was parsed obeys the
// reader's promises.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/bits.h"
#include "base/check.h"
#include "format/safetensors.h"

namespace skein {
namespace {

void check_tensor(const Safetensors& file, const TensorInfo& tensor,
                  std::span<const std::byte> bytes) {
  CHECK(file.find(tensor.name) == &tensor);
  CHECK(!tensor.name.empty() && tensor.name.size() <= Safetensors::kMaxNameBytes);
  CHECK(!tensor.name.starts_with(Safetensors::kPaddingPrefix));
  CHECK(tensor.shape.size() <= Safetensors::kMaxRank);
  std::optional<uint64_t> want = file_dtype_bytes(tensor.dtype);
  for (const uint64_t extent : tensor.shape) {
    want = checked_mul(*want, extent);
    CHECK(want.has_value());
  }
  CHECK(*want == tensor.data.size());
  CHECK(tensor.offset_bytes <= bytes.size());
  CHECK(tensor.data.size() <= bytes.size() - tensor.offset_bytes);
  CHECK(tensor.data.data() == bytes.data() + tensor.offset_bytes);
}

}  // namespace
}  // namespace skein

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skein;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file = Safetensors::parse(bytes, "input");
  if (!file) {
    const std::string& message = file.error().message;
    CHECK(message.starts_with("input: ") && message.size() < 2000);
    CHECK(std::none_of(message.begin(), message.end(), [](char c) { return c >= 0 && c < ' '; }));
    return 0;
  }
  uint64_t end_bytes = 8;
  for (const TensorInfo& tensor : file->tensors()) {
    check_tensor(*file, tensor, bytes);
    CHECK(tensor.offset_bytes >= end_bytes);
    end_bytes = tensor.offset_bytes + tensor.data.size();
  }
  return 0;
}
