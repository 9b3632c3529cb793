#!/usr/bin/env python3
"""Writes folders for ONNX Runtime GenAI with a tiny Llama of seeded random weights, for tests of the runtime and of what is read of them.

    pip install onnx==1.23.2 numpy==2.4.6
    python tests/golden/make_onnx_golden.py

`f32`: float weights in external data, keys and values in shared memory. `f16`: all in F16, shared memory. `int4`: MatMulNBits with 4 bits,
keys and values in outputs that grow, position ids as an input that no operator reads. The graph is the one that the model builder of
onnxruntime-genai writes for Llama: GroupQueryAttention with rotary angles in tables. The tokenizer is that of `checkpoints/tokenizer`.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

HERE = Path(__file__).parent
N_LAYERS, N_EMBD, N_HEADS, N_KV_HEADS, HEAD_DIM, N_FF, N_CTX, BLOCK = 2, 32, 2, 1, 16, 64, 256, 32
N_VOCAB = len(json.loads((HERE / "checkpoints/tokenizer/tokenizer.json").read_text())["model"]["vocab"])
MICROSOFT = "com.microsoft"


class Graph:
    """Nodes and weights in the order in which they are needed."""

    def __init__(self, dtype, bits):
        self.dtype, self.bits, self.nodes, self.weights = dtype, bits, [], []
        self.rng = np.random.default_rng(20261201)

    def weight(self, name, array):
        self.weights.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind, inputs, output, domain="", **attributes):
        outputs = output if isinstance(output, list) else [output]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{outputs[0]}/{kind}", domain=domain, **attributes))
        return outputs[0]

    def random(self, *shape):
        return (self.rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    def product(self, x, n_out, n_in, name, scale=1.0):
        """Times a matrix of random weights, [n_out, n_in], quantized where the graph is: the absolute maximum of a block is -8."""
        matrix = self.random(n_out, n_in) * np.float32(scale)
        if not self.bits:
            return self.op("MatMul", [x, self.weight(f"{name}.weight", matrix.T.astype(self.dtype))], f"{name}/out")
        blocks = matrix.reshape(n_out, n_in // BLOCK, BLOCK)
        scales = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1) / -8
        codes = np.clip(np.round(blocks / scales) + 8, 0, 15).astype(np.uint8)
        packed = codes[..., 0::2] | codes[..., 1::2] << 4
        inputs = [x, self.weight(f"{name}.weight_Q4", packed), self.weight(f"{name}.scales", scales[..., 0])]
        return self.op("MatMulNBits", inputs, f"{name}/out", MICROSOFT, K=n_in, N=n_out, bits=4, block_size=BLOCK, accuracy_level=4)

    def norm(self, x, name):
        weight = self.weight(f"{name}.weight", (1 + 0.1 * self.random(N_EMBD)).astype(self.dtype))
        return self.op("SimplifiedLayerNormalization", [x, weight], f"{name}/out", axis=-1, epsilon=1e-5, stash_type=1)


def llama(graph, n_past, n_all):
    """The decoder: token ids and tables in, logits out."""
    angles = np.arange(N_CTX)[:, None] / 10000.0 ** (np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    cos, sin = (graph.weight(name, table(angles).astype(graph.dtype)) for name, table in (("cos", np.cos), ("sin", np.sin)))
    x = graph.op("Gather", [graph.weight("embed.weight", (graph.random(N_VOCAB, N_EMBD) * 5).astype(graph.dtype)), "input_ids"], "embed/out")
    for layer in range(N_LAYERS):
        name = f"layers.{layer}"
        normed = graph.norm(x, f"{name}.norm1")
        qkv = graph.product(normed, (N_HEADS + 2 * N_KV_HEADS) * HEAD_DIM, N_EMBD, f"{name}.qkv", 2.0)
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        sizes = dict(num_heads=N_HEADS, kv_num_heads=N_KV_HEADS, scale=HEAD_DIM**-0.5, do_rotary=1, rotary_interleaved=0)
        inputs = [qkv, "", "", *past, n_past, n_all, cos, sin]
        attended = graph.op("GroupQueryAttention", inputs, [f"{name}.attention", *present], MICROSOFT, **sizes)
        x = graph.op("Add", [x, graph.product(attended, N_EMBD, N_HEADS * HEAD_DIM, f"{name}.o")], f"{name}.sum1")
        normed = graph.norm(x, f"{name}.norm2")
        gate = graph.product(normed, N_FF, N_EMBD, f"{name}.gate")
        gate = graph.op("Mul", [gate, graph.op("Sigmoid", [gate], f"{name}.sigmoid")], f"{name}.silu")
        both = graph.op("Mul", [gate, graph.product(normed, N_FF, N_EMBD, f"{name}.up")], f"{name}.both")
        x = graph.op("Add", [x, graph.product(both, N_EMBD, N_FF, f"{name}.down")], f"{name}.sum2")
    logits = graph.product(graph.norm(x, "norm"), N_VOCAB, N_EMBD, "head", 2.0)
    graph.op("Identity", [logits], "logits")


def write(name, dtype, bits, shares_buffers, has_positions, is_external):
    graph = Graph(dtype, bits)
    ones = graph.weight("one", np.array(1, np.int64))
    total = graph.op("ReduceSum", ["attention_mask", graph.weight("axis", np.array([1], np.int64))], "mask/sum", keepdims=0)
    n_past = graph.op("Cast", [graph.op("Sub", [total, ones], "mask/last")], "seqlens_k", to=TensorProto.INT32)
    length = graph.op("Gather", [graph.op("Shape", ["attention_mask"], "mask/shape"), ones], "mask/length", axis=0)
    n_all = graph.op("Cast", [length], "total_sequence_length", to=TensorProto.INT32)
    llama(graph, n_past, n_all)
    number = TensorProto.FLOAT16 if dtype == np.float16 else TensorProto.FLOAT
    value = helper.make_tensor_value_info
    inputs = [value("input_ids", TensorProto.INT64, ["batch", "n"]), value("attention_mask", TensorProto.INT64, ["batch", "n_all"])]
    if has_positions:
        inputs.append(value("position_ids", TensorProto.INT64, ["batch", "n"]))
    outputs = [value("logits", number, ["batch", "n", N_VOCAB])]
    for layer in range(N_LAYERS):
        for part in ("key", "value"):
            inputs.append(value(f"past_key_values.{layer}.{part}", number, ["batch", N_KV_HEADS, "n_past", HEAD_DIM]))
            outputs.append(value(f"present.{layer}.{part}", number, ["batch", N_KV_HEADS, "n_all", HEAD_DIM]))
    body = helper.make_graph(graph.nodes, "main_graph", inputs, outputs, graph.weights)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=10, producer_name="planish-golden")
    if name == "f32":
        helper.set_model_props(model, {"planish.level": "onnx:FP32", "planish.recipe": "float32 throughout"})
    folder = HERE / "onnx" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    how = dict(save_as_external_data=True, location="model.onnx.data", size_threshold=1024) if is_external else {}
    onnx.save(model, folder / "model.onnx", **how)
    decoder = dict(
        session_options=dict(log_id="onnxruntime-genai", provider_options=[]),
        filename="model.onnx",
        head_size=HEAD_DIM,
        hidden_size=N_EMBD,
        num_attention_heads=N_HEADS,
        num_hidden_layers=N_LAYERS,
        num_key_value_heads=N_KV_HEADS,
    )
    model = dict(type="llama", vocab_size=N_VOCAB, context_length=N_CTX, bos_token_id=0, eos_token_id=0, pad_token_id=0, decoder=decoder)
    search = dict(do_sample=False, max_length=N_CTX, past_present_share_buffer=shares_buffers)
    (folder / "genai_config.json").write_text(json.dumps(dict(model=model, search=search), indent=1) + "\n")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(HERE / "checkpoints/tokenizer" / file, folder)
    return folder


write("f32", np.float32, 0, True, False, True)
write("f16", np.float16, 0, True, False, False)
write("int4", np.float32, 4, False, True, False)
