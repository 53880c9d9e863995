#include "engine/tokenizer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <random>

#include "base/temp_folder.h"
#include "engine/byte_trie.h"
#include "engine/python_literal.h"

namespace skein {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Tokenizer parsed(std::string_view text) {
  auto tokenizer = Tokenizer::parse(text, "v");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return *std::move(tokenizer);
}

std::string parse_error(std::string_view text) {
  const auto tokenizer = Tokenizer::parse(text, "v");
  EXPECT_FALSE(tokenizer) << text;
  return tokenizer ? "" : tokenizer.error().message;
}

std::vector<uint32_t> ids_of(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.encode(text);
  EXPECT_TRUE(ids) << ids.error().message;
  return *std::move(ids);
}

// A line of a vocabulary file, all bytes escaped.
std::string line_of(uint32_t id, std::string_view token) {
  std::string literal;
  for (const char c : token) literal += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  return fmt::format("{} b'{}' {}\n", id, literal, token.size());
}

// The 256 single bytes as ids 1 to 256, then `words`, from a small alphabet so that they share
// prefixes.
std::map<std::string, uint32_t> random_dictionary(uint32_t seed, size_t num_words,
                                                  size_t max_bytes) {
  std::map<std::string, uint32_t> dictionary;
  std::mt19937 random(seed);
  for (uint32_t byte = 0; byte < 256; ++byte)
    dictionary[std::string(1, static_cast<char>(byte))] = byte + 1;
  uint32_t id = 300;  // leaves a gap
  while (num_words-- > 0) {
    std::string word(2 + random() % (max_bytes - 1), '\0');
    for (char& c : word) c = "ab\xff "[random() % 4];
    if (dictionary.emplace(word, id).second) ++id;
  }
  return dictionary;
}

std::string file_of(const std::map<std::string, uint32_t>& dictionary) {
  std::string text;
  for (const auto& [token, id] : dictionary) text += line_of(id, token);
  return text;
}

// The oracle: at each place, every length from the longest down, looked up in the dictionary.
std::vector<uint32_t> greedy_ids(const std::map<std::string, uint32_t>& dictionary,
                                 std::string_view text, size_t max_bytes) {
  std::vector<uint32_t> ids;
  while (!text.empty()) {
    size_t length = std::min(max_bytes, text.size());
    while (!dictionary.contains(std::string(text.substr(0, length)))) --length;
    ids.push_back(dictionary.at(std::string(text.substr(0, length))));
    text.remove_prefix(length);
  }
  return ids;
}

TEST(TokenizerTest, TakesTheLongestMatchAtEachPlace) {
  const Tokenizer tokenizer = parsed("1 'a' 1\n2 'b' 1\n3 'ab' 2\n4 'abab ' 5\n5 ' ' 1\n");
  EXPECT_THAT(ids_of(tokenizer, "ababab ab"), ElementsAre(3, 4, 3));
  EXPECT_THAT(ids_of(tokenizer, "abab "), ElementsAre(4));
  EXPECT_THAT(ids_of(tokenizer, "aba"), ElementsAre(3, 1));
  EXPECT_TRUE(ids_of(tokenizer, "").empty());
  EXPECT_EQ(tokenizer.num_ids(), 6u);
}

TEST(TokenizerTest, AgreesWithTheDictionary) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const size_t max_bytes = 2 + seed;
    const auto dictionary = random_dictionary(seed, 400, max_bytes);
    const Tokenizer tokenizer = parsed(file_of(dictionary));
    std::mt19937 random(seed + 100);
    for (int round = 0; round < 50; ++round) {
      std::string text(random() % 200, '\0');
      for (char& c : text)
        c = random() % 16 == 0 ? static_cast<char>(random()) : "ab\xff "[random() % 4];
      const auto ids = ids_of(tokenizer, text);
      ASSERT_EQ(ids, greedy_ids(dictionary, text, max_bytes)) << "seed " << seed;
      ASSERT_EQ(tokenizer.decode(ids), text);
    }
  }
}

TEST(TokenizerTest, EveryByteSurvivesARoundTrip) {
  const Tokenizer tokenizer = parsed(file_of(random_dictionary(1, 0, 2)));
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  const auto ids = ids_of(tokenizer, all);
  ASSERT_EQ(ids.size(), 256u);
  for (uint32_t byte = 0; byte < 256; ++byte) EXPECT_EQ(ids[byte], byte + 1);
  EXPECT_EQ(tokenizer.decode(ids), all);
}

TEST(TokenizerTest, IdsWithoutBytesDecodeToNothing) {
  const Tokenizer tokenizer = parsed("2 'a' 1\n5 'b' 1\n");
  EXPECT_EQ(tokenizer.decode(std::vector<uint32_t>{0, 2, 1, 3, 5, 6, 4000000000u}), "ab");
  EXPECT_EQ(tokenizer.token_bytes(5), "b");
  EXPECT_EQ(tokenizer.token_bytes(0), "");
  EXPECT_EQ(tokenizer.token_bytes(6), "");
  EXPECT_EQ(tokenizer.num_ids(), 6u);
}

TEST(TokenizerTest, AByteWithoutATokenIsAnErrorThatNamesIt) {
  const Tokenizer tokenizer = parsed("1 'a' 1\n2 'bc' 2\n");
  const auto ids = tokenizer.encode("aabba");
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().message,
            "v: expected a token for byte 0x62 at offset 2 of the text, found none");
}

TEST(TokenizerTest, ReadsTheLiteralsThatReprWrites) {
  const Tokenizer tokenizer = parsed(
      "1 '\\xe9' 2\n2 b'\\xe9' 1\n3 \"it's\" 4\n4 '\"' 1\n5 '\\'\"' 2\n6 '\\n\\t\\r\\\\' 4\n7 "
      "'\\u3000' 3\n"
      "8 '\\U000e0001' 4\n9 '   ' 3\r\n10 b\"'\\\\\" 2\n11 '\xe9\x9b\x81' 3\n12 '\\x00' 1");
  const std::string_view want[] = {"\u00e9", "\xe9",       "it's", "\"",  "'\"",    "\n\t\r\\",
                                   "\u3000", "\U000e0001", "   ",  "'\\", "\u96c1", {"\0", 1}};
  for (uint32_t id = 1; id <= std::size(want); ++id)
    EXPECT_EQ(tokenizer.token_bytes(id), want[id - 1]) << id;
}

TEST(TokenizerTest, LinesMayComeInAnyOrder) {
  const Tokenizer tokenizer = parsed("9 'b' 1\n3 'aa' 2\n7 'a' 1\n");
  EXPECT_THAT(ids_of(tokenizer, "aaab"), ElementsAre(3, 7, 9));
  EXPECT_EQ(tokenizer.decode(std::vector<uint32_t>{9, 3, 7}), "baaa");
}

TEST(TokenizerTest, ErrorsNameTheLineAndWhatWasExpected) {
  struct Case {
    std::string text, message;
  };
  const Case cases[] = {
      {"", "v: expected a vocabulary, found an empty file"},
      {"1 'a' 1\n\n", "v:2: expected ID LITERAL LENGTH, found \"\""},
      {"1 'a'\n", "v:1: expected ID LITERAL LENGTH, found \"1 'a'\""},
      {"x 'a' 1\n", "v:1: expected an id from 1 to 1048576, found \"x\""},
      {"0 'a' 1\n", "v:1: expected an id from 1 to 1048576, found \"0\""},
      {"-1 'a' 1\n", "v:1: expected an id from 1 to 1048576, found \"-1\""},
      {"1048577 'a' 1\n", "v:1: expected an id from 1 to 1048576, found \"1048577\""},
      {"99999999999999999999 'a' 1\n",
       "v:1: expected an id from 1 to 1048576, found \"99999999999999999999\""},
      {"1 'a' 1x\n", "v:1: expected the length in bytes, found \"1x\""},
      {"1 'a' \n", "v:1: expected the length in bytes, found \"\""},
      {"1 'a' 2\n", "v:1: expected the 2 bytes that the line states, found 1"},
      {"1 '' 0\n", "v:1: expected a token of 1 to 1024 bytes, found 0"},
      {"1 a 1\n", "v:1: expected a Python literal in quotes, found a"},
      {"1 ' 1\n", "v:1: expected a Python literal in quotes, found '"},
      {"1 b 1\n", "v:1: expected a Python literal in quotes, found b"},
      {"1 'a\" 1\n", "v:1: expected a Python literal in quotes, found 'a\""},
      {"1 'a'b' 3\n", "v:1: expected the closing quote at the end, found one inside 'a'b'"},
      {"1 '\\' 1\n", "v:1: expected an escape as repr() writes it, found \\"},
      {"1 '\\q' 1\n", "v:1: expected an escape as repr() writes it, found \\q"},
      {"1 '\\x1' 1\n", "v:1: expected an escape as repr() writes it, found \\x1"},
      {"1 '\\x-1' 1\n", "v:1: expected an escape as repr() writes it, found \\x-1"},
      {"1 b'\\u0041' 1\n", "v:1: expected an escape as repr() writes it, found \\u"},
      {"1 '\\ud800' 3\n", "v:1: expected a Unicode scalar value, found \\ud800"},
      {"1 '\\U00110000' 4\n", "v:1: expected a Unicode scalar value, found \\U00110000"},
      {"1 '\xff' 1\n", "v:1: expected UTF-8, found \\xff"},
      {"1 b'\xc3\xa9' 2\n", "v:1: expected ASCII in a bytes literal, found \\xc3\\xa9"},
      {"1 'a' 1\n1 'b' 1\n", "v:2: expected every id once, found 1 in line 1 too"},
      {"1 'a' 1\n2 'b' 1\n3 '\\x61' 1\n",
       "v:3: expected every token once, found \"a\" in line 1 too"},
      {"7 'a' 1\n2 'a' 1\n", "v:2: expected every token once, found \"a\" in line 1 too"},
      {std::string("1 '\0' 1\n2 \0", 11), "v:2: expected ID LITERAL LENGTH, found \"2 \\x00\""},
  };
  for (const Case& c : cases) EXPECT_EQ(parse_error(c.text), c.message);
}

TEST(TokenizerTest, TokensAndLinesHaveALimit) {
  const std::string longest(kMaxTokenBytes, 'x');
  EXPECT_EQ(ids_of(parsed(line_of(1, longest)), longest + longest).size(), 2u);
  EXPECT_THAT(parse_error(line_of(1, longest + 'x')),
              HasSubstr("v:1: expected a token of 1 to 1024 bytes, found 1025"));
  EXPECT_THAT(parse_error("1 '" + std::string(20000, 'x') + "' 20000\n"),
              HasSubstr("v:1: expected a line of at most 10304 bytes, found 20010"));
}

// Text that makes every match look far ahead and come back: time stays num_bytes * longest token.
TEST(TokenizerTest, LookAheadIsBounded) {
  const Tokenizer tokenizer = parsed("1 'a' 1\n" + line_of(2, std::string(1000, 'a') + "b"));
  EXPECT_EQ(ids_of(tokenizer, std::string(100000, 'a')).size(), 100000u);
}

TEST(TokenizerTest, LoadReadsAFile) {
  const TempFolder folder;
  const std::string path = folder.path("vocabulary.txt");
  std::ofstream(path, std::ios::binary) << "1 'a' 1\n2 'aa' 2\n";
  const auto tokenizer = Tokenizer::load(path);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_THAT(ids_of(*tokenizer, "aaa"), ElementsAre(2, 1));
  std::ofstream(path, std::ios::binary) << "1 'a' 1\n2 'aa' 3\n";
  EXPECT_THAT(Tokenizer::load(path).error().message, HasSubstr(path + ":2: expected the 3 bytes"));
  std::remove(path.c_str());
  EXPECT_THAT(Tokenizer::load(path).error().message, HasSubstr(path));
}

TEST(ByteTrieTest, TheEmptySetMatchesNothing) {
  const ByteTrie trie;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    EXPECT_EQ(trie.longest_prefix(&c, &c + 1).value, 0u);
  }
}

// Dense fan-outs (all 256 bytes below each of a few prefixes) and full-length chains, checked for
// every key and for keys with one byte changed.
TEST(ByteTrieTest, FindsEveryKeyAndNoOther) {
  std::map<std::string, uint32_t> set;
  std::mt19937 random(3);
  uint32_t next = 1;
  for (const char* prefix : {"", "a", "ab", "\xff", "\xff\xff"}) {
    for (int byte = 0; byte < 256; ++byte)
      set.emplace(prefix + std::string(1, static_cast<char>(byte)), next++);
  }
  for (int i = 0; i < 3000; ++i) {
    std::string key(1 + random() % 40, '\0');
    for (char& c : key) c = static_cast<char>(random() % 8 == 0 ? random() : random() % 3);
    set.emplace(key, next++);
  }
  std::vector<std::string_view> keys;
  std::vector<uint32_t> values;
  for (const auto& [key, value] : set) {
    keys.push_back(key);
    values.push_back(value);
  }
  const ByteTrie trie(keys, values);
  const auto longest = [&trie](const std::string& text) {
    return trie.longest_prefix(text.data(), text.data() + text.size());
  };
  for (const auto& [key, value] : set) {
    EXPECT_EQ(longest(key).value, value);
    EXPECT_EQ(longest(key).num_bytes, key.size());
    std::string other = key;
    other[random() % other.size()] = static_cast<char>(random());
    size_t want = other.size();
    while (want > 0 && !set.contains(other.substr(0, want))) --want;
    EXPECT_EQ(longest(other).num_bytes, want);
  }
}

TEST(PythonLiteralTest, MessagesStayOnOneShortLine) {
  EXPECT_EQ(printable("a\n\xff"), "a\\x0a\\xff");
  EXPECT_EQ(printable(std::string(100, 'a')), std::string(40, 'a') + "...");
}

// The other direction of parse_vocabulary(): every byte, quotes and backslashes too.
TEST(VocabularyTest, ItsTextIsReadBack) {
  std::vector<std::string> tokens(300);
  for (int byte = 0; byte < 256; ++byte)
    tokens[static_cast<size_t>(byte) + 1] = static_cast<char>(byte);
  tokens[260] = "it's \"\\x41\\\" \xc3\xa9\n";
  tokens[299] = "last";
  const Vocabulary vocabulary = make_vocabulary(tokens, "v").value();
  const Vocabulary again = parse_vocabulary(vocabulary_text(vocabulary), "v").value();
  EXPECT_EQ(again.bytes, vocabulary.bytes);
  EXPECT_EQ(again.offsets, vocabulary.offsets);
  EXPECT_EQ(again.sorted, vocabulary.sorted);
}

}  // namespace
}  // namespace skein
