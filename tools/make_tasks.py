#!/usr/bin/env python3
"""Writes the questions that tests/task_test.cc puts to goose-tiny: `QUESTION<TAB>ANSWER` a line.

They are the ones that train.py asks after training: corpus.task with seed 99.

Usage: make_tasks.py [OUT]     default: standard output
"""
import random
import sys

import corpus

SEED, COUNT = 99, 200


def lines():
    rng = random.Random(SEED)
    for _ in range(COUNT):
        question, answer = corpus.task(rng)
        assert not any(c in question + answer for c in "\t\n"), question
        yield f"{question}\t{answer}\n"


def main():
    if len(sys.argv) > 2:
        sys.exit("usage: make_tasks.py [OUT]")
    with open(sys.argv[1] if len(sys.argv) > 1 else 1, "w", encoding="utf-8", newline="\n") as out:
        out.writelines(lines())


if __name__ == "__main__":
    main()
