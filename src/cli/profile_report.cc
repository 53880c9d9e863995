#include "cli/profile_report.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>

#include "cli/profile_figures.h"
#include "cli/table.h"
#include "plan/plot.h"
#include "plan/seed_estimates.h"

namespace skein::cli {
namespace {

constexpr std::string_view kNothing = "-";
constexpr size_t kFewRounds = 5;

std::string model_name(const std::string& path) {
  return std::filesystem::path(path).stem().string();
}

// "+12.3 %"
std::string gain_text(double ratio) { return fmt::format("{:+.1f} %", 100 * (ratio - 1)); }

// "+12.3 % (+8 to +15)": the median and the quartiles of the rounds.
std::string gain_text(const Ratio& ratio) {
  return fmt::format("{} ({:+.0f} to {:+.0f})", gain_text(ratio.median), 100 * (ratio.low - 1),
                     100 * (ratio.high - 1));
}

std::string estimate_text(const SeedEstimate& seed) {
  if (seed.bandwidth_low_percent == seed.bandwidth_high_percent) {
    return fmt::format("+{} %", seed.bandwidth_low_percent);
  }
  return fmt::format("+{} to {} %", seed.bandwidth_low_percent, seed.bandwidth_high_percent);
}

// "93.1 / 97.0 / 100.0", up to each level, or the one rate that counters give.
std::string levels_text(const VariantFigures& figures) {
  if (!figures.cache) return std::string(kNothing);
  if (figures.cache->levels.empty()) return fmt::format("{:.1f}", figures.cache->hit_percent);
  std::string text;
  for (const CacheFigures::Level& level : figures.cache->levels) {
    text += fmt::format("{}{:.1f}", text.empty() ? "" : " / ", level.hit_percent);
  }
  return text;
}

// The title of a column of those: "hits L1d / L2 / L3, %".
std::string hits_title(const ProfileReport& report) {
  std::string levels;
  if (const auto& cache = report.variants.front().cache) {
    for (const CacheFigures::Level& level : cache->levels) {
      levels += fmt::format("{}{}", levels.empty() ? " " : " / ", level.name);
    }
  }
  return fmt::format("hits{}, %", levels);
}

Table ideas_table(const ProfileReport& report) {
  Table table({{"idea"},
               {"document", Align::kRight},
               {"decode, alone", Align::kRight},
               {"decode, added", Align::kRight},
               {"prefill, alone", Align::kRight},
               {"prefill, added", Align::kRight},
               {"tokens/s, alone", Align::kRight},
               {"GB/s", Align::kRight},
               {"% of read", Align::kRight},
               {"document, hits", Align::kRight},
               {hits_title(report), Align::kRight}});
  const auto add = [&](std::string name, const SeedEstimate* seed, size_t alone, size_t added) {
    std::vector<std::string> cells(11, std::string(kNothing));
    cells[0] = std::move(name);
    const VariantFigures& figures = report.variants[alone];
    if (seed != nullptr) cells[1] = estimate_text(*seed);
    if (seed != nullptr) cells[9] = fmt::format("{:+.0f}", seed->cache_percent);
    if (const auto one = shown(report, figures)) {
      cells[2] = gain_text(one->decode);
      cells[4] = gain_text(one->prefill.median);
      cells[6] = fmt::format("{:.1f}", one->tokens_per_s);
      cells[7] = fmt::format("{:.2f}", one->gb_s);
      cells[8] = fmt::format("{:.1f}", one->percent);
    }
    if (const auto both = shown(report, report.variants[added]); both && added != 0) {
      cells[3] = gain_text(both->decode);
      cells[5] = gain_text(both->prefill.median);
    }
    cells[10] = levels_text(figures);
    table.add_row(std::move(cells));
  };
  add("baseline, against itself", nullptr, 0, 0);
  for (const IdeaRow& row : report.experiment.ideas) {
    const SeedEstimate& seed = seed_estimate(row.idea);
    const std::string name(seed.name);
    add(row.replaces.empty() ? name : fmt::format("{} (for {})", name, row.replaces), &seed,
        row.alone, row.added);
  }
  add("sparse ffn.value (no idea of the document)", nullptr, report.experiment.sparse_alone,
      report.experiment.sparse_added);
  add("what Skein does without a plan", nullptr, report.experiment.skein_default, 0);
  return table;
}

Table layouts_table(const ProfileReport& report) {
  Table table({{"layout"},
               {"decode", Align::kRight},
               {"tokens/s", Align::kRight},
               {"GB/s", Align::kRight},
               {"% of read", Align::kRight},
               {"prefill", Align::kRight},
               {"tokens/s", Align::kRight},
               {"padding", Align::kRight},
               {hits_title(report), Align::kRight}});
  for (const size_t index : report.experiment.layouts) {
    const VariantFigures& figures = report.variants[index];
    const auto one = shown(report, figures);
    if (!one) {
      std::vector<std::string> cells(9, std::string(kNothing));
      cells[0] = layout_name(figures);
      table.add_row(std::move(cells));
      continue;
    }
    table.add_row({layout_name(figures), gain_text(one->decode),
                   fmt::format("{:.1f}", one->tokens_per_s), fmt::format("{:.2f}", one->gb_s),
                   fmt::format("{:.1f}", one->percent), gain_text(one->prefill.median),
                   fmt::format("{:.1f}", one->prefill_tokens_per_s),
                   bytes_text(figures.padding_bytes), levels_text(figures)});
  }
  return table;
}

// Microseconds a token, all layers together: a row a variant, a column a step.
Table steps_table(const ProfileReport& report, double StepFigures::*time) {
  std::vector<Column> columns = {{"variant"}};
  for (const std::string_view name : kStepNames) {
    columns.push_back({std::string(name), Align::kRight});
  }
  Table table(std::move(columns));
  for (const VariantFigures& figures : report.variants) {
    if (figures.steps.size() != kNumSteps) continue;
    std::vector<std::string> cells = {figures.variant.name};
    for (const StepFigures& step : figures.steps)
      cells.push_back(fmt::format("{:.1f}", step.*time));
    table.add_row(std::move(cells));
  }
  return table;
}

size_t fewest_rounds(const ProfileReport& report) {
  size_t rounds = SIZE_MAX;
  for (const VariantFigures& figures : report.variants) {
    if (figures.skipped.empty()) rounds = std::min(rounds, figures.decode.size());
  }
  return rounds == SIZE_MAX ? 0 : rounds;
}

std::string facts_text(const ProfileReport& report, const Machine& machine,
                       const std::string& model) {
  return fmt::format(
      "{} on {} ({}), {} thread{}, commit {}\n"
      "decode {} tokens, prefill {}; medians of {} or more rounds, quartiles in brackets\n"
      "read bandwidth {:.2f} GB/s; weights {} a token; {:.0f} % of the ffn's activations are zero\n"
      "baseline: {}\n",
      model_name(model), machine.cpu, report.device, report.num_threads,
      report.num_threads == 1 ? "" : "s", machine.commit, report.num_decode, report.num_prefill,
      fewest_rounds(report), report.bandwidth / 1e9,
      bytes_text(static_cast<double>(report.weight_bytes)), report.zero_percent,
      report.variants.front().variant.plan.text());
}

struct Section {
  std::string title, text;
};

std::vector<Section> sections_of(const ProfileReport& report, bool with_prefill_steps) {
  std::vector<Section> sections = {{"The document's ideas, each alone and added to those above it",
                                    ideas_table(report).to_text()},
                                   {"Layouts of the dense matrices, all else as in the baseline",
                                    layouts_table(report).to_text()},
                                   {"Steps, decode: microseconds a token",
                                    steps_table(report, &StepFigures::decode_us).to_text()}};
  if (with_prefill_steps) {
    sections.push_back({"Steps, prefill: microseconds a token",
                        steps_table(report, &StepFigures::prefill_us).to_text()});
  }
  std::string notes;
  for (const std::string& note : profile_notes(report)) notes += fmt::format("- {}\n", note);
  sections.push_back({"Notes", std::move(notes)});
  return sections;
}

Bar bar_of(const ProfileReport& report, std::string name, size_t index) {
  const auto one = shown(report, report.variants[index]);
  return {std::move(name), one ? std::optional(one->decode.median) : std::nullopt};
}

}  // namespace

std::vector<std::string> profile_notes(const ProfileReport& report) {
  std::vector<std::string> notes = {report.cache_note};
  if (const auto noise = shown(report, report.variants.front())) {
    notes.push_back(
        fmt::format("noise: half of the rounds gave the baseline {:+.1f} to {:+.1f} % of itself in "
                    "decode; less "
                    "than that is no finding",
                    100 * (noise->decode.low - 1), 100 * (noise->decode.high - 1)));
  }
  if (fewest_rounds(report) < kFewRounds) {
    notes.push_back(fmt::format("{} round{} only, which says little: a longer --budget has more",
                                fewest_rounds(report), fewest_rounds(report) == 1 ? "" : "s"));
  }
  if (report.cache_bytes != 0 && report.weight_bytes < report.cache_bytes) {
    notes.push_back(fmt::format(
        "the weights ({}) fit the outermost cache ({}): their bytes come from caches, so that '% "
        "of read', which is of memory, can be beyond 100 and says nothing about memory",
        bytes_text(static_cast<double>(report.weight_bytes)),
        bytes_text(static_cast<double>(report.cache_bytes))));
  }
  for (const IdeaRow& row : report.experiment.ideas) {
    const VariantFigures& alone = report.variants[row.alone];
    const bool is_noise = row.idea == Idea::kAlignedDimensions && alone.skipped.empty() &&
                          alone.padding_bytes == report.variants.front().padding_bytes;
    if (is_noise) {
      notes.emplace_back(
          "aligned dimensions change no address here, since the model's are multiples already: "
          "what their row shows is the noise of the measurement");
    }
    if (row.replaces.empty()) continue;
    notes.push_back(fmt::format(
        "added, '{}' is in place of {}: a matrix has one order, so ideas 1 to 3 exclude each other",
        seed_estimate(row.idea).key, row.replaces));
  }
  notes.emplace_back(
      "ffn.value is row_major and read whole in all rows but the last two of the ideas: in "
      "col_major the kernels skip what zero activations multiply");
  for (const VariantFigures& figures : report.variants) {
    if (figures.skipped.empty()) continue;
    notes.push_back(fmt::format("{} was not measured: {}", figures.variant.name, figures.skipped));
  }
  return notes;
}

std::string profile_text(const ProfileReport& report, const Machine& machine,
                         const std::string& model) {
  std::string text = facts_text(report, machine, model);
  for (const Section& section : sections_of(report, false)) {
    text += fmt::format("\n{}\n\n{}", section.title, section.text);
  }
  return text;
}

std::string profile_markdown(const ProfileReport& report, const Machine& machine,
                             const std::string& model) {
  std::string text = fmt::format("# The document's estimates, measured: {}\n\n", model_name(model));
  std::string facts = facts_text(report, machine, model);
  for (size_t begin = 0; begin < facts.size();) {
    const size_t end = facts.find('\n', begin);
    text += fmt::format("- {}\n", facts.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const Section& section : sections_of(report, true)) {
    text += fmt::format("\n## {}\n\n{}", section.title, section.text);
  }
  return text;
}

std::string profile_svg(const ProfileReport& report, const Machine& machine,
                        const std::string& model) {
  BarPlot plot;
  plot.title = "Six ideas about memory layout, estimated and measured";
  plot.subtitle = fmt::format("{}, {}, {} thread{}, decode, median of {} or more rounds",
                              model_name(model), machine.cpu, report.num_threads,
                              report.num_threads == 1 ? "" : "s", fewest_rounds(report));
  plot.axis_label = "tokens/s, times the baseline";
  plot.band_label = "the document's estimate";
  for (const IdeaRow& row : report.experiment.ideas) {
    const SeedEstimate& seed = seed_estimate(row.idea);
    plot.rows.push_back({std::string(seed.name),
                         {bar_of(report, "alone", row.alone), bar_of(report, "added", row.added)},
                         1 + seed.bandwidth_low_percent / 100,
                         1 + seed.bandwidth_high_percent / 100});
  }
  return to_svg(plot);
}

}  // namespace skein::cli
