#include "engine/gguf_vocabulary.h"

#include <vector>

#include "format/safetensors_header.h"

namespace skein::internal {
namespace {

constexpr int64_t kNormal = 1;  // of tokenizer.ggml.token_type

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool append_unescaped(std::string_view escaped, std::string& out) {
  for (size_t i = 0; i < escaped.size(); ++i) {
    if (escaped[i] != '\\') {
      out += escaped[i];
      continue;
    }
    if (++i == escaped.size()) return false;
    switch (escaped[i]) {
      case 't':
        out += '\t';
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      case 'x': {
        if (escaped.size() - i < 3) return false;
        const int high = hex_digit(escaped[i + 1]), low = hex_digit(escaped[i + 2]);
        if (high < 0 || low < 0) return false;
        out += static_cast<char>(high * 16 + low);
        i += 2;
        break;
      }
      case '\\':
      case '\'':
      case '"':
        out += escaped[i];
        break;
      default:
        return false;
    }
  }
  return true;
}

Result<std::optional<Tokenizer>> read_gguf_vocabulary(const Gguf& gguf, const std::string& name) {
  const std::vector<std::string_view>* texts = gguf.texts("tokenizer.ggml.tokens");
  if (texts == nullptr) return std::optional<Tokenizer>();
  const std::string_view model = gguf.text("tokenizer.ggml.model").value_or("");
  if (model != "rwkv") {
    return error(
        "{}: expected the tokenizer 'rwkv' in it, found {}; name a vocabulary with --vocab", name,
        model.empty() ? "none" : quote_name(model));
  }
  const GgufNumbers* types = gguf.numbers("tokenizer.ggml.token_type");
  if (types != nullptr && types->count() != texts->size()) {
    return error("{}: expected {} token types, one for each token, found {}", name, texts->size(),
                 types->count());
  }
  // Id 0 is end of text, which has no bytes.
  std::vector<std::string> tokens(texts->size());
  for (size_t id = 1; id < tokens.size(); ++id) {
    if (types != nullptr && types->integer(id) != kNormal) continue;
    if (append_unescaped((*texts)[id], tokens[id])) continue;
    return error(
        "{}: token {}: expected the escapes \\t, \\n, \\r, \\xNN, \\\\ and quotes, found {}", name,
        id, quote_name((*texts)[id]));
  }
  SKEIN_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::from_tokens(tokens, name));
  return std::optional<Tokenizer>(std::move(tokenizer));
}

}  // namespace skein::internal
