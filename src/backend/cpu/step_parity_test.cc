// Every step of the CPU backend against the reference, one step at a time, on random inputs, states
// and weights; for every target that this machine has, with proof that it ran; with 1, 2 and 3
// threads, which must agree bit for bit.
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/cpu_target.h"
#include "backend/reference/reference_backend.h"
#include "backend/test_model.h"

namespace skein {
namespace {

using namespace testing;

constexpr uint64_t kSeed = 20260;
constexpr float kEps = std::numeric_limits<float>::epsilon();

using Values = std::map<std::string, std::vector<float>, std::less<>>;

// A backend with its own copy of one model, state and workspace.
struct Side {
  std::unique_ptr<Backend> backend;
  Weights weights;
  State state;
  Workspace work;

  Side(Result<std::unique_ptr<Backend>> made, const Dimensions& dims, const WeightFormat& format,
       uint32_t num_slots, uint32_t max_tokens, ActivationLayout activation_layout) {
    CHECK(made.has_value());
    backend = *std::move(made);
    weights = random_weights(*backend, dims, format, kSeed);
    state = zero_state(*backend, dims, num_slots);
    work = poisoned_workspace(*backend, dims, max_tokens, max_tokens, activation_layout);
  }

  void load(const Values& inputs, std::span<const float> state_values) {
    for_each_activation(work, [&](std::string_view name, const Activation& activation) {
      upload_rows(*backend, activation, inputs.find(name)->second);
    });
    upload_state(*backend, state, state_values);
  }
};

// One step as the test sees it.
struct Step {
  std::string name;
  std::vector<std::string> outputs;
  std::vector<std::string>
      scratch;          // what the CPU backend may overwrite besides, as its comments say
  uint64_t sum_length;  // the longest sum behind an output
  void (*run)(Side& side, const Dimensions& dims, uint32_t layer, const Batch& batch);
};

template <void (Backend::*kMethod)(const LayerArgs&) noexcept>
void run_layer_step(Side& side, const Dimensions& dims, uint32_t layer, const Batch& batch) {
  const LayerArgs args{dims, side.weights.layers[layer], layer, batch, side.state, side.work};
  ((*side.backend).*kMethod)(args);
}

std::vector<Step> steps_of(const Dimensions& dims, uint32_t layer, uint32_t num_tokens) {
  const uint64_t num_emb = dims.num_emb;
  std::vector<std::string> project_in = {"r", "k", "v", "low_w", "low_a", "low_g"};
  if (layer > 0) project_in.push_back("low_v");
  return {
      {"embed",
       {"x"},
       {},
       num_emb,
       [](Side& side, const Dimensions& d, uint32_t, const Batch& batch) {
         side.backend->embed(d, side.weights, batch, side.work);
       }},
      {"mix6",
       {"mixed_r", "mixed_w", "mixed_k", "mixed_v", "mixed_a", "mixed_g"},
       {"r", "k"},
       num_emb,
       run_layer_step<&Backend::mix6>},
      {"project_in", project_in, {}, num_emb, run_layer_step<&Backend::project_in>},
      {"project_out",
       layer > 0 ? std::vector<std::string>{"w", "a", "g", "v"}
                 : std::vector<std::string>{"w", "a", "g", "v_first"},
       {"y"},
       dims.rank_g,
       run_layer_step<&Backend::project_out>},
      // A state entry is a sum over the tokens so far, an output one over 64 entries.
      {"wkv",
       {"y"},
       {"r", "k", "v", "w", "a"},
       64 + uint64_t{num_tokens},
       run_layer_step<&Backend::wkv>},
      {"output", {"x"}, {}, num_emb, run_layer_step<&Backend::output>},
      {"mix", {"z"}, {"r", "k"}, num_emb, run_layer_step<&Backend::mix>},
      // The square doubles the relative error.
      {"ffn_key", {"f"}, {}, 2 * num_emb, run_layer_step<&Backend::ffn_key>},
      {"ffn_value", {"x"}, {}, dims.num_hidden, run_layer_step<&Backend::ffn_value>},
      {"head",
       {"logits"},
       {"y"},
       num_emb,
       [](Side& side, const Dimensions& d, uint32_t, const Batch& batch) {
         side.backend->head(d, side.weights, batch, side.work);
       }},
  };
}

// Values of the size that each activation has in a model.
Values random_inputs(const Workspace& work, uint64_t num_tokens, uint64_t seed) {
  Values values;
  Random random(seed);
  for_each_activation(work, [&](std::string_view name, const Activation& activation) {
    std::vector<float>& out = values[std::string(name)];
    out.resize(num_tokens * activation.num_cols);
    for (float& value : out) {
      if (name == "w") {
        value = random.uniform(0.55f, 1);
      } else if (name == "a") {
        value = random.uniform(0, 1);
      } else if (name == "f") {
        value = random.below(8) == 0 ? random.uniform(0, 2) : 0;
      } else {
        value = random.uniform(-1, 1);
      }
    }
  });
  return values;
}

struct Case {
  uint32_t num_emb;
  std::vector<uint32_t> run_lengths;
};

uint32_t num_tokens_of(const Case& c) {
  uint32_t sum = 0;
  for (const uint32_t length : c.run_lengths) sum += length;
  return sum;
}

class StepParityTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  // Gaps between rows, rows behind the batch and, but for packed buffers, what follows the last
  // row.
  static void expect_gaps_untouched(Side& side, uint64_t num_tokens) {
    for_each_activation(side.work, [&](std::string_view name, const Activation& activation) {
      const std::vector<float> all = download_all(*side.backend, activation);
      // Of a packed buffer only this activation's part.
      const uint64_t rows =
          name.starts_with("mixed") ? side.work.max_tokens : all.size() / activation.stride_elems;
      uint64_t num_faults = 0;
      for (uint64_t row = 0; row < rows; ++row) {
        const uint64_t start = activation.offset_elems + row * activation.stride_elems;
        const uint64_t first = row < num_tokens ? activation.num_cols : 0;
        for (uint64_t i = first; i < activation.stride_elems; ++i) {
          if (!is_poison(all[start + i])) ++num_faults;
        }
      }
      EXPECT_EQ(num_faults, 0u) << "written outside of " << name;
    });
  }

  static void expect_near(std::string_view what, const std::vector<float>& expected,
                          const std::vector<float>& actual, uint64_t sum_length) {
    ASSERT_EQ(expected.size(), actual.size());
    float largest = 0;
    for (const float value : expected) largest = std::max(largest, std::abs(value));
    const float tol = kEps * static_cast<float>(sum_length) * largest;
    for (size_t i = 0; i < expected.size(); ++i) {
      const float err = std::abs(expected[i] - actual[i]);
      if (!(err <= tol)) {
        FAIL() << what << "[" << i << "]: expected " << expected[i] << ", found " << actual[i]
               << ", tolerance " << tol;
      }
    }
  }

  static bool contains(const std::vector<std::string>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }

  // Compares what the step wrote; whatever else it had no business to touch has the bits of the
  // inputs.
  static void compare(const Step& step, Side& expected, Side& actual, const Values& inputs,
                      uint64_t num_tokens) {
    for_each_activation(expected.work, [&](std::string_view name, const Activation& activation) {
      const std::vector<float> want = download_rows(*expected.backend, activation, num_tokens);
      const Activation* same = nullptr;
      for_each_activation(actual.work, [&](std::string_view other, const Activation& candidate) {
        if (other == name) same = &candidate;
      });
      const std::vector<float> have = download_rows(*actual.backend, *same, num_tokens);
      if (contains(step.outputs, name)) {
        expect_near(name, want, have, step.sum_length);
      } else if (!contains(step.scratch, name)) {
        EXPECT_EQ(have, inputs.find(name)->second) << name << " is no output of this step";
      }
    });
    expect_near("state", download_state(*expected.backend, expected.state),
                download_state(*actual.backend, actual.state), step.sum_length);
    expect_gaps_untouched(actual, num_tokens);
  }

  static std::vector<std::vector<float>> bits_of(const Step& step, Side& side) {
    std::vector<std::vector<float>> bits = {download_state(*side.backend, side.state)};
    for_each_activation(side.work, [&](std::string_view name, const Activation& activation) {
      if (contains(step.outputs, name)) bits.push_back(download_all(*side.backend, activation));
    });
    return bits;
  }

  static bool same_bits(const std::vector<std::vector<float>>& a,
                        const std::vector<std::vector<float>>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
      return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
    });
  }

  static Result<std::unique_ptr<Backend>> make_cpu(uint32_t num_threads) {
    return make_cpu_backend({num_threads, Precision::kExact, std::string(GetParam())});
  }

  static void run_case(const Case& c, const WeightFormat& format, ActivationLayout layout);
};

void StepParityTest::run_case(const Case& c, const WeightFormat& format, ActivationLayout layout) {
  const Dimensions dims = test_dimensions(c.num_emb);
  const uint32_t num_tokens = num_tokens_of(c);
  const uint32_t num_slots = static_cast<uint32_t>(c.run_lengths.size()) + 1;
  const TestBatch batch = random_batch(c.run_lengths, dims.num_vocab, kSeed);
  const auto make_side = [&](Result<std::unique_ptr<Backend>> backend, const WeightFormat& f) {
    return Side(std::move(backend), dims, f, num_slots, num_tokens + 1, layout);
  };
  WeightFormat plain;
  plain.dtype = format.dtype;
  Side reference = make_side(make_reference_backend(), plain);
  std::vector<Side> sides;
  for (uint32_t threads = 1; threads <= 3; ++threads) {
    sides.push_back(make_side(make_cpu(threads), format));
  }

  const Values inputs = random_inputs(reference.work, num_tokens, kSeed);
  std::vector<float> state_values(reference.state.num_elems());
  Random random(kSeed + 1);
  for (float& value : state_values) value = random.uniform(-1, 1);

  for (uint32_t layer = 0; layer < 2; ++layer) {
    for (const Step& step : steps_of(dims, layer, num_tokens)) {
      SCOPED_TRACE(fmt::format("{}, layer {}, C {}, runs {}, T {}", step.name, layer, c.num_emb,
                               c.run_lengths.size(), num_tokens));
      reference.load(inputs, state_values);
      step.run(reference, dims, layer, batch.view());
      std::vector<std::vector<float>> first_bits;
      for (Side& side : sides) {
        side.load(inputs, state_values);
        clear_executed_cpu_target();
        step.run(side, dims, layer, batch.view());
        EXPECT_EQ(executed_cpu_target(), GetParam());
        EXPECT_TRUE(side.backend->finish().has_value());
        if (first_bits.empty()) {
          compare(step, reference, side, inputs, num_tokens);
          first_bits = bits_of(step, side);
        } else {
          EXPECT_TRUE(same_bits(first_bits, bits_of(step, side)))
              << side.backend->num_threads() << " threads differ from 1";
        }
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(StepParityTest, OneRun) {
  for (const uint32_t num_emb : {64u, 128u, 192u, 256u}) {
    for (const uint32_t num_tokens : {1u, 2u, 3u, 17u, 64u}) {
      run_case({num_emb, {num_tokens}}, {}, ActivationLayout::kPacked);
    }
  }
}

TEST_P(StepParityTest, SeveralRuns) {
  for (const std::vector<uint32_t>& lengths : std::vector<std::vector<uint32_t>>{
           {1, 1}, {1, 1, 1, 1, 1, 1, 1}, {2, 1}, {5, 1, 11}, {1, 40, 1, 2, 20}}) {
    run_case({128, lengths}, {}, ActivationLayout::kSeparate);
  }
  // Enough elements for the mixes to be shared among threads, with runs cut anywhere.
  run_case({256, {1, 13, 2, 1, 30, 1}}, {}, ActivationLayout::kSeparate);
}

TEST_P(StepParityTest, OtherDTypesAndLayouts) {
  WeightFormat f32;
  f32.dtype = DType::kF32;
  WeightFormat bf16;
  bf16.dtype = DType::kBF16;
  WeightFormat interleaved;
  interleaved.dense = Layout::interleave(16, 64, 1);
  WeightFormat aligned;
  aligned.emb = aligned.dense = Layout::row_major(256);
  aligned.ffn_value = Layout::col_major(256);
  for (const WeightFormat& format : {f32, bf16, interleaved, aligned}) {
    for (const uint32_t num_tokens : {1u, 5u, 33u}) {
      run_case({192, {num_tokens}}, format, ActivationLayout::kPacked);
    }
  }
}

// 192 cols: an int8 block and a short one.
TEST_P(StepParityTest, QuantizedWeights) {
  for (const DType dtype : kQuantDTypes) {
    WeightFormat format;
    format.dtype = dtype;
    format.dense =
        dtype == DType::kInt8 ? Layout::interleave(16, 128, 4) : Layout::interleave(16, 64, 8);
    for (const uint32_t num_tokens : {1u, 5u, 33u}) {
      run_case({192, {num_tokens}}, format, ActivationLayout::kPacked);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, StepParityTest, ::testing::ValuesIn(supported_cpu_targets()),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace skein
