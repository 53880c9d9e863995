// StopTexts: finds the first of several texts in a stream, and says how much of the stream is safe
// to show before more of it is known.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skein {

class StopTexts {
 public:
  // Empty texts are ignored: they would stop before the first character.
  explicit StopTexts(std::vector<std::string> texts);

  // Where in `text` the earliest stop text begins; of several at one place the longest is meant,
  // which makes no difference.
  std::optional<size_t> find(std::string_view text) const noexcept;

  // How many characters at the end of `text` may be the beginning of a stop text: what has to be
  // held back. Less than the longest stop text; `text` holds no whole one.
  size_t held_back(std::string_view text) const noexcept;

 private:
  std::vector<std::string> texts_;
};

}  // namespace skein
