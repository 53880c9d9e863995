#include "cli/tune_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "cli/machine.h"
#include "cli/table.h"

namespace skein::cli {
namespace {

std::string shapes_text(const MatrixKind& kind) {
  std::string text;
  for (const MatrixShape& shape : kind.shapes) {
    text +=
        fmt::format("{}{} x {}x{}", text.empty() ? "" : ", ", shape.count, shape.rows, shape.cols);
  }
  return text;
}

// Of one token, where `figures` are of several.
std::string us_a_token(const LayoutFigures& figures) {
  return fmt::format("{:.1f}", figures.seconds * 1e6 / figures.num_tokens);
}

// Of one token, or of many at once.
const LayoutFigures* find_figures(const LayoutTrial& trial, bool is_one) {
  for (const LayoutFigures& figures : trial.figures) {
    if ((figures.num_tokens == 1) == is_one) return &figures;
  }
  return nullptr;
}

// "chosen" where the trial has the chosen layout, and the chosen form or the part of it that counts
// with as many tokens.
std::string mark_of(const TunedKind& tuned, const LayoutTrial& trial) {
  const bool has_part = tuned.form.with(trial.form) == tuned.form;
  const bool is_default = trial.layout == tuned.standard && trial.form.is_auto();
  const bool is_chosen =
      trial.layout == tuned.chosen && (trial.form.is_auto() ? tuned.form.is_auto() : has_part);
  return fmt::format("{}{}{}", is_chosen ? "chosen" : "", is_chosen && is_default ? ", " : "",
                     is_default ? "default" : "");
}

void add_rows(Table& table, const TunedKind& tuned, bool has_forms, double bandwidth) {
  for (const LayoutTrial& trial : tuned.trials) {
    const LayoutFigures* one = find_figures(trial, true);
    const LayoutFigures* many = find_figures(trial, false);
    const double bytes_per_s = one == nullptr ? 0 : one->bytes_read / one->seconds;
    std::vector<std::string> row = {std::string(to_string(tuned.kind.group)),
                                    std::string(to_string(tuned.kind.dtype)),
                                    to_string(trial.layout)};
    if (has_forms) row.push_back(to_string(trial.form));
    row.insert(row.end(),
               {one == nullptr ? "-" : us_a_token(*one),
                one == nullptr ? "-" : fmt::format("{:.2f}", bytes_per_s / 1e9),
                one == nullptr ? "-" : fmt::format("{:.1f}", 100 * bytes_per_s / bandwidth),
                many == nullptr ? "-" : us_a_token(*many),
                fmt::format("{:.3f}", trial.cost_seconds / trial.default_cost_seconds),
                fmt::format("{}", trial.figures.front().num_samples), mark_of(tuned, trial)});
    table.add_row(row);
  }
}

bool has_forms(const TuneReport& report) {
  for (const TunedKind& tuned : report.kinds) {
    for (const LayoutTrial& trial : tuned.trials) {
      if (!trial.form.is_auto()) return true;
    }
  }
  return false;
}

// "row_major group(64,8,1,4)"
std::string candidate_text(const Candidate& candidate) {
  const std::string layout = to_string(candidate.layout);
  return candidate.form.is_auto() ? layout : layout + " " + to_string(candidate.form);
}

std::string tried_text(const TuneReport& report) {
  std::vector<Column> columns = {
      {"matrices"},
      {"type"},
      {"layout"},
      {"us/token", Align::kRight},
      {"GB/s", Align::kRight},
      {"% of read", Align::kRight},
      {fmt::format("us/token of {}", report.prefill_tokens), Align::kRight},
      {"of default", Align::kRight},
      {"samples", Align::kRight},
      {""}};
  if (has_forms(report)) columns.insert(columns.begin() + 3, {"form"});
  Table table(columns);
  for (const TunedKind& tuned : report.kinds) {
    add_rows(table, tuned, has_forms(report), report.bandwidth);
  }
  std::string text = table.to_text() + "\n";
  for (const TunedKind& tuned : report.kinds) {
    text += fmt::format("{}: {}\n", to_string(tuned.kind.group), shapes_text(tuned.kind));
  }
  for (const TunedKind& tuned : report.kinds) {
    if (tuned.num_skipped == 0) continue;
    text += fmt::format("{}: no time for {} more; a longer --budget has it\n",
                        to_string(tuned.kind.group), tuned.num_skipped);
  }
  for (const TunedKind& tuned : report.kinds) {
    for (const FailedTrial& failed : tuned.failed) {
      text += fmt::format("{}: {} left out: {}\n", to_string(tuned.kind.group),
                          candidate_text(failed.candidate), failed.reason);
    }
  }
  for (const WeightGroup group : report.mixed_groups) {
    text += fmt::format("{}: several types, which keep their default layouts\n", to_string(group));
  }
  text += fmt::format(
      "read bandwidth {:.2f} GB/s; {:.1f} % of the ffn's activations are not zero\n"
      "of default: time of one written token and {} read ones, in that layout; above 100 % of "
      "read\n"
      "are models that fit the caches, and machines whose bandwidth changes: the best sample "
      "counts\n",
      report.bandwidth / 1e9, 100 * report.density, kPromptTokensPerToken);
  return text;
}

std::string check_text(const TuneOutcome& outcome) {
  if (outcome.contenders.size() < 2) return "";
  Table table({{"plan"},
               {"decode, tokens/s", Align::kRight},
               {"prefill, tokens/s", Align::kRight},
               {"of default", Align::kRight},
               {"rounds", Align::kRight}});
  std::string failures;
  for (const Contender& contender : outcome.contenders) {
    if (!contender.failure.empty()) {
      failures += fmt::format("{} left out: {}\n", contender.name, contender.failure);
      continue;
    }
    const Speeds best = contender.best();
    table.add_row(
        {contender.name, fmt::format("{:.2f}", best.decode), fmt::format("{:.2f}", best.prefill),
         fmt::format("{:.3f}", best.cost_seconds() / outcome.standard().best().cost_seconds()),
         fmt::format("{}", contender.rounds.size())});
  }
  return fmt::format("\nthe whole model, best of its rounds:\n\n{}{}", table.to_text(), failures);
}

// Of the default plan's speed, in per cent of the chosen one's.
struct Losses {
  double predicted = 0;  // by the matrices alone
  double decode = 0, prefill = 0, both = 0;
};

double loss_percent(double slow, double fast) { return 100 * (1 - slow / fast); }

Losses losses_of(const TuneOutcome& outcome) {
  Losses losses;
  losses.predicted = loss_percent(total_cost(outcome.report), total_default_cost(outcome.report));
  if (outcome.winner == 0) return losses;
  const Speeds standard = outcome.standard().best(), best = outcome.best().best();
  losses.decode = loss_percent(standard.decode, best.decode);
  losses.prefill = loss_percent(standard.prefill, best.prefill);
  losses.both = loss_percent(best.cost_seconds(), standard.cost_seconds());
  return losses;
}

std::string verdict_text(const TuneOutcome& outcome) {
  const Losses losses = losses_of(outcome);
  std::string text = fmt::format(
      "\npredicted from the matrices alone: the defaults lose {:.1f} %\n", losses.predicted);
  if (outcome.winner != 0) {
    text += fmt::format(
        "without a plan the defaults lose {:.1f} % to the tuned one (decode {:.1f} %, prefill "
        "{:.1f} %)\n",
        losses.both, losses.decode, losses.prefill);
  } else if (outcome.contenders.size() < 2) {
    text += "nothing is clearly faster than the default: without a plan the defaults lose 0 %\n";
  } else {
    text +=
        "nothing is faster with the whole model: the defaults are kept, and without a "
        "plan the\ndefaults lose 0 %\n";
  }
  return text + fmt::format("plan written to {}{}; {:.0f} s\n", outcome.path,
                            outcome.is_found_by_itself
                                ? ", where it is found by itself (--plan none: the defaults)"
                                : " (use it with --plan)",
                            outcome.seconds);
}

}  // namespace

std::string tune_text(const TuneOutcome& outcome) {
  return tried_text(outcome.report) + check_text(outcome) + verdict_text(outcome);
}

Json tune_json(const TuneOutcome& outcome) {
  Json json;
  json["version"] = version();
  json["machine"] = to_json(describe_machine());
  json["bandwidth_gb_s"] = outcome.report.bandwidth / 1e9;
  json["ffn_density"] = outcome.report.density;
  json["failed"] = Json::array();
  for (const TunedKind& tuned : outcome.report.kinds) {
    for (const FailedTrial& failed : tuned.failed) {
      json["failed"].push_back({{"group", to_string(tuned.kind.group)},
                                {"layout", to_string(failed.candidate.layout)},
                                {"form", to_string(failed.candidate.form)},
                                {"reason", failed.reason}});
    }
  }
  json["contenders"] = Json::array();
  for (const Contender& contender : outcome.contenders) {
    const Speeds best = contender.rounds.empty() ? Speeds() : contender.best();
    json["contenders"].push_back({{"plan", contender.name},
                                  {"decode_tokens_per_s", best.decode},
                                  {"prefill_tokens_per_s", best.prefill},
                                  {"rounds", contender.rounds.size()}});
    if (!contender.failure.empty()) json["contenders"].back()["failed"] = contender.failure;
  }
  json["chosen"] = outcome.best().name;
  const Losses losses = losses_of(outcome);
  json["default_loss_percent"] = {{"predicted", losses.predicted},
                                  {"decode", losses.decode},
                                  {"prefill", losses.prefill},
                                  {"both", losses.both}};
  json["path"] = outcome.path;
  json["seconds"] = outcome.seconds;
  json["plan"] = Json::parse(to_text(outcome.file));
  return json;
}

}  // namespace skein::cli
