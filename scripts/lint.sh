#!/usr/bin/env bash
# Arrows, sizes, documents, format, then clang-tidy. Called by `./dev lint [--all]`.
#
# clang-tidy takes some ten seconds a file, so it reads only files that differ from the commit SKEIN_LINT_BASE (default
# HEAD), headers by way of the .cc files beside them; --all reads every source but the tests, which are read when changed. It
# reads them as the preset `lint` compiles them, a folder's sources as one: names of a folder must not clash (CONTRIBUTING.md).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
say() { echo "lint: $*" >&2; }

scope=changed
case ${1:-} in
  '') ;;
  --all) scope=all ;;
  *)
    say "unknown argument '$1', expected --all"
    exit 2
    ;;
esac

status=0
python3 scripts/check_arrows.py || status=1
python3 scripts/check_sizes.py || status=1
python3 scripts/check_docs.py || status=1

if ! scripts/cpp_files.sh | xargs -r -d '\n' clang-format-14 --dry-run -Werror 2>build/format.log; then
  say "not formatted (./dev format mends it): $(sed -n 's/:[0-9]*:[0-9]*: error:.*//p' build/format.log | sort -u | tr '\n' ' ')"
  status=1
fi

# The .cc files to read: those that changed and those beside a changed header, if the build knows them.
changed_sources() {
  { git diff --name-only --diff-filter=d "${SKEIN_LINT_BASE:-HEAD}" && git ls-files --others --exclude-standard; } |
    grep -E '\.(h|cc)$' | while read -r file; do
    for candidate in "${file%.h}" "${file%.*}.cc" "${file%.*}_test.cc"; do
      if [[ $candidate == *.cc && -e $candidate ]]; then echo "$candidate"; fi
    done
  done | sort -u
}
# What the preset compiles.
compiled() { sed -n "s|^ *\"file\": \"$root/\(.*\)\".*|\1|p" "build/$1/compile_commands.json" | sort -u; }

if [[ $scope == all ]]; then
  preset=lint
  mapfile -t sources < <(compiled lint | grep -v /embedded_shaders)
else
  preset=dev
  mapfile -t sources < <(changed_sources | grep -Fxf <(compiled dev) || true)
fi
if [[ ${#sources[@]} -gt 0 ]]; then
  say "clang-tidy on ${#sources[@]} files of the preset $preset"
  printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$(getconf _NPROCESSORS_ONLN)" clang-tidy-14 -p "build/$preset" --quiet \
    --extra-arg=-Wno-unknown-warning-option 2>build/tidy.err >&2 || status=1
  # Its count of suppressed warnings says nothing; anything else on stderr does.
  grep -Ev '^[0-9]+ warnings? generated|^Suppressed|^Use -header-filter' build/tidy.err >&2 || true
fi
[[ $status == 0 ]] && say "clean"
exit $status
