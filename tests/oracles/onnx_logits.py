"""Logits of a folder for ONNX Runtime GenAI, computed by Python's own ONNX Runtime; keys and values are outputs that become inputs.

Usage: onnx_logits.py FOLDER THREADS, with a line of JSON on standard input: a list of texts, each a list of steps, each a list of token
ids. Prints a line of JSON: for each text, the logits after its last token as bits of F32.
"""

import json
import sys

import numpy as np
import onnxruntime as ort

folder, n_threads = sys.argv[1], int(sys.argv[2])
config = json.load(open(f"{folder}/genai_config.json"))["model"]["decoder"]
options = ort.SessionOptions()
options.intra_op_num_threads = n_threads
session = ort.InferenceSession(f"{folder}/{config['filename']}", options, providers=["CPUExecutionProvider"])
inputs = {value.name: value for value in session.get_inputs()}
outputs = [value.name for value in session.get_outputs()]
floats = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def logits(steps):
    """The logits after the last of some tokens that are computed step by step."""
    past = {
        name: np.zeros((1, value.shape[1], 0, value.shape[3]), floats[value.type]) for name, value in inputs.items() if name.startswith("past")
    }
    n_past = 0
    for ids in steps:
        feed = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, n_past + len(ids)), np.int64), **past}
        if "position_ids" in inputs:
            feed["position_ids"] = np.arange(n_past, n_past + len(ids), dtype=np.int64)[None]
        found = dict(zip(outputs, session.run(outputs, feed)))
        past = {name: found[name.replace("past_key_values", "present")] for name in past}
        n_past += len(ids)
    return found["logits"][0, -1].astype(np.float32)


texts = json.loads(sys.stdin.readline())
print(json.dumps([logits(steps).view(np.uint32).tolist() for steps in texts]))
