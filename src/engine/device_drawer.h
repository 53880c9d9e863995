// DeviceDrawer: generation where the backend draws the tokens itself (Backend::draw). The host
// hears of them many at a time and goes back where a text ended in the midst of them.
//
// Goals: no wait and no copy of logits for each token; after rewind() the session is as if the host
// had drawn. Non-goals: stop texts, which may take tokens back (generate.cc draws on the host
// then).
#pragma once

#include <random>
#include <span>
#include <vector>

#include "engine/impl.h"

namespace skein::internal {

class DeviceDrawer {
 public:
  // Errors: the backend does not draw, or has no memory for it. The session, which has seen tokens,
  // and the options outlive this.
  static Result<DeviceDrawer> create(Session& session, const SamplerOptions& options);

  // The next tokens, at most `count`; the session has seen all of them. Valid until the next call.
  Result<std::span<const uint32_t>> draw(uint32_t count);
  // The session has seen the first `count` of the tokens that draw() gave last.
  Status rewind(uint32_t count);

 private:
  DeviceDrawer(SessionImpl& session, const SamplerOptions& options)
      : session_(session), options_(options), random_(options.seed) {}
  Status snapshot();

  SessionImpl& session_;
  const SamplerOptions& options_;
  std::mt19937_64 random_;
  Draws draws_;
  std::shared_ptr<Buffer> state_before_, logits_before_;
  uint64_t num_tokens_before_ = 0;
  std::vector<uint32_t> ids_;
};

}  // namespace skein::internal
