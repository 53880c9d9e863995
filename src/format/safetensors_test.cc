// The reader against files made by hand here, byte for byte: good ones, and a refusal for each way
// to be bad.
#include "format/safetensors.h"

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>

#include "base/file.h"
#include "base/temp_folder.h"

namespace skein {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;
using testing::StartsWith;

// The bytes of a file: length, header, data. An explicit length lies about the header.
std::string file_of(const std::string& header, const std::string& data = "",
                    std::optional<uint64_t> length = {}) {
  const uint64_t header_bytes = length.value_or(header.size());
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header_bytes >> (8 * i));
  return file + header + data;
}

Result<Safetensors> parse(const std::string& file) {
  return Safetensors::parse(std::as_bytes(std::span(file)), "F");
}

// The message of the refusal; every one is a single short line that begins with the file and comes
// fast.
std::string refusal(const std::string& file) {
  const auto start = std::chrono::steady_clock::now();
  const auto result = parse(file);
  const auto elapsed = std::chrono::steady_clock::now() - start;
  // Milliseconds in fact; the bound leaves room for sanitizers and busy machines.
  EXPECT_LT(elapsed, std::chrono::seconds(2));
  if (result) {
    ADD_FAILURE() << "accepted: " << file.substr(0, 300);
    return "";
  }
  const std::string& message = result.error().message;
  EXPECT_THAT(message, StartsWith("F: "));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  EXPECT_THAT(message, Not(testing::EndsWith(".")));
  EXPECT_LT(message.size(), 1000u);
  return message;
}

// One tensor named x with the given members, and `num_bytes` bytes of data.
std::string one(const std::string& members, size_t num_bytes = 0) {
  return file_of("{\"x\":{" + members + "}}", std::string(num_bytes, 'd'));
}

std::string entry(const std::string& name, uint64_t begin, uint64_t end) {
  return fmt::format(R"("{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name,
                     end - begin, begin, end);
}

// A header of these members.
std::string object(std::initializer_list<std::string> members) {
  return fmt::format("{{{}}}", fmt::join(members, ","));
}

const std::string kGoodHeader = R"({"__metadata__":{"format":"pt","note":"a\nb"},)"
                                R"("late":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]},)"
                                R"("early":{"data_offsets":[0,6],"dtype":"BF16","shape":[3]},)"
                                R"("none":{"dtype":"I64","shape":[4,0],"data_offsets":[6,6]},)"
                                R"("one":{"dtype":"BOOL","shape":[],"data_offsets":[14,15]}})";
const std::string kGoodData = "abcdef01234567T";

void expect_good(const Result<Safetensors>& result, uint64_t data_offset) {
  ASSERT_TRUE(result) << result.error().message;
  std::vector<std::string> names;
  for (const TensorInfo& tensor : result->tensors()) {
    names.push_back(tensor.name);
    EXPECT_EQ(result->find(tensor.name), &tensor);
  }
  EXPECT_THAT(names, ElementsAre("early", "none", "late", "one"));
  EXPECT_EQ(result->find("x"), nullptr);
  EXPECT_EQ(result->find(""), nullptr);
  EXPECT_EQ(result->find("zzz"), nullptr);
  EXPECT_THAT(result->metadata(), ElementsAre(Pair("format", "pt"), Pair("note", "a\nb")));

  const TensorInfo& late = *result->find("late");
  EXPECT_EQ(late.dtype, FileDType::kF32);
  EXPECT_THAT(late.shape, ElementsAre(2, 1));
  EXPECT_EQ(late.offset_bytes, data_offset + 6);
  ASSERT_EQ(late.data.size(), 8u);
  EXPECT_EQ(std::memcmp(late.data.data(), "01234567", 8), 0);
  EXPECT_EQ(result->find("none")->data.size(), 0u);
  EXPECT_EQ(result->find("one")->data.size(), 1u);
  EXPECT_TRUE(result->find("one")->shape.empty());
}

TEST(SafetensorsTest, ReadsAFileMadeByHand) {
  const std::string file = file_of(kGoodHeader, kGoodData);
  expect_good(parse(file), 8 + kGoodHeader.size());
  // Every alignment of the data, so that seven of eight are misaligned for F32's eight bytes.
  for (size_t spaces = 1; spaces <= 8; ++spaces) {
    const std::string padded = kGoodHeader + std::string(spaces, ' ');
    expect_good(parse(file_of(padded, kGoodData)), 8 + padded.size());
  }
}

TEST(SafetensorsTest, ReadsAFileWithoutTensors) {
  for (const char* header : {"{}", "{}      ", R"({"__metadata__":{}})"}) {
    const auto result = parse(file_of(header));
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_TRUE(result->tensors().empty());
    EXPECT_EQ(result->find("x"), nullptr);
  }
}

TEST(SafetensorsTest, OpensAFileAndSurvivesAMove) {
  const TempFolder folder;
  const std::string path = folder.path("a.safetensors");
  const std::string content = file_of(kGoodHeader, kGoodData);
  ASSERT_TRUE(write_file_atomically(path, std::as_bytes(std::span(content))));
  auto result = Safetensors::open(path);
  expect_good(result, 8 + kGoodHeader.size());
  const Result<Safetensors> moved(std::move(*result));
  expect_good(moved, 8 + kGoodHeader.size());
  EXPECT_EQ(moved->file().path(), path);
  EXPECT_EQ(moved->find("late")->data.data(),
            moved->file().bytes().data() + moved->find("late")->offset_bytes);
}

TEST(SafetensorsTest, PaddingIsCheckedAndLeftOut) {
  const auto result = parse(file_of(object({entry("__pad__.1", 2, 5), entry("a", 0, 2)}), "aappp"));
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->tensors().size(), 1u);
  EXPECT_EQ(result->find("__pad__.1"), nullptr);
  EXPECT_NE(result->find("a"), nullptr);
  refusal(file_of(object({entry("__pad__.1", 0, 5), entry("__pad__.1", 0, 5)}), "ppppp"));
  refusal(file_of(object({entry("__pad__.1", 0, 6)}), "ppppp"));
}

TEST(SafetensorsRefusalTest, Paths) {
  const TempFolder folder;
  EXPECT_THAT(Safetensors::open(folder.path()).error().message, HasSubstr("a folder"));
  EXPECT_THAT(Safetensors::open("/no/such").error().message, StartsWith("/no/such: "));
  EXPECT_THAT(Safetensors::open("/dev/zero").error().message, HasSubstr("a device"));
  const std::string path = folder.path("a.safetensors");
  std::ofstream(path) << "";
  EXPECT_THAT(Safetensors::open(path).error().message,
              AllOf(StartsWith(path + ": "), HasSubstr("found 0 bytes")));
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  if (::access(path.c_str(), R_OK) != 0) {
    EXPECT_THAT(Safetensors::open(path).error().message, HasSubstr("Permission denied"));
  }
}

TEST(SafetensorsRefusalTest, EveryTruncation) {
  const std::string file = file_of(kGoodHeader, kGoodData);
  for (size_t length = 0; length < file.size(); ++length) refusal(file.substr(0, length));
  EXPECT_THAT(refusal(file.substr(0, file.size() - 1)),
              AllOf(HasSubstr("tensor 'one'"), HasSubstr("cut short")));
  EXPECT_THAT(refusal(file + "x"),
              HasSubstr("expected 15 bytes of data, all in tensors, found 16"));
}

TEST(SafetensorsRefusalTest, EveryByteChangedIsReadOrRefused) {
  const std::string good = file_of(kGoodHeader, kGoodData);
  for (size_t i = 0; i < 8 + kGoodHeader.size(); ++i) {
    for (const char c : {'\0', '\xff', '{', '[', '"', '9', '-', ','}) {
      std::string file = good;
      file[i] = c;
      const auto result = parse(file);
      if (!result) {
        EXPECT_THAT(result.error().message, StartsWith("F: "));
        continue;
      }
      for (const TensorInfo& tensor : result->tensors()) {
        EXPECT_LE(tensor.offset_bytes + tensor.data.size(), file.size());
      }
    }
  }
}

TEST(SafetensorsRefusalTest, HeaderLength) {
  EXPECT_THAT(refusal(""), HasSubstr("found 0 bytes"));
  EXPECT_THAT(refusal("1234567"), HasSubstr("found 7 bytes"));
  EXPECT_THAT(refusal(file_of("{}", "", uint64_t{1} << 60)), HasSubstr("1152921504606846976"));
  EXPECT_THAT(refusal(file_of("{}", "", UINT64_MAX)), HasSubstr("at most 100000000"));
  EXPECT_THAT(refusal(file_of("{}", "", UINT64_MAX - 7)), HasSubstr("at most 100000000"));
  EXPECT_THAT(refusal(file_of("{}", "", 3)),
              HasSubstr("expected a header of 3 bytes, found only 2"));
  EXPECT_THAT(refusal(file_of("")), HasSubstr("found nothing"));
}

TEST(SafetensorsRefusalTest, HeaderIsNoJson) {
  for (const std::string header :
       {" {}", "[]", "null", "\xef\xbb\xbf{}", "{", "{}}", "{} {}", "{},", "{/**/}", "{'a':1}",
        "{\"a", "{\"a\":}", "{}x", "{\"\xff\":1}", "{\"\xc0\x80\":1}", "{\"\\ud800\":1}", "{,}",
        R"({"a":{"dtype":"U8","shape":[0,],"data_offsets":[0,0]}})"}) {
    EXPECT_THAT(refusal(file_of(header)), HasSubstr("header: expected JSON")) << header;
  }
  EXPECT_THAT(refusal(file_of(std::string("{}\0\0", 4))), HasSubstr("NUL at its byte 2"));
}

TEST(SafetensorsRefusalTest, DeepNesting) {
  for (const std::string open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 100'000; ++i) deep += open;
    refusal(file_of(deep));
    EXPECT_THAT(refusal(file_of("{\"a\":" + deep)), HasSubstr("tensor 'a'"));
    EXPECT_THAT(refusal(file_of("{\"a\":{\"shape\":" + deep)), HasSubstr("shape"));
    EXPECT_THAT(refusal(file_of("{\"a\":{\"shape\":[" + deep)), HasSubstr("shape"));
    EXPECT_THAT(refusal(file_of("{\"a\":{\"data_offsets\":[" + deep)), HasSubstr("data_offsets"));
    EXPECT_THAT(refusal(file_of("{\"__metadata__\":" + deep)), HasSubstr("__metadata__"));
    EXPECT_THAT(refusal(file_of("{\"__metadata__\":{\"m\":" + deep)), HasSubstr("'m'"));
  }
}

TEST(SafetensorsRefusalTest, WrongTypes) {
  for (const char* value : {"null", "true", "1", "-1", "1.5", "\"s\"", "[]"}) {
    const std::string v = value;
    EXPECT_THAT(refusal(file_of("{\"x\":" + v + "}")), HasSubstr("F: tensor 'x': expected an obj"));
    EXPECT_THAT(refusal(file_of("{\"__metadata__\":" + v + "}")),
                HasSubstr("F: __metadata__: exp"));
  }
  for (const char* value : {"null", "true", "1", "-1", "1.5", "{}", "[]"}) {
    const std::string v = value;
    EXPECT_THAT(refusal(one("\"dtype\":" + v)), HasSubstr("expected dtype to be a string, found"));
    EXPECT_THAT(refusal(file_of("{\"__metadata__\":{\"k\":" + v + "}}")),
                HasSubstr("F: __metadata__ 'k': expected a string, found"));
  }
  for (const char* value : {"null", "true", "1", "-1", "1.5", "{}", "\"s\""}) {
    const std::string v = value;
    EXPECT_THAT(refusal(one("\"shape\":" + v)), HasSubstr("expected shape to be an array, found"));
    EXPECT_THAT(refusal(one("\"data_offsets\":" + v)), HasSubstr("data_offsets to be an array"));
  }
  for (const char* value :
       {"null", "true", "-1", "-0", "1.5", "1.0", "1e2", "18446744073709551616", "{}", "\"1\""}) {
    const std::string v = value;
    EXPECT_THAT(refusal(one("\"shape\":[1," + v + "]")), HasSubstr("shape to hold whole numbers"));
    EXPECT_THAT(refusal(one("\"data_offsets\":[" + v + ",1]")),
                HasSubstr("data_offsets to hold whole numbers"));
  }
  refusal(one("\"shape\":[1e999]"));
}

TEST(SafetensorsRefusalTest, Members) {
  const std::string dtype = R"("dtype":"U8")", shape = R"("shape":[1])";
  const std::string offsets = R"("data_offsets":[0,1])";
  const std::string all = fmt::format("{},{},{}", dtype, shape, offsets);
  EXPECT_TRUE(parse(one(all, 1)));
  EXPECT_THAT(refusal(one(shape + "," + offsets, 1)), HasSubstr("expected a dtype, found none"));
  EXPECT_THAT(refusal(one(dtype + "," + offsets, 1)), HasSubstr("expected a shape, found none"));
  EXPECT_THAT(refusal(one(dtype + "," + shape, 1)), HasSubstr("expected data_offsets, found none"));
  EXPECT_THAT(refusal(one("")), HasSubstr("found none"));
  for (const std::string& member : {dtype, shape, offsets}) {
    EXPECT_THAT(refusal(one(fmt::format("{},{}", all, member), 1)), HasSubstr("twice"));
  }
  EXPECT_THAT(refusal(one(all + R"(,"extra":1)", 1)),
              HasSubstr("tensor 'x': expected dtype, shape or data_offsets, found 'extra'"));
  for (const char* list : {"[]", "[0]", "[0,1,2]"}) {
    EXPECT_THAT(refusal(one(fmt::format(R"({},{},"data_offsets":{})", dtype, shape, list), 1)),
                HasSubstr("expected two data_offsets, found"));
  }
  EXPECT_THAT(refusal(one(R"("dtype":"F33")")), HasSubstr("found 'F33'"));
  EXPECT_THAT(refusal(one(fmt::format(R"("dtype":"{:F>100000}")", ""))), HasSubstr("[...]"));
}

TEST(SafetensorsRefusalTest, Shapes) {
  const auto with_shape = [](const std::string& shape, uint64_t end = 4) {
    return one(fmt::format(R"("dtype":"F32","shape":[{}],"data_offsets":[0,{}])", shape, end), 4);
  };
  EXPECT_TRUE(parse(with_shape("1")));
  EXPECT_THAT(refusal(with_shape("2")), HasSubstr("expected 8 bytes for F32 [2], found 4"));
  EXPECT_THAT(refusal(with_shape("0")), HasSubstr("expected 0 bytes for F32 [0], found 4"));
  // 2^62 floats are 2^64 bytes; the products wrap to 0 and to 4.
  EXPECT_THAT(refusal(with_shape("4611686018427387904", 0)), HasSubstr("less than 2^64 bytes"));
  EXPECT_THAT(refusal(with_shape("4611686018427387905")), HasSubstr("less than 2^64 bytes"));
  EXPECT_THAT(refusal(with_shape("4294967296,4294967296", 0)), HasSubstr("less than 2^64 bytes"));
  EXPECT_THAT(refusal(with_shape("18446744073709551615,2,0", 0)), HasSubstr("less than 2^64"));
  std::string ones = "1";
  for (size_t i = 1; i < Safetensors::kMaxRank; ++i) ones += ",1";
  EXPECT_TRUE(parse(with_shape(ones)));
  EXPECT_THAT(refusal(with_shape(ones + ",1")), HasSubstr("at most 32 numbers"));
}

TEST(SafetensorsRefusalTest, Offsets) {
  const auto two = [](uint64_t b0, uint64_t e0, uint64_t b1, uint64_t e1, size_t data) {
    return file_of(object({entry("a", b0, e0), entry("b", b1, e1)}), std::string(data, 'd'));
  };
  EXPECT_TRUE(parse(two(0, 4, 4, 8, 8)));
  EXPECT_TRUE(parse(two(4, 8, 0, 4, 8)));
  EXPECT_TRUE(parse(two(0, 0, 0, 8, 8)));
  EXPECT_THAT(refusal(two(0, 5, 4, 8, 8)), AllOf(HasSubstr("tensor 'b'"), HasSubstr("an overlap")));
  EXPECT_THAT(refusal(two(0, 8, 0, 8, 8)), AllOf(HasSubstr("tensor 'b'"), HasSubstr("an overlap")));
  EXPECT_THAT(refusal(two(0, 8, 3, 3, 8)), AllOf(HasSubstr("tensor 'b'"), HasSubstr("an overlap")));
  EXPECT_THAT(refusal(two(0, 3, 4, 8, 8)), AllOf(HasSubstr("tensor 'b'"), HasSubstr("a hole")));
  EXPECT_THAT(refusal(two(1, 4, 4, 8, 8)), AllOf(HasSubstr("tensor 'a'"), HasSubstr("a hole")));
  EXPECT_THAT(refusal(two(0, 4, 4, 8, 9)), HasSubstr("expected 8 bytes of data"));
  EXPECT_THAT(refusal(two(0, 4, 4, 9, 8)), HasSubstr("found only 8 bytes of data"));
  EXPECT_THAT(refusal(two(0, 4, uint64_t{1} << 60, (uint64_t{1} << 60) + 1, 8)),
              HasSubstr("found only 8 bytes of data"));
  EXPECT_THAT(refusal(one(R"("dtype":"U8","shape":[0],"data_offsets":[4,0])", 4)),
              HasSubstr("expected data_offsets in order, found [4, 0]"));
  // end - begin wraps to 4, the right length.
  EXPECT_THAT(
      refusal(one(R"("dtype":"F32","shape":[],"data_offsets":[18446744073709551613,1])", 4)),
      HasSubstr("in order"));
}

TEST(SafetensorsRefusalTest, Names) {
  EXPECT_THAT(
      refusal(file_of(object({entry("a", 0, 1), entry("b", 1, 2), entry("a", 2, 3)}), "ddd")),
      HasSubstr("tensor 'a': expected the name once"));
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":{},"__metadata__":{}})")), HasSubstr("twice"));
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":{"a":"1","a":"1"}})")),
              HasSubstr("F: __metadata__ 'a': found the name twice"));
  EXPECT_THAT(refusal(file_of(object({entry("", 0, 1)}), "d")), HasSubstr("found ''"));
  EXPECT_THAT(refusal(file_of(object({entry("a\\u0000b", 0, 1)}), "d")), HasSubstr("'a\\x00b'"));
  EXPECT_THAT(refusal(file_of(object({entry("a\\nb", 0, 1)}), "d")), HasSubstr("'a\\x0ab'"));
  EXPECT_TRUE(parse(file_of(object({entry(std::string(1024, 'n'), 0, 1)}), "d")));
  EXPECT_THAT(refusal(file_of(object({entry(std::string(1025, 'n'), 0, 1)}), "d")),
              AllOf(HasSubstr("1 to 1024 bytes"), HasSubstr("nnn[...]nnn")));
  EXPECT_TRUE(parse(file_of(object({entry("\xc3\xbc\xe6\xbc\xa2", 0, 1)}), "d")));
}

// A cut name stays UTF-8: 200 three-byte characters, behind 0 to 2 bytes that shift where the cut
// falls.
TEST(SafetensorsRefusalTest, LongNamesAreCutBetweenCharacters) {
  for (size_t shift = 0; shift < 3; ++shift) {
    std::string name(shift, 'a');
    for (int i = 0; i < 200; ++i) name += "\xe6\xbc\xa2";
    const std::string message = refusal(file_of("{\"" + name + "\":1}"));
    EXPECT_THAT(message, HasSubstr("[...]"));
    const std::string again = file_of(R"({"__metadata__":{"m":")" + message + "\"}}");
    EXPECT_TRUE(parse(again)) << "the message is no UTF-8: " << message;
  }
}

// Twenty thousand tensors: checks and look-ups stay fast.
TEST(SafetensorsTest, ManyTensors) {
  std::string header = "{";
  constexpr uint64_t kTensors = 20'000;
  for (uint64_t i = 0; i < kTensors; ++i) {
    if (i != 0) header += ',';
    header += entry(fmt::format("t{}", i), kTensors - 1 - i, kTensors - i);
  }
  std::string data(kTensors, '\0');
  for (size_t i = 0; i < kTensors; ++i) data[i] = static_cast<char>(i * 7);
  const std::string file = file_of(header + "}", data);
  const auto result = parse(file);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->tensors().size(), kTensors);
  for (uint64_t i = 0; i < kTensors; ++i) {
    const TensorInfo* tensor = result->find(fmt::format("t{}", i));
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->data[0], static_cast<std::byte>((kTensors - 1 - i) * 7));
  }
}

}  // namespace
}  // namespace skein
