#include "engine/stop_texts.h"

#include <algorithm>

namespace skein {

StopTexts::StopTexts(std::vector<std::string> texts) : texts_(std::move(texts)) {
  std::erase_if(texts_, [](const std::string& text) { return text.empty(); });
}

std::optional<size_t> StopTexts::find(std::string_view text) const noexcept {
  size_t first = std::string_view::npos;
  for (const std::string& stop : texts_) first = std::min(first, text.find(stop));
  return first == std::string_view::npos ? std::nullopt : std::optional(first);
}

size_t StopTexts::held_back(std::string_view text) const noexcept {
  size_t held = 0;
  for (const std::string& stop : texts_) {
    for (size_t length = std::min(stop.size() - 1, text.size()); length > held; --length) {
      if (text.ends_with(std::string_view(stop).substr(0, length))) held = length;
    }
  }
  return held;
}

}  // namespace skein
