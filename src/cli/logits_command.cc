#include "cli/logits_command.h"

#include <memory>
#include <string>
#include <vector>

#include "cli/npy.h"
#include "cli/options.h"
#include "cli/terminal.h"

namespace skein::cli {
namespace {

struct LogitsFlags {
  LoadOptions load;
  std::string state_path;
  std::string ids;
  std::string output_path;
  uint32_t chunk = 0;
};

Status run(const LogitsFlags& flags) {
  const std::vector<uint32_t> ids = split_numbers(flags.ids);
  SKEIN_ASSIGN_OR_RETURN(auto model, load_model(flags.load));
  const uint32_t num_vocab = model->info().num_vocab;
  for (const uint32_t id : ids) {
    if (id >= num_vocab)
      return error("--ids: expected ids from 0 to {}, found {}", num_vocab - 1, id);
  }
  SKEIN_ASSIGN_OR_RETURN(Session session, make_session(std::move(model), flags.state_path));
  if (flags.chunk != 0) SKEIN_RETURN_IF_ERROR(session.set_chunk(flags.chunk));
  SKEIN_ASSIGN_OR_RETURN(NpyWriter writer,
                         NpyWriter::open(flags.output_path, ids.size(), num_vocab));
  ProgressBar bar("logits");
  Status written;
  SKEIN_RETURN_IF_ERROR(session.evaluate(ids, [&](uint64_t token, std::span<const float> logits) {
    bar.update(static_cast<double>(token) / static_cast<double>(ids.size()));
    if (written) written = writer.write_row(logits);
  }));
  SKEIN_RETURN_IF_ERROR(written);
  return writer.commit();
}

}  // namespace

void add_logits_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<LogitsFlags>();
  CLI::App& command = *app.add_subcommand("logits", "Write the logits after every token");
  command.add_option("--ids", flags->ids, "Token ids, run from the empty state")
      ->required()
      ->check(whole_numbers(0, UINT32_MAX))
      ->type_name("1,2,3");
  command.add_option("-o,--output", flags->output_path, "f32 [T][N]; - is stdout")
      ->required()
      ->check(file_name())
      ->type_name("OUT.npy");
  command.add_option("--chunk", flags->chunk, "Tokens that run at once (512)")
      ->check(whole_number(1, 1u << 16))
      ->type_name("K");
  add_state_option(command, flags->state_path);
  add_model_options(command, flags->load);
  add_examples(command,
               "  skein logits --ids 0,510,33 -o logits.npy\n"
               "  skein logits --ids 0,510,33 --chunk 1 --backend reference -o - > logits.npy");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
