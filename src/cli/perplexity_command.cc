#include "cli/perplexity_command.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/text_score.h"

namespace skein::cli {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;

// Tokens whose logits of the other model are kept for comparison: 33 MB with the World vocabulary.
constexpr size_t kScoreChunk = 128;

struct PerplexityFlags {
  LoadOptions load;
  std::string text_path;
  std::string against;
  std::optional<Precision> against_precision;
  std::string against_backend;
  bool json = false;

  bool compares() const {
    return !against.empty() || against_precision.has_value() || !against_backend.empty();
  }
};

// Sums over the predicted tokens. All in nats.
struct Score {
  uint64_t num_tokens = 0;
  uint64_t num_bytes = 0;
  double surprise = 0;          // of the model
  double against_surprise = 0;  // of the other model, as are the next three
  double divergence = 0;
  double max_divergence = 0;
  uint64_t num_same_top = 0;

  double per_token(double sum) const { return sum / static_cast<double>(num_tokens); }
  double bits_per_byte() const { return surprise / std::log(2.0) / static_cast<double>(num_bytes); }
};

Result<std::string> read_text(const std::string& path) {
  if (path == "-") return read_stdin(kMaxTextBytes);
  return read_text_file(path, kMaxTextBytes);
}

// The model itself, unless a flag says otherwise.
LoadOptions other_model(const PerplexityFlags& flags) {
  LoadOptions options = flags.load;
  // Another file is taken as it lies: --quant of the one asks how far it is from the other.
  if (!flags.against.empty()) {
    options.model_path = flags.against;
    options.quant.clear();
  }
  if (!flags.against_backend.empty()) options.backend = flags.against_backend;
  options.precision = flags.against_precision.value_or(flags.load.precision);
  return options;
}

// Both must give the same meaning to an id, or their predictions cannot be compared.
Status check_comparable(const Model& model, const Model& other, const std::string& text,
                        const std::vector<uint32_t>& ids) {
  if (other.info().num_vocab != model.info().num_vocab) {
    return error("{}: expected a vocabulary of {} tokens, as {} has, found {}", other.info().path,
                 model.info().num_vocab, model.info().path, other.info().num_vocab);
  }
  const auto other_ids = other.encode(text);
  if (other_ids && *other_ids != ids) {
    return error("{}: expected the same tokens for the text as {}, found others", other.info().path,
                 model.info().path);
  }
  return {};
}

// Scores the tokens behind ids[0], chunk by chunk, with one session or with two side by side.
class Scorer {
 public:
  Scorer(Session& session, Session* other) : session_(session), other_(other) {}

  Result<Score> run(std::span<const uint32_t> ids) {
    ProgressBar bar("perplexity");
    const size_t num_predicted = ids.size() - 1;
    for (size_t begin = 0; begin < num_predicted; begin += kScoreChunk) {
      const size_t count = std::min(kScoreChunk, num_predicted - begin);
      SKEIN_RETURN_IF_ERROR(run_chunk(ids.subspan(begin, count), ids.subspan(begin + 1, count)));
      const auto done = static_cast<double>(begin + count);
      bar.update(done / static_cast<double>(num_predicted),
                 fmt::format("{:.0f} tokens/s", done / std::max(bar.seconds(), 1e-9)));
    }
    return score_;
  }

 private:
  Status run_chunk(std::span<const uint32_t> inputs, std::span<const uint32_t> targets) {
    other_logits_.clear();
    if (other_ != nullptr) {
      SKEIN_RETURN_IF_ERROR(other_->evaluate(inputs, [&](uint64_t, std::span<const float> logits) {
        other_logits_.insert(other_logits_.end(), logits.begin(), logits.end());
      }));
    }
    return session_.evaluate(inputs, [&](uint64_t token, std::span<const float> logits) {
      take(token, targets[token], logits);
    });
  }

  void take(uint64_t token, uint32_t target, std::span<const float> logits) {
    log_softmax(logits, log_q_);
    score_.surprise -= log_q_[target];
    ++score_.num_tokens;
    if (other_ == nullptr) return;
    const auto other_logits =
        std::span<const float>(other_logits_).subspan(token * logits.size(), logits.size());
    log_softmax(other_logits, log_p_);
    score_.against_surprise -= log_p_[target];
    const double distance = divergence(log_p_, log_q_);
    score_.divergence += distance;
    score_.max_divergence = std::max(score_.max_divergence, distance);
    score_.num_same_top += top_token(logits) == top_token(other_logits) ? 1u : 0u;
  }

  Session& session_;
  Session* other_;
  std::vector<float> other_logits_;    // [kScoreChunk][N]
  std::vector<double> log_p_, log_q_;  // [N]
  Score score_;
};

Json score_json(const Score& score, const Model& model, const Model* other) {
  Json json;
  json["model"] = model.info().path;
  json["tokens"] = score.num_tokens;
  json["bytes"] = score.num_bytes;
  json["perplexity"] = std::exp(score.per_token(score.surprise));
  json["nats_per_token"] = score.per_token(score.surprise);
  json["bits_per_byte"] = score.bits_per_byte();
  if (other != nullptr) {
    Json& against = json["against"];
    against["model"] = other->info().path;
    against["perplexity"] = std::exp(score.per_token(score.against_surprise));
    against["mean_kl"] = score.per_token(score.divergence);
    against["max_kl"] = score.max_divergence;
    against["same_top_token"] = score.per_token(static_cast<double>(score.num_same_top));
  }
  return json;
}

std::string score_text(const Score& score, bool compares) {
  std::string text = fmt::format(
      "perplexity      {:.4f}\nnats per token  {:.4f}\nbits per byte   {:.4f}\ntokens          "
      "{}\n",
      std::exp(score.per_token(score.surprise)), score.per_token(score.surprise),
      score.bits_per_byte(), score.num_tokens);
  if (compares) {
    text += fmt::format(
        "against         {:.4f}\nmean KL         {:.3e} nats\nmax KL          {:.3e} nats\n"
        "same top token  {:.2f} %\n",
        std::exp(score.per_token(score.against_surprise)), score.per_token(score.divergence),
        score.max_divergence, 100 * score.per_token(static_cast<double>(score.num_same_top)));
  }
  return text;
}

Status run(const PerplexityFlags& flags) {
  SKEIN_ASSIGN_OR_RETURN(const std::string text, read_text(flags.text_path));
  if (text.empty()) return error("{}: expected text, found an empty file", flags.text_path);
  SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, load_model(flags.load));
  SKEIN_ASSIGN_OR_RETURN(std::vector<uint32_t> ids, model->encode(text));
  std::shared_ptr<Model> other;
  std::optional<Session> other_session;
  if (flags.compares()) {
    SKEIN_ASSIGN_OR_RETURN(other, load_model(other_model(flags)));
    SKEIN_RETURN_IF_ERROR(check_comparable(*model, *other, text, ids));
    SKEIN_ASSIGN_OR_RETURN(other_session, Session::create(other));
  }
  SKEIN_ASSIGN_OR_RETURN(Session session, Session::create(model));
  ids.insert(ids.begin(), 0);  // a text begins behind an end of text
  Scorer scorer(session, other_session ? &*other_session : nullptr);
  SKEIN_ASSIGN_OR_RETURN(Score score, scorer.run(ids));
  score.num_bytes = text.size();
  if (flags.json) return write_json(score_json(score, *model, other.get()));
  return write_stdout(score_text(score, flags.compares()));
}

}  // namespace

void add_perplexity_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<PerplexityFlags>();
  CLI::App& command = *app.add_subcommand("perplexity", "Score how well a text is predicted");
  command.add_option("textfile", flags->text_path, "Text; - is stdin")->required();
  command
      .add_option("--against", flags->against,
                  "Compare with this model's predictions, its\n"
                  "weights as they lie in the file")
      ->check(file_name())
      ->type_name("FILE");
  command
      .add_option_function<std::string>(
          "--against-precision",
          [flags](const std::string& word) {
            flags->against_precision = word == "fast" ? Precision::kFast : Precision::kExact;
          },
          "Compare with this precision")
      ->check(one_of({"exact", "fast"}))
      ->type_name("NAME");
  command.add_option("--against-backend", flags->against_backend, "Compare with this backend")
      ->check(one_of({"auto", "reference", "cpu"}))
      ->type_name("NAME");
  add_json_option(command, flags->json);
  add_model_options(command, flags->load);
  add_examples(
      command,
      "  skein perplexity story.txt\n"
      "  skein perplexity story.txt -m small.safetensors --against large.safetensors\n"
      "  skein perplexity story.txt --precision fast --against-precision exact\n"
      "  skein perplexity story.txt -m model.safetensors --quant nf4 --against model.safetensors\n"
      "KL is of the model's predictions from those of the one compared with, in nats.");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
