// Any bytes as a .gguf file: parsed or refused in one line; what is parsed lies in the file, and
// block-coded tensors decode without reading beyond it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "engine/gguf_vocabulary.h"
#include "format/ggml_blocks.h"
#include "format/gguf.h"
#include "format/safetensors_header.h"

namespace skein {
namespace {

void check_message(const Error& error) {
  CHECK(error.message.starts_with("FILE: "));
  CHECK(error.message.find('\n') == std::string::npos);
}

void check_tensor(const TensorInfo& tensor, std::span<const std::byte> bytes) {
  CHECK(is_tensor_name(tensor.name));
  CHECK(tensor.shape.size() <= Gguf::kMaxRank);
  CHECK(tensor.data.size() == tensor_bytes(tensor.dtype, tensor.shape));
  CHECK(tensor.offset_bytes <= bytes.size());
  CHECK(tensor.data.size() <= bytes.size() - tensor.offset_bytes);
  if (!is_block_coded(tensor.dtype)) return;
  const FileBlock block = file_dtype_block(tensor.dtype);
  std::vector<float> values(tensor.data.size() / block.bytes * block.elems);
  decode_ggml_blocks(tensor.dtype, tensor.data.data(), values);
}

void check_file(std::span<const std::byte> bytes) {
  const Result<Gguf> gguf = Gguf::parse(bytes, "FILE");
  if (!gguf) return check_message(gguf.error());
  uint64_t end_bytes = 0;
  for (const TensorInfo& tensor : gguf->tensors) {
    check_tensor(tensor, bytes);
    if (tensor.data.empty()) continue;
    CHECK(tensor.offset_bytes >= end_bytes);
    end_bytes = tensor.offset_bytes + tensor.data.size();
  }
  for (const auto& [key, value] : gguf->metadata) {
    if (const auto* numbers = std::get_if<GgufNumbers>(&value)) {
      for (uint64_t i = 0; i < std::min<uint64_t>(numbers->count(), 64); ++i) {
        (void)numbers->integer(i);
      }
    }
  }
  const auto tokenizer = internal::read_gguf_vocabulary(*gguf, "FILE");
  if (!tokenizer) CHECK(tokenizer.error().message.starts_with("FILE"));
}

}  // namespace
}  // namespace skein

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  skein::check_file({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
