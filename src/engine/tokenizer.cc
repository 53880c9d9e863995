#include "engine/tokenizer.h"

#include "base/mapped_file.h"
#include "engine/json_vocabulary.h"

namespace skein {

static_assert(kMaxTokenId <= ByteTrie::kMaxValue);

Tokenizer::Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  std::vector<std::string_view> keys;
  keys.reserve(vocabulary_.sorted.size());
  for (const uint32_t id : vocabulary_.sorted) keys.push_back(vocabulary_.token_bytes(id));
  trie_ = ByteTrie(keys, vocabulary_.sorted);
}

Result<Tokenizer> Tokenizer::parse(std::string_view text, std::string_view name) {
  if (internal::is_json_vocabulary(text)) {
    SKEIN_ASSIGN_OR_RETURN(const auto tokens, internal::parse_json_vocabulary(text, name));
    return from_tokens(tokens, name);
  }
  SKEIN_ASSIGN_OR_RETURN(Vocabulary vocabulary, parse_vocabulary(text, name));
  return Tokenizer(std::move(vocabulary));
}

Result<Tokenizer> Tokenizer::from_tokens(std::span<const std::string> tokens,
                                         std::string_view name) {
  SKEIN_ASSIGN_OR_RETURN(Vocabulary vocabulary, make_vocabulary(tokens, name));
  return Tokenizer(std::move(vocabulary));
}

Result<Tokenizer> Tokenizer::load(const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

Result<std::vector<uint32_t>> Tokenizer::encode(std::string_view bytes) const {
  std::vector<uint32_t> ids;
  ids.reserve(bytes.size() / 4 + 16);  // World has about 4.5 bytes of English a token
  const char* const end = bytes.data() + bytes.size();
  for (const char* at = bytes.data(); at != end;) {
    const ByteTrie::Match match = trie_.longest_prefix(at, end);
    if (match.value == 0) {
      return error("{}: expected a token for byte 0x{:02x} at offset {} of the text, found none",
                   vocabulary_.name, static_cast<uint8_t>(*at), at - bytes.data());
    }
    ids.push_back(match.value);
    at += match.num_bytes;
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const uint32_t> ids) const {
  std::string bytes;
  bytes.reserve(ids.size() * 4);
  for (const uint32_t id : ids) bytes += token_bytes(id);
  return bytes;
}

uint64_t Tokenizer::alloc_bytes() const noexcept {
  return trie_.alloc_bytes() + vocabulary_.bytes.size() +
         vocabulary_.offsets.size() * sizeof(uint32_t);
}

}  // namespace skein
