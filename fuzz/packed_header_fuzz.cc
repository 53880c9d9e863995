// Any text as the metadata of a packed model: read or refused in one line, and what was read obeys
// the header's promises and is the same when written and read again.
//
// The input is lines "NAME<tab>VALUE"; those without a tab are ignored.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "model/dimensions.h"
#include "model/packed_header.h"

namespace skein {
namespace {

Metadata metadata_of(std::string_view text) {
  Metadata metadata;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t tab = line.find('\t');
    if (tab == std::string_view::npos) continue;
    metadata[std::string(line.substr(0, tab))] = line.substr(tab + 1);
  }
  return metadata;
}

void check_error(const std::string& message) {
  CHECK(message.starts_with("input: ") && message.size() < 2000);
  CHECK(std::none_of(message.begin(), message.end(), [](char c) { return c >= 0 && c < ' '; }));
}

void check_header(const PackedHeader& header) {
  CHECK(check_dimensions(header.dims, "input"));
  for (const auto& [label, weight] : header.weights) {
    CHECK(validate(weight.layout));
    CHECK(!is_quantized(weight.file_dtype) || is_ggml_codec(weight.file_dtype));
  }
}

}  // namespace
}  // namespace skein

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skein;
  const Metadata metadata = metadata_of({reinterpret_cast<const char*>(data), size});
  const auto header = parse_packed_header(metadata, "input");
  if (!header) {
    check_error(header.error().message);
    return 0;
  }
  check_header(*header);
  const Metadata written = to_metadata(*header);
  const auto again = parse_packed_header(written, "input");
  CHECK(again);
  CHECK(again->dims == header->dims && again->plan == header->plan);
  CHECK(again->weights == header->weights && again->source_hash == header->source_hash);
  CHECK(to_metadata(*again) == written);
  return 0;
}
