// The vocabulary that a .gguf file of RWKV carries.
//
// llama.cpp keeps RWKV's tokens in `tokenizer.ggml.tokens` as Python prints them (`\n`, `\xe4`),
// and in `tokenizer.ggml.token_type` which of them are text: id 0 and the padding are not. Other
// tokenizers (`tokenizer.ggml.model` is not "rwkv") are refused by name.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/tokenizer.h"
#include "format/gguf.h"

namespace skein::internal {

// Nothing where the file has no tokens. `name` is what messages call the file.
Result<std::optional<Tokenizer>> read_gguf_vocabulary(const Gguf& gguf, const std::string& name);

// Appends the bytes that the escaped token stands for; false where an escape is none.
bool append_unescaped(std::string_view escaped, std::string& out);

}  // namespace skein::internal
