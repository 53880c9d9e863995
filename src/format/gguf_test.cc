// Gguf: files put together byte by byte, good and hostile ones. Files of the package gguf are in
// tests/model_formats_test.py.
#include "format/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "format/test_bytes.h"

namespace skein {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string text(const std::string& s) { return le<uint64_t>(s.size()) + s; }

enum : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64 };

std::string key(const std::string& name, uint32_t type, const std::string& value) {
  return text(name) + le(type) + value;
}

std::string tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                   uint64_t offset) {
  std::string bytes = text(name) + le(static_cast<uint32_t>(dims.size()));
  for (const uint64_t n : dims) bytes += le(n);
  return bytes + le(type) + le(offset);
}

struct File {
  uint32_t version = 3;
  std::vector<std::string> keys, tensors;
  std::string data;
  uint64_t alignment = 32;

  std::string bytes() const {
    std::string file =
        "GGUF" + le(version) + le<uint64_t>(tensors.size()) + le<uint64_t>(keys.size());
    for (const std::string& k : keys) file += k;
    for (const std::string& t : tensors) file += t;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data;
  }
};

File good_file() {
  return {
      3,
      {key("general.architecture", kString, text("rwkv7")), key("n", kU32, le<uint32_t>(7)),
       key("big", kU64, le(~uint64_t{0})), key("flag", kBool, "\x01"), key("eps", kF32, le(0.5f)),
       key("tokens", kArray, le<uint32_t>(kString) + le<uint64_t>(2) + text("a") + text("")),
       key("types", kArray,
           le<uint32_t>(kI32) + le<uint64_t>(2) + le<int32_t>(-3) + le<int32_t>(4))},
      {tensor("v", {4}, 0, 64), tensor("m", {32, 2}, 2, 0)},
      std::string(80, 'x')};
}

Result<Gguf> parse(const std::string& file) {
  return Gguf::parse(std::as_bytes(std::span(file)), "m.gguf");
}

std::string refusal(const std::string& file) {
  const auto result = parse(file);
  if (result) return "accepted";
  EXPECT_THAT(result.error().message, AllOf(HasSubstr("m.gguf: "), Not(HasSubstr("\n"))));
  return result.error().message;
}

TEST(GgufTest, ReadsMetadataAndTensors) {
  for (const uint32_t version : {2u, 3u}) {
    File file = good_file();
    file.version = version;
    const std::string bytes = file.bytes();
    const auto gguf = parse(bytes);
    ASSERT_TRUE(gguf) << gguf.error().message;
    EXPECT_EQ(gguf->version, version);
    EXPECT_EQ(gguf->text("general.architecture"), "rwkv7");
    EXPECT_EQ(gguf->number("n"), 7u);
    EXPECT_EQ(gguf->number("big"), ~uint64_t{0});
    EXPECT_EQ(gguf->number("general.architecture"), std::nullopt);
    EXPECT_EQ(gguf->text("none"), std::nullopt);
    ASSERT_NE(gguf->texts("tokens"), nullptr);
    EXPECT_THAT(*gguf->texts("tokens"), ElementsAre("a", ""));
    ASSERT_NE(gguf->numbers("types"), nullptr);
    EXPECT_EQ(gguf->numbers("types")->count(), 2u);
    EXPECT_EQ(gguf->numbers("types")->integer(0), -3);
    ASSERT_EQ(gguf->tensors.size(), 2u);
    const TensorInfo &m = gguf->tensors[0], &v = gguf->tensors[1];
    EXPECT_EQ(m.name, "m");
    EXPECT_EQ(m.dtype, FileDType::kQ4_0);
    EXPECT_THAT(m.shape, ElementsAre(2, 32));
    EXPECT_EQ(m.data.size(), 36u);
    EXPECT_EQ(v.dtype, FileDType::kF32);
    EXPECT_EQ(v.data.size(), 16u);
    EXPECT_EQ(v.offset_bytes, bytes.size() - 16);
    EXPECT_EQ(m.offset_bytes % 32, 0u);
  }
}

TEST(GgufTest, HonoursTheAlignmentThatItNames) {
  File file = good_file();
  file.alignment = 256;
  file.keys.push_back(key("general.alignment", kU32, le<uint32_t>(256)));
  file.tensors = {tensor("v", {4}, 0, 0)};
  const std::string bytes = file.bytes();
  const auto gguf = parse(bytes);
  ASSERT_TRUE(gguf) << gguf.error().message;
  EXPECT_EQ(gguf->tensors[0].offset_bytes % 256, 0u);
  for (const uint32_t bad : {0u, 3u, 0x80000000u}) {
    file.keys.back() = key("general.alignment", kU32, le(bad));
    EXPECT_THAT(refusal(file.bytes()), HasSubstr("general.alignment"));
  }
}

TEST(GgufTest, RefusesOtherVersions) {
  File file = good_file();
  for (const uint32_t version : {0u, 1u, 4u}) {
    file.version = version;
    EXPECT_THAT(refusal(file.bytes()), HasSubstr("version 2 or 3"));
  }
  file.version = 3u << 24;
  EXPECT_THAT(refusal(file.bytes()), HasSubstr("big-endian"));
  EXPECT_THAT(refusal("GGUX"), HasSubstr("expected a .gguf file"));
}

TEST(GgufTest, RefusesHostileMetadata) {
  const auto refused = [](const std::string& metadatum) {
    File file = good_file();
    file.keys = {metadatum};
    return refusal(file.bytes());
  };
  const uint64_t huge = uint64_t{1} << 60;
  EXPECT_THAT(refused(text("k") + le<uint32_t>(13)), HasSubstr("number 13"));
  EXPECT_THAT(refused(key("k", kString, le(huge))), HasSubstr("cut short"));
  EXPECT_THAT(refused(key("k", kArray, le<uint32_t>(kU8) + le(huge))), HasSubstr("cut short"));
  EXPECT_THAT(refused(key("k", kArray, le<uint32_t>(kString) + le(huge))), HasSubstr("cut short"));
  EXPECT_THAT(refused(key("k", kArray, le<uint32_t>(kArray) + le<uint64_t>(1))),
              HasSubstr("type number 9"));
  File file = good_file();
  file.keys.push_back(file.keys.front());
  EXPECT_THAT(refusal(file.bytes()), HasSubstr("twice"));
  std::string bytes = good_file().bytes();
  bytes.replace(8, 8, le(huge));
  EXPECT_THAT(refusal(bytes), HasSubstr("at most"));
}

TEST(GgufTest, RefusesHostileTensors) {
  const auto refused = [](const std::vector<std::string>& tensors) {
    File file = good_file();
    file.tensors = tensors;
    return refusal(file.bytes());
  };
  EXPECT_THAT(refused({tensor("t", {32}, 10, 0)}), HasSubstr("found Q2_K"));
  EXPECT_THAT(refused({tensor("t", {32}, 99, 0)}), HasSubstr("number 99"));
  EXPECT_THAT(refused({tensor("t", {33}, 2, 0)}), HasSubstr("whole blocks of Q4_0"));
  EXPECT_THAT(refused({tensor("t", {}, 2, 0)}), HasSubstr("whole blocks of Q4_0"));
  EXPECT_THAT(refused({tensor("t", {4}, 0, 4)}), HasSubstr("multiple of 32"));
  EXPECT_THAT(refused({tensor("t", {21}, 0, 0)}), HasSubstr("found 80 bytes of data"));
  EXPECT_THAT(refused({tensor("t", {1}, 0, uint64_t{1} << 63)}), HasSubstr("bytes of data"));
  EXPECT_THAT(refused({tensor("t", {uint64_t{1} << 33, uint64_t{1} << 33}, 0, 0)}),
              HasSubstr("2^64"));
  EXPECT_THAT(refused({tensor("t", {1, 1, 1, 1, 1}, 0, 0)}), HasSubstr("at most 4 dimensions"));
  EXPECT_THAT(refused({tensor("", {1}, 0, 0)}), HasSubstr("expected a name"));
  EXPECT_THAT(refused({tensor("a", {16}, 0, 0), tensor("b", {1}, 0, 32)}),
              HasSubstr("its own bytes"));
}

TEST(GgufTest, EveryDamageIsRefusedOrHarmless) {
  const std::string good = good_file().bytes();
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(parse(good.substr(0, length))) << length;
  }
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int change : {1, 0x80, 0xff}) {
      std::string damaged = good;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      const auto gguf = parse(damaged);
      if (!gguf) continue;
      for (const TensorInfo& info : gguf->tensors) {
        ASSERT_LE(info.offset_bytes, damaged.size());
        ASSERT_LE(info.data.size(), damaged.size() - info.offset_bytes);
      }
    }
  }
}

}  // namespace
}  // namespace skein
