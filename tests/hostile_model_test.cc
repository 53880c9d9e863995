// Model files that are broken, hostile or of another kind: each is refused in one line that names
// the file, at once.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "skein/skein.h"
#include "tiny_model.h"

namespace skein {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::random_model;
using testing::tiny_dimensions;
using testing::TinyModel;

constexpr FileDType kF32[] = {FileDType::kF32};

// Milliseconds, with room for sanitizers on a loaded machine.
constexpr std::chrono::seconds kAtOnce(1);

std::string in_quotes(std::string_view name) { return fmt::format("'{}'", name); }

class HostileModelTest : public ::testing::Test {
 protected:
  // The line that refuses the file at `path`.
  std::string refusal_of(const std::string& path) {
    const auto start = std::chrono::steady_clock::now();
    const auto model = Model::load({.model_path = path, .num_threads = 1});
    EXPECT_LT(std::chrono::steady_clock::now() - start, kAtOnce);
    EXPECT_FALSE(model);
    if (model) return "";
    const std::string& line = model.error().message;
    EXPECT_TRUE(line.starts_with(path + ": ")) << line;
    EXPECT_EQ(line.find_first_of("\r\n"), std::string::npos) << line;
    EXPECT_LT(line.size(), path.size() + 400) << line;
    return line;
  }

  // Of a file with these bytes.
  std::string refusal_of_bytes(std::string_view bytes) {
    testing::write_file(path_, bytes);
    return refusal_of(path_);
  }

  // Of a file with this header and `num_data_bytes` zeros.
  std::string refusal_of_header(const std::string& header, size_t num_data_bytes = 0) {
    return refusal_of_bytes(with_length(header) + std::string(num_data_bytes, '\0'));
  }

  // Of a header with these entries.
  std::string refusal_of_tensors(const std::string& entries, size_t num_data_bytes) {
    return refusal_of_header(fmt::format("{{{}}}", entries), num_data_bytes);
  }

  std::string refusal_of_model(const TinyModel& model) {
    model.write(path_);
    return refusal_of(path_);
  }

  static std::string with_length(const std::string& header) {
    const uint64_t length = header.size();
    std::string bytes(sizeof length, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    return bytes + header;
  }

  static TinyModel whole() { return random_model(tiny_dimensions(64, 65), kF32, 5); }

  TempFolder folder_;
  std::string path_ = folder_.path("model.safetensors");
};

TEST_F(HostileModelTest, TheWholeModelLoads) {
  whole().write(path_);
  const auto model = Model::load({.model_path = path_, .num_threads = 1});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE((*model)->info().warnings.empty());
}

TEST_F(HostileModelTest, EmptyAndTruncatedFiles) {
  whole().write(path_);
  const std::string bytes = testing::read_file(path_);
  for (size_t i = 0; i < 16; ++i) {
    const std::string line = refusal_of_bytes(bytes.substr(0, bytes.size() * i / 16));
    EXPECT_THAT(line, HasSubstr(i == 0 ? "0 bytes" : "cut short")) << i;
  }
  for (const size_t length : {size_t{1}, size_t{7}, size_t{8}, size_t{9}, bytes.size() - 1}) {
    refusal_of_bytes(bytes.substr(0, length));
  }
  refusal_of_bytes(bytes + "x");
}

TEST_F(HostileModelTest, HeadersThatLie) {
  std::string huge(8, '\0');
  huge[7] = 0x10;  // 2^60
  EXPECT_THAT(refusal_of_bytes(huge + "{}"), HasSubstr("1152921504606846976"));
  EXPECT_THAT(refusal_of_bytes(std::string(4096, '\xff')), HasSubstr("18446744073709551615"));
  EXPECT_THAT(refusal_of_header(std::string(1000000, '[')), HasSubstr("header"));
  std::string objects = "{\"a\":";
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_THAT(refusal_of_header(objects), HasSubstr("'a'"));
  std::string arrays = "{\"a\":{\"dtype\":\"F32\",\"shape\":" + std::string(1000000, '[');
  EXPECT_THAT(refusal_of_header(arrays), HasSubstr("'a'"));
  EXPECT_THAT(refusal_of_header("{}"), HasSubstr("without tensors"));
  EXPECT_THAT(refusal_of_header("{\"__metadata__\":{\"a\":\"b\\nc\"}}"),
              HasSubstr("without tensors"));
  refusal_of_header("");
  refusal_of_header("null");
  refusal_of_header("{\"a\nb\":1}");
}

TEST_F(HostileModelTest, ShapesThatOverflowOrOverlap) {
  const auto tensor = [](const char* name, const char* dtype, const char* shape, int begin,
                         int end) {
    return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", name, dtype,
                       shape, begin, end);
  };
  EXPECT_THAT(refusal_of_tensors(tensor("emb.weight", "F32", "[4294967296,4294967296]", 0, 8), 8),
              AllOf(HasSubstr("'emb.weight'"), HasSubstr("4294967296")));
  EXPECT_THAT(refusal_of_tensors(tensor("emb.weight", "F64", "[2305843009213693953]", 0, 8), 8),
              HasSubstr("'emb.weight'"));
  EXPECT_THAT(refusal_of_tensors(
                  tensor("a", "F32", "[2]", 0, 8) + "," + tensor("b", "F32", "[2]", 4, 12), 12),
              AllOf(HasSubstr("'b'"), HasSubstr("overlap")));
  EXPECT_THAT(refusal_of_tensors(
                  tensor("a", "F32", "[2]", 0, 8) + "," + tensor("b", "F32", "[2]", 12, 20), 20),
              AllOf(HasSubstr("'b'"), HasSubstr("hole")));
  EXPECT_THAT(refusal_of_tensors(tensor("a", "F32", "[2]", 0, 8), 4), HasSubstr("'a'"));
}

TEST_F(HostileModelTest, EveryMissingTensorIsNamed) {
  const TinyModel model = whole();
  for (const testing::TinyTensor& tensor : model.tensors) {
    if (tensor.name == "head.weight") continue;  // then the embedding is the head
    TinyModel changed = model;
    changed.erase(tensor.name);
    EXPECT_THAT(refusal_of_model(changed), HasSubstr(in_quotes(tensor.name)));
  }
}

// One row, col or element more; what was expected and what was found are both there.
TEST_F(HostileModelTest, EveryMisshapenTensorIsNamed) {
  const TinyModel model = whole();
  for (const testing::TinyTensor& tensor : model.tensors) {
    for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
      TinyModel changed = model;
      testing::TinyTensor& victim = changed.at(tensor.name);
      ++victim.shape[axis];
      uint64_t count = 1;
      for (const uint64_t extent : victim.shape) count *= extent;
      victim.values.assign(count, 0.0f);
      const std::string line = refusal_of_model(changed);
      EXPECT_THAT(line, AllOf(HasSubstr("expected"), HasSubstr("found"))) << tensor.name;
      // The shapes that dimensions are read off make others look wrong.
      const bool names_dimensions = tensor.name == "emb.weight" || tensor.name.ends_with("r_k") ||
                                    tensor.name.ends_with("1") ||
                                    tensor.name.ends_with("key.weight");
      if (!names_dimensions) {
        EXPECT_THAT(line, AllOf(HasSubstr(in_quotes(tensor.name)),
                                HasSubstr(fmt::format("{}", victim.shape[axis]))));
      }
    }
  }
}

TEST_F(HostileModelTest, EmptyTensorsAreMisshapen) {
  const TinyModel model = whole();
  for (const testing::TinyTensor& tensor : model.tensors) {
    for (const bool no_axes : {false, true}) {
      TinyModel changed = model;
      testing::TinyTensor& victim = changed.at(tensor.name);
      if (no_axes) {
        victim.shape.clear();
      } else {
        victim.shape.front() = 0;
      }
      victim.values.assign(no_axes ? 1 : 0, 0.0f);
      EXPECT_THAT(refusal_of_model(changed), HasSubstr(in_quotes(tensor.name)));
    }
  }
}

TEST_F(HostileModelTest, DtypesThatAreNoFloats) {
  const TinyModel model = whole();
  for (const testing::TinyTensor& tensor : model.tensors) {
    TinyModel changed = model;
    changed.at(tensor.name).dtype = FileDType::kI64;
    EXPECT_THAT(refusal_of_model(changed),
                AllOf(HasSubstr(in_quotes(tensor.name)), HasSubstr("I64")));
  }
}

TEST_F(HostileModelTest, OtherModelsAreNamed) {
  const auto with = [](std::vector<std::string> names) {
    TinyModel model;
    for (std::string& name : names)
      model.tensors.push_back({std::move(name), FileDType::kF32, {1}, {0.0f}});
    return model;
  };
  EXPECT_THAT(
      refusal_of_model(with({"emb.weight", "blocks.0.att.time_maa_x", "blocks.0.att.time_faaaa"})),
      HasSubstr("RWKV-6"));
  EXPECT_THAT(refusal_of_model(with({"emb.weight", "blocks.0.att.time_faaaa"})),
              HasSubstr("RWKV-5"));
  EXPECT_THAT(refusal_of_model(with({"emb.weight", "blocks.0.att.time_mix_k"})),
              HasSubstr("RWKV-4"));
  EXPECT_THAT(refusal_of_model(with({"model.embed_tokens.weight"})),
              HasSubstr("'model.embed_tokens.weight'"));
  EXPECT_THAT(refusal_of_model(with({"emb.weight"})), HasSubstr("'blocks.0.att.r_k'"));
  EXPECT_THAT(refusal_of(SKEIN_SOURCE_DIR "/models/goose-tiny/goose-tiny.golden.safetensors"),
              HasSubstr("RWKV-7"));
}

TEST_F(HostileModelTest, DimensionsThatNoModelHas) {
  // Head size 32: twice as many heads.
  TinyModel model = whole();
  model.at("blocks.0.att.r_k").shape = {2, 32};
  EXPECT_THAT(refusal_of_model(model), AllOf(HasSubstr("head size 64"), HasSubstr("32")));

  Dimensions dims = tiny_dimensions(64, 65);
  dims.num_emb = 96;  // no multiple of 64; 1 head
  EXPECT_THAT(refusal_of_model(random_model(dims, kF32, 5)),
              AllOf(HasSubstr("64"), HasSubstr("96")));

  model = whole();
  std::erase_if(model.tensors,
                [](const auto& tensor) { return tensor.name.starts_with("blocks."); });
  refusal_of_model(model);

  model = whole();
  model.tensors.push_back(
      {"blocks.1999.ln1.weight", FileDType::kF32, {64}, std::vector<float>(64)});
  EXPECT_THAT(refusal_of_model(model), AllOf(HasSubstr("1024 layers"), HasSubstr("2000")));

  // Within the bound, but not there.
  model = whole();
  model.tensors.push_back(
      {"blocks.1000.ln1.weight", FileDType::kF32, {64}, std::vector<float>(64)});
  EXPECT_THAT(refusal_of_model(model), HasSubstr("'blocks.2."));

  for (const char* layer :
       {"blocks.4294967295.x", "blocks.4294967296.x", "blocks.-1.x", "blocks..x"}) {
    model = whole();
    model.tensors.push_back({layer, FileDType::kF32, {1}, {0.0f}});
    model.write(path_);
    const auto loaded = Model::load({.model_path = path_, .num_threads = 1});
    if (loaded) {
      EXPECT_THAT((*loaded)->info().warnings, ::testing::ElementsAre(HasSubstr(layer)));
    } else {
      EXPECT_THAT(loaded.error().message, HasSubstr("1024 layers"));
    }
  }
}

TEST_F(HostileModelTest, ExtraTensorsAndValuesThatAreNoNumbersAreWarnings) {
  TinyModel model = whole();
  model.tensors.push_back({"vision.proj", FileDType::kI64, {2}, {0.0f, 0.0f}});
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  model.at("blocks.1.ffn.key.weight").values[77] = kNan;
  model.at("blocks.0.att.x_r").values[3] = -std::numeric_limits<float>::infinity();
  model.at("head.weight").values = std::vector<float>(65 * 64, kNan);
  model.write(path_);
  const auto loaded = Model::load({.model_path = path_, .num_threads = 2});
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_THAT((*loaded)->info().warnings,
              ::testing::UnorderedElementsAre(
                  AllOf(HasSubstr("'vision.proj'"), HasSubstr(path_)),
                  AllOf(HasSubstr("'blocks.1.ffn.key.weight'"), HasSubstr("1 of its values")),
                  AllOf(HasSubstr("'blocks.0.att.x_r'"), HasSubstr("1 of its values")),
                  AllOf(HasSubstr("'head.weight'"), HasSubstr("4160 of its values"))));
  // Such a model runs, whatever it says.
  Session session = Session::create(*loaded).value();
  EXPECT_TRUE(session.prefill(std::vector<uint32_t>{1, 2, 3}));
  EXPECT_TRUE(session.step(4));
}

// Files of some makers hold layer 0's v0, v1, v2, which nothing reads.
TEST_F(HostileModelTest, Layer0ValueResidualIsNoWarning) {
  TinyModel model = whole();
  model.tensors.push_back({"blocks.0.att.v0", FileDType::kF32, {1, 1, 64}, std::vector<float>(64)});
  model.tensors.push_back({"blocks.0.att.v1", FileDType::kF32, {64, 2}, std::vector<float>(128)});
  model.tensors.push_back({"blocks.0.att.v2", FileDType::kF32, {2, 64}, std::vector<float>(128)});
  model.write(path_);
  EXPECT_TRUE(Model::load({.model_path = path_}).value()->info().warnings.empty());
}

TEST_F(HostileModelTest, WhatIsNoReadableFile) {
  EXPECT_THAT(refusal_of(folder_.path("none.safetensors")), HasSubstr("No such file"));
  EXPECT_THAT(refusal_of(folder_.path(".")), HasSubstr("folder"));
  EXPECT_THAT(refusal_of("/dev/zero"), HasSubstr("device"));
  const std::string pipe = folder_.path("pipe");
  ASSERT_EQ(std::system(("mkfifo " + pipe).c_str()), 0);
  EXPECT_THAT(refusal_of(pipe), HasSubstr("fifo"));
}

// Root may read every file, so it becomes somebody else for the moment.
TEST_F(HostileModelTest, NoPermission) {
  constexpr uid_t kNobody = 65534;
  whole().write(path_);
  std::filesystem::permissions(path_, std::filesystem::perms::none);
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  std::filesystem::permissions(folder, std::filesystem::perms::others_exec,
                               std::filesystem::perm_options::add);
  const bool is_root = ::geteuid() == 0;
  if (is_root && ::seteuid(kNobody) != 0) GTEST_SKIP() << "root may read every file";
  const std::string message = refusal_of(path_);
  if (is_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  EXPECT_THAT(message, HasSubstr("Permission denied"));
}

}  // namespace
}  // namespace skein
