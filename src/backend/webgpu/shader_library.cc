#include "backend/webgpu/shader_library.h"

#include <charconv>
#include <optional>

namespace skein::webgpu {
namespace {

constexpr std::string_view kDirective = "//!";

const char* find_shader(std::string_view name) {
  for (const EmbeddedShader* shader = kEmbeddedShaders; shader->name != nullptr; ++shader) {
    if (name == shader->name) return shader->text;
  }
  return nullptr;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Takes the first word off `text`.
std::string_view take_word(std::string_view& text) {
  text = trim(text);
  const std::string_view word = text.substr(0, text.find(' '));
  text = trim(text.substr(word.size()));
  return word;
}

// The directive's words, or nothing for a line of text.
std::optional<std::string_view> directive_of(std::string_view line) {
  line = trim(line);
  if (!line.starts_with(kDirective)) return std::nullopt;
  return trim(line.substr(kDirective.size()));
}

bool opens_block(std::string_view directive) {
  const std::string_view word = take_word(directive);
  return word == "if" || word == "repeat";
}

}  // namespace

struct ShaderText::Lines {
  std::string file;
  std::vector<std::string_view> lines;

  std::string place(size_t index) const { return fmt::format("shaders/{}:{}", file, index + 1); }

  // The line of the //!end (or, if asked for, the //!else) that belongs to the block whose first
  // line is `begin`; `end` where there is none.
  size_t block_end(size_t begin, size_t end, bool at_else) const {
    int depth = 0;
    for (size_t i = begin; i < end; ++i) {
      const auto directive = directive_of(lines[i]);
      if (!directive) continue;
      if (opens_block(*directive)) ++depth;
      if (depth == 0 && (*directive == "end" || (at_else && *directive == "else"))) return i;
      if (*directive == "end") --depth;
    }
    return end;
  }
};

Status ShaderText::add_file(std::string_view name, const ShaderValues& values) {
  const char* text = find_shader(name);
  if (text == nullptr) return error("webgpu: expected a shader '{}', found none", name);
  Lines lines{std::string(name), {}};
  for (std::string_view rest = text; !rest.empty();) {
    const size_t newline = std::min(rest.find('\n'), rest.size());
    lines.lines.push_back(rest.substr(0, newline));
    rest.remove_prefix(std::min(newline + 1, rest.size()));
  }
  ShaderValues scope = values;
  return expand(lines, 0, lines.lines.size(), scope);
}

void ShaderText::add_text(std::string_view text, std::string_view origin) {
  const size_t begin = text_.size();
  text_ += text;
  if (!text.ends_with('\n')) text_ += '\n';
  uint32_t line = 0;
  for (size_t at = begin; at < text_.size(); ++at) {
    if (text_[at] == '\n') origins_.push_back({std::string(origin), ++line});
  }
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from)) {
    out.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
  }
  return out.append(text);
}

void ShaderText::add(const ShaderText& other, std::string_view from, std::string_view to) {
  text_ += replace_all(other.text_, from, to);
  origins_.insert(origins_.end(), other.origins_.begin(), other.origins_.end());
}

std::string ShaderText::origin(uint32_t line) const {
  if (line == 0 || line > origins_.size()) return fmt::format("line {}", line);
  return fmt::format("{}:{}", origins_[line - 1].file, origins_[line - 1].line);
}

Status ShaderText::add_line(const Lines& lines, size_t index, const ShaderValues& values) {
  std::string line(lines.lines[index]);
  // The innermost first: {{OUT_{{c}}}}.
  for (size_t close = line.find("}}"); close != std::string::npos; close = line.find("}}", close)) {
    const size_t open = line.rfind("{{", close);
    if (open == std::string::npos)
      return error("{}: expected {{{{ before }}}}", lines.place(index));
    const std::string name = line.substr(open + 2, close - open - 2);
    const std::string* value = values.find(name);
    if (value == nullptr) {
      return error("{}: expected a value for '{}', found none", lines.place(index), name);
    }
    line.replace(open, close + 2 - open, *value);
    close = open;
  }
  line += '\n';
  text_ += line;
  origins_.push_back({"shaders/" + lines.file, static_cast<uint32_t>(index + 1)});
  return {};
}

Status ShaderText::expand(const Lines& lines, size_t begin, size_t end, ShaderValues& values) {
  for (size_t i = begin; i < end; ++i) {
    const auto directive = directive_of(lines.lines[i]);
    if (!directive) {
      SKEIN_RETURN_IF_ERROR(add_line(lines, i, values));
      continue;
    }
    std::string_view words = *directive;
    const std::string_view verb = take_word(words);
    if (verb == "include") {
      if (included_.emplace(words).second) SKEIN_RETURN_IF_ERROR(add_file(words, values));
      continue;
    }
    const size_t block_end = lines.block_end(i + 1, end, false);
    if (block_end == end || (verb != "if" && verb != "repeat")) {
      return error("{}: expected include, or if or repeat with an end, found '{}'", lines.place(i),
                   *directive);
    }
    const std::string_view name = take_word(words);
    if (verb == "if") {
      const std::string* value = values.find(name);
      if (value == nullptr) {
        return error("{}: expected a value for '{}', found none", lines.place(i), name);
      }
      const size_t middle = lines.block_end(i + 1, end, true);
      const bool holds = !value->empty() && *value != "0";
      SKEIN_RETURN_IF_ERROR(
          holds ? expand(lines, i + 1, middle, values)
                : expand(lines, std::min(middle + 1, block_end), block_end, values));
    } else {
      const std::string* value = values.find(words);
      const std::string_view digits = value != nullptr ? std::string_view(*value) : words;
      uint32_t count = 0;
      const auto [rest, code] =
          std::from_chars(digits.data(), digits.data() + digits.size(), count);
      if (code != std::errc() || rest != digits.data() + digits.size()) {
        return error("{}: expected a count, found '{}'", lines.place(i), words);
      }
      for (uint32_t n = 0; n < count; ++n) {
        values.set(name, n);
        SKEIN_RETURN_IF_ERROR(expand(lines, i + 1, block_end, values));
      }
    }
    i = block_end;
  }
  return {};
}

}  // namespace skein::webgpu
