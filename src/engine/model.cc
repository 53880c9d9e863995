#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/thread_pool.h"
#include "engine/backends.h"
#include "engine/gguf_vocabulary.h"
#include "engine/impl.h"
#include "engine/plan_choice.h"
#include "model/lora.h"
#include "model/model_file.h"
#include "skein/skein.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDefaultModel = "goose-tiny/goose-tiny.safetensors";

// The folder of the running program; empty where the system does not tell.
fs::path program_folder() {
  std::array<char, PATH_MAX> path{};
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  return length <= 0
             ? fs::path()
             : fs::path(std::string(path.data(), static_cast<size_t>(length))).parent_path();
}

Result<PlanChoice> choose_plan(const LoadOptions& options, const ModelFile& file,
                               Backend& backend) {
  return file.packed() != nullptr ? choose_packed_plan(options, file, backend)
                                  : skein::choose_plan(options, file.path(), backend);
}

ModelInfo make_info(const ModelFile& file, const Rwkv7& rwkv7) {
  const Dimensions& dims = rwkv7.dims();
  ModelInfo info;
  info.path = file.path();
  info.format = file.packed() != nullptr ? "packed safetensors" : file.format_text();
  info.dtype = rwkv7.file_type();
  info.backend = rwkv7.backend().name();
  info.device = rwkv7.backend().description();
  info.layouts = rwkv7.plan().text();
  info.num_layers = dims.num_layers;
  info.num_emb = dims.num_emb;
  info.num_hidden = dims.num_hidden;
  info.num_heads = dims.num_heads;
  info.head_size = dims.head_size;
  info.num_vocab = dims.num_vocab;
  info.num_parameters = rwkv7.num_parameters();
  info.bytes_per_token = rwkv7.bytes_per_token();
  info.model_hash = rwkv7.hash();
  if (const Gguf* gguf = file.file()->gguf(); gguf != nullptr) {
    info.chat_template = gguf->text("tokenizer.chat_template").value_or("");
  }
  info.warnings = rwkv7.warnings();
  return info;
}

}  // namespace

namespace internal {

std::vector<std::string> vocabulary_paths(const std::string& model_path) {
  const fs::path model(model_path);
  std::vector<std::string> paths;
  for (const std::string& name :
       {model.stem().string() + ".vocab.txt", std::string("vocab.txt"),
        std::string("rwkv_vocab_v20230424.txt"), std::string("rwkv_vocab_v20230424.json")}) {
    paths.push_back((model.parent_path() / name).string());
  }
  return paths;
}

std::string find_vocabulary(const std::string& model_path) {
  for (const std::string& candidate : vocabulary_paths(model_path)) {
    std::error_code ignored;
    if (fs::exists(candidate, ignored)) return candidate;
  }
  return {};
}

Result<std::string> write_vocabulary(const std::string& model_path, const Tokenizer& tokenizer) {
  const std::string path = vocabulary_paths(model_path).front();
  const std::string text = vocabulary_text(tokenizer.vocabulary());
  SKEIN_RETURN_IF_ERROR(write_file_atomically(path, std::as_bytes(std::span(text))));
  return path;
}

namespace {

Result<std::optional<Tokenizer>> load_found_tokenizer(const std::string& path,
                                                      const std::string& model_path) {
  if (path.empty()) return load_own_tokenizer(model_path);
  SKEIN_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::load(path));
  return std::optional<Tokenizer>(std::move(tokenizer));
}

}  // namespace

// A vocabulary that was named must be there; one that was found must fit.
Result<std::optional<Tokenizer>> load_tokenizer(const std::string& vocab_path,
                                                const std::string& model_path, uint32_t num_vocab) {
  const std::string path = vocab_path.empty() ? find_vocabulary(model_path) : vocab_path;
  SKEIN_ASSIGN_OR_RETURN(std::optional<Tokenizer> tokenizer,
                         load_found_tokenizer(path, model_path));
  if (tokenizer && tokenizer->num_ids() > num_vocab) {
    return error("{}: expected token ids below {}, the vocabulary size of {}, found ids up to {}",
                 path.empty() ? model_path : path, num_vocab, model_path, tokenizer->num_ids() - 1);
  }
  return tokenizer;
}

Result<std::optional<Tokenizer>> load_own_tokenizer(const std::string& model_path) {
  SKEIN_ASSIGN_OR_RETURN(const TensorFile file, TensorFile::open(model_path));
  if (file.gguf() == nullptr) return std::optional<Tokenizer>();
  return read_gguf_vocabulary(*file.gguf(), model_path);
}

}  // namespace internal

std::string_view version() noexcept { return SKEIN_VERSION; }

Result<std::string> default_model_path() {
  std::vector<fs::path> folders;
  if (const char* models = std::getenv("SKEIN_MODELS"); models != nullptr && *models != '\0') {
    folders.emplace_back(models);
  } else {
    if (const fs::path program = program_folder(); !program.empty()) {
      folders = {program / "../share/skein/models",  // installed
                 program / "../../models"};          // build/PRESET of a checkout
    }
    // A program that uses the library lies anywhere; these are where the library was built and
    // installed.
    folders.insert(folders.end(), {SKEIN_INSTALL_MODELS, SKEIN_SOURCE_MODELS});
  }
  for (const fs::path& folder : folders) {
    std::error_code ignored;
    const fs::path path = (folder / kDefaultModel).lexically_normal();
    if (fs::is_regular_file(path, ignored)) return path.string();
  }
  return error(
      "no default model: expected {} in {}; name a model file, or the folder in SKEIN_MODELS",
      kDefaultModel, folders.front().lexically_normal().string());
}

Result<std::shared_ptr<Model>> Model::load(const LoadOptions& options) {
  if (options.backend != "auto") return load_on_backend(options);
  // A GPU first, the CPU where it cannot: no driver, too little memory, a model it has no room for.
  LoadOptions one = options;
  std::string reason;
  const Result<bool> has_gpu = options.adapter ? true : find_gpu();
  if (!has_gpu) reason = has_gpu.error().message;
  if (has_gpu && *has_gpu) {
    one.backend = "webgpu";
    auto model = load_on_backend(one);
    if (model) return model;
    reason = model.error().message;
  }
  one.backend = "cpu";
  auto model = load_on_backend(one);
  if (model && !reason.empty()) {
    std::vector<std::string>& warnings = (*model)->impl_->info.warnings;
    warnings.insert(warnings.begin(), cpu_warning(reason));
  }
  return model;
}

Result<std::shared_ptr<Model>> Model::load_on_backend(const LoadOptions& options) {
  auto impl = std::make_unique<internal::ModelImpl>();
  std::string path = options.model_path;
  if (path.empty()) {
    SKEIN_ASSIGN_OR_RETURN(path, default_model_path());
  }
  SKEIN_ASSIGN_OR_RETURN(impl->backend, make_backend(options.backend, options.num_threads,
                                                     options.precision, options.adapter));
  SKEIN_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::open(path));
  // A vocabulary that does not fit is found before any weight is packed.
  SKEIN_ASSIGN_OR_RETURN(impl->tokenizer,
                         internal::load_tokenizer(options.vocab_path, path, file.dims().num_vocab));
  Rwkv7::LoadOptions load_options;
  SKEIN_ASSIGN_OR_RETURN(PlanChoice choice, choose_plan(options, file, *impl->backend));
  load_options.plan = choice.plan;
  load_options.num_threads = options.num_threads != 0 ? options.num_threads : num_physical_cores();
  load_options.on_progress = options.on_progress;
  SKEIN_ASSIGN_OR_RETURN(load_options.lora, load_lora(options.loras, file));
  SKEIN_ASSIGN_OR_RETURN(impl->rwkv7, Rwkv7::load(file, *impl->backend, load_options));
  impl->info = make_info(file, *impl->rwkv7);
  impl->info.plan_path = choice.path;
  impl->info.plan_source = choice.source;
  impl->info.warnings.insert(impl->info.warnings.begin(), choice.warnings.begin(),
                             choice.warnings.end());
  return std::shared_ptr<Model>(new Model(std::move(impl)));
}

Model::Model(std::unique_ptr<internal::ModelImpl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

const ModelInfo& Model::info() const noexcept { return impl_->info; }

Result<std::vector<uint32_t>> Model::encode(std::string_view text) const {
  if (!impl_->tokenizer) {
    return error(
        "{}: expected a vocabulary beside it (vocab.txt), found none; name one with --vocab",
        impl_->info.path);
  }
  return impl_->tokenizer->encode(text);
}

std::string Model::decode(std::span<const uint32_t> ids) const {
  return impl_->tokenizer ? impl_->tokenizer->decode(ids) : std::string();
}

}  // namespace skein
