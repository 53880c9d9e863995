// The JSON form of RWKV's vocabularies, as web-rwkv reads it: one object, {"1": "\u0000", "257":
// [195, 128], ...}: an id to a text, or to a list of bytes where these are no UTF-8.
//
// Goals: one pass without a document in memory, no recursion; damage is found. Non-goals: the
// tokenizer.json and vocab.json of other tokenizers, which map the other way round.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace skein::internal {

// Whether the text looks like JSON and not like the other format.
bool is_json_vocabulary(std::string_view text) noexcept;

// Tokens by id; an empty one is none. Errors: "NAME: expected ..., found ...". That tokens are not
// too long and occur once is checked by make_vocabulary().
Result<std::vector<std::string>> parse_json_vocabulary(std::string_view text,
                                                       std::string_view name);

}  // namespace skein::internal
