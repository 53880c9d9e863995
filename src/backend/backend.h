// Backend: one device that runs the ten steps of RWKV-7.
//
// Goals: each step is one fused operation, few and large, so that a backend may record it, capture
// it in a graph or run it at once; model/ calls the steps in order and knows no device. Non-goals:
// a general tensor library, autograd, shapes that RWKV-7 does not have.
//
// Steps are noexcept and check nothing: batch, workspace and weights are made by model/, which has
// established every precondition. Device errors surface in finish().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/kernel_form.h"
#include "backend/kernel_registry.h"
#include "backend/rwkv7.h"
#include "base/result.h"
#include "layout/any_mapping.h"
#include "skein/precision.h"
#include "skein/sampler.h"

namespace skein {

// What a device took for one kind of dispatch.
struct OpTime {
  std::string op;  // "ffn_key"
  uint64_t count = 0;
  double seconds = 0;  // of all of them
};

// Tokens drawn where the logits are (Backend::draw), and what that keeps from token to token.
struct Draws {
  std::shared_ptr<Buffer> buffer;
  uint32_t num_slots = 0;
  // In bytes: [1] u32 the slot of the next draw, which moves on by itself; [num_slots] f32 in [0,
  // 1), one a draw, to be written before; [num_slots] u32 the ids, to be read after.
  uint64_t cursor_at = 0, uniforms_at = 0, ids_at = 0;
};

// A layout for each dtype, in the order of kAllDTypes; none where nothing is asked for.
using DenseLayouts = std::array<std::optional<Layout>, kAllDTypes.size()>;

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const noexcept = 0;  // "cpu"
  virtual std::string description() const = 0;         // "AMD EPYC, zen4 kernels, 2 threads"
  virtual uint32_t num_threads() const noexcept = 0;   // of the host; 1 for a device
  // Whether buffers are host memory and a step has run when its function returns.
  virtual bool is_host() const noexcept { return true; }

  virtual std::span<const KernelInfo> kernels() const noexcept = 0;
  virtual StateLayout state_layout() const noexcept = 0;  // the only one its wkv step takes
  // For the dense matrices, where it is not the default plan's that is fast here.
  virtual DenseLayouts dense_layouts() const noexcept { return {}; }

  // What two devices of one description may differ in, and what is fast with it: "subgroups".
  virtual std::vector<std::string> features() const { return {}; }
  // The forms that are worth measuring for a matrix with so many tokens at once, of one part each
  // (KernelForm); none where there is nothing to choose.
  virtual std::vector<KernelForm> list_forms(MatrixOp /*op*/, DType /*dtype*/,
                                             const AnyMapping& /*mapping*/,
                                             uint32_t /*num_tokens*/) const {
    return {};
  }
  // How the products of the steps from now on are divided. Errors: a form that this device has no
  // room for, or any where there is nothing to choose; nothing has changed then.
  virtual Status set_forms(const KernelForms& forms);

  // Zero-filled memory of the device, aligned to at least 256 B, with kReadSlackBytes behind it.
  virtual Result<std::shared_ptr<Buffer>> allocate(uint64_t num_bytes) = 0;
  // The most that allocate() can give at once.
  virtual uint64_t max_buffer_bytes() const noexcept { return UINT64_MAX; }
  // Copies between the host and [offset_bytes, offset_bytes + bytes.size()) of `buffer`; waits for
  // earlier steps.
  virtual Status upload(Buffer& buffer, uint64_t offset_bytes,
                        std::span<const std::byte> bytes) = 0;
  virtual Status download(const Buffer& buffer, uint64_t offset_bytes,
                          std::span<std::byte> bytes) = 0;

  // Bytes per second of a plain read of memory too large for the caches, now: the roof for every
  // GB/s that is printed.
  virtual Result<double> measure_read_bandwidth() = 0;

  // 1. work.x = LN(emb[ids]; ln0)
  virtual void embed(const Dimensions& dims, const Weights& weights, const Batch& batch,
                     const Workspace& work) noexcept = 0;
  // 2. y = LN(x; ln1), d = shift - y, shift = y, work.mixed[c] = y + d * mix[c] for the six c.
  //    The shift is a row of the state.
  virtual void mix6(const LayerArgs& args) noexcept = 0;
  // 3. r, k, v = W mixed; low_w = tanh(w1 mixed_w), low_a = a1 mixed_a,
  //    low_g = sigmoid(g1 mixed_g), low_v = v1 mixed_v (layer > 0)
  virtual void project_in(const LayerArgs& args) noexcept = 0;
  // 4. w = exp(kDecayScale * sigmoid(w0 + w2 low_w)), a = sigmoid(a0 + a2 low_a), g = g2 low_g;
  //    layer 0: v_first = v; layer > 0: v += (v_first - v) * sigmoid(v0 + v2 low_v)
  virtual void project_out(const LayerArgs& args) noexcept = 0;
  // 5. per head: kk = k*k_k / max(|k*k_k|, eps); k *= 1 + (a - 1) k_a;
  //    S = S diag(w) - (S kk)(kk*a)^T + v k^T; y = GN(S r; ln_x) + (sum r k r_k) v; y *= g.
  //    Advances the state; may overwrite r, k, v, w, a.
  virtual void wkv(const LayerArgs& args) noexcept = 0;
  // 6. x += W_o y
  virtual void output(const LayerArgs& args) noexcept = 0;
  // 7. y = LN(x; ln2), d = shift - y, shift = y, z = y + d * ffn_mix
  virtual void mix(const LayerArgs& args) noexcept = 0;
  // 8. f = relu(W_key z)^2
  virtual void ffn_key(const LayerArgs& args) noexcept = 0;
  // 9. x += W_value f
  virtual void ffn_value(const LayerArgs& args) noexcept = 0;
  // 10. logits[i] = W_head LN(x[logit_tokens[i]]; ln_out)
  virtual void head(const Dimensions& dims, const Weights& weights, const Batch& batch,
                    const Workspace& work) noexcept = 0;

  // Has every step so far run, without waiting for it where the device is not the host; of what
  // goes wrong finish() tells.
  virtual Status submit() { return finish(); }
  // Waits until every step so far has run; returns what went wrong on the device since the last
  // call.
  virtual Status finish() = 0;

  // For generation that does not wait for every token. Errors: this backend draws nothing, or not
  // for this model. Zeros for the first slot; no token counts as seen.
  virtual Result<Draws> make_draws(const Dimensions& dims, const Weights& weights);
  // Draws from the first row of `logits` as engine/sampler.h says, with f32 sums, into the next
  // slot; a batch that names `draws` takes the id as its own. The token counts as seen.
  virtual void draw(const Dimensions& /*dims*/, const SamplerOptions& /*options*/,
                    const Activation& /*logits*/, const Draws& /*draws*/) noexcept {}
  // Ranges of two buffers of this backend, behind all steps so far. Multiples of four bytes.
  virtual Status copy(const Buffer& from, uint64_t from_bytes, Buffer& to, uint64_t num_bytes);

  // Dispatches given to a device so far; 0 on a host.
  virtual uint64_t num_dispatches() const noexcept { return 0; }
  // From now on the device takes the time of every dispatch, one after the other, which makes all
  // of them slower. False: it cannot.
  virtual bool time_ops(bool /*is_on*/) { return false; }
  // From now on the device takes the time of every submission as a whole, the op "submission",
  // whose dispatches run as they otherwise do. False: it cannot.
  virtual bool time_submissions(bool /*is_on*/) { return false; }
  // What it has taken since the last call, in the order of first use.
  virtual std::vector<OpTime> take_op_times() { return {}; }
};

}  // namespace skein
