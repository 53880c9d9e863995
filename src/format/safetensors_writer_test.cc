// The writer against the reader; scripts of the reference implementation check the same files from
// outside (safetensors_reference_test.py).
#include "format/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "base/temp_folder.h"
#include "format/safetensors.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::StartsWith;

class SafetensorsWriterTest : public testing::Test {
 protected:
  std::string path(const std::string& name = "a.safetensors") const { return folder_.path(name); }

  bool folder_is_empty() const { return fs::is_empty(folder_.path()); }

 private:
  TempFolder folder_;
};

std::vector<std::byte> random_bytes(std::mt19937& random, uint64_t num_bytes) {
  std::vector<std::byte> bytes(num_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

uint64_t bytes_of(const TensorDeclaration& tensor) {
  uint64_t bytes = file_dtype_bytes(tensor.dtype);
  for (const uint64_t extent : tensor.shape) bytes *= extent;
  return bytes;
}

const std::vector<TensorDeclaration> kTensors = {
    {"bytes", FileDType::kU8, {3}},
    {"matrix", FileDType::kF32, {5, 7}},
    {"empty", FileDType::kF16, {0, 9}},
    {"scalar", FileDType::kF64, {}},
    {"name \"\\/ \xc3\xbc", FileDType::kBF16, {1, 1, 11}},
    {"blob", FileDType::kU8, {5000}}};

TEST_F(SafetensorsWriterTest, TheReaderGivesBackWhatWasWritten) {
  const std::map<std::string, std::string> metadata = {{"layout", "interleave(4,64)@256B"},
                                                       {"quote \"", "line\nbreak"}};
  std::mt19937 random(7);
  for (const uint64_t data_alignment : {1u, 8u, 64u, 4096u}) {
    for (const uint64_t tensor_alignment : {1u, 2u, 8u, 256u, 8192u}) {
      SCOPED_TRACE(fmt::format("data {} tensor {}", data_alignment, tensor_alignment));
      auto writer =
          SafetensorsWriter::create(path(), kTensors, metadata, {data_alignment, tensor_alignment});
      ASSERT_TRUE(writer) << writer.error().message;
      std::vector<std::vector<std::byte>> contents;
      for (const TensorDeclaration& tensor : kTensors) {
        contents.push_back(random_bytes(random, bytes_of(tensor)));
        ASSERT_TRUE(writer->write(tensor.name, contents.back()));
      }
      ASSERT_TRUE(writer->commit());

      const auto file = Safetensors::open(path());
      ASSERT_TRUE(file) << file.error().message;
      EXPECT_EQ(file->metadata(), metadata);
      ASSERT_EQ(file->tensors().size(), kTensors.size());
      EXPECT_EQ(file->tensors()[0].offset_bytes % data_alignment, 0u);
      for (size_t i = 0; i < kTensors.size(); ++i) {
        const TensorInfo* tensor = file->find(kTensors[i].name);
        ASSERT_NE(tensor, nullptr) << kTensors[i].name;
        EXPECT_EQ(tensor->dtype, kTensors[i].dtype);
        EXPECT_EQ(tensor->shape, kTensors[i].shape);
        EXPECT_EQ(tensor->offset_bytes % tensor_alignment, 0u) << tensor->name;
        EXPECT_TRUE(std::ranges::equal(tensor->data, contents[i])) << tensor->name;
      }
    }
  }
}

TEST_F(SafetensorsWriterTest, PaddingIsZeroAndTheFileEndsWithTheData) {
  const std::vector<TensorDeclaration> tensors = {{"a", FileDType::kU8, {1}},
                                                  {"b", FileDType::kU8, {2}}};
  auto writer = SafetensorsWriter::create(path(), tensors, {}, {4096, 8192});
  ASSERT_TRUE(writer);
  const auto data = std::as_bytes(std::span("xyz", 3));
  ASSERT_TRUE(writer->write("a", data.first(1)));
  ASSERT_TRUE(writer->write("b", data.subspan(1)));
  ASSERT_TRUE(writer->commit());
  const auto file = Safetensors::open(path());
  ASSERT_TRUE(file);
  const uint64_t begin = file->find("a")->offset_bytes, end = file->find("b")->offset_bytes;
  EXPECT_EQ(end - begin, 8192u);
  EXPECT_EQ(file->file().bytes().size(), end + 2);
  for (uint64_t i = begin + 1; i < end; ++i) EXPECT_EQ(file->file().bytes()[i], std::byte{0}) << i;
}

TEST_F(SafetensorsWriterTest, ATensorMayHaveAnAlignmentOfItsOwnAndTheFileATail) {
  const std::vector<TensorDeclaration> tensors = {
      {"a", FileDType::kU8, {1}}, {"b", FileDType::kU8, {2}, 16384}, {"c", FileDType::kU8, {1}}};
  auto writer = SafetensorsWriter::create(path(), tensors, {}, {4096, 256, 300});
  ASSERT_TRUE(writer);
  const auto data = std::as_bytes(std::span("xyzw", 4));
  ASSERT_TRUE(writer->write("a", data.first(1)));
  ASSERT_TRUE(writer->write("b", data.subspan(1, 2)));
  ASSERT_TRUE(writer->write("c", data.last(1)));
  ASSERT_TRUE(writer->commit());
  const auto file = Safetensors::open(path());
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->find("a")->offset_bytes % 16384, 0u);
  EXPECT_EQ(file->find("b")->offset_bytes, file->find("a")->offset_bytes + 16384);
  EXPECT_EQ(file->find("c")->offset_bytes, file->find("b")->offset_bytes + 256);
  const auto bytes = file->file().bytes();
  ASSERT_EQ(bytes.size(), file->find("c")->offset_bytes + 1 + 300);
  EXPECT_TRUE(std::ranges::all_of(bytes.last(300), [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(SafetensorsWriterTest, MetadataMayBeReplacedByOtherOfTheSameLength) {
  const std::vector<TensorDeclaration> tensors = {{"a", FileDType::kU8, {4}}};
  const auto data = std::as_bytes(std::span("xyzw", 4));
  auto writer = SafetensorsWriter::create(path(), tensors, {{"sum", "0000"}, {"z", "\""}});
  ASSERT_TRUE(writer);
  EXPECT_DEATH((void)writer->replace_metadata({{"sum", std::string(40, '0')}}), "check failed");
  ASSERT_TRUE(writer->write("a", data));
  ASSERT_TRUE(writer->replace_metadata({{"sum", "abcd"}, {"z", "\\"}}));
  EXPECT_FALSE(writer->replace_metadata({{"sum", "\xff"}}));
  ASSERT_TRUE(writer->commit());
  const auto file = Safetensors::open(path());
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("sum", "abcd"), Pair("z", "\\")));
  EXPECT_TRUE(std::ranges::equal(file->find("a")->data, data));
}

TEST_F(SafetensorsWriterTest, RoomThatTheDiskDoesNotHaveIsFoundAtOnce) {
  const std::vector<TensorDeclaration> huge = {{"a", FileDType::kU8, {uint64_t{1} << 60}}};
  const auto writer = SafetensorsWriter::create(path(), huge);
  ASSERT_FALSE(writer);
  EXPECT_THAT(writer.error().message, HasSubstr("cannot write"));
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(SafetensorsWriterTest, TakesDataInPiecesAndSkipsEmptyTensors) {
  auto writer = SafetensorsWriter::create(path(), kTensors, {}, {});
  ASSERT_TRUE(writer);
  std::mt19937 random(8);
  std::vector<std::byte> blob;
  for (const TensorDeclaration& tensor : kTensors) {
    blob = random_bytes(random, bytes_of(tensor));
    for (size_t i = 0; i < blob.size(); i += 13) {
      const auto piece = std::span(blob).subspan(i, std::min<size_t>(13, blob.size() - i));
      ASSERT_TRUE(writer->write(tensor.name, piece));
    }
  }
  ASSERT_TRUE(writer->commit());
  const auto file = Safetensors::open(path());
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(std::ranges::equal(file->find("blob")->data, blob));
}

// Pieces around the 2 MiB in which data reach the file.
TEST_F(SafetensorsWriterTest, LargeDataArriveWhole) {
  constexpr uint64_t kPiece = uint64_t{2} << 20;
  std::mt19937_64 random(9);
  std::vector<std::byte> content(3 * kPiece + 77);
  for (size_t i = 0; i + 8 <= content.size(); i += 8) {
    const uint64_t bits = random();
    std::memcpy(content.data() + i, &bits, sizeof bits);
  }
  const std::vector<TensorDeclaration> tensors = {{"a", FileDType::kU8, {5}},
                                                  {"b", FileDType::kU8, {content.size()}}};
  for (const uint64_t first : {uint64_t{1}, kPiece - 4096 - 256, kPiece, 2 * kPiece + 5}) {
    auto writer = SafetensorsWriter::create(path(), tensors, {}, {4096, 256, 128});
    ASSERT_TRUE(writer);
    const std::span bytes(content);
    ASSERT_TRUE(writer->write("a", bytes.last(5)));
    ASSERT_TRUE(writer->write("b", bytes.first(first)));
    ASSERT_TRUE(writer->write("b", bytes.subspan(first)));
    ASSERT_TRUE(writer->commit());
    const auto file = Safetensors::open(path());
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_TRUE(std::ranges::equal(file->find("a")->data, bytes.last(5)));
    EXPECT_TRUE(std::ranges::equal(file->find("b")->data, bytes)) << first;
  }
}

TEST_F(SafetensorsWriterTest, WritesFilesWithoutData) {
  auto none = SafetensorsWriter::create(path(), {}, {{"only", "metadata"}});
  ASSERT_TRUE(none && none->commit());
  const auto file = Safetensors::open(path());
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("only", "metadata")));
  EXPECT_EQ(file->file().bytes().size() % 8, 0u);

  const std::vector<TensorDeclaration> empty = {{"a", FileDType::kF32, {0}},
                                                {"b", FileDType::kF32, {3, 0}}};
  auto writer = SafetensorsWriter::create(path(), empty);
  ASSERT_TRUE(writer && writer->commit());
  EXPECT_TRUE(Safetensors::open(path()));
}

TEST_F(SafetensorsWriterTest, WithoutCommitNothingAppears) {
  {
    auto writer = SafetensorsWriter::create(path(), kTensors);
    ASSERT_TRUE(writer);
    EXPECT_FALSE(fs::exists(path()));
  }
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(SafetensorsWriterTest, RefusesWhatTheReaderWouldRefuse) {
  const auto refusal = [&](std::vector<TensorDeclaration> tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    const auto writer = SafetensorsWriter::create(path(), tensors, metadata);
    EXPECT_TRUE(folder_is_empty());
    if (writer) return std::string("accepted");
    EXPECT_THAT(writer.error().message, StartsWith(path() + ": "));
    return writer.error().message;
  };
  const auto named = [](const std::string& name) {
    return std::vector<TensorDeclaration>{{name, FileDType::kU8, {1}}};
  };
  EXPECT_THAT(refusal(named("")), HasSubstr("1 to 1024 bytes"));
  EXPECT_THAT(refusal(named("a\nb")), HasSubstr("control"));
  EXPECT_THAT(refusal(named(std::string(1025, 'x'))), HasSubstr("1 to 1024 bytes"));
  EXPECT_THAT(refusal(named("__metadata__")), HasSubstr("reserved"));
  EXPECT_THAT(refusal(named("__pad__.0")), HasSubstr("reserved"));
  EXPECT_THAT(refusal(named("\xff")), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal({{"a", FileDType::kU8, {1}}, {"a", FileDType::kU8, {1}}}), HasSubstr("once"));
  EXPECT_THAT(refusal({{"a", FileDType::kF32, {uint64_t{1} << 62}}}), HasSubstr("2^62"));
  EXPECT_THAT(refusal({{"a", FileDType::kU8, {uint64_t{1} << 62}}, {"b", FileDType::kU8, {1}}}),
              HasSubstr("2^62"));
  EXPECT_THAT(refusal({{"a", FileDType::kU8, std::vector<uint64_t>(33, 1)}}),
              HasSubstr("at most 32"));
  EXPECT_THAT(refusal({}, {{"a", "\xc3"}}), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal({}, {{"a", std::string(Safetensors::kMaxHeaderBytes + 1, 'x')}}),
              HasSubstr("header of at most"));
}

TEST_F(SafetensorsWriterTest, ReportsAFullDevice) {
  const auto writer = SafetensorsWriter::create("/dev/full", kTensors);
  ASSERT_FALSE(writer);
  EXPECT_THAT(writer.error().message, HasSubstr("/dev/full: cannot write: No space left"));
}

TEST_F(SafetensorsWriterTest, MisuseIsABug) {
  const std::vector<TensorDeclaration> tensors = {{"a", FileDType::kU8, {2}},
                                                  {"b", FileDType::kU8, {2}}};
  const auto data = std::as_bytes(std::span("xyz", 3));
  auto writer = SafetensorsWriter::create(path(), tensors);
  ASSERT_TRUE(writer);
  EXPECT_DEATH((void)writer->write("a", data), "check failed");
  EXPECT_DEATH((void)writer->write("b", data.first(2)), "check failed");
  EXPECT_DEATH((void)writer->commit(), "check failed");
  ASSERT_TRUE(writer->write("a", data.first(2)));
  EXPECT_DEATH((void)writer->write("unknown", {}), "check failed");
  EXPECT_DEATH((void)writer->commit(), "check failed");
  EXPECT_DEATH((void)SafetensorsWriter::create(path("b"), tensors, {}, {3, 1}), "check failed");
}

}  // namespace
}  // namespace skein
