#include "cli/neuron_profile.h"

#include <memory>
#include <span>
#include <vector>

#include "base/file.h"
#include "cli/table.h"

namespace skein::cli {
namespace {

constexpr uint64_t kMaxSampleBytes = uint64_t{64} << 20;
constexpr uint64_t kMinTokens = 8;

}  // namespace

Result<NeuronProfile> profile_neurons(const ModelFile& file, Backend& backend,
                                      const Rwkv7::LoadOptions& options, const Tokenizer& tokenizer,
                                      const std::string& text_path) {
  SKEIN_ASSIGN_OR_RETURN(const std::string text, read_text_file(text_path, kMaxSampleBytes));
  SKEIN_ASSIGN_OR_RETURN(const std::vector<uint32_t> ids, tokenizer.encode(text));
  if (ids.size() < kMinTokens) {
    return error("{}: expected at least {} tokens to count neurons over, found {}", text_path,
                 kMinTokens, ids.size());
  }
  SKEIN_ASSIGN_OR_RETURN(const auto model, Rwkv7::load(file, backend, options));
  NeuronProfile profile;
  profile.num_tokens = ids.size();
  profile.num_evaluated = ids.size() / 4;
  const std::span<const uint32_t> all = ids;
  const auto first = all.first(ids.size() - profile.num_evaluated);
  const auto last = all.last(profile.num_evaluated);
  SKEIN_ASSIGN_OR_RETURN(NeuronCounts counts, count_neurons(*model, first));
  SKEIN_ASSIGN_OR_RETURN(const NeuronCounts file_order, count_neurons(*model, last));
  SKEIN_ASSIGN_OR_RETURN(const NeuronCounts hot_first,
                         count_neurons(*model, last, order_by_frequency(counts)));
  profile.file_order = summarize(*model, file_order);
  profile.hot_first = summarize(*model, hot_first);
  add_counts(file_order, counts);
  profile.order = order_by_frequency(counts);
  return profile;
}

Json neurons_json(const NeuronProfile& profile) {
  Json json;
  json["tokens"] = profile.num_tokens;
  json["evaluated_tokens"] = profile.num_evaluated;
  json["density"] = profile.file_order.density;
  json["never_fired"] = profile.file_order.never_fired;
  json["hottest_10_percent_share"] = profile.hot_first.first_10_share;
  json["hottest_20_percent_share"] = profile.hot_first.first_20_share;
  json["hottest_50_percent_share"] = profile.hot_first.first_50_share;
  json["runs_per_layer"] = {{"file", profile.file_order.runs_per_layer},
                            {"hot_first", profile.hot_first.runs_per_layer}};
  json["ffn_value_bytes_per_token"] = {{"file", profile.file_order.value_bytes},
                                       {"hot_first", profile.hot_first.value_bytes}};
  return json;
}

std::string neurons_text(const NeuronProfile& profile) {
  const NeuronSummary &before = profile.file_order, &after = profile.hot_first;
  return fmt::format(
      "neurons          {:.1f} % fire, {:.1f} % never did ({} tokens, ordered by the {} before "
      "them)\n"
      "hot first        {:.0f}, {:.0f} and {:.0f} % of what fires lies in the first 10, 20 and 50 "
      "% of neurons\n"
      "runs of a layer  {:.1f} a token, {:.1f} in the file's order\n"
      "ffn.value        {} read a token, {} in the file's order\n",
      100 * before.density, 100 * before.never_fired, profile.num_evaluated,
      profile.num_tokens - profile.num_evaluated, 100 * after.first_10_share,
      100 * after.first_20_share, 100 * after.first_50_share, after.runs_per_layer,
      before.runs_per_layer, bytes_text(after.value_bytes), bytes_text(before.value_bytes));
}

}  // namespace skein::cli
