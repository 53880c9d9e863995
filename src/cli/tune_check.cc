#include "cli/tune_check.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>

#include "base/check.h"
#include "cli/measure.h"

namespace skein::cli {
namespace {

using Clock = std::chrono::steady_clock;

// What the system could still give away; 0 where it does not say.
uint64_t available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;) {
    uint64_t kilobytes = 0;
    if (word == "MemAvailable:" && file >> kilobytes) return kilobytes << 10;
  }
  return 0;
}

// A visit is a decode and a prefill of one contender. Its tests are as long as the budget allows
// for that many rounds, within what makes a figure and what a person waits for.
constexpr double kWantedRounds = 8;
constexpr uint32_t kMinDecode = 4, kMaxDecode = 256;
constexpr uint32_t kMinPrefill = 32;

// A contender with what it needs to run, as far as it is in memory.
struct Runner {
  std::shared_ptr<Model> model;
  std::optional<Session> session;
};

class Contest {
 public:
  Contest(std::vector<Contender>& contenders, const CheckOptions& options)
      : contenders_(contenders), options_(options), runners_(contenders.size()) {}

  Status run(const std::shared_ptr<Model>& first) {
    runners_.front().model = first;
    ids_ = random_ids(std::max(kMaxDecode, options_.max_prefill), first->info().num_vocab);
    // Those that are not loaded yet, and as much again for the rest of the machine.
    const uint64_t needed = 2 * contenders_.size() * first->info().bytes_per_token;
    keeps_models_ = needed < available_memory_bytes();
    const Clock::time_point start = Clock::now();
    SKEIN_RETURN_IF_ERROR(prepare(0));
    // The first one was loaded already; a device compiles for each.
    if (2 * seconds_since(start) * static_cast<double>(contenders_.size()) > options_.seconds) {
      std::erase_if(contenders_, [](const Contender& contender) { return contender.is_optional; });
      while (runners_.size() > contenders_.size()) runners_.pop_back();
      if (contenders_.size() < 2) return {};
    }
    SKEIN_RETURN_IF_ERROR(choose_lengths());
    for (uint32_t round = 0; round < options_.min_rounds || seconds_since(start) < options_.seconds;
         ++round) {
      for (size_t i = 0; i < contenders_.size(); ++i) {
        if (!contenders_[i].failure.empty()) continue;
        if (options_.progress) {
          options_.progress(std::min(1.0, seconds_since(start) / options_.seconds),
                            contenders_[i].name);
        }
        const Status visited = visit(i);
        if (visited) continue;
        if (i == 0) return visited;
        contenders_[i].failure = visited.error().message;
        contenders_[i].rounds.clear();
        runners_[i] = {};
      }
    }
    return {};
  }

 private:
  std::span<const uint32_t> ids(uint32_t count) const { return std::span(ids_).first(count); }

  // Makes the runner ready: loaded, and its workspaces made by a first token and a first prompt.
  Status prepare(size_t index) {
    Runner& runner = runners_[index];
    if (runner.session) return {};
    if (!runner.model) {
      SKEIN_ASSIGN_OR_RETURN(runner.model, load(index));
    }
    SKEIN_ASSIGN_OR_RETURN(Session session, Session::create(runner.model));
    runner.session.emplace(std::move(session));
    SKEIN_RETURN_IF_ERROR(time_decode(*runner.session, ids(2)));
    return time_prefill(*runner.session, ids(num_prefill_)).map([](double) {});
  }

  // A device may have no room for all of them, which only it knows.
  Result<std::shared_ptr<Model>> load(size_t index) {
    auto model = Model::load(contenders_[index].options);
    if (model || !keeps_models_) return model;
    keeps_models_ = false;
    for (Runner& runner : runners_) runner = {};
    return Model::load(contenders_[index].options);
  }

  Status choose_lengths() {
    Session& session = *runners_.front().session;
    const double seconds =
        options_.seconds / (2 * kWantedRounds * static_cast<double>(contenders_.size()));
    const auto fitting = [&](double taken, uint32_t num_tokens, uint32_t min, uint32_t max) {
      const double count = seconds * num_tokens / std::max(taken, 1e-9);
      return static_cast<uint32_t>(
          std::clamp(count, static_cast<double>(min), static_cast<double>(max)));
    };
    SKEIN_ASSIGN_OR_RETURN(const double decode, time_decode(session, ids(kMinDecode)));
    SKEIN_ASSIGN_OR_RETURN(const double prefill, time_prefill(session, ids(kMinPrefill)));
    num_decode_ = fitting(decode, kMinDecode, kMinDecode, kMaxDecode);
    num_prefill_ = fitting(prefill, kMinPrefill, kMinPrefill, options_.max_prefill);
    return {};
  }

  Status visit(size_t index) {
    SKEIN_RETURN_IF_ERROR(prepare(index));
    Runner& runner = runners_[index];
    SKEIN_ASSIGN_OR_RETURN(const double decode, time_decode(*runner.session, ids(num_decode_)));
    SKEIN_ASSIGN_OR_RETURN(const double prefill, time_prefill(*runner.session, ids(num_prefill_)));
    contenders_[index].rounds.push_back({num_decode_ / decode, num_prefill_ / prefill});
    if (!keeps_models_) runner = {};
    return {};
  }

  std::vector<Contender>& contenders_;
  const CheckOptions& options_;
  std::vector<Runner> runners_;  // one a contender
  std::vector<uint32_t> ids_;
  uint32_t num_decode_ = kMinDecode, num_prefill_ = kMinPrefill;
  bool keeps_models_ = false;
};

}  // namespace

Speeds Contender::best() const {
  Speeds best;
  for (const Speeds& round : rounds) {
    best.decode = std::max(best.decode, round.decode);
    best.prefill = std::max(best.prefill, round.prefill);
  }
  return best;
}

bool replaces(const Contender& challenger, const Contender& holder, double factor, double share) {
  const size_t num_rounds = std::min(challenger.rounds.size(), holder.rounds.size());
  if (num_rounds == 0) return false;
  size_t num_won = 0;
  for (size_t i = 0; i < num_rounds; ++i) {
    if (challenger.rounds[i].cost_seconds() <= holder.rounds[i].cost_seconds()) ++num_won;
  }
  return static_cast<double>(num_won) >= share * static_cast<double>(num_rounds) &&
         factor * challenger.best().cost_seconds() <= holder.best().cost_seconds();
}

size_t choose_winner(const std::vector<Contender>& contenders) {
  CHECK(!contenders.empty());
  size_t winner = 0;
  for (size_t i = 1; i < contenders.size(); ++i) {
    const bool wins = contenders[i].must_be_clear
                          ? replaces(contenders[i], contenders[winner], 1 + kMinGain, 0.75)
                          : replaces(contenders[i], contenders[winner], 1, 0.5);
    if (wins) winner = i;
  }
  return winner;
}

Status run_contest(std::vector<Contender>& contenders, const std::shared_ptr<Model>& first,
                   const CheckOptions& options) {
  CHECK(!contenders.empty() && options.min_rounds >= 1);
  return Contest(contenders, options).run(first);
}

}  // namespace skein::cli
