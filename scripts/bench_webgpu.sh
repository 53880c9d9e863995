#!/usr/bin/env bash
# Speed on a GPU: every model of a folder in f16 and nf4, decode, sixteen sequences, prefill, and what each op takes.
# usage: bench_webgpu.sh FOLDER [OUTPUT_FOLDER]; SKEIN names the program (build/release/skein)
set -euo pipefail

[[ $# == 1 || $# == 2 ]] || { echo "usage: bench_webgpu.sh FOLDER [OUTPUT_FOLDER]" >&2; exit 2; }
models=$1 out=${2:-.}
skein=${SKEIN:-$(dirname "${BASH_SOURCE[0]}")/../build/release/skein}
mkdir -p "$out"
"$skein" devices | tee "$out/devices.txt"
for model in "$models"/*.safetensors; do
  name=$(basename "$model" .safetensors)
  for quant in "" nf4; do
    label=$name-${quant:-f16}
    echo "== $label"
    flags=(-m "$model" --backend webgpu --sequences 16 --ops -r 5 ${quant:+--quant $quant})
    "$skein" bench "${flags[@]}" --json >"$out/$label.json"
    "$skein" bench "${flags[@]}" -r 1 | tee "$out/$label.txt"
  done
done
