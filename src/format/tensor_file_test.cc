// TensorFile: which format a file is, models in shards, what is said of files that are no model.
#include "format/tensor_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/temp_folder.h"
#include "format/safetensors_writer.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TensorFileTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path(name); }

  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

  // A .safetensors file of u8 tensors of four bytes each.
  std::string write_tensors(const std::string& name,
                            const std::vector<std::string>& tensors) const {
    std::vector<TensorDeclaration> declarations;
    for (const std::string& tensor : tensors) declarations.push_back({tensor, FileDType::kU8, {4}});
    auto writer = SafetensorsWriter::create(path(name), declarations, {{"of", name}});
    EXPECT_TRUE(writer);
    for (const std::string& tensor : tensors) {
      const std::string bytes = (tensor + "....").substr(0, 4);
      EXPECT_TRUE(writer->write(tensor, std::as_bytes(std::span(bytes))));
    }
    EXPECT_TRUE(writer->commit());
    return path(name);
  }

  static std::string refusal(const std::string& path) {
    const auto file = TensorFile::open(path);
    if (file) return "accepted";
    EXPECT_THAT(file.error().message, AllOf(HasSubstr("/skein-test-"), Not(HasSubstr("\n"))));
    return file.error().message;
  }

  TempFolder folder_;
};

std::string text_of(const TensorInfo* tensor) {
  if (tensor == nullptr) return "none";
  return {reinterpret_cast<const char*>(tensor->data.data()), tensor->data.size()};
}

TEST_F(TensorFileTest, TheFormatFollowsFromTheContent) {
  const auto safetensors = TensorFile::open(write_tensors("model.gguf", {"b", "a"}));
  ASSERT_TRUE(safetensors) << safetensors.error().message;
  EXPECT_EQ(safetensors->format(), FileFormat::kSafetensors);
  EXPECT_EQ(text_of(safetensors->find("a")), "a...");
  EXPECT_EQ(safetensors->find("c"), nullptr);
  EXPECT_EQ(safetensors->metadata().at("of"), "model.gguf");
  EXPECT_EQ(safetensors->gguf(), nullptr);

  const auto gguf = TensorFile::open(write(
      "model.safetensors", std::string("GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24)));
  ASSERT_TRUE(gguf) << gguf.error().message;
  EXPECT_EQ(gguf->format(), FileFormat::kGguf);
  ASSERT_NE(gguf->gguf(), nullptr);
  EXPECT_EQ(gguf->gguf()->version, 3u);
  EXPECT_THAT(refusal(write("model.st", "PK\x03\x04")), HasSubstr("zip archive"));
}

TEST_F(TensorFileTest, SaysWhatAFileIsThatIsNoModel) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "an empty file"},
      {"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
      {"<!DOCTYPE html>", "a web page"},
      {"fmgg\x65", "a model of rwkv.cpp"},
      {"\x80\x02\x8a\x0a", "torch before version 1.6"},
      {"FUGG", "big-endian"},
      {"\x7f"
       "ELF....",
       "8 bytes that begin with 7f 45 4c 46"},
      {"{\"a\": 1}", "JSON without one"},
      {"{ this", "no JSON"}};
  for (const auto& [bytes, expected] : cases) {
    EXPECT_THAT(refusal(write("model.bin", bytes)), HasSubstr(expected));
  }
  EXPECT_THAT(refusal(path("none")), HasSubstr("cannot open"));
}

TEST_F(TensorFileTest, ShardsAreOneModel) {
  write_tensors("one.safetensors", {"a", "b"});
  write_tensors("two.safetensors", {"c"});
  const auto file = TensorFile::open(write(
      "i.json",
      R"({"weight_map": {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}})"));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->num_shards(), 2u);
  EXPECT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(text_of(file->find("a")), "a...");
  EXPECT_EQ(text_of(file->find("c")), "c...");
  EXPECT_EQ(file->num_bytes(),
            fs::file_size(path("one.safetensors")) + fs::file_size(path("two.safetensors")));
  // Advice about any bytes of any shard; elsewhere nothing happens.
  file->will_need(file->find("c")->data);
  file->release(file->find("c")->data);
  const std::array<std::byte, 4> elsewhere{};
  file->release(elsewhere);
  EXPECT_EQ(text_of(file->find("c")), "c...");
}

TEST_F(TensorFileTest, RefusesIndicesThatDoNotFit) {
  write_tensors("one.safetensors", {"a", "b"});
  write_tensors("two.safetensors", {"a", "c"});
  const auto refused = [&](const std::string& map) {
    return refusal(write("i.json", "{\"weight_map\": {" + map + "}}"));
  };
  EXPECT_THAT(refused(""), HasSubstr("found none"));
  EXPECT_THAT(refused(R"("a": "../one.safetensors")"), HasSubstr("same folder"));
  EXPECT_THAT(refused(R"("a": "/etc/passwd")"), HasSubstr("same folder"));
  EXPECT_THAT(refused(R"("a": "..")"), HasSubstr("same folder"));
  EXPECT_THAT(refused(R"("a": 1)"), HasSubstr("same folder"));
  EXPECT_THAT(refused(R"("z": "one.safetensors")"), HasSubstr("'z'"));
  EXPECT_THAT(refused(R"("b": "one.safetensors", "c": "two.safetensors")"),
              HasSubstr("in two shards"));
  // An index that names itself is no shard.
  write("i.json", "");
  EXPECT_NE(refused(R"("a": "i.json")"), "accepted");
  EXPECT_NE(refused(R"("a": "none.safetensors")"), "accepted");
  EXPECT_THAT(refusal(write("i.json", std::string(100'000, '['))), HasSubstr("begin with 5b"));
  EXPECT_THAT(refusal(write("i.json", "{\"a\":" + std::string(100'000, '['))),
              HasSubstr("no JSON"));
}

}  // namespace
}  // namespace skein
