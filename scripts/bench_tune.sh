#!/usr/bin/env bash
# What `skein tune` gains: every model of a folder in f16, int8 and nf4, tuned, then the defaults and the plan in turn.
# usage: bench_tune.sh FOLDER [OUTPUT_FOLDER [BUDGET [BACKEND]]]; SKEIN names the program (build/release/skein)
set -euo pipefail

[[ $# -ge 1 && $# -le 4 ]] || { echo "usage: bench_tune.sh FOLDER [OUTPUT_FOLDER [BUDGET [BACKEND]]]" >&2; exit 2; }
models=$1 out=${2:-.} budget=${3:-60s} backend=${4:-webgpu}
skein=${SKEIN:-$(dirname "${BASH_SOURCE[0]}")/../build/release/skein}
mkdir -p "$out"
for model in "$models"/*.safetensors; do
  for quant in "" int8 nf4; do
    label=$(basename "$model" .safetensors)-${quant:-f16}
    echo "== $label"
    flags=(-m "$model" --backend "$backend" ${quant:+--quant $quant})
    "$skein" tune "${flags[@]}" --budget "$budget" -o "$out/$label.plan.json" >"$out/$label.tune.txt"
    sed -n '/^the whole model/,$p' "$out/$label.tune.txt"
    "$skein" bench "${flags[@]}" -r 5 --plan none --plan "$out/$label.plan.json" | tee "$out/$label.bench.txt"
  done
done
