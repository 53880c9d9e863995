#include "cli/inspect_command.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/table.h"
#include "engine/impl.h"
#include "model/quant_error.h"
#include "model/verify.h"

namespace skein::cli {
namespace {

struct InspectFlags {
  LoadOptions load;
  bool json = false;
  bool quant_error = false;
  bool verify = false;
};

// What the header of a packed model says, and whether its bytes are those that were written.
struct Packed {
  std::string version, source;
  std::optional<VerifiedModel> verified;
};

Result<std::optional<Packed>> read_packed(const InspectFlags& flags, const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::open(path));
  std::optional<Packed> packed;
  if (file.packed() != nullptr) packed = {std::string(kPackedVersion), file.packed()->source, {}};
  if (!flags.verify) return packed;
  const uint32_t num_threads =
      flags.load.num_threads != 0 ? flags.load.num_threads : num_physical_cores();
  SKEIN_ASSIGN_OR_RETURN(const auto pool, ThreadPool::create(num_threads));
  SKEIN_ASSIGN_OR_RETURN(const VerifiedModel verified, verify_packed(file, *pool));
  packed->verified = verified;
  return packed;
}

Json packed_json(const Packed& packed) {
  Json json;
  json["version"] = packed.version;
  json["source"] = packed.source;
  if (packed.verified) {
    json["verified_tensors"] = packed.verified->num_tensors;
    json["verified_bytes"] = packed.verified->num_bytes;
  }
  return json;
}

std::string packed_text(const Packed& packed) {
  std::string text =
      fmt::format("packed           version {}, from {}\n", packed.version, packed.source);
  if (packed.verified) {
    text += fmt::format("checksums        right, of {} tensors, {}\n", packed.verified->num_tensors,
                        bytes_text(static_cast<double>(packed.verified->num_bytes)));
  }
  return text;
}

// Of all weights.
uint64_t padding_bytes(const Rwkv7& rwkv7) {
  uint64_t num_bytes = 0;
  for (const WeightReport& report : rwkv7.reports()) num_bytes += report.padding_bytes();
  return num_bytes;
}

Json info_json(const ModelInfo& info) {
  Json json;
  json["model"] = info.path;
  json["format"] = info.format;
  json["type"] = info.dtype;
  json["hash"] = hash_text(info.model_hash);
  json["backend"] = info.backend;
  json["device"] = info.device;
  json["layouts"] = info.layouts;
  json["plan"] = plan_json(info);
  json["parameters"] = info.num_parameters;
  json["bytes_per_token"] = info.bytes_per_token;
  json["layers"] = info.num_layers;
  json["emb"] = info.num_emb;
  json["hidden"] = info.num_hidden;
  json["heads"] = info.num_heads;
  json["head_size"] = info.head_size;
  json["vocab"] = info.num_vocab;
  json["warnings"] = info.warnings;
  return json;
}

Json tensors_json(const Rwkv7& rwkv7) {
  Json list = Json::array();
  for (const WeightReport& report : rwkv7.reports()) {
    Json tensor;
    tensor["name"] = report.label;
    tensor["group"] = to_string(report.group);
    tensor["shape"] = {report.rows, report.cols};
    tensor["file_type"] = report.file_type;
    tensor["type"] = to_string(report.dtype);
    tensor["layout"] = to_string(report.layout);
    tensor["bytes"] = report.num_bytes;
    tensor["padding_bytes"] = report.padding_bytes();
    list.push_back(std::move(tensor));
  }
  return list;
}

std::string info_text(const ModelInfo& info, const std::optional<Packed>& packed,
                      uint64_t padding) {
  return fmt::format(
      "model            {}\n"
      "format           {}, {}, hash {}\n"
      "{}"
      "runs on          {}: {}\n"
      "layouts          {}\n"
      "plan             {}\n"
      "parameters       {}\n"
      "bytes per token  {}, less what zero activations skip\n"
      "padding          {}\n"
      "dimensions       {} layers, C {}, F {}, {} heads of {}, N {}\n\n",
      info.path, info.format, info.dtype, hash_text(info.model_hash),
      packed ? packed_text(*packed) : "", info.backend, info.device, info.layouts, plan_text(info),
      count_text(static_cast<double>(info.num_parameters)),
      bytes_text(static_cast<double>(info.bytes_per_token)),
      bytes_text(static_cast<double>(padding)), info.num_layers, info.num_emb, info.num_hidden,
      info.num_heads, info.head_size, info.num_vocab);
}

std::string tensors_text(const Rwkv7& rwkv7) {
  Table table({{"tensor"},
               {"group"},
               {"rows", Align::kRight},
               {"cols", Align::kRight},
               {"file"},
               {"type"},
               {"layout"},
               {"bytes", Align::kRight},
               {"padding", Align::kRight}});
  for (const WeightReport& report : rwkv7.reports()) {
    table.add_row({report.label, std::string(to_string(report.group)),
                   fmt::format("{}", report.rows), fmt::format("{}", report.cols),
                   std::string(report.file_type), std::string(to_string(report.dtype)),
                   to_string(report.layout), fmt::format("{}", report.num_bytes),
                   fmt::format("{}", report.padding_bytes())});
  }
  return table.to_text();
}

Json errors_json(const std::vector<QuantError>& errors) {
  Json list = Json::array();
  for (const QuantError& error : errors) {
    Json json;
    json["name"] = error.label;
    json["type"] = to_string(error.dtype);
    json["relative_l2_error"] = error.relative_l2;
    json["max_error"] = error.max_error;
    json["bits_per_weight"] = error.bits_per_weight;
    list.push_back(std::move(json));
  }
  return list;
}

std::string errors_text(const std::vector<QuantError>& errors) {
  if (errors.empty()) return "\nnothing is quantized: expected --quant, so there are no errors\n";
  Table table({{"tensor"},
               {"type"},
               {"relative L2 error", Align::kRight},
               {"max error", Align::kRight},
               {"bits per weight", Align::kRight}});
  for (const QuantError& error : errors) {
    table.add_row({error.label, std::string(to_string(error.dtype)),
                   fmt::format("{:.5f}", error.relative_l2), fmt::format("{:.5f}", error.max_error),
                   fmt::format("{:.3f}", error.bits_per_weight)});
  }
  return "\n" + table.to_text();
}

Status run(const InspectFlags& flags) {
  if (flags.quant_error && !flags.load.loras.empty()) {
    return error("--quant-error: expected weights as the file has them, found --lora");
  }
  SKEIN_ASSIGN_OR_RETURN(const auto model, load_model(flags.load));
  const Rwkv7& rwkv7 = *model->impl().rwkv7;
  SKEIN_ASSIGN_OR_RETURN(const auto packed, read_packed(flags, model->info().path));
  std::vector<QuantError> errors;
  if (flags.quant_error) {
    SKEIN_ASSIGN_OR_RETURN(
        errors, measure_quant_error(rwkv7, model->info().path, rwkv7.backend().num_threads()));
  }
  if (!flags.json) {
    return write_stdout(info_text(model->info(), packed, padding_bytes(rwkv7)) +
                        tensors_text(rwkv7) + (flags.quant_error ? errors_text(errors) : ""));
  }
  Json json = info_json(model->info());
  json["packed"] = packed ? packed_json(*packed) : Json();
  json["padding_bytes"] = padding_bytes(rwkv7);
  json["tensors"] = tensors_json(rwkv7);
  if (flags.quant_error) json["quant_errors"] = errors_json(errors);
  return write_json(json);
}

}  // namespace

void add_inspect_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App& command = *app.add_subcommand("inspect", "Show what a model is made of");
  add_json_option(command, flags->json);
  command.add_flag("--quant-error", flags->quant_error,
                   "Also how far quantized matrices are from the file's");
  command.add_flag("--verify", flags->verify, "Compare the checksums of a packed model");
  add_model_options(command, flags->load);
  add_examples(command,
               "  skein inspect\n"
               "  skein inspect -m packed.safetensors --verify\n"
               "  skein inspect -m model.safetensors --layout row_major\n"
               "  skein inspect --backend reference --quant nf4 --quant-error\n"
               "  skein inspect --json | jq '.tensors[] | select(.group == \"ffn.value\")'");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
