// read_pth(): files put together byte by byte as torch.save lays them out, good and hostile ones.
// Files of torch itself are in tests/model_formats_test.py.
#include "format/pth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "format/test_bytes.h"

namespace skein {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Entry {
  std::string name, data;
  uint16_t flags = 0, method = 0;
  bool zip64 = false;  // sizes and offset in the extra field
};

// An archive as torch writes it; the fields that a test wants to spoil are arguments.
std::string zip_of(const std::vector<Entry>& entries, bool end64 = false) {
  std::string file, directory;
  for (const Entry& entry : entries) {
    const auto at = static_cast<uint32_t>(file.size());
    const auto size = static_cast<uint32_t>(entry.data.size());
    const auto name_bytes = static_cast<uint16_t>(entry.name.size());
    // Torch pads the extra field so that the data lies at a multiple of 64.
    const std::string pad((64 - (file.size() + 34 + entry.name.size()) % 64) % 64, 'Z');
    const std::string local_extra = "FB" + le(static_cast<uint16_t>(pad.size())) + pad;
    file += "PK\x03\x04" + le<uint16_t>(0) + le(entry.flags) + le(entry.method) + le<uint32_t>(0) +
            le<uint32_t>(0) + le(size) + le(size) + le(name_bytes) +
            le(static_cast<uint16_t>(local_extra.size())) + entry.name + local_extra + entry.data;
    std::string extra;
    if (entry.zip64) {
      extra = le<uint16_t>(1) + le<uint16_t>(24) + le<uint64_t>(size) + le<uint64_t>(size) +
              le<uint64_t>(at);
    }
    const uint32_t all_ones = 0xffffffff;
    directory += "PK\x01\x02" + le<uint32_t>(0) + le(entry.flags) + le(entry.method) +
                 le<uint32_t>(0) + le<uint32_t>(0) + le(entry.zip64 ? all_ones : size) +
                 le(entry.zip64 ? all_ones : size) + le(name_bytes) +
                 le(static_cast<uint16_t>(extra.size())) + le<uint16_t>(0) + le<uint32_t>(0) +
                 le<uint32_t>(0) + le(entry.zip64 ? all_ones : at) + entry.name + extra;
  }
  const auto begin = static_cast<uint32_t>(file.size());
  const auto count = static_cast<uint16_t>(entries.size());
  const auto directory_bytes = static_cast<uint32_t>(directory.size());
  file += directory;
  if (end64) {
    const uint64_t record = file.size();
    file += "PK\x06\x06" + le<uint64_t>(44) + le<uint32_t>(0) + le<uint32_t>(0) + le<uint32_t>(0) +
            le<uint64_t>(count) + le<uint64_t>(count) + le<uint64_t>(directory_bytes) +
            le<uint64_t>(begin);
    file += "PK\x06\x07" + le<uint32_t>(0) + le(record) + le<uint32_t>(1);
    return file + "PK\x05\x06" + le<uint32_t>(0) + le<uint32_t>(0xffffffff) +
           le<uint32_t>(0xffffffff) + le<uint32_t>(0xffffffff) + le<uint16_t>(0);
  }
  return file + "PK\x05\x06" + le<uint32_t>(0) + le(count) + le(count) + le(directory_bytes) +
         le(begin) + le<uint16_t>(0);
}

std::string text(const std::string& s) { return "X" + le(static_cast<uint32_t>(s.size())) + s; }
std::string small(uint8_t n) { return {'K', static_cast<char>(n)}; }
std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}

// ("storage", torch.CLASS, KEY, "cpu", COUNT) as a persistent id.
std::string storage(const std::string& cls, const std::string& key, uint8_t count) {
  return "(" + text("storage") + global("torch", cls) + text(key) + text("cpu") + small(count) +
         "tQ";
}

std::string tuple(const std::vector<uint8_t>& numbers) {
  std::string code = "(";
  for (const uint8_t n : numbers) code += small(n);
  return code + "t";
}

std::string tensor(const std::string& of_storage, uint8_t offset, const std::vector<uint8_t>& shape,
                   const std::vector<uint8_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + of_storage + small(offset) +
         tuple(shape) + tuple(strides) + "\x89" + global("collections", "OrderedDict") + ")RtR";
}

std::string dict_of(const std::string& items) {
  return "\x80\x02}q" + le<uint8_t>(0) + "(" + items + "u.";
}

// f32 [2, 3] in storage 0, of which a bf16 vector of 2 in storage 1 is the tail.
std::string good_pickle() {
  return dict_of(text("a.weight") + tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1}) +
                 text("b") + tensor(storage("BFloat16Storage", "1", 5), 3, {1, 2}, {77, 1}));
}

std::vector<Entry> good_entries(const std::string& pickle) {
  return {{"m/data.pkl", pickle},
          {"m/byteorder", "little"},
          {"m/data/0", std::string(24, 'x')},
          {"m/data/1", "0123456789"},
          {"m/version", "3\n"}};
}

Result<std::vector<TensorInfo>> read(const std::string& file) {
  return read_pth(std::as_bytes(std::span(file)), "m.pth");
}

// Every refusal is one line that names the file.
std::string refusal(const std::string& file) {
  const auto result = read(file);
  if (result) return "accepted";
  EXPECT_THAT(result.error().message, AllOf(HasSubstr("m.pth: "), Not(HasSubstr("\n"))));
  return result.error().message;
}

std::string refused_pickle(const std::string& pickle) {
  return refusal(zip_of(good_entries(pickle)));
}

TEST(PthTest, ReadsWhatTorchWrites) {
  for (const bool zip64 : {false, true}) {
    std::vector<Entry> entries = good_entries(good_pickle());
    for (Entry& entry : entries) entry.zip64 = zip64;
    const std::string file = zip_of(entries, zip64);
    const auto tensors = read(file);
    ASSERT_TRUE(tensors) << tensors.error().message;
    ASSERT_EQ(tensors->size(), 2u);
    const TensorInfo &a = (*tensors)[0], &b = (*tensors)[1];
    EXPECT_EQ(a.name, "a.weight");
    EXPECT_EQ(a.dtype, FileDType::kF32);
    EXPECT_EQ(a.shape, (std::vector<uint64_t>{2, 3}));
    EXPECT_EQ(a.data.size(), 24u);
    EXPECT_EQ(a.offset_bytes % 64, 0u);
    EXPECT_EQ(b.dtype, FileDType::kBF16);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(b.data.data()), b.data.size()), "6789");
    EXPECT_EQ(reinterpret_cast<const char*>(b.data.data()), file.data() + b.offset_bytes);
  }
}

TEST(PthTest, ReadsOrderedDictsWithAttributesParametersAndReferences) {
  const std::string one = tensor(storage("HalfStorage", "1", 5), 0, {5}, {1});
  const std::string file =
      zip_of(good_entries("\x80\x02" + global("collections", "OrderedDict") + ")Rq\x01(" +
                          text("p") + global("torch._utils", "_rebuild_parameter") + "(" + one +
                          "q\x05\x88" + global("collections", "OrderedDict") + ")RtR" +
                          text("again") + "h\x05" + "u" + "}" + text("_metadata") + "}s" + "b."));
  const auto tensors = read(file);
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ((*tensors)[0].name, "p");
  EXPECT_EQ((*tensors)[1].name, "again");
  EXPECT_EQ((*tensors)[0].data.data(), (*tensors)[1].data.data());
}

TEST(PthTest, RunsNothing) {
  EXPECT_THAT(refused_pickle("\x80\x02" + global("os", "system") + "(" + text("true") + "tR."),
              HasSubstr("'os.system'"));
  EXPECT_THAT(refused_pickle("\x80\x02" + global("builtins", "eval") + "(" + text("1") + "tR."),
              HasSubstr("'builtins.eval'"));
  // A module that looks like a known one, and names of several parts.
  EXPECT_THAT(refused_pickle("\x80\x02" + global("torch._utils", "os.system") + ")R."),
              HasSubstr("os.system"));
  // INST, OBJ, NEWOBJ, EXT1 and the text forms of protocol 0.
  for (const char opcode : {'i', 'o', '\x81', '\x82', 'I', 'V', 'P', 'd', 'l'}) {
    EXPECT_THAT(refused_pickle(std::string("\x80\x02}") + opcode + "."), HasSubstr("opcode 0x"));
  }
  EXPECT_THAT(refused_pickle("\x80\x02" + global("torch", "FloatStorage") + ")R."),
              HasSubstr("torch.FloatStorage"));
}

TEST(PthTest, RefusesBrokenPickles) {
  EXPECT_THAT(refused_pickle("\x80\x04}."), HasSubstr("protocol 2"));
  EXPECT_THAT(refused_pickle("\x80\x02}"), HasSubstr("cut short"));
  EXPECT_THAT(refused_pickle("\x80\x02K\x01."), HasSubstr("found a number"));
  EXPECT_THAT(refused_pickle("\x80\x02."), HasSubstr("found nothing"));
  const std::string bodies[] = {"t",        "\x85",         "u",     "s",  "R",  "Q",
                                "b",        "h\x09",        "(",     "e",  "a",  "q\x01",
                                "}(K\x01u", "}K\x01K\x02u", "(\x85", ")Q", ")b", "}]s",
                                "}(K\x01(", "]K\x01s"};
  for (const std::string& body : bodies) {
    EXPECT_NE(refused_pickle("\x80\x02" + body + "."), "accepted") << body;
  }
  EXPECT_THAT(refused_pickle(dict_of(small(1) + small(2))), HasSubstr("names as keys"));
  EXPECT_THAT(refused_pickle(dict_of(text("epoch") + small(2))),
              AllOf(HasSubstr("'epoch'"), HasSubstr("found a number")));
}

TEST(PthTest, RefusesTensorsThatDoNotFit) {
  const auto refused = [](const std::string& code) {
    return refused_pickle(dict_of(text("a") + code));
  };
  const std::string floats = storage("FloatStorage", "0", 6);
  EXPECT_THAT(refused(tensor(floats, 0, {7}, {1})), HasSubstr("[7]"));
  EXPECT_THAT(refused(tensor(floats, 1, {6}, {1})), HasSubstr("from 1 on"));
  EXPECT_THAT(refused(tensor(floats, 0, {3, 2}, {1, 3})), HasSubstr("strides [1, 3]"));
  EXPECT_THAT(refused(tensor(floats, 0, {6}, {2})), HasSubstr("strides [2]"));
  EXPECT_THAT(refused(tensor(floats, 0, {6}, {1, 1})), HasSubstr("without a shape"));
  EXPECT_THAT(refused(tensor(storage("FloatStorage", "0", 5), 0, {5}, {1})),
              HasSubstr("expected 5 elements"));
  EXPECT_THAT(refused(tensor(storage("FloatStorage", "9", 6), 0, {6}, {1})),
              HasSubstr("'m/data/9'"));
  EXPECT_THAT(refused(tensor(storage("FloatStorage", "../../x", 6), 0, {6}, {1})),
              HasSubstr("no such entry"));
  const std::string huge = "(J" + le<int32_t>(0x7fffffff) + "J" + le<int32_t>(0x7fffffff) + "J" +
                           le<int32_t>(0x7fffffff) + "t";
  EXPECT_THAT(refused(global("torch._utils", "_rebuild_tensor_v2") + "(" + floats + small(0) +
                      huge + huge + "tR"),
              HasSubstr("2^64"));
  const std::string negative = "(J" + le<int32_t>(-1) + "t";
  EXPECT_THAT(refused(global("torch._utils", "_rebuild_tensor_v2") + "(" + floats + small(0) +
                      negative + negative + "tR"),
              HasSubstr("without a shape"));
  EXPECT_THAT(refusal(zip_of(good_entries(dict_of(text("a\n") + tensor(floats, 0, {6}, {1}))))),
              HasSubstr("control characters"));
}

TEST(PthTest, RefusesOtherArchives) {
  const auto spoilt = [](const std::function<void(std::vector<Entry>&)>& spoil) {
    std::vector<Entry> entries = good_entries(good_pickle());
    spoil(entries);
    return refusal(zip_of(entries));
  };
  EXPECT_THAT(spoilt([](auto& e) { e[2].method = 8; }), HasSubstr("compressed (method 8)"));
  EXPECT_THAT(spoilt([](auto& e) { e[2].flags = 1; }), HasSubstr("encrypted"));
  EXPECT_THAT(spoilt([](auto& e) { e[1].data = "big"; }), HasSubstr("byte order 'big'"));
  EXPECT_THAT(spoilt([](auto& e) { e[0].name = "m/other"; }), HasSubstr("without data.pkl"));
  EXPECT_THAT(spoilt([](auto& e) { e[1].name = "n/data.pkl"; }),
              HasSubstr("expected one data.pkl"));
  EXPECT_THAT(spoilt([](auto& e) { e[3].data.pop_back(); }), HasSubstr("expected 5 elements"));
  EXPECT_NE(refusal("PK\x03\x04"), "accepted");
  EXPECT_NE(refusal(""), "accepted");
}

TEST(PthTest, RefusesEntriesThatOverlap) {
  // The same local header in the directory twice: a zip bomb's way to be larger than the file.
  std::string file = zip_of({{"m/data.pkl", dict_of("")}, {"m/data/0", "xx"}});
  const size_t directory = file.find("PK\x01\x02");
  const size_t second = file.find("PK\x01\x02", directory + 1);
  file.replace(second, file.find("PK\x05\x06") - second,
               file.substr(directory, second - directory));
  const size_t end = file.find("PK\x05\x06");
  const std::string bytes = le(static_cast<uint32_t>(end - directory));
  file.replace(end + 12, 4, bytes);
  EXPECT_THAT(refusal(file), HasSubstr("its own bytes"));
}

// Nothing that is cut short or changed in a byte crashes; whatever is accepted lies in the file.
TEST(PthTest, EveryDamageIsRefusedOrHarmless) {
  for (const bool zip64 : {false, true}) {
    std::vector<Entry> entries = good_entries(good_pickle());
    for (Entry& entry : entries) entry.zip64 = zip64;
    const std::string good = zip_of(entries, zip64);
    for (size_t length = 0; length < good.size(); ++length) {
      EXPECT_FALSE(read(good.substr(0, length))) << length;
    }
    for (size_t i = 0; i < good.size(); ++i) {
      for (const int change : {1, 0x80, 0xff}) {
        std::string damaged = good;
        damaged[i] = static_cast<char>(damaged[i] ^ change);
        const auto tensors = read(damaged);
        if (!tensors) continue;
        for (const TensorInfo& info : *tensors) {
          ASSERT_LE(info.offset_bytes, damaged.size());
          ASSERT_LE(info.data.size(), damaged.size() - info.offset_bytes);
        }
      }
    }
  }
}

}  // namespace
}  // namespace skein
