// Any bytes as a vocabulary file, then any bytes as text for it. The input up to the first blank
// line is the vocabulary, what follows is the text (no blank line: the vocabulary is its own text).
//
// Checked: a refusal is one line; what was parsed obeys the laws of vocabulary.h; encode() is the
// greedy longest match of a plain dictionary, or an error exactly where that finds nothing;
// decode() gives the text back; Utf8Stream gives the same text however it is cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/check.h"
#include "engine/tokenizer.h"
#include "engine/utf8_stream.h"

namespace skein {
namespace {

struct Dictionary {
  std::unordered_set<std::string_view> tokens;
  size_t longest = 0;
};

Dictionary dictionary_of(const Tokenizer& tokenizer) {
  Dictionary dictionary;
  CHECK(tokenizer.num_ids() >= 2 && tokenizer.num_ids() <= kMaxTokenId + 1);
  CHECK(tokenizer.token_bytes(0).empty());
  CHECK(!tokenizer.token_bytes(tokenizer.num_ids() - 1).empty());
  for (uint32_t id = 1; id < tokenizer.num_ids(); ++id) {
    const std::string_view token = tokenizer.token_bytes(id);
    CHECK(token.size() <= kMaxTokenBytes);
    CHECK(token.empty() || dictionary.tokens.insert(token).second);
    dictionary.longest = std::max(dictionary.longest, token.size());
  }
  return dictionary;
}

// The bytes of the longest token at the start of `text`, 0 for none.
size_t longest_match(const Dictionary& dictionary, std::string_view text) {
  size_t length = std::min(dictionary.longest, text.size());
  while (length > 0 && !dictionary.tokens.contains(text.substr(0, length))) --length;
  return length;
}

void check_encode(const Tokenizer& tokenizer, std::string_view text) {
  const Dictionary dictionary = dictionary_of(tokenizer);
  const auto ids = tokenizer.encode(text);
  std::string_view rest = text;
  for (size_t i = 0; !rest.empty(); ++i) {
    const size_t length = longest_match(dictionary, rest);
    if (length == 0) {
      CHECK(!ids);
      CHECK(ids.error().message.find('\n') == std::string::npos);
      return;
    }
    if (ids) {
      CHECK(i < ids->size());
      CHECK(tokenizer.token_bytes((*ids)[i]) == rest.substr(0, length));
    }
    rest.remove_prefix(length);
  }
  CHECK(ids);
  CHECK(tokenizer.decode(*ids) == text);
}

void check_utf8(std::string_view text) {
  Utf8Stream whole, bytewise;
  const std::string want = whole.push(text) + whole.finish();
  std::string got;
  for (size_t i = 0; i < text.size(); ++i) got += bytewise.push(text.substr(i, 1));
  got += bytewise.finish();
  CHECK(got == want);
  CHECK(is_valid_utf8(want));
  CHECK(is_valid_utf8(text) == (want == text));
}

}  // namespace
}  // namespace skein

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skein;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t blank = input.find("\n\n");
  const std::string_view vocabulary = input.substr(0, blank);
  const std::string_view text = blank == std::string_view::npos ? input : input.substr(blank + 2);
  check_utf8(text);
  const auto tokenizer = Tokenizer::parse(vocabulary, "input");
  if (!tokenizer) {
    CHECK(tokenizer.error().message.starts_with("input:"));
    CHECK(tokenizer.error().message.find('\n') == std::string::npos);
    return 0;
  }
  check_encode(*tokenizer, text);
  return 0;
}
