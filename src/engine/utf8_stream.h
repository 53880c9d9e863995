// Utf8Stream: turns the bytes of tokens into text that can be shown at once.
//
// A token is a piece of bytes, not of characters: one emoji may arrive as three tokens. Goals:
// never hand out half a character, never hold back a byte longer than needed, never fail.
// Non-goals: normalization, grapheme clusters.
//
// Laws: what comes out is valid UTF-8 and depends only on the bytes that went in, not on how they
// were cut; valid UTF-8 passes unchanged; each maximal ill-formed piece becomes one U+FFFD, as the
// Unicode Standard recommends (section 3.9, "substitution of maximal subparts") and as Python's
// errors="replace" does.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace skein {

// True where `bytes` is well-formed UTF-8: no surrogates, no overlong forms, nothing above
// U+10FFFF.
bool is_valid_utf8(std::string_view bytes) noexcept;

class Utf8Stream {
 public:
  // The text that is complete now. Bytes that may still become a character are held back, three at
  // most; a piece that can no longer become one gives U+FFFD at once.
  std::string push(std::string_view bytes);

  // The end of the bytes: a held piece becomes one U+FFFD. The stream can be used again after it.
  std::string finish();

 private:
  std::array<char, 3> held_{};
  size_t num_held_ = 0;
};

}  // namespace skein
