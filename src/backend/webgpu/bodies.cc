#include "backend/webgpu/bodies.h"

#include <fmt/format.h>

#include <algorithm>

namespace skein::webgpu {
namespace {

constexpr std::string_view kOrigin = "bodies.cc";

using Family = std::vector<const Body*>;

bool are_twins(const Body& a, const Body& b) {
  const auto same_name = [](const auto& x, const auto& y) { return x.first == y.first; };
  return !a.epilogue.text().empty() && a.call == b.call && a.text.text() == b.text.text() &&
         std::equal(a.places.begin(), a.places.end(), b.places.begin(), b.places.end(), same_name);
}

// What stands for a job's name in its texts, and for its first workgroup in its call.
constexpr std::string_view kJob = "JOB", kFirst = "#";

std::string named(std::string_view text, std::string_view name) {
  return replace_all(text, kJob, name);
}

// Where things lie is what the workgroup's branch puts into variables.
void add_twins(const Family& family, const std::string& name, ShaderText& shader) {
  for (const auto& [place, value] : family.front()->places) {
    shader.add_text(fmt::format("var<private> {}: u32;", named(place, name)), kOrigin);
  }
  std::string store;
  for (size_t i = 0; i < family.size(); ++i) {
    const std::string member = fmt::format("{}_{}", name, i);
    shader.add(family[i]->epilogue, kJob, member);
    store += fmt::format("  if (member_{} == {}u) {{\n    store_{}(token, row, sum);\n  }}\n", name,
                         i, member);
  }
  shader.add_text(fmt::format("var<private> member_{}: u32;\n"
                              "fn store_{}(token: u32, row: u32, sum: f32) {{\n{}}}",
                              name, name, store),
                  kOrigin);
  shader.add(family.front()->text, kJob, name);
}

// The branch of a family whose first workgroup is `first`.
std::string branch(const Family& family, const std::string& name, uint64_t first) {
  if (family.size() == 1) {
    const std::string call = named(family.front()->call, name);
    return fmt::format("    {};\n", replace_all(call, kFirst, fmt::format("{}u", first)));
  }
  std::string text = "    var first = 0u;\n";
  for (size_t i = 0; i < family.size(); ++i) {
    const bool is_last = i + 1 == family.size();
    const uint64_t end = first + family[i]->groups;
    text += i == 0    ? fmt::format("    if (group < {}u) {{\n", end)
            : is_last ? std::string(" else {\n")
                      : fmt::format(" else if (group < {}u) {{\n", end);
    text += fmt::format("      first = {}u;\n      member_{} = {}u;\n", first, name, i);
    for (const auto& [place, value] : family[i]->places) {
      text += fmt::format("      {} = {}u;\n", named(place, name), value);
    }
    text += is_last ? "    }\n" : "    }";
    first = end;
  }
  const std::string call = named(family.front()->call, name);
  return text + fmt::format("    {};\n", replace_all(call, kFirst, "first"));
}

}  // namespace

void add_body(const Body& body, std::string_view name, ShaderText& shader) {
  for (const auto& [place, value] : body.places) {
    shader.add_text(fmt::format("const {} = {}u;", named(place, name), value), kOrigin);
  }
  shader.add(body.epilogue, kJob, name);
  shader.add(body.text, kJob, name);
}

uint64_t Bodies::num_groups() const {
  uint64_t sum = 0;
  for (const Body& body : bodies_) sum += body.groups;
  return sum;
}

std::string Bodies::finish(ShaderText& shader) const {
  std::vector<Family> families;
  for (const Body& body : bodies_) {
    const auto found = std::find_if(families.begin(), families.end(), [&](const Family& family) {
      return are_twins(*family.front(), body);
    });
    found == families.end() ? families.push_back({&body}) : found->push_back(&body);
  }
  std::string branches;
  uint64_t first = 0;
  for (size_t f = 0; f < families.size(); ++f) {
    const Family& family = families[f];
    const std::string name = std::to_string(f);
    family.size() == 1 ? add_body(*family.front(), name, shader) : add_twins(family, name, shader);
    const std::string text = branch(family, name, first);
    for (const Body* body : family) first += body->groups;
    branches += fmt::format("{}if (group < {}u) {{\n{}  }}", f == 0 ? "  " : " else ", first, text);
  }
  return branches;
}

}  // namespace skein::webgpu
