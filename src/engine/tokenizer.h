// Tokenizer: text to token ids and back, for RWKV's vocabularies.
//
// RWKV tokenizes bytes by greedy longest match: at each place the longest token that fits, then on
// behind it. There is no merging and no regular expression, so any bytes can be encoded, invalid
// UTF-8 too.
//
// Goals: exact ids, linear time for every input, a table that fits the L2 cache (byte_trie.h),
// start-up in milliseconds. Non-goals: other tokenizers (BPE, unigram), special tokens in text. Id
// 0 is end of text: it has no bytes, encode() never gives it, and the caller decides where it
// stands.
//
// Law: decode(encode(x)) == x for all bytes x, where the vocabulary has all 256 single bytes (World
// has).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/byte_trie.h"
#include "engine/vocabulary.h"

namespace skein {

class Tokenizer {
 public:
  // `text` is the content of a vocabulary file (vocabulary.h and json_vocabulary.h have the
  // formats), `name` what messages call it. Errors: "NAME:LINE: expected ..., found ...". World
  // takes about 8 ms.
  static Result<Tokenizer> parse(std::string_view text, std::string_view name);

  // The same of tokens by id; make_vocabulary() has the laws.
  static Result<Tokenizer> from_tokens(std::span<const std::string> tokens, std::string_view name);

  // parse() of the file at `path`.
  static Result<Tokenizer> load(const std::string& path);

  // Time: at most num_bytes * (the longest token's bytes) steps; typically 100 to 200 MB/s.
  // Error: the vocabulary lacks a single byte and the text needs it; the message names
  // the byte and its offset.
  Result<std::vector<uint32_t>> encode(std::string_view bytes) const;

  // The bytes of all tokens. Ids without bytes add nothing: 0, gaps, and those beyond the
  // vocabulary, which a model can produce since its head is often padded (World: 65,529 tokens,
  // 65,536 logits). Never fails. A single token may be a piece of a character: Utf8Stream
  // (utf8_stream.h) makes text of pieces.
  std::string decode(std::span<const uint32_t> ids) const;

  // Empty for ids without bytes. Valid as long as the tokenizer lives and is not moved.
  std::string_view token_bytes(uint32_t id) const noexcept { return vocabulary_.token_bytes(id); }

  // The largest id + 1.
  uint32_t num_ids() const noexcept { return vocabulary_.num_ids(); }

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

  // Of the tables: what encode and decode read.
  uint64_t alloc_bytes() const noexcept;

 private:
  explicit Tokenizer(Vocabulary vocabulary);

  Vocabulary vocabulary_;
  ByteTrie trie_;
};

}  // namespace skein
