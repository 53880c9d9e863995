// The machine that a figure was measured on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/output.h"

namespace skein::cli {

struct Cache {
  std::string name;  // "L1d", "L2"
  uint64_t num_bytes = 0;
  uint32_t num_sharing = 1;  // logical CPUs that share one
};

struct Machine {
  std::string cpu;  // "AMD EPYC 9355"; "unknown" where the system does not tell
  std::string architecture, system;
  uint32_t num_cores = 0;  // physical, that this process may use
  uint32_t num_cpus = 0;   // logical, of the machine
  uint64_t memory_bytes = 0;
  std::vector<Cache> caches;  // of the first core
  std::string compiler;
  std::string commit;  // that the program was built from; "unknown" outside a checkout
};

Machine describe_machine();

Json to_json(const Machine& machine);

}  // namespace skein::cli
