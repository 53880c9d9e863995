#!/usr/bin/env bash
# CPU peer of the engine: llama.cpp on RWKV-7 models of real sizes, built, checked and timed in one folder.
#
# usage: cpu_peers.sh WORK [all|setup|check|bench|table]      all = setup, check, bench, table
#   WORK   scratch folder, made if missing; everything lands there, finished steps are skipped on the next call
#   env    SIZES="0.1B 0.4B 1.5B"  TYPES="F16 Q8_0 Q4_0" (also Q4_0-pure, Q4_K_M, ...)  THREADS="1 2"  PP=512  TG=64  REPS=3
#          ROUNDS=1     rounds over all configurations, shuffled; results accumulate in WORK/results.jsonl
#          PAIR_CMD=    another engine, run right after every llama-bench (before it in even rounds) by bash -c with
#                       SIZE TYPE THREADS GGUF SAFETENSORS PP TG REPS set; prints one line "PREFILL DECODE" in tokens/s
#          BENCH_ARGS=  more arguments for llama-bench
#          LLAMA_CPP_PYTHON=0.3.36   JOBS=2   MAX_OTHERS=0.15
#
# NOTES
# - Source: the sdist of llama-cpp-python, which carries all of llama.cpp. 0.3.36 is llama.cpp 0.5.0-dev (0c1e57098), ggml 0.25.3.
#   pip prepares the sdist's metadata on download (it fetches scikit-build-core, builds no C++; 5 s for all).
#   Build: native, static, OpenMP, no server, no TLS; 144 steps, about 440 CPU seconds of g++ 12. The static build needs
#   -DBUILD_SHARED_LIBS=OFF (ggml's GGML_STATIC is not that). Commit and build number are passed in, because llama.cpp
#   otherwise stamps the commit of whatever git repository WORK happens to lie in.
# - llama-cli is built only with the server; llama-completion is the plain one.
# - Models: tools/make_model.py, random weights, .safetensors and GGUF with the same values, nine tenths of the ffn
#   activations zero; llama.cpp computes them all, so its speed does not depend on that. Vocabulary: from the package rwkv.
# - "Q4_0" and "Q4_K_M" have a Q6_K head; low-rank matrices stay F16/F32 in every type. "-pure" quantizes the head too. So compare
#   by MB/token: all weight bytes in the file but the embedding table and the layer-0 dummies (time_mix_v0..v2, never read).
# - check: logits after 8 tokens, in one batch and one by one, against make_model.py's fp32 reference; relative L2 error.
#   Only F16 is a sharp test (seen: 0.001..0.005). Random weights amplify rounding 10 to 20 times, so Q8_0 shows 0.03..0.13 and Q4_0
#   0.38..0.46, though the weights themselves are right to 0.4 % and 6.5 %. ggml rounds the activations to Q8_0 too; in float64 with
#   the same rounded weights, 0.4B Q8_0 gives 0.04, with activations rounded as well 0.05 (to nearest) and 0.08..0.14 (four random roundings).
#   The limits 0.01, 0.25 and 0.7 tell a wrong graph (1.4 for unrelated logits), and say nothing about quality.
# - others = cores used by other processes during a run. Over MAX_OTHERS (0.15) a configuration is run again, twice at most, and the table
#   drops the disturbed run if there is a calm one. If probe.cpp is found (beside this file), it runs
#   before every configuration: read bandwidth in GB/s with 1 and 2 threads, round trip between the cores in ns.
# - Figures of different machines, and of one machine at different times, do not compare: use ROUNDS and PAIR_CMD, report ratios.
# - Same engine against itself (PAIR_CMD = another build's llama-bench, 0.1B Q4_0-pure, 2 threads): decode swung 174..248 tokens/s from
#   round to round, the paired ratio 0.95..0.98 (1 thread 0.98..1.03). So two rounds do not carry a claim below 5 %.
# - The official package as an oracle: pip install rwkv torch (5.4 GB: PyPI's x86 torch needs its CUDA packages even to be imported), torch.save
#   of the .safetensors' state dict to NAME.pth, RWKV_V7_ON=1 set before the import, RWKV(model="NAME" without .pth, strategy="cpu fp32").
#   It agrees with a float64 oracle to 6e-6 (relative L2, 16 tokens, 0.1B); "cpu bf16" 0.07, "cpu fp16" 0.014 and 9 to 25 times slower (busy machine).
#   Its state is a list: 3 per layer: att_x_prev [D], wkv [H, value, key] fp32, ffn_x_prev [D]; forward changes the list it is given.
# - Disk: 13 GB with the three sizes. Memory: 8.5 GB while the 1.5B model is made. Time on 2 shared cores: build 7.5 min, models 1 min,
#   one round of bench 8 min (18 configurations).
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"; work=$(cd "$1" && pwd); step=${2:-all}
case $step in all|setup|check|bench|table) ;; *) echo "cpu_peers.sh: unknown step '$step', expected all, setup, check, bench or table" >&2; exit 2;; esac
export SIZES=${SIZES:-0.1B 0.4B 1.5B} TYPES=${TYPES:-F16 Q8_0 Q4_0} THREADS=${THREADS:-1 2}
export PP=${PP:-512} TG=${TG:-64} REPS=${REPS:-3} ROUNDS=${ROUNDS:-1} PAIR_CMD=${PAIR_CMD:-} BENCH_ARGS=${BENCH_ARGS:-} MAX_OTHERS=${MAX_OTHERS:-0.15}
version=${LLAMA_CPP_PYTHON:-0.3.36} jobs=${JOBS:-$(nproc)}
py=$work/venv/bin/python src=$work/llama.cpp bld=$work/build
mkdir -p "$work/models" "$work/logs"
say() { echo "== $*" >&2; }
quiet() { local log=$work/logs/$1.log; shift; "$@" >"$log" 2>&1 || { tail -20 "$log" >&2; echo "cpu_peers.sh: failed, see $log" >&2; exit 1; }; }

setup() {
    for tool in python3 cmake g++ tar; do command -v $tool >/dev/null || { echo "cpu_peers.sh: $tool is missing" >&2; exit 1; }; done
    if [ ! -e "$work/venv/ok" ]; then
        say "Python packages"
        python3 -m venv "$work/venv"; quiet pip "$py" -m pip install numpy==2.4.6 gguf==0.19.0; touch "$work/venv/ok"
    fi
    if [ ! -e "$work/rwkv_vocab.txt" ]; then
        say "vocabulary"
        rm -rf "$work/rwkv"; quiet rwkv "$py" -m pip download --no-deps -d "$work/rwkv" rwkv==0.8.32
        "$py" - "$work" <<'PY'
import glob, os, sys, zipfile
w = sys.argv[1]
open(w + '/vocab.tmp', 'wb').write(zipfile.ZipFile(glob.glob(w + '/rwkv/*.whl')[0]).read('rwkv/rwkv_vocab_v20230424.txt'))
os.rename(w + '/vocab.tmp', w + '/rwkv_vocab.txt')
PY
    fi
    if [ ! -d "$src" ]; then
        say "llama.cpp's source, from llama-cpp-python $version"
        rm -rf "$work/sdist" "$work/src.tmp"; mkdir "$work/src.tmp"
        quiet sdist "$py" -m pip download --no-deps --no-binary llama-cpp-python -d "$work/sdist" "llama-cpp-python==$version"
        tar xzf "$work"/sdist/*.tar.gz -C "$work/src.tmp" --strip-components=1
        grep -om1 'llama.cpp@[0-9a-f]*' "$work/src.tmp/CHANGELOG.md" | sed 's/.*@//' >"$work/src.tmp/vendor/llama.cpp/COMMIT"
        mv "$work/src.tmp/vendor/llama.cpp" "$src"; rm -rf "$work/src.tmp"
    fi
    if [ ! -e "$bld/ok" ]; then
        say "building llama.cpp $(cat "$src/COMMIT") with $jobs jobs (minutes)"
        local gen=(); ! command -v ninja >/dev/null || gen=(-G Ninja)
        quiet configure cmake -S "$src" -B "$bld" "${gen[@]}" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
            -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF \
            -DLLAMA_BUILD_NUMBER=0 -DLLAMA_BUILD_COMMIT="$(cat "$src/COMMIT")"
        local t0=$SECONDS
        quiet build cmake --build "$bld" -j "$jobs" --target llama-bench llama-quantize llama-completion llama-tokenize
        say "built in $((SECONDS - t0)) s"; touch "$bld/ok"
    fi
    if [ ! -x "$work/logits" ]; then
        cat >"$work/logits.cpp" <<'CPP'
// logits MODEL THREADS SERIAL ID...: fp32 logits after the last token on stdout
#include "llama.h"
#include <cstdio>
#include <cstdlib>
#include <vector>
int main(int argc, char ** argv) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    std::vector<llama_token> ids; for (int i = 4; i < argc; i++) ids.push_back(atoi(argv[i]));
    llama_model * m = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!m) return fprintf(stderr, "logits: cannot load %s\n", argv[1]), 1;
    auto p = llama_context_default_params(); p.n_ctx = 512; p.n_threads = p.n_threads_batch = atoi(argv[2]);
    llama_context * c = llama_init_from_model(m, p);
    const int step = atoi(argv[3]) ? 1 : (int) ids.size();
    for (size_t i = 0; i < ids.size(); i += step)
        if (llama_decode(c, llama_batch_get_one(&ids[i], step))) return fprintf(stderr, "logits: decode failed\n"), 1;
    fwrite(llama_get_logits_ith(c, -1), 4, llama_vocab_n_tokens(llama_model_get_vocab(m)), stdout);
}
CPP
        quiet logits g++ -O2 -std=c++17 -I"$src/include" -I"$src/ggml/include" "$work/logits.cpp" -o "$work/logits" "$bld/src/libllama.a" \
            "$bld/ggml/src/libggml.a" "$bld/ggml/src/libggml-cpu.a" "$bld/ggml/src/libggml-base.a" -fopenmp -lpthread -ldl
    fi
    if [ ! -x "$work/probe" ] && [ -e "$here/probe.cpp" ] && grep -qw avx512f /proc/cpuinfo; then
        quiet probe g++ -O3 -march=native -pthread "$here/probe.cpp" -o "$work/probe"
    fi
    local s q pre
    for s in $SIZES; do
        pre=$work/models/rwkv7-$s
        if [ ! -e "$pre.ok" ]; then
            say "making the $s model"
            quiet "model-$s" "$py" "$here/../tools/make_model.py" "$s" "$work/models" --formats st,gguf --ref --vocab-txt "$work/rwkv_vocab.txt"
            touch "$pre.ok"
        fi
        for q in $TYPES; do
            [ -e "$pre-$q.gguf" ] && continue
            say "quantizing $s to $q"
            local pure=(); [ "${q%-pure}" = "$q" ] || pure=(--pure)
            quiet "quantize-$s-$q" "$bld/bin/llama-quantize" "${pure[@]}" "$pre-F16.gguf" "$pre-$q.gguf.tmp" "${q%-pure}" "$jobs"
            mv "$pre-$q.gguf.tmp" "$pre-$q.gguf"
        done
    done
}

check() { "$py" - "$work" <<'PY'
import os, subprocess, sys
import numpy as np
w, ids = sys.argv[1], '34 1000 65529 77 40000 261 5 12345'.split()
limit = {'F16': 0.01, 'Q8_0': 0.25}       # other types 0.7; unrelated logits give 1.41
bad = 0
print('logits against the fp32 reference, relative L2 error\nsize  type        batch    serial')
for s in os.environ['SIZES'].split():
    ref = np.fromfile(f'{w}/models/rwkv7-{s}.ref.f32', np.float32)
    for q in os.environ['TYPES'].split():
        e = []
        for serial in '01':
            raw = subprocess.run([w + '/logits', f'{w}/models/rwkv7-{s}-{q}.gguf', '2', serial, *ids], stdout=subprocess.PIPE, check=True).stdout
            e.append(np.linalg.norm(np.frombuffer(raw, np.float32) - ref) / np.linalg.norm(ref))
        ok = max(e) < limit.get(q, 0.7); bad += not ok
        print(f'{s:5} {q:10} {e[0]:7.4f}  {e[1]:7.4f}{"" if ok else "   WRONG"}')
sys.exit(bad > 0)
PY
}

bench() { "$py" - "$work" <<'PY'
import json, os, random, resource, shlex, statistics, subprocess, sys, time
w, E = sys.argv[1], os.environ
pp, tg, reps = E['PP'], E['TG'], E['REPS']

def busy():
    u = open('/proc/stat').readline().split()[1:]
    return sum(map(int, u[:3] + u[5:7])) / os.sysconf('SC_CLK_TCK')

def measured(fn):
    """result of fn(), cores used by others meanwhile (/proc/stat counts in 10 ms: 30 ms are forgiven), seconds"""
    own = lambda: sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
    t, b, o = time.time(), busy(), own()
    r = fn(); dt = time.time() - t
    return r, round(max(0, (busy() - b) - (own() - o) - 0.03) / dt, 3), round(dt, 1)

def llama(s, q, t):
    out = subprocess.run([w + '/build/bin/llama-bench', '-m', f'{w}/models/rwkv7-{s}-{q}.gguf', '-p', pp, '-n', tg, '-r', reps, '-t', t, '-o', 'json',
                          *shlex.split(E['BENCH_ARGS'])], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    a, b = json.loads(out)
    assert a['n_gen'] == 0 and b['n_prompt'] == 0, out
    return {'pp': a['samples_ts'], 'tg': b['samples_ts'], 'commit': a['build_commit'], 'cpu': a['cpu_info']}

def pair(s, q, t):
    env = E | {'SIZE': s, 'TYPE': q, 'THREADS': t, 'GGUF': f'{w}/models/rwkv7-{s}-{q}.gguf', 'SAFETENSORS': f'{w}/models/rwkv7-{s}.safetensors'}
    out = subprocess.run(['bash', '-c', E['PAIR_CMD']], env=env, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    return {'pp': [float(out[-2])], 'tg': [float(out[-1])]}

todo = [(s, q, t) for s in E['SIZES'].split() for q in E['TYPES'].split() for t in E['THREADS'].split()]
with open(w + '/results.jsonl', 'a') as f:
    for rnd in range(int(E['ROUNDS'])):
        random.shuffle(todo)
        queue = list(todo)
        for n, (s, q, t) in enumerate(queue):       # grows: a disturbed configuration comes again at the end, twice at most
            probe = json.loads(subprocess.run([w + '/probe'], stdout=subprocess.PIPE, check=True).stdout) if os.access(w + '/probe', os.X_OK) else {}
            runs = [('llama.cpp', llama)] + ([('pair', pair)] if E['PAIR_CMD'] else [])
            disturbed = False
            for name, fn in runs if rnd % 2 == 0 else runs[::-1]:
                r, others, sec = measured(lambda: fn(s, q, t))
                r = {'time': time.strftime('%FT%TZ', time.gmtime()), 'round': rnd, 'engine': name, 'size': s, 'type': q, 'threads': int(t), 'n_pp': int(pp), 'n_tg': int(tg),
                     'others': others, 'seconds': sec, 'probe': probe} | r
                f.write(json.dumps(r) + '\n'); f.flush(); disturbed |= others > float(E['MAX_OTHERS'])
                print(f"round {rnd + 1} {n + 1}/{len(queue)} {name} {s} {q} t{t}: pp {statistics.median(r['pp']):.1f} tg {statistics.median(r['tg']):.1f} "
                      f"others {others} {sec} s", file=sys.stderr)
            if disturbed and queue.count((s, q, t)) < 3: queue.append((s, q, t))
PY
}

table() { "$py" - "$work" <<'PY'
import collections, json, os, re, statistics, sys
import gguf
w, med = sys.argv[1], statistics.median
rows, ratios, last = collections.defaultdict(list), collections.defaultdict(list), None
for line in open(w + '/results.jsonl'):
    r = json.loads(line); calm = r['others'] <= float(os.environ['MAX_OTHERS']); key = r['size'], r['type'], r['threads'], r['n_pp'], r['n_tg']
    rows[key + (r['engine'],)].append(r)
    if last and last[0] == key and last[1]['round'] == r['round'] and last[1]['engine'] != r['engine']:      # ran back to back
        a, b = (r, last[1]) if r['engine'] == 'pair' else (last[1], r)
        if calm and last[2]: ratios[key].append((med(a['pp']) / med(b['pp']), med(a['tg']) / med(b['tg'])))
        last = None
    else: last = key, r, calm
mb = {}
def mb_per_token(s, q):
    if (s, q) not in mb:
        t = gguf.GGUFReader(f'{w}/models/rwkv7-{s}-{q}.gguf').tensors
        mb[s, q] = sum(int(x.n_bytes) for x in t if x.name != 'token_embd.weight' and not re.match(r'blk\.0\.time_mix_v[012]\.', x.name)) / 1e6
    return mb[s, q]
first = next(r for v in rows.values() for r in v if r['engine'] == 'llama.cpp')
probes = [r['probe'] for v in rows.values() for r in v if r.get('probe')]
print(f"llama.cpp {first['commit']}, {first['cpu']}, {os.cpu_count()} cores; medians in tokens/s (smallest..largest sample)")
if probes:
    print('probe medians: ' + ', '.join(f'{k} {med(p[k] for p in probes):.0f} ({min(p[k] for p in probes):.0f}..{max(p[k] for p in probes):.0f})' for k in probes[0]))
span = lambda x: f'{med(x):.1f} ({min(x):.1f}..{max(x):.1f})' if med(x) < 100 else f'{med(x):.0f} ({min(x):.0f}..{max(x):.0f})'
print(f"{'size':5} {'type':10} {'MB/tok':>7} t  {'prefill':>19} {'decode':>21} {'GB/s':>5} {'n':>3} {'others':>6}   pair: prefill, decode, with the median of the paired ratios to llama.cpp")
undisturbed = lambda v: [r for r in v if r['others'] <= float(os.environ['MAX_OTHERS'])] or v
for (s, q, t, npp, ntg, e), v in sorted(rows.items()):
    if e != 'llama.cpp': continue
    v = undisturbed(v)
    pp, tg = [x for r in v for x in r['pp']], [x for r in v for x in r['tg']]
    other = undisturbed(rows.get((s, q, t, npp, ntg, 'pair'), []))
    note = ''
    if other:
        a, b = med(x for r in other for x in r['pp']), med(x for r in other for x in r['tg'])
        note = f'   {a:.1f}, {b:.1f}'
        if ratios[s, q, t, npp, ntg]:
            x, y = (sorted(z) for z in zip(*ratios[s, q, t, npp, ntg]))
            note = f'   {a:.1f} = {med(x):.2f}x ({x[0]:.2f}..{x[-1]:.2f}), {b:.1f} = {med(y):.2f}x ({y[0]:.2f}..{y[-1]:.2f})'
    print(f'{s:5} {q:10} {mb_per_token(s, q):7.0f} {t}  {span(pp):>19} {span(tg):>21} {mb_per_token(s, q) * med(tg) / 1e3:5.1f} {len(tg):3} {max(r["others"] for r in v):6.2f}{note}'
          + ('' if (npp, ntg) == (512, 64) else f'   pp{npp} tg{ntg}'))
PY
}

case $step in
    all) setup; check; bench; table ;;
    setup) setup ;;
    *) [ -e "$bld/ok" ] || { echo "cpu_peers.sh: nothing built in this folder yet, run the step setup first" >&2; exit 1; }; "$step" ;;
esac
