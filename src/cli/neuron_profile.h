// `skein pack --profile-neurons TEXT`: which neurons of a model fire over a text, the order that
// puts the hot ones side by side, and what it is worth.
//
// Goals: figures from a part of the text that the order was not made from. Non-goals: packing
// (pack_command.h).
#pragma once

#include <cstdint>
#include <string>

#include "backend/backend.h"
#include "cli/output.h"
#include "engine/tokenizer.h"
#include "model/model_file.h"
#include "model/neurons.h"
#include "model/rwkv7.h"

namespace skein::cli {

struct NeuronProfile {
  NeuronOrder order;           // by all tokens of the text
  uint64_t num_tokens = 0;     // of the text
  uint64_t num_evaluated = 0;  // its last tokens, over which the two summaries are taken
  NeuronSummary file_order;
  NeuronSummary hot_first;  // in an order by the tokens before the evaluated ones
};

// Loads the model as `options` say, runs the text in the file `text_path` through it, and gives the
// model back. Errors: the text cannot be read or has less than 8 tokens; what Rwkv7::load and
// count_neurons refuse.
Result<NeuronProfile> profile_neurons(const ModelFile& file, Backend& backend,
                                      const Rwkv7::LoadOptions& options, const Tokenizer& tokenizer,
                                      const std::string& text_path);

Json neurons_json(const NeuronProfile& profile);
// Lines of "KEY   VALUE", as the other commands print them.
std::string neurons_text(const NeuronProfile& profile);

}  // namespace skein::cli
