// What `skein profile` says of its measurements: tables, JSON, a plot.
//
// Goals: the document's estimate beside every measurement; what was not measured says so and why;
// nothing here measures. Percentages of speed are of the baseline's in the same rounds.
#pragma once

#include <string>
#include <vector>

#include "cli/machine.h"
#include "cli/output.h"
#include "plan/profile.h"

namespace skein::cli {

// For a terminal: what was measured, the ideas, the layouts, the steps, notes.
std::string profile_text(const ProfileReport& report, const Machine& machine,
                         const std::string& model);

// The same as Markdown, with the prefill's steps.
std::string profile_markdown(const ProfileReport& report, const Machine& machine,
                             const std::string& model);

// {version, machine, model, bandwidth_gb_s, ..., ideas, extras, layouts, ops, notes}. An estimate
// is [low, high] in per cent; what was not measured is null.
Json profile_json(const ProfileReport& report, const Machine& machine, const std::string& model);

// Decode speed by idea, alone and added, beside the document's estimates.
std::string profile_svg(const ProfileReport& report, const Machine& machine,
                        const std::string& model);

// One line each: what a reader has to know to read the figures right.
std::vector<std::string> profile_notes(const ProfileReport& report);

}  // namespace skein::cli
