// Skein's public API: load an RWKV-7 model, run sequences through it, sample text. One header, no
// other to include.
//
//   auto model = skein::Model::load({.model_path = "model.safetensors"});
//   if (!model) { std::cerr << model.error().message << "\n"; return 2; }
//   auto session = skein::Session::create(*model);
//   skein::generate(*session, "Once upon a time", {}, [](std::string_view text) {
//     std::cout << text;
//     return true;
//   });
//
// Threads: a Model may be shared by Sessions, but one Model runs one call at a time (its thread
// pool is one); calls on different Models are independent. Nothing here prints, throws or ends the
// process.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "skein/precision.h"
#include "skein/result.h"
#include "skein/sampler.h"

namespace skein {

// "0.1.0"
std::string_view version() noexcept;

// Where the model that ships with Skein lies: $SKEIN_MODELS, beside the program, or where `./dev
// install` put it.
Result<std::string> default_model_path();

struct LoadOptions {
  std::string model_path = {};  // empty: the shipped model
  std::string vocab_path = {};  // empty: found beside the model
  // auto (a GPU if there is one and it can, else the CPU, which a warning says), reference, cpu or
  // webgpu.
  std::string backend = "auto";
  std::optional<uint32_t> adapter = {};  // number of the GPU; the best one if unset
  uint32_t num_threads = 0;              // 0: one per physical core
  Precision precision = Precision::kExact;
  // A file that `skein tune` wrote. Empty: the one that $SKEIN_PLAN names, or else the one that was
  // tuned for this machine, if there is one. "none": the default plan.
  std::string plan_path = {};
  // Layouts other than the plan's: "row_major" for all matrices, or groups:
  // "ffn.value=col_major@128B,att=interleave(16,64,1)".
  std::string layout = {};
  // How a GPU's kernels divide products, other than the plan's: "att=group(128,32,2,16)" (backend
  // webgpu; docs/webgpu.md).
  std::string forms = {};
  // What to quantize while loading: "int8", "nf4", "sf4", "q8_0", "q4_0" or "q4_k" for the
  // attention and ffn matrices and the head, or groups and layers: "ffn=nf4,att=int8",
  // "blocks.0-5=nf4"; "f16" decodes what a file has in codes. Empty: all is as in the file.
  std::string quant = {};
  // LoRA to add to the weights while loading: "FILE" or "FILE=WEIGHT" each, .safetensors or .pth,
  // or a folder of PEFT.
  std::vector<std::string> loras = {};
  std::string activations = {};  // "packed" or "separate"; empty: the plan's
  std::string placement = {};    // "hot" or "file"; empty: the plan's
  std::function<void(double fraction)> on_progress = {};  // 0 to 1 while loading; may be empty
};

struct ModelInfo {
  std::string path, format, dtype;       // "safetensors" or "packed safetensors"; of the source
  std::string backend, device, layouts;  // what runs it, and where the matrices lie
  std::string plan_path;                 // where the layouts come from; empty: the default plan
  std::string plan_source;               // "default", "found" for this machine, "named", "packed"
  uint32_t num_layers = 0, num_emb = 0, num_hidden = 0, num_heads = 0, head_size = 0, num_vocab = 0;
  uint64_t num_parameters = 0;
  uint64_t bytes_per_token =
      0;  // weight bytes that one decoded token reads when no activation is zero
  uint64_t model_hash =
      0;  // of tensors' names, shapes and first bytes; a saved state names its model by this
  std::string chat_template;  // that the file has (.gguf): a name or a Jinja text; empty: none
  std::vector<std::string> warnings;  // one line each: NaN weights, tensors that nothing uses
};

namespace internal {
struct ModelImpl;
struct SessionImpl;
class DeviceDrawer;
}  // namespace internal

// Weights, vocabulary and the backend they lie on. Immutable once loaded.
class Model {
 public:
  // Errors: no such file, not a model, tensors missing or misshapen, a vocabulary that does not
  // fit, no memory, no such backend or layout: one line each.
  static Result<std::shared_ptr<Model>> load(const LoadOptions& options);
  ~Model();

  const ModelInfo& info() const noexcept;

  // Greedy longest match over bytes; any bytes. Fails where the vocabulary lacks a byte of the
  // text, or where the model was loaded without one.
  Result<std::vector<uint32_t>> encode(std::string_view text) const;
  // The bytes of the ids side by side; id 0 (end of text) has none.
  std::string decode(std::span<const uint32_t> ids) const;

  internal::ModelImpl& impl() const noexcept { return *impl_; }

 private:
  explicit Model(std::unique_ptr<internal::ModelImpl> impl);
  static Result<std::shared_ptr<Model>> load_on_backend(const LoadOptions& options);
  std::unique_ptr<internal::ModelImpl> impl_;
};

// Called with the tokens done and the tokens in all; returns false to stop early.
using PrefillProgress = std::function<bool(uint64_t done, uint64_t total)>;

// One sequence: its recurrent state, how many tokens it has seen, and the logits after the last.
class Session {
 public:
  static Result<Session> create(std::shared_ptr<Model> model);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // Runs the tokens through the model, in chunks; afterwards logits() are those of the last.
  // Stopped early by `progress`, it has run whole chunks and num_tokens() says how many. Errors: no
  // ids, an id that the model does not have (nothing has run then).
  Status prefill(std::span<const uint32_t> ids, const PrefillProgress& progress = {});
  // The same for one token, without a vector.
  Status step(uint32_t id);
  // As prefill, handing out the logits after every token: [T][N] in order.
  Status evaluate(
      std::span<const uint32_t> ids,
      const std::function<void(uint64_t token, std::span<const float> logits)>& on_logits);

  // On a device prefill() and step() may return before the tokens have run. Waits for them. Errors:
  // what went wrong there; the session is of no more use then.
  Status wait() const;
  // [N] after the last token; waits for it. Empty before the first, and after an error that wait()
  // tells.
  std::span<const float> logits() const noexcept;
  // Tokens seen since the start or the last reset().
  uint64_t num_tokens() const noexcept;
  // Tokens that one chunk of prefill takes (default 512): results differ by rounding only.
  Status set_chunk(uint32_t num_tokens);

  // Back to the empty sequence, or to the tuned state that was restored last.
  Status reset();
  // A second session at the same place; both go on independently.
  Result<Session> clone() const;
  // The state as a .safetensors file (docs/architecture.md, "State files"): model hash, layout and
  // logits are inside. save() replaces the file as a whole or not at all. restore() refuses a state
  // of another model or an unknown version, and then leaves the session as it was. It takes tuned
  // states too (`blocks.N.att.time_state`, .pth or .safetensors): then the sequence is empty.
  Status save(const std::string& path) const;
  Status restore(const std::string& path);

  const std::shared_ptr<Model>& model() const noexcept;

 private:
  friend class internal::DeviceDrawer;
  explicit Session(std::unique_ptr<internal::SessionImpl> impl);
  std::unique_ptr<internal::SessionImpl> impl_;
};

struct GenerateOptions {
  uint32_t max_tokens = 256;
  SamplerOptions sampler = {};
  std::vector<std::string> stop =
      {};                           // ends before the first of these texts, which is not handed out
  PrefillProgress on_prefill = {};  // may be empty
};

enum class StopReason : uint8_t { kMaxTokens, kEndOfText, kStopText, kCallback };

struct GenerateStats {
  StopReason reason = StopReason::kMaxTokens;
  uint64_t num_prompt_tokens = 0,
           num_tokens = 0;  // tokens of the prompt; tokens drawn, but end of text
  double prefill_seconds = 0, decode_seconds = 0;
};

// Continues `session` with `prompt` (which may be empty if the session has seen tokens; a fresh
// session starts with token 0, end of text) and hands out the text as it comes: whole UTF-8
// characters, never the beginning of a stop text. `on_text` returns false to stop; it may be empty.
// Afterwards the session has seen the prompt and the text that was handed out, no more: a stop text
// has left no trace in it, and where it began in the midst of a token, tokens for the bytes before
// it stand for that one. Only a token of which `on_text` took a part before it returned false has
// been seen whole. (During a call of `on_text` it may be ahead: a device draws many tokens at
// once.) Errors: the prompt cannot be encoded, a sampler option out of range, device errors.
Result<GenerateStats> generate(Session& session, std::string_view prompt,
                               const GenerateOptions& options,
                               const std::function<bool(std::string_view text)>& on_text);

}  // namespace skein
