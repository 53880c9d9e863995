#include "engine/vocabulary.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/check.h"
#include "engine/python_literal.h"

namespace skein {
namespace {

// The widest escape, \U0000000a, spends ten bytes of the line on one byte of the token.
constexpr size_t kMaxLineBytes = 10 * kMaxTokenBytes + 64;

// A token as the file has it: line i + 1 is entry i. Its bytes are at `offset` of the parser's
// arena.
struct Entry {
  uint32_t id;
  uint32_t offset;
  uint32_t num_bytes;
};

// A decimal number that fills `text`.
bool parse_number(std::string_view text, uint32_t& value) noexcept {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc{} && end == text.data() + text.size();
}

Result<Entry> parse_line(std::string_view line, std::string& arena) {
  if (line.size() > kMaxLineBytes) {
    return error("expected a line of at most {} bytes, found {}", kMaxLineBytes, line.size());
  }
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return error("expected ID LITERAL LENGTH, found \"{}\"", printable(line));
  }
  Entry entry{};
  if (!parse_number(line.substr(0, first), entry.id) || entry.id < 1 || entry.id > kMaxTokenId) {
    return error("expected an id from 1 to {}, found \"{}\"", kMaxTokenId,
                 printable(line.substr(0, first)));
  }
  uint32_t stated_bytes = 0;
  if (!parse_number(line.substr(last + 1), stated_bytes)) {
    return error("expected the length in bytes, found \"{}\"", printable(line.substr(last + 1)));
  }
  entry.offset = static_cast<uint32_t>(arena.size());
  SKEIN_RETURN_IF_ERROR(append_python_literal(line.substr(first + 1, last - first - 1), arena));
  entry.num_bytes = static_cast<uint32_t>(arena.size() - entry.offset);
  if (entry.num_bytes != stated_bytes) {
    return error("expected the {} bytes that the line states, found {}", stated_bytes,
                 entry.num_bytes);
  }
  if (entry.num_bytes < 1 || entry.num_bytes > kMaxTokenBytes) {
    return error("expected a token of 1 to {} bytes, found {}", kMaxTokenBytes, entry.num_bytes);
  }
  return entry;
}

// Cuts the next line off `text`.
std::string_view next_line(std::string_view& text) noexcept {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// The first eight bytes, zeros behind, as a number that compares like the bytes.
uint64_t head_of(std::string_view bytes) noexcept {
  uint64_t head = 0;
  std::memcpy(&head, bytes.data(), std::min<size_t>(bytes.size(), sizeof(head)));
  if constexpr (std::endian::native == std::endian::little) head = __builtin_bswap64(head);
  return head;
}

// The ids of `entries` in the order of their bytes. Most comparisons are of one number each.
std::vector<uint32_t> sorted_ids(const Vocabulary& vocabulary, const std::vector<Entry>& entries) {
  struct Key {
    uint64_t head;
    uint32_t id;
  };
  std::vector<Key> keys;
  keys.reserve(entries.size());
  for (const Entry& entry : entries) {
    keys.push_back({head_of(vocabulary.token_bytes(entry.id)), entry.id});
  }
  std::sort(keys.begin(), keys.end(), [&vocabulary](const Key& a, const Key& b) {
    if (a.head != b.head) return a.head < b.head;
    return vocabulary.token_bytes(a.id) < vocabulary.token_bytes(b.id);
  });
  std::vector<uint32_t> ids;
  ids.reserve(keys.size());
  for (const Key& key : keys) ids.push_back(key.id);
  return ids;
}

// Every token once. `line_of_id` is for the message.
Status check_unique(const Vocabulary& vocabulary, const std::vector<uint32_t>& line_of_id) {
  for (size_t i = 1; i < vocabulary.sorted.size(); ++i) {
    const uint32_t a = vocabulary.sorted[i - 1], b = vocabulary.sorted[i];
    if (vocabulary.token_bytes(a) != vocabulary.token_bytes(b)) continue;
    const auto [earlier, later] = std::minmax(line_of_id[a], line_of_id[b]);
    return error("{}:{}: expected every token once, found \"{}\" in line {} too", vocabulary.name,
                 later, printable(vocabulary.token_bytes(a)), earlier);
  }
  return {};
}

// Moves the bytes from the order of the file into the order of the ids.
void place(const std::vector<Entry>& entries, std::string_view arena, Vocabulary& vocabulary) {
  uint32_t max_id = 0;
  for (const Entry& entry : entries) max_id = std::max(max_id, entry.id);
  vocabulary.offsets.assign(size_t{max_id} + 2, 0);
  for (const Entry& entry : entries) vocabulary.offsets[entry.id + 1] = entry.num_bytes;
  for (size_t i = 1; i < vocabulary.offsets.size(); ++i) {
    vocabulary.offsets[i] += vocabulary.offsets[i - 1];
  }
  vocabulary.bytes.resize(arena.size());
  for (const Entry& entry : entries) {
    std::memcpy(vocabulary.bytes.data() + vocabulary.offsets[entry.id], arena.data() + entry.offset,
                entry.num_bytes);
  }
}

}  // namespace

Result<Vocabulary> parse_vocabulary(std::string_view text, std::string_view name) {
  Vocabulary vocabulary;
  vocabulary.name = name;
  std::string arena;
  std::vector<Entry> entries;
  std::vector<uint32_t> line_of_id;
  arena.reserve(text.size() / 2);
  entries.reserve(text.size() / 16);
  for (uint32_t line = 1; !text.empty(); ++line) {
    const Result<Entry> entry = parse_line(next_line(text), arena);
    if (!entry) return error("{}:{}: {}", name, line, entry.error().message);
    if (entry->id >= line_of_id.size()) {
      line_of_id.resize(std::max<size_t>(entry->id + 1, line_of_id.size() * 2));
    }
    uint32_t& line_of_this = line_of_id[entry->id];
    if (line_of_this != 0) {
      return error("{}:{}: expected every id once, found {} in line {} too", name, line, entry->id,
                   line_of_this);
    }
    line_of_this = line;
    entries.push_back(*entry);
  }
  if (entries.empty()) return error("{}: expected a vocabulary, found an empty file", name);
  place(entries, arena, vocabulary);
  vocabulary.sorted = sorted_ids(vocabulary, entries);
  SKEIN_RETURN_IF_ERROR(check_unique(vocabulary, line_of_id));
  return vocabulary;
}

Result<Vocabulary> make_vocabulary(std::span<const std::string> tokens, std::string_view name) {
  CHECK(tokens.empty() || tokens.front().empty());
  Vocabulary vocabulary;
  vocabulary.name = name;
  std::string arena;
  std::vector<Entry> entries;
  std::vector<uint32_t> line_of_id(tokens.size());
  for (size_t i = 1; i < tokens.size(); ++i) {
    const std::string& token = tokens[i];
    if (token.empty()) continue;
    if (i > kMaxTokenId || token.size() > kMaxTokenBytes) {
      return error("{}:{}: expected a token of 1 to {} bytes and an id up to {}, found {} bytes",
                   name, i, kMaxTokenBytes, kMaxTokenId, token.size());
    }
    const auto id = static_cast<uint32_t>(i);
    entries.push_back(
        {id, static_cast<uint32_t>(arena.size()), static_cast<uint32_t>(token.size())});
    arena += token;
    line_of_id[i] = id;
  }
  if (entries.empty()) return error("{}: expected a vocabulary, found no tokens", name);
  place(entries, arena, vocabulary);
  vocabulary.sorted = sorted_ids(vocabulary, entries);
  SKEIN_RETURN_IF_ERROR(check_unique(vocabulary, line_of_id));
  return vocabulary;
}

std::string vocabulary_text(const Vocabulary& vocabulary) {
  std::string text;
  for (uint32_t id = 1; id < vocabulary.num_ids(); ++id) {
    const std::string_view token = vocabulary.token_bytes(id);
    if (token.empty()) continue;
    text += fmt::format("{} b'", id);
    for (const char c : token) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '\'' || c == '\\') {
        text += '\\';
        text += c;
      } else if (byte < 0x20 || byte >= 0x7f) {
        text += fmt::format("\\x{:02x}", byte);
      } else {
        text += c;
      }
    }
    text += fmt::format("' {}\n", token.size());
  }
  return text;
}

}  // namespace skein
