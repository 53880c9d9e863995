#include "engine/json_vocabulary.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "engine/python_literal.h"
#include "engine/vocabulary.h"

namespace skein::internal {
namespace {

// nlohmann's events; false ends the parse, with the reason in message().
class Handler : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool key(string_t& text) override {
    uint32_t id = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (code != std::errc() || end != text.data() + text.size() || text.empty()) {
      return refuse(fmt::format("expected token ids as keys, found \"{}\"{}", printable(text),
                                tokens_.empty() ? " (a vocabulary of another tokenizer?)" : ""));
    }
    if (id < 1 || id > kMaxTokenId) {
      return refuse(fmt::format("expected an id from 1 to {}, found {}", kMaxTokenId, id));
    }
    if (id >= tokens_.size()) tokens_.resize(size_t{id} + 1);
    if (!tokens_[id].empty()) {
      return refuse(fmt::format("expected every id once, found {} twice", id));
    }
    id_ = id;
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ != 1 || is_array_) return refuse_value("a text");
    return take(text);
  }
  bool start_array(size_t) override {
    if (depth_ != 1 || is_array_) return refuse_value("a list");
    is_array_ = true;
    bytes_.clear();
    return true;
  }
  bool end_array() override {
    is_array_ = false;
    return take(bytes_);
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!is_array_ || value > 255) return refuse_value("a number");
    bytes_ += static_cast<char>(static_cast<unsigned char>(value));
    return true;
  }
  bool start_object(size_t) override { return depth_++ == 0 || refuse_value("an object"); }
  bool end_object() override { return true; }
  bool null() override { return refuse_value("null"); }
  bool boolean(bool) override { return refuse_value("a boolean"); }
  bool number_integer(number_integer_t) override { return refuse_value("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return refuse_value("a fraction"); }
  bool binary(binary_t&) override { return refuse_value("binary data"); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return refuse(fmt::format("expected JSON, found none at byte {}", position));
  }

  const std::string& message() const noexcept { return message_; }
  std::vector<std::string> take_tokens() { return std::move(tokens_); }

 private:
  bool take(const std::string& token) {
    if (token.empty()) return refuse(fmt::format("token {}: expected bytes, found none", id_));
    tokens_[id_] = token;
    return true;
  }
  bool refuse(std::string message) {
    message_ = std::move(message);
    return false;
  }
  bool refuse_value(std::string_view found) {
    return refuse(
        fmt::format("token {}: expected a text or a list of bytes, found {}", id_, found));
  }

  std::vector<std::string> tokens_;
  std::string bytes_, message_;
  uint32_t id_ = 0;
  uint32_t depth_ = 0;
  bool is_array_ = false;
};

}  // namespace

bool is_json_vocabulary(std::string_view text) noexcept {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{';
}

Result<std::vector<std::string>> parse_json_vocabulary(std::string_view text,
                                                       std::string_view name) {
  Handler handler;
  if (!nlohmann::json::sax_parse(text, &handler)) {
    return error("{}: {}", name, handler.message());
  }
  return handler.take_tokens();
}

}  // namespace skein::internal
