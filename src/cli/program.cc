#include "cli/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cli/bench_command.h"
#include "cli/chat_command.h"
#include "cli/command.h"
#include "cli/convert_command.h"
#include "cli/devices_command.h"
#include "cli/generate_command.h"
#include "cli/inspect_command.h"
#include "cli/layout_command.h"
#include "cli/logits_command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pack_command.h"
#include "cli/perplexity_command.h"
#include "cli/profile_command.h"
#include "cli/tokenize_command.h"
#include "cli/tune_command.h"
#include "skein/skein.h"

namespace skein::cli {
namespace {

constexpr int kFailure = 2;

// A closed descriptor 0, 1 or 2 would be given to the next file that is opened, a model say, and
// text would be written into it. Fill the gap with something that refuses what the descriptor is
// for.
void occupy_standard_descriptors() noexcept {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) == -1) {
      (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
  }
}

// Vulkan drivers ask Wayland for devices, which complains on stderr where this is not set. Nobody
// but a session's own user can make the folder.
void name_runtime_folder() noexcept {
  const std::string folder = fmt::format("/run/user/{}", ::getuid());
  ::setenv("XDG_RUNTIME_DIR", folder.c_str(), /*overwrite=*/0);
}

void add_commands(CLI::App& app, Action& action) {
  add_generate_command(app, action);
  add_chat_command(app, action);
  add_tokenize_command(app, action);
  add_logits_command(app, action);
  add_perplexity_command(app, action);
  add_bench_command(app, action);
  add_profile_command(app, action);
  add_convert_command(app, action);
  add_pack_command(app, action);
  add_tune_command(app, action);
  add_inspect_command(app, action);
  add_layout_command(app, action);
  add_devices_command(app, action);
  for (CLI::App* command : app.get_subcommands({})) command->group("Commands");
}

// "skein generate", or "skein" before a command was chosen.
std::string chosen_name(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? "skein" : "skein " + chosen.front()->get_name();
}

// What CLI11 found, in words of ours where its own are long, and where to read on. An argument that
// nothing takes counts more than one that is missing: it is often the same one, misspelt.
Error parse_error(const CLI::App& app, const CLI::ParseError& thrown, const char* first_argument) {
  std::string message = thrown.what();
  const auto chosen = app.get_subcommands();
  const std::vector<std::string> unexpected =
      chosen.empty() ? app.remaining() : chosen.front()->remaining();
  if (chosen.empty() && first_argument != nullptr && first_argument[0] != '-') {
    message = fmt::format("unknown command '{}'", first_argument);
  } else if (!unexpected.empty()) {
    message = fmt::format("unexpected argument '{}'", unexpected.front());
  } else if (dynamic_cast<const CLI::ArgumentMismatch*>(&thrown) != nullptr) {
    message = fmt::format("{}: expected a value, found none", message.substr(0, message.find(':')));
  }
  return Error{fmt::format("{}; see {} --help", message, chosen_name(app))};
}

Status run(int argc, const char* const* argv) {
  CLI::App app("Skein: RWKV-7 on your machine, and how memory is laid out.", "skein");
  app.require_subcommand(0, 1);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.set_version_flag("--version", fmt::format("skein {}", version()));
  add_examples(
      app,
      "  skein generate \"Once upon a time\"\n"
      "  skein chat\n"
      "  skein layout 'morton(4)@64B' 6 10\n"
      "  skein bench -t 1,2\n"
      "See skein COMMAND --help. Errors, a closed stdout among them, are one line on stderr and\n"
      "exit status 2.");
  Action action;
  add_commands(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return write_stdout(app.help());
  } catch (const CLI::CallForVersion& version_text) {
    return write_stdout(std::string(version_text.what()) + "\n");
  } catch (const CLI::ParseError& thrown) {
    return tl::unexpected(parse_error(app, thrown, argc > 1 ? argv[1] : nullptr));
  }
  if (!action) return write_stdout(app.help());
  return action();
}

Status run_and_flush(int argc, const char* const* argv) {
  SKEIN_RETURN_IF_ERROR(run(argc, argv));
  if (std::fflush(stdout) != 0) return error("stdout: cannot write");
  return {};
}

}  // namespace

int run_program(int argc, const char* const* argv) noexcept {
  occupy_standard_descriptors();
  name_runtime_folder();
  std::signal(SIGPIPE, SIG_IGN);
  std::string message;
  try {
    const Status status = run_and_flush(argc, argv);
    if (status) return 0;
    message = status.error().message;
  } catch (const std::bad_alloc&) {
    message = "out of memory";
  } catch (const std::exception& thrown) {
    message = thrown.what();
  }
  say(message);
  return kFailure;
}

}  // namespace skein::cli
