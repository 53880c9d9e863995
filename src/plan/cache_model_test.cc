#include "plan/cache_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <list>
#include <random>

#include "base/temp_folder.h"

namespace skein {
namespace {

using ::testing::HasSubstr;

CacheModel make(const CacheConfig& config) {
  Result<CacheModel> model = CacheModel::create(config);
  EXPECT_TRUE(model.has_value()) << model.error().message;
  return std::move(model).value();
}

CacheModel one_level(uint64_t num_bytes, uint32_t num_ways) {
  return make({64, {{"L1d", num_bytes, num_ways}}});
}

// The oracle: a set is a list of lines, most recent first; written from the definition of LRU.
struct ListCache {
  uint64_t num_sets;
  size_t num_ways;
  std::vector<std::list<uint64_t>> sets = std::vector<std::list<uint64_t>>(num_sets);

  bool touch(uint64_t line) {
    std::list<uint64_t>& set = sets[line % num_sets];
    const auto found = std::find(set.begin(), set.end(), line);
    const bool hit = found != set.end();
    if (hit) set.erase(found);
    set.push_front(line);
    if (set.size() > num_ways) set.pop_back();
    return hit;
  }
};

TEST(CacheModel, ASetKeepsTheMostRecentLines) {
  // Two ways, four sets: lines 0, 4 and 8 share set 0.
  CacheModel cache = one_level(512, 2);
  const auto hits_of = [&](uint64_t line) {
    const uint64_t before = cache.counts()[0].hits;
    cache.access(line * 64, 4);
    return cache.counts()[0].hits - before;
  };
  EXPECT_EQ(hits_of(0), 0u);
  EXPECT_EQ(hits_of(4), 0u);
  EXPECT_EQ(hits_of(0), 1u);  // now 4 is the oldest
  EXPECT_EQ(hits_of(1), 0u);  // another set
  EXPECT_EQ(hits_of(8), 0u);  // drops 4
  EXPECT_EQ(hits_of(0), 1u);
  EXPECT_EQ(hits_of(4), 0u);  // drops 8
  EXPECT_EQ(hits_of(8), 0u);
  EXPECT_EQ(hits_of(1), 1u);
  EXPECT_EQ(cache.counts()[0].accesses, 9u);
}

TEST(CacheModel, FullyAssociativeHoldsWhatFitsAndNothingOfALongerCycle) {
  CacheModel cache = one_level(64 * 64, 64);
  for (int pass = 0; pass < 3; ++pass) cache.access(0, 64 * 64);
  EXPECT_EQ(cache.counts()[0].hits, 2u * 64);
  cache.clear();
  cache.reset_counts();
  // One line more than it holds: LRU always drops the line that is asked for next.
  for (int pass = 0; pass < 3; ++pass) cache.access(0, 65 * 64);
  EXPECT_EQ(cache.counts()[0].hits, 0u);
  EXPECT_EQ(cache.memory_lines(), 3u * 65);
}

TEST(CacheModel, AStreamMissesOncePerLine) {
  CacheModel cache = make({64, {{"L1d", 49152, 12}, {"L2", 1 << 20, 16}, {"L3", 1 << 25, 16}}});
  for (uint64_t at = 0; at < 1u << 20; at += 16) cache.access(at, 16);
  EXPECT_EQ(cache.counts()[0].accesses, 65536u);
  EXPECT_EQ(cache.counts()[0].misses(), 16384u);
  EXPECT_EQ(cache.counts()[1].accesses, 16384u);
  EXPECT_EQ(cache.memory_lines(), 16384u);
  EXPECT_DOUBLE_EQ(cache.counts()[0].hit_percent(), 75.0);
  // 1 MiB fits in L2 and not in L1.
  for (uint64_t at = 0; at < 1u << 20; at += 64) cache.access(at, 64);
  EXPECT_EQ(cache.counts()[1].hits, 16384u);
  EXPECT_EQ(cache.memory_lines(), 16384u);
}

TEST(CacheModel, AnAccessAcrossLinesCountsEachLine) {
  CacheModel cache = one_level(4096, 4);
  cache.access(60, 8);
  EXPECT_EQ(cache.counts()[0].accesses, 2u);
  cache.access(0, 64);
  EXPECT_EQ(cache.counts()[0].hits, 1u);
}

TEST(CacheModel, PowerOfTwoStridesUseOneSet) {
  // 64 sets of 12 ways: lines 4 KiB apart are all of one set.
  CacheModel cache = one_level(49152, 12);
  for (int pass = 0; pass < 4; ++pass) {
    for (uint64_t i = 0; i < 13; ++i) cache.access(i * 4096, 4);
  }
  EXPECT_EQ(cache.counts()[0].hits, 0u);
  for (int pass = 0; pass < 4; ++pass) {
    for (uint64_t i = 0; i < 13; ++i) cache.access(i * (4096 + 64), 4);
  }
  // Line 0 is all that the two strides share, and twelve other lines of its set came after it.
  EXPECT_EQ(cache.counts()[0].hits, 3u * 13);
}

// Sets that are and are not a power of two; ways in one line of tags and in more.
TEST(CacheModel, AgreesWithListsOnRandomAddresses) {
  struct Shape {
    uint64_t num_sets;
    uint32_t num_ways;
  };
  for (const Shape shape : {Shape{1, 1}, {1, 3}, {8, 1}, {4, 12}, {7, 5}, {16, 16}, {3, 20}}) {
    std::mt19937_64 random(42);
    CacheModel cache = make({64,
                             {{"L1d", shape.num_sets * shape.num_ways * 64, shape.num_ways},
                              {"L2", uint64_t{11} * 24 * 64, 24}}});
    ListCache l1{shape.num_sets, shape.num_ways};
    ListCache l2{11, 24};
    CacheCount counts[2];
    for (int i = 0; i < 20000; ++i) {
      // Half near, half anywhere among 600 lines.
      const uint64_t line = random() % (i % 2 == 0 ? uint64_t{40} : uint64_t{600});
      cache.access(line * 64 + random() % 61, 4);
      ++counts[0].accesses;
      if (l1.touch(line)) {
        ++counts[0].hits;
        continue;
      }
      ++counts[1].accesses;
      if (l2.touch(line)) ++counts[1].hits;
    }
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(cache.counts()[i].accesses, counts[i].accesses);
      EXPECT_EQ(cache.counts()[i].hits, counts[i].hits) << shape.num_sets;
    }
  }
}

TEST(CacheModel, ElementsAreAccesses) {
  CacheModel one = one_level(2048, 4), other = one_level(2048, 4);
  std::mt19937_64 random(43);
  for (int i = 0; i < 500; ++i) {
    const uint64_t bytes = uint64_t{1} << random() % 7, count = random() % 200;
    const uint64_t address = random() % 100 * bytes;
    one.access_elements(address, bytes, count);
    for (uint64_t e = 0; e < count; ++e) other.access(address + e * bytes, bytes);
    ASSERT_EQ(one.counts()[0].accesses, other.counts()[0].accesses);
    ASSERT_EQ(one.counts()[0].hits, other.counts()[0].hits);
  }
}

TEST(CacheModel, RefusesWhatIsNoCache) {
  const auto message = [](const CacheConfig& config) {
    const Result<CacheModel> model = CacheModel::create(config);
    return model ? std::string() : model.error().message;
  };
  EXPECT_THAT(message({64, {}}), HasSubstr("1 to 4 levels, found 0"));
  EXPECT_THAT(message({48, {{"L1d", 4096, 4}}}), HasSubstr("found 48"));
  EXPECT_THAT(message({64, {{"L1d", 4096, 0}}}), HasSubstr("L1d: expected 1 to 128 ways"));
  EXPECT_THAT(message({64, {{"L2", 4100, 4}}}), HasSubstr("multiple of 256 bytes"));
  EXPECT_THAT(message({64, {{"L2", uint64_t{1} << 40, 4}}}), HasSubstr("below"));
}

// A folder like the kernel's.
class SysFolder {
 public:
  void add(int index, const std::string& level, const std::string& type, const std::string& bytes,
           const std::string& ways) {
    const std::string at = folder_.path("index" + std::to_string(index));
    std::filesystem::create_directories(at);
    const auto write = [&](const std::string& name, const std::string& text) {
      std::ofstream(at + "/" + name) << text << "\n";
    };
    write("level", level);
    write("type", type);
    write("size", bytes);
    write("ways_of_associativity", ways);
    write("coherency_line_size", "64");
    write("shared_cpu_list", "0-3,8");
  }
  const std::string& path() const { return folder_.path(); }

 private:
  TempFolder folder_;
};

TEST(ReadCacheConfig, TakesDataAndUnifiedCaches) {
  SysFolder folder;
  folder.add(0, "1", "Data", "48K", "12");
  folder.add(1, "1", "Instruction", "32K", "8");
  folder.add(2, "2", "Unified", "2M", "16");
  const Result<CacheConfig> config = read_cache_config(folder.path());
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(to_string(*config), "L1d 48 KiB 12-way, L2 2048 KiB 16-way, lines of 64 B");
  EXPECT_EQ(config->levels[0].num_sharing, 5u);
}

TEST(ReadCacheConfig, SaysWhatIsWrong) {
  SysFolder folder;
  EXPECT_THAT(read_cache_config(folder.path()).error().message, HasSubstr("index0/type"));
  folder.add(0, "1", "Data", "many", "12");
  EXPECT_THAT(read_cache_config(folder.path()).error().message, HasSubstr("found 'many'"));
  folder.add(0, "1", "Data", "48K", "0");
  EXPECT_THAT(read_cache_config(folder.path()).error().message, HasSubstr("found '0'"));
  folder.add(0, "1", "Data", "48K", "11");
  EXPECT_THAT(read_cache_config(folder.path()).error().message, HasSubstr("L1d: expected"));
  folder.add(0, "1", "Instruction", "48K", "12");
  EXPECT_THAT(read_cache_config(folder.path()).error().message, HasSubstr("found 0"));
}

TEST(UsualCacheConfig, IsACache) {
  EXPECT_TRUE(CacheModel::create(usual_cache_config()).has_value());
  EXPECT_EQ(to_string(usual_cache_config()),
            "L1d 48 KiB 12-way, L2 1024 KiB 16-way, L3 32768 KiB 16-way, lines of 64 B");
}

TEST(ReadCacheConfig, ReadsThisMachineOrSaysWhyNot) {
  const Result<CacheConfig> config = read_cache_config();
  if (!config) GTEST_SKIP() << "SKIP: " << config.error().message;
  EXPECT_TRUE(CacheModel::create(*config).has_value());
  EXPECT_EQ(config->levels[0].name, "L1d");
}

}  // namespace
}  // namespace skein
