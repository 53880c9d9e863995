#!/usr/bin/env bash
# The C++ and CUDA files that git knows or would add, a name a line, below the folders given (default: everything).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
git ls-files --cached --others --exclude-standard --deduplicate -- "$@" | while read -r file; do
  case $file in
    *.h | *.cc | *.cu | *.cuh | *.cpp) if [[ -e $file ]]; then echo "$file"; fi ;;
  esac
done
