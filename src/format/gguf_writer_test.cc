// GgufWriter: what it writes is what Gguf reads; the package gguf reads it in
// tests/convert_test.py.
#include "format/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/temp_folder.h"
#include "format/gguf.h"

namespace skein {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GgufWriterTest : public ::testing::Test {
 protected:
  std::string refusal(const std::vector<TensorDeclaration>& tensors) const {
    const auto writer = GgufWriter::create(path_, {}, tensors);
    EXPECT_FALSE(std::filesystem::exists(path_));
    return writer ? "accepted" : writer.error().message;
  }

  TempFolder folder_;
  std::string path_ = folder_.path("m.gguf");
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST_F(GgufWriterTest, IsReadBack) {
  const std::vector<GgufField> fields = {{"name", std::string("a\0b\n", 4)},
                                         {"count", uint32_t{7}},
                                         {"eps", 0.5f},
                                         {"tokens", std::vector<std::string>{"x", "", "yz"}},
                                         {"types", std::vector<int32_t>{-1, 3}}};
  const std::vector<TensorDeclaration> tensors = {{"a", FileDType::kF16, {3}},
                                                  {"none", FileDType::kF32, {0, 2}},
                                                  {"b", FileDType::kF32, {2, 1}},
                                                  {"q", FileDType::kQ8_0, {2, 32}}};
  auto writer = GgufWriter::create(path_, fields, tensors).value();
  // Longer than the pieces that are gathered, in two parts.
  ASSERT_TRUE(writer.write("a", bytes_of("1234")));
  ASSERT_TRUE(writer.write("a", bytes_of("56")));
  ASSERT_TRUE(writer.write("b", bytes_of("abcdefgh")));
  ASSERT_TRUE(writer.write("q", bytes_of(std::string(68, 'q'))));
  EXPECT_FALSE(std::filesystem::exists(path_));
  ASSERT_TRUE(writer.commit());

  const MappedFile file = MappedFile::open(path_).value();
  const Gguf gguf = Gguf::parse(file.bytes(), path_).value();
  EXPECT_EQ(gguf.text("name"), std::string_view("a\0b\n", 4));
  EXPECT_EQ(gguf.number("count"), 7u);
  EXPECT_EQ(std::get<double>(gguf.metadata.find("eps")->second), 0.5);
  EXPECT_THAT(*gguf.texts("tokens"), ElementsAre("x", "", "yz"));
  ASSERT_EQ(gguf.numbers("types")->count(), 2u);
  EXPECT_EQ(gguf.numbers("types")->integer(0), -1);
  ASSERT_EQ(gguf.tensors.size(), tensors.size());
  for (const TensorInfo& tensor : gguf.tensors) {
    const std::string text(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    if (tensor.name == "a") {
      EXPECT_EQ(text, "123456");
    } else if (tensor.name == "b") {
      EXPECT_EQ(text, "abcdefgh");
      EXPECT_THAT(tensor.shape, ElementsAre(2u, 1u));
    } else if (tensor.name == "q") {
      EXPECT_EQ(text, std::string(68, 'q'));
    }
    EXPECT_EQ(tensor.offset_bytes % GgufWriter::kAlignmentBytes, 0u);
  }
}

TEST_F(GgufWriterTest, DataLongerThanAPieceStayWhole) {
  const uint64_t count = 5'000'001;
  std::string data(count, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 2654435761u >> 24);
  const std::vector<TensorDeclaration> tensors = {{"s", FileDType::kI8, {1}},
                                                  {"l", FileDType::kI8, {count}}};
  auto writer = GgufWriter::create(path_, {}, tensors).value();
  ASSERT_TRUE(writer.write("s", bytes_of("x")));
  const auto bytes = bytes_of(data);
  ASSERT_TRUE(writer.write("l", bytes.first(17)));
  ASSERT_TRUE(writer.write("l", bytes.subspan(17, 3'000'000)));
  ASSERT_TRUE(writer.write("l", bytes.subspan(3'000'017)));
  ASSERT_TRUE(writer.commit());
  const MappedFile file = MappedFile::open(path_).value();
  const Gguf gguf = Gguf::parse(file.bytes(), path_).value();
  const auto found = gguf.tensors.back().data;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(found.data()), found.size()), data);
}

TEST_F(GgufWriterTest, LeavesNoTraceWithoutCommit) {
  { auto writer = GgufWriter::create(path_, {}, std::vector<TensorDeclaration>{}).value(); }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(GgufWriterTest, RefusesWhatCannotBeRead) {
  EXPECT_THAT(refusal({{"a", FileDType::kF32, {1}}, {"a", FileDType::kF32, {1}}}),
              HasSubstr("found it twice"));
  EXPECT_THAT(refusal({{"", FileDType::kF32, {1}}}), HasSubstr("expected a name"));
  EXPECT_THAT(refusal({{"u", FileDType::kU8, {1}}}), AllOf(HasSubstr("'u'"), HasSubstr("U8")));
  EXPECT_THAT(refusal({{"a", FileDType::kF32, {1, 1, 1, 1, 1}}}), HasSubstr("at most 4"));
  EXPECT_THAT(refusal({{"a", FileDType::kF32, {uint64_t{1} << 61}}}), HasSubstr("2^62"));
  EXPECT_THAT(refusal({{"q", FileDType::kQ8_0, {33}}}), HasSubstr("2^62"));
  EXPECT_FALSE(GgufWriter::create(folder_.path("no/m.gguf"), {}, std::vector<TensorDeclaration>{}));
}

}  // namespace
}  // namespace skein
