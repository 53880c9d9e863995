#!/usr/bin/env python3
"""Skein's tokenizer beside RWKV's own, over the World vocabulary: the ids must be the same for every text.

The other side is rwkv.rwkv_tokenizer.TRIE_TOKENIZER with the vocabulary that lies in the same package (`./dev venv`
installs it). Texts are generated with a fixed seed: scripts of many languages, emoji, code, numbers, runs of spaces,
any code points, and pieces of the vocabulary glued together, which make long matches that fail late. Both speeds are
printed. Without the package the test is skipped (77), and says so.

Usage: tokenizer_world_test.py [--program build/release/skein] [--megabytes 2]
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time

SEED = 20230424
SKIP = 77

# First and last code points of blocks, some of their letters unassigned: a tokenizer must not care.
BLOCKS = {
    "latin": (0x41, 0x24F), "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x4FF), "armenian": (0x531, 0x58F),
    "hebrew": (0x5D0, 0x5EA), "arabic": (0x600, 0x6FF), "devanagari": (0x900, 0x97F), "bengali": (0x980, 0x9FF),
    "tamil": (0xB80, 0xBFF), "thai": (0xE00, 0xE7F), "tibetan": (0xF00, 0xFFF), "georgian": (0x10A0, 0x10FF),
    "ethiopic": (0x1200, 0x137F), "khmer": (0x1780, 0x17FF), "mongolian": (0x1800, 0x18AF),
    "kana": (0x3040, 0x30FF), "han": (0x4E00, 0x9FFF), "hangul": (0xAC00, 0xD7A3), "arrows": (0x2190, 0x23FF),
    "fullwidth": (0xFF01, 0xFF5E), "gothic": (0x10330, 0x1034A), "math": (0x1D400, 0x1D7FF),
    "emoji": (0x1F300, 0x1FAFF), "han extension": (0x20000, 0x2A6DF),
}

PROSE = [
    "The goose flies north in spring, and nobody has told it why. ",
    "Gänse fliegen im Frühling nach Norden; größer als Enten. ",
    "L'oie cendrée vole très haut, n'est-ce pas ? ",
    "El ganso vuela: ¡qué pájaro más ruidoso! ",
    "Гуси летят на север каждую весну. ",
    "春になると、雁は北へ飛んでいく。",
    "春天到了,大雁飞回北方,一会儿排成个人字。",
    "봄이 오면 기러기가 북쪽으로 날아간다. ",
    "الإوز يطير شمالا في الربيع. ",
    "האווזים עפים צפונה באביב. ",
    "वसंत में हंस उत्तर की ओर उड़ते हैं। ",
    "ห่านบินไปทางเหนือในฤดูใบไม้ผลิ ",
    "Οι χήνες πετούν βόρεια την άνοιξη. ",
    "Ngỗng bay về phương bắc vào mùa xuân. ",
    "Kazlar baharda kuzeye uçar; İstanbul'dan ığdır'a. ",
    "for (size_t i = 0; i < n; ++i) {\n\t\tsum += x[i] * y[i];  // axpy\n\t}\n",
    "def f(x):\n    return {k: v for k, v in x.items()}\n\n",
    "<div class=\"goose\"><a href='#'>&nbsp;</a></div>\r\n",
    "{\"id\": 12345, \"price\": 3.14159, \"tags\": [\"a\", \"b\"]}\n",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n",
    "\\begin{equation} e^{i\\pi} + 1 = 0 \\end{equation}\n",
    "https://example.org/?q=%20a&b=c#d ",
]


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


def texts(tokens, rng):
    """Yields (name, str) for ever; each str is valid Unicode without surrogates."""
    def code_point():
        while True:
            c = rng.randrange(0x110000)
            if not 0xD800 <= c < 0xE000:
                return chr(c)

    names = sorted(BLOCKS)
    while True:
        yield "prose", "".join(rng.choice(PROSE) for _ in range(rng.randrange(1, 80)))
        block = rng.choice(names)
        low, high = BLOCKS[block]
        yield block, "".join(chr(rng.randint(low, high)) + rng.choice(["", "", " "])
                             for _ in range(rng.randrange(600)))
        yield "mixed scripts", "".join(chr(rng.randint(*BLOCKS[rng.choice(names)]))
                                       for _ in range(rng.randrange(400)))
        yield "emoji", "".join(chr(rng.randint(*BLOCKS["emoji"])) + rng.choice(["", "\u200d", "\ufe0f", "\U0001f3fd"])
                               for _ in range(rng.randrange(200)))
        yield "whitespace", "".join(rng.choice(" \n\t\r\u3000") * rng.choice([1, 2, 7, 63, 64, 127, 128, 129, 500])
                                    for _ in range(rng.randrange(20)))
        yield "runs", "".join(rng.choice("=-_*#.0aАä一/\\") * rng.randrange(1, 200) for _ in range(rng.randrange(20)))
        yield "numbers", " ".join(str(rng.getrandbits(rng.randrange(1, 90))) for _ in range(rng.randrange(100)))
        yield "ascii", "".join(chr(rng.randrange(128)) for _ in range(rng.randrange(2000)))
        yield "any code point", "".join(code_point() for _ in range(rng.randrange(500)))
        glued = b"".join(t[:rng.randrange(1, len(t) + 1)] for t in rng.choices(tokens, k=rng.randrange(300)))
        yield "glued tokens", glued.decode("utf-8", errors="ignore")


def encode_with_skein(program, vocab, data):
    """Returns (ids, seconds of the process)."""
    start = time.perf_counter()
    done = subprocess.run([program, "tokenize", "--vocab", vocab, "--json"], input=data, capture_output=True,
                          check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{program} tokenize: expected status 0, found {done.returncode}: {done.stderr.decode()}")
    return json.loads(done.stdout)["ids"], seconds


def compare(reference, program, vocab, batch):
    """One text of many; where the ids differ, names the text and the place. Returns (bytes, seconds, seconds)."""
    data = "".join(text for _, text in batch).encode("utf-8")
    start = time.perf_counter()
    want = reference.encodeBytes(data)
    reference_seconds = time.perf_counter() - start
    have, skein_seconds = encode_with_skein(program, vocab, data)
    if have != want:
        at = next((i for i, (a, b) in enumerate(zip(have, want)) if a != b), min(len(have), len(want)))
        offset = len(reference.decodeBytes(want[:at]))
        raise SystemExit(f"token {at} at byte {offset}: expected {want[at:at + 3]}, found {have[at:at + 3]}, "
                         f"text {data[offset:offset + 40]!r}, kinds {[name for name, _ in batch]}")
    return len(data), reference_seconds, skein_seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=os.environ.get("SKEIN_PROGRAM", "build/release/skein"))
    parser.add_argument("--megabytes", type=float, default=2)
    args = parser.parse_args()
    try:
        from rwkv import rwkv_tokenizer
    except ImportError as e:
        skip(f"the Python package rwkv is missing ({e}); ./dev venv installs it")
    if not os.access(args.program, os.X_OK):
        skip(f"{args.program} is not built")
    vocab = os.path.join(os.path.dirname(rwkv_tokenizer.__file__), "rwkv_vocab_v20230424.txt")
    reference = rwkv_tokenizer.TRIE_TOKENIZER(vocab)

    # The texts below have each token only by chance.
    tokens = [reference.idx2token[i] for i in sorted(reference.idx2token)]
    print(f"seed {SEED}, {len(tokens)} tokens, {vocab}")
    have, _ = encode_with_skein(args.program, vocab, b"".join(tokens))
    if have != reference.encodeBytes(b"".join(tokens)):
        raise SystemExit("all tokens side by side: the ids differ")

    start_seconds = min(encode_with_skein(args.program, vocab, b"a")[1] for _ in range(5))
    rng = random.Random(SEED)
    source = texts(tokens, rng)
    num_bytes = reference_seconds = skein_seconds = batches = 0
    while num_bytes < args.megabytes * 1e6:
        n, r, s = compare(reference, args.program, vocab, [next(source) for _ in range(100)])
        num_bytes, reference_seconds, skein_seconds, batches = (
            num_bytes + n, reference_seconds + r, skein_seconds + s, batches + 1)
    print(f"{num_bytes / 1e6:.1f} MB in {batches} texts: the same ids")
    skein_seconds = max(skein_seconds - batches * start_seconds, 1e-9)
    print(f"rwkv_tokenizer {num_bytes / reference_seconds / 1e6:.1f} MB/s; skein {num_bytes / skein_seconds / 1e6:.1f} "
          f"MB/s with its JSON, beyond the {start_seconds * 1e3:.0f} ms that the program takes for one byte")


if __name__ == "__main__":
    main()
