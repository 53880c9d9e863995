#include "cli/devices_command.h"

#include <memory>
#include <string>
#include <vector>

#include "cli/machine.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/table.h"
#include "engine/backends.h"

namespace skein::cli {
namespace {

struct DevicesFlags {
  bool json = false;
};

// A backend of this machine, or why there is none.
struct Entry {
  std::string name;
  Result<std::unique_ptr<Backend>> backend;
};

std::vector<Entry> make_all_backends() {
  std::vector<Entry> entries;
  for (const std::string_view name : backend_names()) {
    if (name == "auto") continue;
    entries.push_back({std::string(name), make_backend(name, 0, Precision::kExact)});
  }
  return entries;
}

Json backend_json(const Entry& entry) {
  Json json;
  json["name"] = entry.name;
  json["available"] = entry.backend.has_value();
  if (!entry.backend) {
    json["reason"] = entry.backend.error().message;
    return json;
  }
  const Backend& backend = **entry.backend;
  json["description"] = backend.description();
  json["threads"] = backend.num_threads();
  json["state_layout"] = to_string(backend.state_layout());
  json["kernels"] = Json::array();
  for (const KernelInfo& kernel : backend.kernels()) {
    json["kernels"].push_back({{"op", to_string(kernel.op)},
                               {"type", to_string(kernel.dtype)},
                               {"layouts", kernel.layouts},
                               {"name", kernel.name}});
  }
  return json;
}

std::string machine_text(const Machine& machine) {
  std::string caches;
  for (const Cache& cache : machine.caches) {
    caches +=
        fmt::format("{}{} {} KiB", caches.empty() ? "" : ", ", cache.name, cache.num_bytes >> 10);
    if (cache.num_sharing > 1) caches += fmt::format(" for {} CPUs", cache.num_sharing);
  }
  return fmt::format(
      "CPU       {}\n"
      "cores     {} physical, {} logical\n"
      "caches    {}\n"
      "memory    {}\n"
      "system    {} {}\n"
      "compiler  {}\n",
      machine.cpu, machine.num_cores, machine.num_cpus, caches.empty() ? "unknown" : caches,
      bytes_text(static_cast<double>(machine.memory_bytes)), machine.system, machine.architecture,
      machine.compiler);
}

std::string targets_text() {
  return fmt::format("targets   {}; chosen {} (SKEIN_CPU forces one)\n",
                     fmt::join(cpu_targets(), ", "), cpu_target());
}

std::string adapters_text() {
  const std::vector<std::string> adapters = gpu_adapters();
  std::string text;
  for (size_t i = 0; i < adapters.size(); ++i) {
    text += fmt::format("{}{}: {} (--adapter {})\n", i == 0 ? "adapters  " : "          ", i,
                        adapters[i], i);
  }
  return text;
}

std::string backend_text(const Entry& entry) {
  if (!entry.backend)
    return fmt::format("\n{}: not here: {}\n", entry.name, entry.backend.error().message);
  const Backend& backend = **entry.backend;
  Table table({{"op"}, {"type"}, {"layouts"}, {"kernel"}});
  for (const KernelInfo& kernel : backend.kernels()) {
    table.add_row({std::string(to_string(kernel.op)), std::string(to_string(kernel.dtype)),
                   std::string(kernel.layouts), std::string(kernel.name)});
  }
  return fmt::format("\n{}: {}; state {}\n\n{}", entry.name, backend.description(),
                     to_string(backend.state_layout()), table.to_text());
}

Status run(const DevicesFlags& flags) {
  const Machine machine = describe_machine();
  const std::vector<Entry> entries = make_all_backends();
  if (flags.json) {
    Json json;
    json["machine"] = to_json(machine);
    json["targets"] = cpu_targets();
    json["target"] = cpu_target();
    json["adapters"] = gpu_adapters();
    json["backends"] = Json::array();
    for (const Entry& entry : entries) json["backends"].push_back(backend_json(entry));
    return write_json(json);
  }
  std::string text = machine_text(machine) + targets_text() + adapters_text();
  for (const Entry& entry : entries) text += backend_text(entry);
  return write_stdout(text);
}

}  // namespace

void add_devices_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<DevicesFlags>();
  CLI::App& command = *app.add_subcommand("devices", "Show the machine, its backends and kernels");
  add_json_option(command, flags->json);
  add_examples(command,
               "  skein devices\n"
               "  SKEIN_CPU=avx2 skein devices --json");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
