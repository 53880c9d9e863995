// Vocabulary: the tokens of an RWKV vocabulary file, as bytes, by id.
//
// The text format has one token a line: `ID PYTHON_LITERAL BYTE_LENGTH`. The literal may contain
// spaces, so the id ends at the first space of the line and the length starts after the last one.
// Lines end in LF or CR LF.
//
// Layout: all bytes side by side in the order of the ids, and one u32 offset an id, so that
// decoding reads 8 bytes of the table (offset and next offset) and one run. World (65,529 tokens):
// 373,358 + 4 * 65,531 bytes = 0.61 MiB, where std::vector<std::string> would take 2 MiB and a
// cache miss more for each token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace skein {

// The largest id. 16 times the World vocabulary; it bounds the tables that one bad line can ask
// for.
inline constexpr uint32_t kMaxTokenId = 1u << 20;

// The longest token (World's has 128 bytes). Encoding looks this far ahead at most, for each token.
inline constexpr uint32_t kMaxTokenBytes = 1024;

struct Vocabulary {
  std::string name;               // for messages
  std::string bytes;              // of token 1, token 2, ...
  std::vector<uint32_t> offsets;  // [num_ids + 1]: token id is bytes[offsets[id], offsets[id + 1])
  std::vector<uint32_t> sorted;   // the ids of the file, in the order of their bytes

  // One more than the largest id.
  uint32_t num_ids() const noexcept { return static_cast<uint32_t>(offsets.size()) - 1; }

  // Empty for ids that the file does not have: 0 (end of text), gaps, and beyond the largest.
  std::string_view token_bytes(uint32_t id) const noexcept {
    if (id >= num_ids()) return {};
    return std::string_view(bytes).substr(offsets[id], offsets[id + 1] - offsets[id]);
  }
};

// Laws: ids are in [1, kMaxTokenId], tokens have 1 to kMaxTokenBytes bytes, no id and no token
// occurs twice. The file may leave ids out and may come in any order. Errors: "NAME:LINE: expected
// ..., found ...". Cost: linear but for one sort; World takes about 6 ms.
Result<Vocabulary> parse_vocabulary(std::string_view text, std::string_view name);

// The same of tokens by id; an empty one is no token. The laws above hold, and id 0 is empty (a
// CHECK). Errors: "NAME:ID: expected ..., found ...".
Result<Vocabulary> make_vocabulary(std::span<const std::string> tokens, std::string_view name);

// A vocabulary in the text format; parse_vocabulary() of it gives the same.
std::string vocabulary_text(const Vocabulary& vocabulary);

}  // namespace skein
