#include "backend/cpu/mix.h"

#include <algorithm>
#include <array>

#include "backend/cpu/cpu_target.h"
#include "backend/cpu/host_rows.h"
#include "backend/cpu/share_tokens.h"
#include "base/thread_pool.h"

#ifndef SKEIN_BACKEND_CPU_MIX_CC_
#define SKEIN_BACKEND_CPU_MIX_CC_
namespace skein {
namespace {

// What one of the two steps does with every token.
struct MixCall {
  size_t num_emb;      // C
  size_t num_outputs;  // 1 or 6
  const float* ln_weight;
  const float* ln_bias;
  std::array<const float*, kNumMixes> mix;  // [C] each
};

}  // namespace
}  // namespace skein
#endif  // SKEIN_BACKEND_CPU_MIX_CC_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/mix.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// Needs the target that foreach_target.h sets.
#include "backend/cpu/norm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein {
namespace HWY_NAMESPACE {
namespace {

// y = LN(x), out[c] = y + (shift - y) * mix[c], shift = y: `shift` moves on by one token in place.
template <size_t kNumOutputs>
HWY_INLINE void mix_token_into(const MixCall& call, const float* x, float* shift,
                               float* const* out) {
  const NormTag d;
  const Norm norm = norm_of_row(x, call.num_emb, kLayerNormEps);
  const auto mean = hn::Set(d, norm.mean);
  const auto scale = hn::Set(d, norm.scale);
  for (size_t i = 0; i < call.num_emb; i += hn::Lanes(d)) {
    const auto normed = hn::Mul(hn::Sub(hn::LoadU(d, x + i), mean), scale);
    const auto y =
        hn::MulAdd(normed, hn::LoadU(d, call.ln_weight + i), hn::LoadU(d, call.ln_bias + i));
    const auto difference = hn::Sub(hn::LoadU(d, shift + i), y);
    hn::StoreU(y, d, shift + i);
    for (size_t c = 0; c < kNumOutputs; ++c) {
      hn::StoreU(hn::MulAdd(difference, hn::LoadU(d, call.mix[c] + i), y), d, out[c] + i);
    }
  }
}

void mix_token(const MixCall& call, const float* x, float* shift, float* const* out) {
  record_executed_cpu_target(HWY_TARGET);
  if (call.num_outputs == 1) {
    mix_token_into<1>(call, x, shift, out);
  } else {
    mix_token_into<kNumMixes>(call, x, shift, out);
  }
}

// shift = LN(x): what mix_token() leaves there.
void normalize_token(const MixCall& call, const float* x, float* shift) {
  mix_token_into<0>(call, x, shift, nullptr);
}

// out = y + (before - y) * mix
void lerp_row(const float* y, const float* before, const float* mix, size_t num_emb, float* out) {
  record_executed_cpu_target(HWY_TARGET);
  const NormTag d;
  for (size_t i = 0; i < num_emb; i += hn::Lanes(d)) {
    const auto row = hn::LoadU(d, y + i);
    const auto difference = hn::Sub(hn::LoadU(d, before + i), row);
    hn::StoreU(hn::MulAdd(difference, hn::LoadU(d, mix + i), row), d, out + i);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace skein
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(mix_token);
HWY_EXPORT(normalize_token);
HWY_EXPORT(lerp_row);

// One of the two steps over a batch.
struct MixStep {
  const LayerArgs& args;
  MixCall call;
  uint64_t shift_offset;  // of the state's row
  std::array<const Activation*, kNumMixes> out;

  float* state_row(const Run& run) const noexcept {
    return state_of_slot(args, run.slot) + shift_offset;
  }

  void copy_row(const float* from, float* to) const noexcept {
    std::copy_n(from, call.num_emb, to);
  }

  // Tokens [begin, end) of `run`, after which `shift` holds the last one's LN(x).
  void mix_tokens(uint64_t begin, uint64_t end, float* shift) const noexcept {
    for (uint64_t t = begin; t < end; ++t) {
      std::array<float*, kNumMixes> rows{};
      for (size_t c = 0; c < call.num_outputs; ++c) rows[c] = out[c]->row(t);
      HWY_DYNAMIC_DISPATCH(mix_token)(call, args.work.x.row(t), shift, rows.data());
    }
  }

  // The part of `run` that lies in `range`, when other threads may have the rest of it: the shift
  // moves through a row of work.k, starts from the copy in work.r or from the token before, and the
  // run's last token writes the state.
  void mix_part(const Run& run, Range range) const noexcept {
    const uint64_t run_end = uint64_t{run.first_token} + run.num_tokens;
    const uint64_t begin = std::max<uint64_t>(run.first_token, range.begin);
    const uint64_t end = std::min(run_end, range.end);
    float* shift = args.work.k.row(begin);
    if (begin == run.first_token) {
      copy_row(args.work.r.row(run.first_token), shift);
    } else {
      HWY_DYNAMIC_DISPATCH(normalize_token)(call, args.work.x.row(begin - 1), shift);
    }
    mix_tokens(begin, end, shift);
    if (end == run_end) copy_row(shift, state_row(run));
  }

  // ActivationLayout::kSeparate, the seed's present state: LN(x) into a tensor, then each of the
  // mixed inputs by a pass of its own over all tokens. The same bits as run_all(). The normalised
  // rows lie in work.k, which step 3 writes.
  void run_in_passes(ThreadPool& pool) const noexcept {
    const Batch& batch = args.batch;
    const Activation& y = args.work.k;
    share_tokens(pool, batch.num_tokens(), call.num_emb, [&](Range range) {
      for (uint64_t t = range.begin; t < range.end; ++t)
        HWY_DYNAMIC_DISPATCH(normalize_token)(call, args.work.x.row(t), y.row(t));
    });
    for (size_t c = 0; c < call.num_outputs; ++c) {
      share_tokens(pool, batch.num_tokens(), call.num_emb, [&](Range range) {
        for (const Run& run : batch.runs) {
          const uint64_t run_end = uint64_t{run.first_token} + run.num_tokens;
          const uint64_t end = std::min(run_end, range.end);
          for (uint64_t t = std::max<uint64_t>(run.first_token, range.begin); t < end; ++t) {
            const float* before = t == run.first_token ? state_row(run) : y.row(t - 1);
            HWY_DYNAMIC_DISPATCH(lerp_row)
            (y.row(t), before, call.mix[c], call.num_emb, out[c]->row(t));
          }
        }
      });
    }
    for (const Run& run : batch.runs)
      copy_row(y.row(uint64_t{run.first_token} + run.num_tokens - 1), state_row(run));
  }

  void run_all(ThreadPool& pool) const noexcept {
    const Batch& batch = args.batch;
    // The thread with a run's last token writes the state that the one with its first token reads,
    // so that one gets a copy from before. A run of one token is never split.
    for (const Run& run : batch.runs) {
      if (run.num_tokens > 1) copy_row(state_row(run), args.work.r.row(run.first_token));
    }
    share_tokens(pool, batch.num_tokens(), call.num_emb, [&](Range range) {
      // The first run that ends behind the start of the range.
      auto run = std::upper_bound(
          batch.runs.begin(), batch.runs.end(), range.begin,
          [](uint64_t t, const Run& r) { return t < uint64_t{r.first_token} + r.num_tokens; });
      for (; run != batch.runs.end() && run->first_token < range.end; ++run) {
        if (run->num_tokens == 1) {
          mix_tokens(run->first_token, uint64_t{run->first_token} + 1, state_row(*run));
        } else {
          mix_part(*run, range);
        }
      }
    });
  }
};

}  // namespace

void mix6_step(const LayerArgs& args, ThreadPool& pool) noexcept {
  const LayerWeights& w = args.weights;
  MixStep step{args,
               {args.dims.num_emb, kNumMixes, f32_row(w.ln1_weight), f32_row(w.ln1_bias), {}},
               args.state.mapping.att_shift(),
               {}};
  for (uint32_t c = 0; c < kNumMixes; ++c) {
    step.call.mix[c] = f32_row(w.mix, c);
    step.out[c] = &args.work.mixed[c];
  }
  if (args.work.activation_layout == ActivationLayout::kSeparate) {
    step.run_in_passes(pool);
  } else {
    step.run_all(pool);
  }
}

void mix_step(const LayerArgs& args, ThreadPool& pool) noexcept {
  const LayerWeights& w = args.weights;
  const MixStep step{
      args,
      {args.dims.num_emb, 1, f32_row(w.ln2_weight), f32_row(w.ln2_bias), {f32_row(w.ffn_mix)}},
      args.state.mapping.ffn_shift(),
      {&args.work.z}};
  step.run_all(pool);
}

}  // namespace skein
#endif  // HWY_ONCE
