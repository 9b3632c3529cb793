"""Computes a language model with MLX for Planish: one request as a line of JSON on standard input, one answer on standard output.

An answer is a line of JSON; if it has "n_bytes", that many bytes follow. Nothing else reaches standard output: what libraries print
goes to standard error.
"""

import sys

# Nothing is imported from the folder that Planish was started in, which may be anybody's model.
sys.path[:] = [entry for entry in sys.path if entry]

import ctypes
import json
import os
import signal
import threading
import time

answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
sys.stdout = sys.stderr
# Nothing is looked up on the network, and nothing is said about it.
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")


def end_with_parent():
    """Ends this process when the one that started it is gone: while this one computes, nobody reads standard input."""
    parent = os.getppid()
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch():
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


end_with_parent()

from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache
from mlx_lm.utils import load_model, load_tokenizer

# The most tokens that are computed at once, as in mlx_lm.generate.
STEP = 2048


class State:
    model = None
    tokenizer = None
    cache = None
    n_cached = 0
    last = None


def info():
    is_gpu = mx.default_device() == mx.Device(mx.gpu)
    chip = mx.device_info().get("device_name", "") if is_gpu and hasattr(mx, "device_info") else ""
    return dict(
        version=f"MLX {version('mlx')} (mlx-lm {version('mlx-lm')})",
        backend=" ".join(["Metal" if sys.platform == "darwin" else "GPU", f"({chip})" if chip else ""]).strip() if is_gpu else "CPU",
        is_gpu=is_gpu,
    )


def load(path, in_f32):
    # Loaded as ".": mlx-lm looks for files by a glob pattern, in which [ and * of the path would be wildcards.
    os.chdir(path)
    model, config = load_model(Path("."))
    if in_f32:
        model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    tokenizer = load_tokenizer(Path("."))
    State.model, State.tokenizer = model, tokenizer
    inner = tokenizer._tokenizer
    text_config = config.get("text_config") or config
    start = inner.encode("a")
    bos = inner.bos_token_id if start and start[0] == inner.bos_token_id else None
    probe = model(mx.array([[0]]))
    decoder = json.loads(inner.backend_tokenizer.to_str()).get("decoder") if hasattr(inner, "backend_tokenizer") else None
    return dict(
        n_vocab=int(probe.shape[-1]),
        n_ctx_train=int(text_config.get("max_position_embeddings") or 2**31 - 1),
        bos=bos,
        ends=sorted(int(token) for token in tokenizer.eos_token_ids),
        marks=sorted(int(token) for token in inner.all_special_ids),
        added=sorted(int(token) for token in inner.get_added_vocab().values()),
        is_byte_level='"ByteLevel"' in json.dumps(decoder),
        has_template=bool(inner.chat_template),
    )


def vocabulary(n_vocab):
    """The texts of all tokens as the tokenizer's file has them, each followed by a zero byte."""
    names = {index: text for text, index in State.tokenizer._tokenizer.get_vocab().items()}
    return dict(), b"".join(names.get(index, f"[PAD{index}]").encode() + b"\0" for index in range(n_vocab))


def tokenize(text, is_marked, has_marks):
    """The token ids of a text. Without has_marks, what looks like a special token is plain text."""
    ids = State.tokenizer._tokenizer.encode(text, add_special_tokens=is_marked, split_special_tokens=not has_marks)
    return dict(ids=[int(token) for token in ids])


def template(prompt):
    message = [{"role": "user", "content": prompt}]
    return dict(text=State.tokenizer._tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False))


def clear():
    State.cache = make_prompt_cache(State.model)
    State.n_cached, State.last = 0, None
    return dict()


def forget(position):
    n_forgotten = State.n_cached - position
    if n_forgotten < 0 or not can_trim_prompt_cache(State.cache):
        return dict(is_done=False)
    trim_prompt_cache(State.cache, n_forgotten)
    State.n_cached, State.last = position, None
    return dict(is_done=True)


def compute(ids):
    """Computes tokens and keeps the logits of the last one. The head is never computed for the others, as in mlx_lm.generate."""
    for start in range(0, len(ids) - 1, STEP):
        State.model(mx.array([ids[start : min(start + STEP, len(ids) - 1)]]), cache=State.cache)
        mx.eval([layer.state for layer in State.cache])
    State.last = State.model(mx.array([ids[-1:]]), cache=State.cache)[0, -1].astype(mx.float32)
    mx.eval(State.last)
    State.n_cached += len(ids)
    return dict()


def last_logits():
    return dict(), np.array(State.last, copy=False).tobytes()


def rows(ids, first_wanted):
    logits = State.model(mx.array([ids]), cache=State.cache)[0, first_wanted:].astype(mx.float32)
    mx.eval(logits)
    State.n_cached += len(ids)
    return dict(), np.array(logits, copy=False).tobytes()


def memory():
    """Highest resident memory in bytes, or the peak of MLX's own buffers if that is more, as it can be with Metal."""
    import resource

    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return dict(peak_bytes=int(max(resident, mx.get_peak_memory())))


REQUESTS = dict(
    info=info,
    load=load,
    vocabulary=vocabulary,
    tokenize=tokenize,
    template=template,
    clear=clear,
    forget=forget,
    compute=compute,
    last_logits=last_logits,
    rows=rows,
    memory=memory,
)

for line in sys.stdin.buffer:
    data = b""
    try:
        request = json.loads(line)
        answer = REQUESTS[request.pop("request")](**request)
        if isinstance(answer, tuple):
            answer, data = answer
            answer["n_bytes"] = len(data)
    except Exception as error:
        answer, data = dict(error=f"{type(error).__name__}: {error}"), b""
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.write(data)
    answers.flush()
