#include "cli/bench_command.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cli/machine.h"
#include "cli/measure.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "engine/impl.h"

namespace skein::cli {
namespace {

struct BenchFlags {
  LoadOptions load;
  MeasureOptions measure;
  CLI::Option* models = nullptr;
  CLI::Option* layouts = nullptr;
  CLI::Option* plans = nullptr;
  std::string threads;
  bool json = false;
};

// One loaded model and what was measured of it.
struct BenchResult {
  std::string model, type, layout, backend;
  Json plan;                // where it comes from
  std::string layout_name;  // as the user gave it: the whole plan is too wide for a table
  uint32_t num_threads = 0;
  ModelMeasurement measurement;
};

// One line of the output.
struct Figures {
  double tokens_per_s, deviation, gb_s, percent;
};

Figures figures_of(const TestResult& test) {
  const double speed = median(test.tokens_per_s);
  return {speed, deviation(test.tokens_per_s), speed * test.bytes_per_token / 1e9,
          test.bandwidth_percent()};
}

// The type of most of the weights that the model multiplies by, as they lie in memory.
std::string type_of(const Rwkv7& rwkv7) {
  std::map<DType, uint64_t> elems;
  for (const WeightReport& report : rwkv7.reports()) {
    if (report.group != WeightGroup::kEmbedding) elems[report.dtype] += report.rows * report.cols;
  }
  const auto most = std::max_element(
      elems.begin(), elems.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return std::string(to_string(most->first));
}

// Every combination that the flags ask for, model by model.
std::vector<LoadOptions> list_cases(const BenchFlags& flags) {
  const auto texts_or_none = [](const CLI::Option& option) {
    std::vector<std::string> values = texts(option);
    if (values.empty()) values.emplace_back();
    return values;
  };
  const std::vector<std::string> plans = texts_or_none(*flags.plans);
  const std::vector<std::string> layouts = texts_or_none(*flags.layouts);
  const std::vector<uint32_t> threads =
      flags.threads.empty() ? std::vector{num_physical_cores()} : split_numbers(flags.threads);
  std::vector<LoadOptions> cases;
  for (const std::string& model : texts_or_none(*flags.models)) {
    for (const std::string& plan : plans) {
      for (const std::string& layout : layouts) {
        for (const uint32_t num_threads : threads) {
          LoadOptions options = flags.load;
          options.model_path = model;
          options.plan_path = plan;
          options.layout = layout;
          options.num_threads = num_threads;
          cases.push_back(std::move(options));
        }
      }
    }
  }
  return cases;
}

Result<BenchResult> run_case(const LoadOptions& options, const MeasureOptions& measure,
                             const std::string& label) {
  SKEIN_ASSIGN_OR_RETURN(const auto model, load_model(options));
  ProgressBar bar(label);
  const ModelInfo& info = model->info();
  const std::string plan_name = info.plan_path.empty()
                                    ? info.plan_source
                                    : std::filesystem::path(info.plan_path).filename().string();
  const std::string layout_name = options.layout.empty() ? plan_name : options.layout;
  BenchResult result{info.path,
                     type_of(*model->impl().rwkv7),
                     info.layouts,
                     info.backend,
                     plan_json(info),
                     layout_name,
                     model->impl().backend->num_threads(),
                     {}};
  SKEIN_ASSIGN_OR_RETURN(result.measurement, measure_model(model, measure, [&bar](double fraction) {
                           bar.update(fraction);
                         }));
  return result;
}

Json ops_json(const std::vector<OpTime>& ops) {
  Json list = Json::array();
  for (const OpTime& op : ops) {
    Json entry;
    entry["op"] = op.op;
    entry["count"] = op.count;
    entry["us"] = op.seconds * 1e6;
    list.push_back(std::move(entry));
  }
  return list;
}

// The ops of one test, the longest first.
std::string ops_text(const TestResult& test) {
  std::vector<OpTime> ops = test.ops;
  std::sort(ops.begin(), ops.end(),
            [](const OpTime& a, const OpTime& b) { return a.seconds > b.seconds; });
  Table table({{test.test + ": op"},
               {"dispatches", Align::kRight},
               {"us", Align::kRight},
               {"us each", Align::kRight}});
  for (const OpTime& op : ops) {
    const double us = op.seconds * 1e6;
    table.add_row(
        {op.op, fmt::format("{}", op.count), fmt::format("{:.1f}", us),
         fmt::format("{:.2f}", us / static_cast<double>(std::max<uint64_t>(op.count, 1)))});
  }
  return table.to_text() + "\n";
}

Json results_json(const std::vector<BenchResult>& results) {
  Json list = Json::array();
  for (const BenchResult& result : results) {
    for (const TestResult& test : result.measurement.tests) {
      const Figures figures = figures_of(test);
      Json entry;
      entry["model"] = result.model;
      entry["type"] = result.type;
      entry["layout"] = result.layout;
      entry["plan"] = result.plan;
      entry["backend"] = result.backend;
      entry["threads"] = result.num_threads;
      entry["test"] = test.test;
      entry["tokens_per_s"] = figures.tokens_per_s;
      entry["tokens_per_s_samples"] = test.tokens_per_s;
      entry["bytes_per_token"] = test.bytes_per_token;
      entry["gb_s"] = figures.gb_s;
      entry["bandwidth_percent"] = figures.percent;
      // What reading those bytes alone would give.
      entry["floor_tokens_per_s"] = result.measurement.bandwidth / test.bytes_per_token;
      entry["dispatches_per_token"] =
          test.dispatches_per_token > 0 ? Json(test.dispatches_per_token) : Json();
      if (!test.ops.empty()) entry["ops"] = ops_json(test.ops);
      list.push_back(std::move(entry));
    }
  }
  return list;
}

// The best bandwidth of each number of threads, in GB/s.
std::map<uint32_t, double> bandwidths_gb_s(const std::vector<BenchResult>& results) {
  std::map<uint32_t, double> bandwidths;
  for (const BenchResult& result : results) {
    double& best = bandwidths[result.num_threads];
    best = std::max(best, result.measurement.bandwidth / 1e9);
  }
  return bandwidths;
}

Json bench_json(const std::vector<BenchResult>& results) {
  Json json;
  json["version"] = version();
  json["machine"] = to_json(describe_machine());
  double best = 0;
  Json by_threads = Json::object();
  for (const auto& [num_threads, gb_s] : bandwidths_gb_s(results)) {
    by_threads[std::to_string(num_threads)] = gb_s;
    best = std::max(best, gb_s);
  }
  json["bandwidth_gb_s"] = best;
  json["bandwidth_gb_s_by_threads"] = std::move(by_threads);
  json["results"] = results_json(results);
  return json;
}

// The plan that each name in the layout column stands for.
std::map<std::string, std::string> plans_by_name(const std::vector<BenchResult>& results) {
  std::map<std::string, std::string> plans;
  for (const BenchResult& result : results) {
    plans[result.layout_name] = result.layout;
    if (const Json& path = result.plan.at("path"); path.is_string()) {
      plans[result.layout_name] += fmt::format(" (plan {})", path.get<std::string>());
    }
  }
  return plans;
}

std::string bench_text(const std::vector<BenchResult>& results) {
  Table table({{"model"},
               {"type"},
               {"layout"},
               {"backend"},
               {"threads", Align::kRight},
               {"test", Align::kRight},
               {"tokens/s", Align::kRight},
               {"bytes/token", Align::kRight},
               {"GB/s", Align::kRight},
               {"% of read", Align::kRight},
               {"dispatches", Align::kRight}});
  for (const BenchResult& result : results) {
    for (const TestResult& test : result.measurement.tests) {
      const Figures figures = figures_of(test);
      table.add_row(
          {std::filesystem::path(result.model).stem().string(), result.type, result.layout_name,
           result.backend, fmt::format("{}", result.num_threads), test.test,
           fmt::format("{:.2f} ± {:.2f}", figures.tokens_per_s, figures.deviation),
           bytes_text(test.bytes_per_token), fmt::format("{:.2f}", figures.gb_s),
           fmt::format("{:.1f}", figures.percent),
           test.dispatches_per_token > 0 ? fmt::format("{:.1f}", test.dispatches_per_token) : ""});
    }
  }
  std::string text = table.to_text() + "\n";
  for (const BenchResult& result : results) {
    for (const TestResult& test : result.measurement.tests) {
      if (!test.ops.empty()) text += ops_text(test);
    }
  }
  for (const auto& [name, layout] : plans_by_name(results)) {
    text += fmt::format("layout {}: {}\n", name, layout);
  }
  for (const auto& [num_threads, gb_s] : bandwidths_gb_s(results)) {
    text += fmt::format("read bandwidth of {} thread{}: {:.2f} GB/s\n", num_threads,
                        num_threads == 1 ? "" : "s", gb_s);
  }
  return text;
}

Status run(const BenchFlags& flags) {
  if (flags.measure.num_prefill == 0 && flags.measure.num_decode == 0) {
    return error("nothing to measure: --prefill and --tokens are both 0");
  }
  const std::vector<LoadOptions> cases = list_cases(flags);
  std::vector<BenchResult> results;
  for (const LoadOptions& options : cases) {
    const std::string label = fmt::format("bench {}/{}", results.size() + 1, cases.size());
    SKEIN_ASSIGN_OR_RETURN(results.emplace_back(), run_case(options, flags.measure, label));
  }
  return flags.json ? write_json(bench_json(results)) : write_stdout(bench_text(results));
}

void add_options(CLI::App& command, BenchFlags& flags) {
  command
      .add_option("--prefill", flags.measure.num_prefill,
                  "Tokens of the prefill test; 0: none (512)")
      ->check(whole_number(0, 1u << 20))
      ->type_name("N");
  command
      .add_option("-n,--tokens", flags.measure.num_decode,
                  "Tokens of the decode test; 0: none (128)")
      ->check(whole_number(0, 1u << 20))
      ->type_name("N");
  command
      .add_option("-r,--repeat", flags.measure.num_repeats, "Repetitions; medians are shown (5)")
      ->check(whole_number(1, 10'000))
      ->type_name("N");
  command
      .add_option("--sequences", flags.measure.num_sequences,
                  "Sequences side by side in one more decode test (1: none)")
      ->check(whole_number(1, kMaxBenchBatch))
      ->type_name("N");
  command.add_flag("--ops", flags.measure.times_ops,
                   "What each op takes, where the device has clocks (webgpu)");
  flags.models = add_texts(command, "-m,--model", "Model; may be repeated (the shipped one)")
                     ->check(file_name())
                     ->type_name("FILE")
                     ->group("Model");
  flags.layouts = add_texts(command, "--layout", "Weight layout; may be repeated (the plan's)")
                      ->type_name("LAYOUT")
                      ->group("Model");
  flags.plans = add_texts(command, "--plan",
                          "A plan of skein tune, or none for the defaults; may be repeated\n"
                          "(the one tuned for this machine, if any)")
                    ->check(file_name())
                    ->type_name("FILE")
                    ->group("Model");
  command
      .add_option("-t,--threads", flags.threads, "Threads, one or several numbers (physical cores)")
      ->check(whole_numbers(1, kMaxThreads))
      ->type_name("1,2")
      ->group("Model");
}

}  // namespace

void add_bench_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App& command = *app.add_subcommand("bench", "Measure prefill and decode");
  add_options(command, *flags);
  add_backend_options(command, flags->load);
  add_quant_option(command, flags->load);
  add_order_options(command, flags->load);
  add_forms_option(command, flags->load);
  add_json_option(command, flags->json);
  add_examples(
      command,
      "  skein bench\n"
      "  skein bench -m model.safetensors --tokens 100\n"
      "  skein bench -t 1,2 --layout row_major --layout 'interleave(16,64,1)' --json\n"
      "  skein bench --plan none --plan plan.json\n"
      "  skein bench --backend webgpu --sequences 16 --ops\n"
      "bytes/token are the weights and the state really read, without the cols of ffn.value that\n"
      "zero activations skip; % is of the read bandwidth that the same threads had just before and "
      "after.");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
