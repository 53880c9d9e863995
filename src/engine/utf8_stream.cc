#include "engine/utf8_stream.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"

namespace skein {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

enum class Verdict { kCharacter, kIllFormed, kUnfinished };

struct Piece {
  Verdict verdict;
  size_t num_bytes;
};

struct Range {
  uint8_t low, high;
  bool contains(uint8_t byte) const noexcept { return low <= byte && byte <= high; }
};

// The number of bytes that a lead byte announces, 0 for a byte that leads nothing.
constexpr size_t announced_bytes(uint8_t lead) noexcept {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;  // continuation bytes, and the overlong C0 and C1
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

// What may follow the lead byte (Unicode Standard, table 3-7). Later bytes are always 80..BF.
constexpr Range second_byte(uint8_t lead) noexcept {
  switch (lead) {
    case 0xe0:
      return {0xa0, 0xbf};  // below: overlong
    case 0xed:
      return {0x80, 0x9f};  // above: surrogates
    case 0xf0:
      return {0x90, 0xbf};  // below: overlong
    case 0xf4:
      return {0x80, 0x8f};  // above: beyond U+10FFFF
    default:
      return {0x80, 0xbf};
  }
}

// The first character or ill-formed piece of `bytes`, which is not empty.
Piece first_piece(std::string_view bytes) noexcept {
  const auto lead = static_cast<uint8_t>(bytes[0]);
  const size_t want = announced_bytes(lead);
  if (want == 0) return {Verdict::kIllFormed, 1};
  Range range = second_byte(lead);
  for (size_t i = 1; i < want; ++i) {
    if (i == bytes.size()) return {Verdict::kUnfinished, i};
    if (!range.contains(static_cast<uint8_t>(bytes[i]))) return {Verdict::kIllFormed, i};
    range = {0x80, 0xbf};
  }
  return {Verdict::kCharacter, want};
}

}  // namespace

bool is_valid_utf8(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const Piece piece = first_piece(bytes);
    if (piece.verdict != Verdict::kCharacter) return false;
    bytes.remove_prefix(piece.num_bytes);
  }
  return true;
}

std::string Utf8Stream::push(std::string_view bytes) {
  std::string joined(held_.data(), num_held_);
  joined += bytes;
  num_held_ = 0;
  std::string text;
  text.reserve(joined.size());
  for (std::string_view rest = joined; !rest.empty();) {
    const Piece piece = first_piece(rest);
    if (piece.verdict == Verdict::kUnfinished) {
      DCHECK(piece.num_bytes == rest.size() && rest.size() <= held_.size());
      std::copy(rest.begin(), rest.end(), held_.begin());
      num_held_ = rest.size();
      break;
    }
    text += piece.verdict == Verdict::kCharacter ? rest.substr(0, piece.num_bytes) : kReplacement;
    rest.remove_prefix(piece.num_bytes);
  }
  return text;
}

std::string Utf8Stream::finish() {
  const bool unfinished = num_held_ != 0;
  num_held_ = 0;
  return std::string(unfinished ? kReplacement : std::string_view{});
}

}  // namespace skein
