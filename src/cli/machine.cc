#include "cli/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <thread>

#include "base/thread_pool.h"
#include "cli/table.h"

namespace skein::cli {
namespace {

#if defined(__clang__)
constexpr std::string_view kCompiler = "clang " __clang_version__;
#else
constexpr std::string_view kCompiler = "g++ " __VERSION__;
#endif

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

// "48K" as the kernel writes it.
uint64_t parse_cache_bytes(const std::string& text) {
  uint64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value).ptr;
  if (end == text.data() + text.size()) return value;
  return *end == 'K' ? value << 10 : *end == 'M' ? value << 20 : value;
}

// CPUs in a list of the kernel's: "0-3,8" has five.
uint32_t count_cpus(const std::string& list) {
  uint32_t count = 0;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    uint32_t first = 0, last = 0;
    at = std::from_chars(at, end, first).ptr;
    last = first;
    if (at < end && *at == '-') at = std::from_chars(at + 1, end, last).ptr;
    count += last >= first ? last - first + 1 : 0;
    if (at < end) ++at;
  }
  return std::max(count, 1u);
}

std::vector<Cache> describe_caches() {
  std::vector<Cache> caches;
  for (int index = 0; index < 16; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    const std::string level = first_line(folder + "level");
    if (level.empty()) break;
    const std::string type = first_line(folder + "type");
    const std::string_view suffix = type == "Data" ? "d" : type == "Instruction" ? "i" : "";
    caches.push_back({fmt::format("L{}{}", level, suffix),
                      parse_cache_bytes(first_line(folder + "size")),
                      count_cpus(first_line(folder + "shared_cpu_list"))});
  }
  return caches;
}

}  // namespace

Machine describe_machine() {
  Machine machine;
  machine.cpu = cpu_name();
  utsname system{};
  if (::uname(&system) == 0) {
    machine.architecture = system.machine;
    machine.system = fmt::format("{} {}", system.sysname, system.release);
  }
  machine.num_cores = num_physical_cores();
  machine.num_cpus = std::max(std::thread::hardware_concurrency(), 1u);
  const long pages = ::sysconf(_SC_PHYS_PAGES), page_bytes = ::sysconf(_SC_PAGE_SIZE);
  if (pages > 0 && page_bytes > 0) {
    machine.memory_bytes = static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes);
  }
  machine.caches = describe_caches();
  machine.compiler = kCompiler;
  machine.commit = SKEIN_COMMIT;
  return machine;
}

Json to_json(const Machine& machine) {
  Json json;
  json["cpu"] = machine.cpu;
  json["architecture"] = machine.architecture;
  json["system"] = machine.system;
  json["cores"] = machine.num_cores;
  json["cpus"] = machine.num_cpus;
  json["memory_bytes"] = machine.memory_bytes;
  json["caches"] = Json::array();
  for (const Cache& cache : machine.caches) {
    json["caches"].push_back(
        {{"name", cache.name}, {"bytes", cache.num_bytes}, {"shared_by", cache.num_sharing}});
  }
  json["compiler"] = machine.compiler;
  json["commit"] = machine.commit;
  return json;
}

}  // namespace skein::cli
