#include "cli/options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <random>

#include "cli/terminal.h"

namespace skein::cli {
namespace {

std::optional<uint64_t> parse_whole(std::string_view text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Splits at every comma; "a,,b" has an empty piece.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (size_t begin = 0;;) {
    const size_t comma = text.find(',', begin);
    pieces.push_back(text.substr(begin, comma - begin));
    if (comma == std::string_view::npos) return pieces;
    begin = comma + 1;
  }
}

uint64_t random_seed() {
  std::random_device device;
  return device();
}

void add_penalties(CLI::App& command, SamplerOptions& sampler) {
  constexpr double kMaxPenalty = 1e6;
  command
      .add_option("--presence-penalty", sampler.presence_penalty,
                  "Taken from the logit of every token seen (0)")
      ->check(number(-kMaxPenalty, kMaxPenalty))
      ->type_name("X")
      ->group("Sampling");
  command
      .add_option("--frequency-penalty", sampler.frequency_penalty, "Taken once per occurrence (0)")
      ->check(number(-kMaxPenalty, kMaxPenalty))
      ->type_name("X")
      ->group("Sampling");
  command
      .add_option("--penalty-decay", sampler.penalty_decay,
                  "Occurrences fade by this factor per token (0.996)")
      ->check(number(0, 1))
      ->type_name("X")
      ->group("Sampling");
}

}  // namespace

ValueCheck whole_number(uint64_t min, uint64_t max) {
  return [=](const std::string& text) -> std::string {
    const auto value = parse_whole(text);
    if (value && *value >= min && *value <= max) return {};
    return fmt::format("expected a whole number from {} to {}, found '{}'", min, max, text);
  };
}

ValueCheck number(double min, double max) {
  return [=](const std::string& text) -> std::string {
    double value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = code == std::errc() && end == text.data() + text.size() && !text.empty();
    if (whole && value >= min && value <= max) return {};
    return fmt::format("expected a number from {} to {}, found '{}'", min, max, text);
  };
}

ValueCheck one_of(std::vector<std::string> words) {
  return [words = std::move(words)](const std::string& text) -> std::string {
    for (const std::string& word : words) {
      if (text == word) return {};
    }
    return fmt::format("expected {}, found '{}'", fmt::join(words, " or "), text);
  };
}

ValueCheck whole_numbers(uint64_t min, uint64_t max) {
  return [=](const std::string& text) -> std::string {
    for (const std::string_view piece : split(text)) {
      const auto value = parse_whole(piece);
      if (value && *value >= min && *value <= max) continue;
      return fmt::format("expected whole numbers from {} to {} with commas between, found '{}'",
                         min, max, piece);
    }
    return {};
  };
}

ValueCheck file_name() {
  return [](const std::string& text) -> std::string {
    return text.empty() ? "expected a file name, found ''" : "";
  };
}

std::vector<uint32_t> split_numbers(std::string_view text) {
  std::vector<uint32_t> numbers;
  for (const std::string_view piece : split(text)) {
    numbers.push_back(static_cast<uint32_t>(parse_whole(piece).value_or(0)));
  }
  return numbers;
}

void add_model_file_options(CLI::App& command, LoadOptions& options) {
  command
      .add_option("-m,--model", options.model_path,
                  "Model: .safetensors, .pth, .gguf (the shipped one)")
      ->check(file_name())
      ->type_name("FILE")
      ->group("Model");
  command.add_option("--vocab", options.vocab_path, "Vocabulary (the one beside the model)")
      ->check(file_name())
      ->type_name("FILE")
      ->group("Model");
}

void add_lora_option(CLI::App& command, LoadOptions& options) {
  command
      .add_option_function<std::vector<std::string>>(
          "--lora",
          [&options](const std::vector<std::string>& choices) { options.loras = choices; },
          "LoRA to add to the weights: FILE or FILE=WEIGHT; may be repeated")
      ->allow_extra_args(false)
      ->check(file_name())
      ->type_name("FILE")
      ->group("Model");
}

void add_state_option(CLI::App& command, std::string& path) {
  command
      .add_option("--state", path,
                  "State to start from: a tuned one (time_state), or one that /save wrote")
      ->check(file_name())
      ->type_name("FILE")
      ->group("Model");
}

Result<Session> make_session(std::shared_ptr<Model> model, const std::string& state_path) {
  SKEIN_ASSIGN_OR_RETURN(Session session, Session::create(std::move(model)));
  if (!state_path.empty()) SKEIN_RETURN_IF_ERROR(session.restore(state_path));
  return session;
}

void add_backend_options(CLI::App& command, LoadOptions& options) {
  command.add_option("--backend", options.backend, "auto, reference, cpu or webgpu (auto)")
      ->check(one_of({"auto", "reference", "cpu", "webgpu"}))
      ->type_name("NAME")
      ->group("Model");
  command.add_option("--adapter", options.adapter, "GPU of skein devices for webgpu (the best)")
      ->check(whole_number(0, 1000))
      ->type_name("N")
      ->group("Model");
  command
      .add_option_function<std::string>(
          "--precision",
          [&options](const std::string& word) {
            options.precision = word == "fast" ? Precision::kFast : Precision::kExact;
          },
          "exact, or fast: products may round to bf16 or int8 (exact)")
      ->check(one_of({"exact", "fast"}))
      ->type_name("NAME")
      ->group("Model");
}

void add_threads_option(CLI::App& command, LoadOptions& options) {
  command.add_option("-t,--threads", options.num_threads, "Threads (one per physical core)")
      ->check(whole_number(1, kMaxThreads))
      ->type_name("N")
      ->group("Model");
}

void add_quant_option(CLI::App& command, LoadOptions& options) {
  command
      .add_option("--quant", options.quant,
                  "Quantize: int8, nf4, sf4, q8_0, q4_0, q4_k, or ffn=nf4,att=int8, or "
                  "blocks.0-5=nf4; f16: "
                  "decode (as in the file)")
      ->type_name("QUANT")
      ->group("Model");
}

void add_order_options(CLI::App& command, LoadOptions& options) {
  command
      .add_option("--activations", options.activations,
                  "The six mixed inputs: packed or separate (the plan's)")
      ->check(one_of({"packed", "separate"}))
      ->type_name("NAME")
      ->group("Model");
  command
      .add_option("--placement", options.placement,
                  "Weights in one hot arena or each on its own: hot or file (the plan's)")
      ->check(one_of({"hot", "file"}))
      ->type_name("NAME")
      ->group("Model");
}

void add_plan_options(CLI::App& command, LoadOptions& options) {
  command
      .add_option("--plan", options.plan_path,
                  "A plan of skein tune, or none for the defaults (the one tuned for\n"
                  "this machine, if any)")
      ->check(file_name())
      ->type_name("FILE")
      ->group("Model");
  add_quant_option(command, options);
  add_order_options(command, options);
}

void add_model_options(CLI::App& command, LoadOptions& options) {
  add_model_file_options(command, options);
  add_lora_option(command, options);
  add_backend_options(command, options);
  add_threads_option(command, options);
  command
      .add_option("--layout", options.layout,
                  "Of all weights: row_major, or of groups: att=row_major,head=... (the plan's)")
      ->type_name("LAYOUT")
      ->group("Model");
  add_plan_options(command, options);
  add_forms_option(command, options);
}

void add_forms_option(CLI::App& command, LoadOptions& options) {
  command
      .add_option("--forms", options.forms,
                  "Workgroups of webgpu: att=group(128,32,2,16),... (the plan's)")
      ->type_name("FORMS")
      ->group("Model");
}

void add_generate_options(CLI::App& command, GenerateOptions& options) {
  constexpr double kHuge = 1e6;
  SamplerOptions& sampler = options.sampler;
  sampler.seed = random_seed();
  command
      .add_option("-n,--tokens", options.max_tokens,
                  fmt::format("Tokens at most ({})", options.max_tokens))
      ->check(whole_number(1, 1'000'000'000))
      ->type_name("N");
  command
      .add_option_function<std::vector<std::string>>(
          "--stop", [&options](const std::vector<std::string>& stops) { options.stop = stops; },
          "Ends before this text; may be repeated")
      ->allow_extra_args(false)
      ->check([](const std::string& text) -> std::string {
        return text.empty() ? "expected a text, found an empty one" : "";
      })
      ->type_name("TEXT");
  command.add_option("--seed", sampler.seed, "The same seed gives the same text (drawn anew)")
      ->check(whole_number(0, UINT64_MAX))
      ->type_name("N")
      ->group("Sampling");
  command.add_option("--temperature", sampler.temperature, "0 takes the most likely token (1)")
      ->check(number(0, kHuge))
      ->type_name("X")
      ->group("Sampling");
  command.add_option("--top-k", sampler.top_k, "Keep the k most likely; 0 keeps all (0)")
      ->check(whole_number(0, UINT32_MAX))
      ->type_name("N")
      ->group("Sampling");
  command.add_option("--top-p", sampler.top_p, "Keep the smallest set this likely (0.9)")
      ->check(number(1e-6, 1))
      ->type_name("X")
      ->group("Sampling");
  command
      .add_option("--min-p", sampler.min_p, "Drop what is less likely than this times the best (0)")
      ->check(number(0, 1))
      ->type_name("X")
      ->group("Sampling");
  add_penalties(command, sampler);
}

void add_json_option(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "One JSON object on stdout, for programs");
}

CLI::Option* add_texts(CLI::App& command, const std::string& name, const std::string& help) {
  // The callback is empty on purpose: conversion is where CLI11 would interpret the texts. A flag
  // takes one text each time; an argument is said to need as many as there can be, since with
  // allow_extra_args CLI11 would split "[a,b]".
  const int per_use = name.starts_with('-') ? 1 : CLI::detail::expected_max_vector_size;
  return command
      .add_option(
          name, [](const CLI::results_t&) { return true; }, help)
      ->type_size(1)
      ->expected(per_use, per_use)
      ->allow_extra_args(false)
      ->take_all();
}

std::vector<std::string> texts(const CLI::Option& option) { return option.results(); }

void add_examples(CLI::App& command, std::string_view examples) {
  command.footer(fmt::format("Examples:\n{}", examples));
}

Json plan_json(const ModelInfo& info) {
  Json json;
  json["source"] = info.plan_source;
  json["path"] = info.plan_path.empty() ? Json() : Json(info.plan_path);
  return json;
}

std::string plan_text(const ModelInfo& info) {
  if (info.plan_path.empty()) return info.plan_source;
  return fmt::format("{} ({})", info.plan_path, info.plan_source);
}

Result<std::shared_ptr<Model>> load_model(LoadOptions options) {
  ProgressBar bar("load");
  options.on_progress = [&bar](double fraction) { bar.update(fraction); };
  auto model = Model::load(options);
  bar.erase();
  if (model) {
    for (const std::string& warning : (*model)->info().warnings) {
      say(fmt::format("warning: {}", warning));
    }
  }
  return model;
}

}  // namespace skein::cli
