// State files: a session's place on disk, so that it can go on later, on another backend or another
// machine.
//
// A .safetensors file of two tensors: "state" f32 [L][S + 2][C] in the layout `key_rows` (the
// seed's order, whatever the backend uses in memory) and "logits" f32 [N] (absent before the first
// token). Its metadata: format = "skein-state", version = "1", state_layout, model_hash (16
// hexadecimal digits), num_tokens.
#pragma once

#include <string>

#include "base/result.h"
#include "engine/impl.h"

namespace skein::internal {

// Replaces the file as a whole or not at all.
Status save_state(const SessionImpl& session, const std::string& path);

// A tuned state too: a file with `blocks.N.att.time_state` for every layer, [H][V][K] in a .pth
// file as it was trained, [H][K][V] in a .safetensors file as web-rwkv's converter writes it. The
// session then stands at an empty sequence with that state, and reset() goes back to it.
//
// Refuses what is no state file, another version or layout, another model, or values that are NaN
// or infinite; then `session` is as it was.
Status restore_state(SessionImpl& session, const std::string& path);

}  // namespace skein::internal
