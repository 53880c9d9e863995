// What is behind the public classes Model and Session; for the engine itself and for commands that
// look deeper.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/tokenizer.h"
#include "model/rwkv7.h"
#include "skein/skein.h"

namespace skein::internal {

struct ModelImpl {
  std::unique_ptr<Backend> backend;  // before rwkv7, which refers to it
  std::unique_ptr<Rwkv7> rwkv7;
  std::optional<Tokenizer> tokenizer;
  ModelInfo info;
};

struct SessionImpl {
  std::shared_ptr<Model> model;
  State state;  // one slot
  uint64_t num_tokens = 0;
  std::vector<float> logits;  // [N], or empty
  // What reset() goes back to, in the backend's layout: a tuned state; empty: zeros.
  std::vector<float> initial;
  // Where the logits of the last token lie on the device, until someone wants them.
  struct LogitsPlace {
    std::shared_ptr<Buffer> buffer;
    uint64_t offset_elems = 0;
  };
  std::optional<LogitsPlace> logits_place;
  Status device_status;  // the first thing that went wrong
  uint32_t chunk = 512;

  // Made when first needed: one for single tokens, so that decoding stays in the caches, one for
  // chunks.
  std::optional<Workspace> decode_work, prefill_work;

  const Rwkv7& rwkv7() const noexcept { return *model->impl().rwkv7; }
  // A workspace of at least that many tokens and logits.
  Result<const Workspace*> workspace(uint32_t num_tokens, uint32_t num_logits);
  // Brings the logits from `logits_place`, if they are still there.
  Status fetch_logits();
  // Has one chunk run; the logits of its last token are at `logits_place`, of all tokens in the
  // workspace that it returns.
  Result<const Workspace*> run_chunk(std::span<const uint32_t> ids, bool all_logits);
};

// Where the vocabulary of the model at `model_path` is looked for in its folder: NAME.vocab.txt,
// vocab.txt, rwkv_vocab_v20230424.txt (as beside Hugging Face's models) and .json; and the first of
// them that is there, or nothing.
std::vector<std::string> vocabulary_paths(const std::string& model_path);
std::string find_vocabulary(const std::string& model_path);

// Writes the vocabulary to the first of those paths: a model in a new place that has none beside it
// and none inside. Returns the path.
Result<std::string> write_vocabulary(const std::string& model_path, const Tokenizer& tokenizer);

// The vocabulary that is in the model file itself: .gguf files may have one.
Result<std::optional<Tokenizer>> load_own_tokenizer(const std::string& model_path);

// The vocabulary at `vocab_path`; where that is empty the one beside the model, or else the model's
// own, if any. Errors: it
// cannot be read, or has ids that a model with `num_vocab` tokens does not have.
Result<std::optional<Tokenizer>> load_tokenizer(const std::string& vocab_path,
                                                const std::string& model_path, uint32_t num_vocab);

}  // namespace skein::internal
