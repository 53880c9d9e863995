// Flags that several commands share, and the checks of what stands behind a flag.
//
// Goals: the same flag means the same everywhere; a wrong value is found before a model is loaded,
// and its message says what was expected and what was found.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/output.h"
#include "skein/skein.h"

namespace skein::cli {

inline constexpr uint32_t kMaxThreads = 1024;

// A check of one value of a flag: empty, or what is wrong with it.
using ValueCheck = std::function<std::string(const std::string&)>;

ValueCheck whole_number(uint64_t min, uint64_t max);
ValueCheck number(double min, double max);
ValueCheck one_of(std::vector<std::string> words);
// "3" or "1,5,9": whole numbers of [min, max] with commas between them.
ValueCheck whole_numbers(uint64_t min, uint64_t max);

// Not empty: an unset variable in a script must not become another file.
ValueCheck file_name();

// The values of a text that whole_numbers() let through.
std::vector<uint32_t> split_numbers(std::string_view text);

// All of: -m and --vocab; --lora; --backend and --precision; -t; --layout, and the rest of the
// plan. `options` must outlive the parsing.
void add_model_options(CLI::App& command, LoadOptions& options);
// Parts of them, for commands that need no model or several.
void add_model_file_options(CLI::App& command, LoadOptions& options);
void add_lora_option(CLI::App& command, LoadOptions& options);
void add_backend_options(CLI::App& command, LoadOptions& options);
void add_threads_option(CLI::App& command, LoadOptions& options);
void add_quant_option(CLI::App& command, LoadOptions& options);
void add_forms_option(CLI::App& command, LoadOptions& options);
// --activations and --placement.
void add_order_options(CLI::App& command, LoadOptions& options);
// --plan, --quant, --activations, --placement.
void add_plan_options(CLI::App& command, LoadOptions& options);

// --temperature, --top-k, ..., --seed, --stop, --tokens. Without --seed every run draws its own.
void add_generate_options(CLI::App& command, GenerateOptions& options);

// --state, and a session that starts from it; empty: from nothing.
void add_state_option(CLI::App& command, std::string& path);
Result<Session> make_session(std::shared_ptr<Model> model, const std::string& state_path);

// --json
void add_json_option(CLI::App& command, bool& json);

// A positional argument that may be given any number of times, and a flag whose values are kept as
// they are: CLI11's containers would take "[a,b]" apart and "{}" for nothing. Read them with
// texts() after parsing.
CLI::Option* add_texts(CLI::App& command, const std::string& name, const std::string& help);
std::vector<std::string> texts(const CLI::Option& option);

// "Examples:" at the end of the command's help, one line each.
void add_examples(CLI::App& command, std::string_view examples);

// Where a model's plan comes from, for JSON and for people: {"source": "named", "path": "a.json"};
// "default", "a.json (named)".
Json plan_json(const ModelInfo& info);
std::string plan_text(const ModelInfo& info);

// Model::load() with a progress bar; the model's warnings go to stderr.
Result<std::shared_ptr<Model>> load_model(LoadOptions options);

}  // namespace skein::cli
