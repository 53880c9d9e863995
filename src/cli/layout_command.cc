#include "cli/layout_command.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "cli/options.h"
#include "cli/output.h"
#include "layout/any_mapping.h"
#include "layout/draw.h"
#include "layout/layout.h"
#include "layout/print.h"
#include "layout/wgsl.h"

namespace skein::cli {
namespace {

struct LayoutOptions {
  std::string layout;
  uint64_t rows = 0;
  uint64_t cols = 0;
  std::string dtype = "f32";
  bool is_json = false;
  CLI::Option* svg = nullptr;  // given or not
  std::string svg_file;        // empty: stdout
  bool is_wgsl = false;
};

// Every dtype that a matrix can have. A layout needs its bits alone, so the codecs' names are
// enough here.
struct DTypeBits {
  std::string_view name;
  uint32_t bits;
};
constexpr DTypeBits kDTypeBits[] = {{"f32", 32}, {"f16", 16}, {"bf16", 16}, {"int8", 8}, {"nf4", 4},
                                    {"sf4", 4},  {"q8_0", 8}, {"q4_0", 4},  {"q4_k", 4}};

std::vector<std::string> dtype_names() {
  std::vector<std::string> names;
  for (const DTypeBits& dtype : kDTypeBits) names.emplace_back(dtype.name);
  return names;
}

// The command line was checked against dtype_names().
uint32_t bits_of_dtype(std::string_view name) {
  for (const DTypeBits& dtype : kDTypeBits) {
    if (dtype.name == name) return dtype.bits;
  }
  CHECK(false);
}

Status show(const LayoutOptions& options) {
  SKEIN_ASSIGN_OR_RETURN(const Layout layout, parse_layout(options.layout));
  SKEIN_ASSIGN_OR_RETURN(
      const AnyMapping mapping,
      make_mapping(layout, {options.rows, options.cols}, bits_of_dtype(options.dtype)));
  if (options.svg->count() > 0) {
    SKEIN_ASSIGN_OR_RETURN(const std::string svg, draw_svg(mapping, options.dtype));
    if (options.svg_file.empty()) return write_stdout(svg);
    return write_file_atomically(options.svg_file, std::as_bytes(std::span(svg)));
  }
  if (options.is_wgsl) {
    SKEIN_ASSIGN_OR_RETURN(const std::string wgsl, emit_wgsl(mapping, "offset_elems"));
    return write_stdout(wgsl);
  }
  SKEIN_ASSIGN_OR_RETURN(const std::string text, options.is_json
                                                     ? print_json(mapping, options.dtype)
                                                     : print_grid(mapping, options.dtype));
  return write_stdout(text);
}

}  // namespace

void add_layout_command(CLI::App& app, Action& action) {
  const auto options = std::make_shared<LayoutOptions>();
  CLI::App* command =
      app.add_subcommand("layout", "Show where a layout puts every element of a matrix");
  command
      ->add_option(
          "layout", options->layout,
          "row_major, col_major, interleave(R,B), interleave(R,B,K), tile(R,C) or morton(T), "
          "each with @AB behind it where starts are multiples of A bytes: 'morton(4)@64B'")
      ->required()
      ->type_name("LAYOUT");
  const ValueCheck dim = whole_number(1, std::numeric_limits<int64_t>::max());
  command->add_option("rows", options->rows, "Rows of the matrix (outputs)")
      ->required()
      ->type_name("ROWS")
      ->check(dim);
  command->add_option("cols", options->cols, "Cols of the matrix (inputs)")
      ->required()
      ->type_name("COLS")
      ->check(dim);
  command->add_option("--dtype", options->dtype, "The element's type, for what @A counts in bytes")
      ->check(one_of(dtype_names()))
      ->capture_default_str();
  CLI::Option* json = command->add_flag("--json", options->is_json, "The offsets as JSON");
  CLI::Option* wgsl = command->add_flag("--wgsl", options->is_wgsl, "The index function as WGSL");
  options->svg = command
                     ->add_option("--svg", options->svg_file,
                                  "A drawing of the walk through memory, to stdout or to FILE")
                     ->expected(0, 1)
                     ->type_name("[FILE]");
  json->excludes(wgsl)->excludes(options->svg);
  wgsl->excludes(options->svg);
  add_examples(*command,
               "skein layout 'morton(4)@64B' 6 10\n"
               "skein layout 'interleave(4,8,2)' 12 16 --svg walk.svg\n"
               "skein layout 'tile(16,32)' 2048 2048 --dtype f16 --wgsl");
  command->callback([options, &action] { action = [options] { return show(*options); }; });
}

}  // namespace skein::cli
