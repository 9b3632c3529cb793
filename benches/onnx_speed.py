#!/usr/bin/env python3
"""Speed of a folder for ONNX Runtime GenAI: `planish bench` beside GenAI's own generator, which take turns.

    XDG_DATA_HOME=DIR planish runtime install onnxruntime
    DIR/planish/runtimes/onnxruntime/bin/python benches/onnx_speed.py PLANISH FOLDER... [--rounds 5] [--threads 2]

Both get 512 random tokens, then 128 more one by one; GenAI chooses its own by the likeliest, Planish is given random ones. Prints medians and
the median of the ratios of the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime_genai as og

N_PROMPT, N_GEN = 512, 128


def own(planish, folder):
    """Prefill and decode of `planish bench`, in tokens per second."""
    counts = ["--prompt-tokens", str(N_PROMPT), "--gen-tokens", str(N_GEN), "--bench-threads", str(options.threads), "--repetitions", "1"]
    with tempfile.TemporaryDirectory() as work:
        environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "PLANISH_HISTORY": f"{work}/history.sqlite3"}
        done = subprocess.run([planish, "bench", folder, *counts, "--json"], capture_output=True, text=True, check=True, env=environment)
    run = json.loads(done.stdout)["runs"][0]["run"]
    return [run[name]["values"][0] for name in ("prefill_tokens_per_sec", "decode_tokens_per_sec")]


def genai(model, n_vocab):
    """The same of GenAI; its first tokens warm it up."""
    rng = np.random.default_rng(1)

    def generator():
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=N_PROMPT + N_GEN, min_length=N_PROMPT + N_GEN, do_sample=False)
        return og.Generator(model, params)

    warm = generator()
    warm.append_tokens(rng.integers(0, n_vocab, 64).astype(np.int32))
    for _ in range(4):
        warm.generate_next_token()
    measured = generator()
    prompt = rng.integers(0, n_vocab, N_PROMPT).astype(np.int32)
    started = time.perf_counter()
    measured.append_tokens(prompt)
    prefill = N_PROMPT / (time.perf_counter() - started)
    measured.generate_next_token()
    started = time.perf_counter()
    for _ in range(N_GEN - 1):
        measured.generate_next_token()
    return [prefill, (N_GEN - 1) / (time.perf_counter() - started)]


parser = argparse.ArgumentParser()
parser.add_argument("planish")
parser.add_argument("folders", nargs="+")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
for folder in options.folders:
    with open(f"{folder}/genai_config.json") as file:
        n_vocab = json.load(file)["model"]["vocab_size"]
    config = og.Config(folder)
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": options.threads}}}}))
    model = og.Model(config)
    rounds = [(own(options.planish, folder), genai(model, n_vocab)) for _ in range(options.rounds)]
    for idx, name in enumerate(["prefill", "decode"]):
        ours, theirs = ([pair[who][idx] for pair in rounds] for who in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(ours, theirs))
        print(f"{folder} {name}: {statistics.median(ours):.1f} tok/s, GenAI {statistics.median(theirs):.1f}, ratio {ratio:.2f}")
