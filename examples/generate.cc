// Continues a prompt: the smallest program that uses Skein as a library.
//
// usage: generate [PROMPT [MODEL]]
// MODEL is a .safetensors file with vocab.txt beside it (default: the one that ships with Skein).
#include <skein/skein.h>

#include <iostream>
#include <string_view>

int main(int argc, char** argv) {
  const std::string_view prompt = argc > 1 ? argv[1] : "Once upon a time";

  auto model = skein::Model::load({.model_path = argc > 2 ? argv[2] : ""});
  if (!model) {
    std::cerr << "generate: " << model.error().message << "\n";
    return 1;
  }
  auto session = skein::Session::create(*model);
  if (!session) {
    std::cerr << "generate: " << session.error().message << "\n";
    return 1;
  }

  skein::GenerateOptions options;
  options.max_tokens = 100;
  options.sampler.seed = 7;
  std::cout << prompt;
  auto stats = skein::generate(*session, prompt, options, [](std::string_view text) {
    std::cout << text << std::flush;
    return true;
  });
  std::cout << "\n";
  if (!stats) {
    std::cerr << "generate: " << stats.error().message << "\n";
    return 1;
  }
  return 0;
}
