#!/usr/bin/env python3
"""Compares what llama.cpp computes with a GGUF file to a case's golden outputs.

    pip install xllamacpp==2026.10.11549 numpy
    python check_with_llama_cpp.py CASE.json FILE.gguf

Prints the largest difference over all tokens and prompts, as a part of the range of the golden values.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import xllamacpp


def server_of(gguf_path, golden):
    """A server on one thread, in float32 where llama.cpp can."""
    params = xllamacpp.CommonParams()
    params.model.path = gguf_path
    params.n_ctx = 256
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = params.fit_params = False
    params.verbosity = int(os.environ.get("VERBOSITY", "-1"))
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    if "logits" not in golden:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(params)


def log_probabilities(server, prompt, n_vocab):
    """Of every token after the prompt. A sampled token can be one that has no text: then another seed is tried."""
    for seed in range(1, 100):
        answer = server.handle_completions(
            {
                "prompt": prompt,
                "n_predict": 8,
                "n_probs": n_vocab,
                "temperature": 1.0,
                "samplers": [],
                "seed": seed,
                "cache_prompt": False,
                "ignore_eos": True,
            }
        )
        if answer["choices"][0]["logprobs"]:
            values = np.full(n_vocab, np.nan)
            for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
                values[token["id"]] = token["logprob"]
            return values
    sys.exit("no seed gave a token with a text")


def mean_hidden_state(server, prompt):
    answer = server.handle_embeddings({"input": prompt, "encoding_format": "float", "embd_normalize": -1})
    return np.array(answer["data"][0]["embedding"])


def main():
    golden = json.loads(Path(sys.argv[1]).read_text())
    server = server_of(sys.argv[2], golden)
    differences = []
    for idx, prompt in enumerate(golden["prompts"]):
        if "logits" in golden:
            expected = np.array(golden["logits"][idx])
            expected = expected - expected.max() - np.log(np.exp(expected - expected.max()).sum())
            actual = log_probabilities(server, prompt, len(expected))
        else:
            expected = np.array(golden["mean_hidden_state"][idx])
            actual = mean_hidden_state(server, prompt)
        differences.append(np.abs(actual - expected).max() / np.ptp(expected))
    print(f"{golden['case']}: {max(differences):.1e}", flush=True)
    # The server's threads do not end by themselves.
    os._exit(0)


if __name__ == "__main__":
    main()
