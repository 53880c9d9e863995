#include "engine/utf8_stream.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>

namespace skein {
namespace {

// The independent oracle: whether `bytes` is the start of some character, by decoding the number
// and comparing with the ranges that UTF-8 is defined by (RFC 3629), instead of by tables of second
// bytes.
bool is_character(std::string_view bytes) {
  const auto byte = [bytes](size_t i) {
    return static_cast<uint32_t>(static_cast<uint8_t>(bytes[i]));
  };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return bytes.size() == 1;
  const size_t want = lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
  if (want == 0 || bytes.size() != want) return false;
  uint32_t value = lead & (0x7fu >> want);
  for (size_t i = 1; i < want; ++i) {
    if (byte(i) >> 6 != 2) return false;
    value = value << 6 | (byte(i) & 0x3f);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  return value >= kLeast[want] && value <= 0x10ffff && !(value >= 0xd800 && value <= 0xdfff);
}

// Whether some bytes behind `prefix` make it a character.
bool can_become_character(const std::string& prefix) {
  if (is_character(prefix)) return true;
  if (prefix.size() >= 4) return false;
  for (int next = 0x80; next < 0xc0; ++next) {
    if (can_become_character(prefix + static_cast<char>(next))) return true;
  }
  return false;
}

// The whole text at once, from the definition: maximal ill-formed pieces become U+FFFD.
std::string replaced(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    size_t length = 1;
    while (length < bytes.size() && !is_character(bytes.substr(0, length)) &&
           can_become_character(std::string(bytes.substr(0, length + 1)))) {
      ++length;
    }
    text += is_character(bytes.substr(0, length)) ? bytes.substr(0, length) : "\xef\xbf\xbd";
    bytes.remove_prefix(length);
  }
  return text;
}

std::string streamed(std::string_view bytes, size_t chunk) {
  Utf8Stream stream;
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += chunk) {
    const std::string piece = stream.push(bytes.substr(i, chunk));
    EXPECT_TRUE(is_valid_utf8(piece));
    text += piece;
  }
  return text + stream.finish();
}

TEST(Utf8StreamTest, HoldsBackAnIncompleteCharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xf0\x9f"), "a");
  EXPECT_EQ(stream.push("\xa6"), "");
  EXPECT_EQ(stream.push("\xa2!"), "\U0001F9A2!");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8StreamTest, AnInvalidByteShowsAsSoonAsItIsKnown) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("\xff"), "\ufffd");
  EXPECT_EQ(stream.push("\xe2\x82"), "");
  EXPECT_EQ(stream.push("x"), "\ufffdx");              // the two held bytes are one piece
  EXPECT_EQ(stream.push("\xed\xa0"), "\ufffd\ufffd");  // a surrogate's second byte cannot follow
  EXPECT_EQ(stream.push("\xf4\x90"), "\ufffd\ufffd");  // beyond U+10FFFF
}

TEST(Utf8StreamTest, FinishGivesTheHeldPieceOnce) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("\xe2\x82"), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.push("ok"), "ok");
}

TEST(Utf8StreamTest, ValidTextPassesUnchangedHoweverItIsCut) {
  const std::string text =
      "Goose, Gänse, гуси, 雁, 기러기, \U0001F9A2\U0001F468\u200d\U0001F33E, "
      "\u0800\uffff\U0010ffff";
  for (size_t chunk = 1; chunk <= text.size(); ++chunk)
    EXPECT_EQ(streamed(text, chunk), text) << chunk;
}

// All strings of up to three bytes from the bytes at the edges of UTF-8's ranges, and random longer
// ones.
TEST(Utf8StreamTest, AgreesWithTheDefinition) {
  constexpr uint8_t kEdges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xfe, 0xff};
  std::mt19937 random(1);
  const auto edge = [&] { return static_cast<char>(kEdges[random() % std::size(kEdges)]); };
  for (const uint8_t a : kEdges) {
    for (const uint8_t b : kEdges) {
      for (const uint8_t c : kEdges) {
        const std::string bytes = {static_cast<char>(a), static_cast<char>(b),
                                   static_cast<char>(c)};
        ASSERT_EQ(streamed(bytes, 1), replaced(bytes)) << testing::PrintToString(bytes);
      }
    }
  }
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 12, '\0');
    for (char& c : bytes) c = edge();
    const std::string want = replaced(bytes);
    EXPECT_EQ(is_valid_utf8(bytes), want == bytes);
    for (size_t chunk = 1; chunk < 5; ++chunk) {
      ASSERT_EQ(streamed(bytes, chunk), want) << testing::PrintToString(bytes);
    }
  }
}

}  // namespace
}  // namespace skein
