#!/usr/bin/env python3
"""Writes the golden data of the checkpoint converter: what transformers computes with a tiny checkpoint, and what
llama.cpp's convert_hf_to_gguf.py makes of it. README.md says how to run this and what the files hold.

    python make_goldens.py LLAMA_CPP_SOURCE [OUTPUT_FOLDER] [--only CASE ...] [--keep FOLDER]
"""

import argparse
import hashlib
import importlib
import json
import logging
import shutil
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from cases import CASES, FOLDER_NAMES, N_VOCAB, PARAMETER_COUNTS, Case

HERE = Path(__file__).parent
TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "U8": torch.uint8}


# --- Weights: computed from the tensor's name, so that nobody has to store them ---------------------------------------


def fnv1a_64(text):
    """64-bit FNV-1a hash of the UTF-8 bytes of `text`."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def splitmix64(state):
    """The output of splitmix64 for each state in an array of u64."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def weights(tensor):
    """`offset + (k >> shift) * 2^exp` with `k` the top byte (signed) of `splitmix64(fnv1a_64(name) + i)`, as f32."""
    n_elements = int(np.prod(tensor["shape"]))
    with np.errstate(over="ignore"):
        bits = splitmix64(np.uint64(fnv1a_64(tensor["name"])) + np.arange(n_elements, dtype=np.uint64))
    k = (bits >> np.uint64(56)).astype(np.uint8).view(np.int8)
    values = tensor["offset"] + (k >> tensor["shift"]).astype(np.float32) * np.float32(2.0 ** tensor["exp"])
    if tensor["dtype"] == "U8":
        values = values % 256
    return torch.from_numpy(values.astype(np.float32).reshape(tensor["shape"]))


def exact(values, dtype):
    """`values` in `dtype`; fails if that changes one of them."""
    stored = values.to(TORCH_DTYPES[dtype])
    assert torch.equal(stored.to(torch.float32), values), f"not exact in {dtype}"
    return stored


# --- The checkpoint ---------------------------------------------------------------------------------------------------


def config_of(case: Case):
    """config.json as transformers writes it for the case, less the keys that published checkpoints of the kind lack."""
    if case.raw_config:
        model_type = getattr(transformers, case.config_class).model_type
        return {"architectures": [case.architecture], "model_type": model_type} | case.config
    config = getattr(transformers, case.config_class)(**case.config)
    config.architectures = [case.architecture]
    config.dtype = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[case.dtype]
    config = json.loads(config.to_json_string(use_diff=True))
    for old, new in case.rename_config.items():
        config[new] = config.pop(old)
    for key in case.drop_config:
        del config[key]
    return {key: config[key] for key in sorted(config)} | case.extra_config


def tensors_of(case: Case, folder: Path):
    """Name, shape, type and rule of every tensor in the checkpoint, in the order of their names."""
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = getattr(transformers, case.model_class or case.architecture)(config)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        for key in model._tied_weights_keys or []:
            shapes.pop(key, None)
    shapes = {case.rename_tensor(name): shape for name, shape in shapes.items() if case.rename_tensor(name)}
    shapes |= case.extra_tensors
    return [case.tensor(name, shapes[name]) for name in sorted(shapes)]


def write_checkpoint(folder: Path, config, tensors, case: Case):
    """Writes a new folder; the tensors go to the files that `file_names` tells."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name, content in case.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(HERE / "tokenizer" / name, folder)
    names = file_names(tensors, case)
    for file in set(names.values()):
        stored = {t["name"]: exact(weights(t), t["dtype"]) for t in tensors if names[t["name"]] == file}
        save_file(stored, folder / file, metadata={"format": "pt"})
    if len(set(names.values())) > 1:
        index = {"metadata": {}, "weight_map": names}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def file_names(tensors, case: Case):
    """The file of each tensor: model.safetensors, or one of several."""
    shards = {t["name"]: case.shard_of(t["name"]) for t in tensors}
    n_shards = len(set(shards.values()))
    if n_shards < 2:
        return {name: "model.safetensors" for name in shards}
    return {name: f"model-{shard:05}-of-{n_shards:05}.safetensors" for name, shard in shards.items()}


# --- What transformers computes ---------------------------------------------------------------------------------------


def outputs_of(case: Case, folder: Path):
    """The outputs for each prompt, in float32 with eager attention and without a cache."""
    model, info = getattr(transformers, case.model_class or case.architecture).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **case.model_arguments
    )
    missing = set(info["missing_keys"]) - set(case.missing_ok)
    unexpected = set(info["unexpected_keys"]) - set(case.unexpected_ok)
    assert not missing and not unexpected and not info["mismatched_keys"], (missing, unexpected, info)
    # What was MXFP4 comes in BF16, exactly.
    model.float().eval()
    case.prepare_model(model)
    outputs = []
    for prompt in case.prompts:
        with torch.inference_mode():
            ids = torch.tensor([prompt])
            if case.output == "logits":
                values = model(input_ids=ids, use_cache=False).logits[0, -1]
                assert values.shape == (N_VOCAB,)
            else:
                values = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].mean(dim=0)
        assert torch.isfinite(values).all() and values.std() > 0.05, values
        outputs.append([float(f"{value:.7g}") for value in values.tolist()])
    return outputs


# --- What llama.cpp's converter makes of it ---------------------------------------------------------------------------


class Converter:
    """convert_hf_to_gguf.py and its gguf-py, imported from the source of llama.cpp."""

    def __init__(self, source: Path):
        sys.path.insert(0, str(source / "gguf-py"))
        sys.path.insert(0, str(source))
        self.script = importlib.import_module("convert_hf_to_gguf")
        self.gguf = importlib.import_module("gguf")
        base = importlib.import_module("conversion.base")
        # The tokenizer is ours, so its hash is unknown. No case has a SentencePiece file: all use the same BPE vocabulary.
        base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
        base.TextModel._set_vocab_sentencepiece = lambda self, add_to_gguf=True: self._set_vocab_gpt2()

    def convert(self, folder: Path, outtype, gguf_path: Path):
        arguments = sys.argv
        sys.argv = ["convert_hf_to_gguf.py", str(folder), "--outtype", outtype, "--outfile", str(gguf_path)]
        try:
            self.script.main()
        finally:
            sys.argv = arguments

    def read(self, gguf_path: Path):
        """Metadata (without the tokenizer) and tensors of a GGUF file, in file order."""
        reader = self.gguf.GGUFReader(gguf_path)
        metadata = [
            [key, self.type_of(field), self.value_of(field)]
            for key, field in reader.fields.items()
            if not key.startswith(("GGUF.", "tokenizer."))
        ]
        tensors = [
            {
                "name": tensor.name,
                "type": tensor.tensor_type.name,
                "shape": [int(dim) for dim in tensor.shape],
                "sha256": hashlib.sha256(tensor.data.tobytes()).hexdigest(),
            }
            for tensor in reader.tensors
        ]
        return {"metadata": metadata, "tensors": tensors}

    def names(self):
        """What `general.*` holds for a checkpoint without a model card, by the name of its folder; and labels of sizes."""
        metadata = self.gguf.Metadata
        folders = []
        for folder, n_parameters in FOLDER_NAMES:
            name, _, basename, finetune, version, size_label = metadata.get_model_id_components(folder, n_parameters)
            if size_label is None:
                size_label = self.gguf.size_label(n_parameters, n_parameters, 0, 0)
            known = {"version": version, "finetune": finetune, "basename": basename, "size_label": size_label}
            known = {key: value for key, value in known.items() if value is not None}
            general = {"name": metadata.id_to_title(name), **known}
            folders.append({"folder": folder, "n_parameters": n_parameters, "general": general})
        sizes = [[*counts, self.gguf.size_label(*counts)] for counts in PARAMETER_COUNTS]
        return {"folders": folders, "size_labels": sizes}

    def type_of(self, field):
        names = [value_type.name for value_type in field.types]
        return names[0] if len(names) == 1 else f"{names[0]}[{names[1]}]"

    def value_of(self, field):
        """The value for JSON; a FLOAT32 in the fewest digits that give the same f32 again."""
        value = field.contents()
        if field.types[-1] == self.gguf.GGUFValueType.FLOAT32:
            if isinstance(value, list):
                return [float(str(np.float32(v))) for v in value]
            return float(str(np.float32(value)))
        return value


# --- Files ------------------------------------------------------------------------------------------------------------


def lines(items):
    """A JSON array with one item a line."""
    return "[\n" + ",\n".join("    " + json.dumps(item, ensure_ascii=False) for item in items) + "\n  ]"


def write_golden(path: Path, golden):
    """JSON that is compact and that shows in a diff which tensor has changed."""
    parts = []
    for key, value in golden.items():
        if key == "gguf":
            text = ",\n".join(
                f'  "{outtype}": {{\n  "metadata": {lines(file["metadata"])},\n  "tensors": {lines(file["tensors"])}\n  }}'
                for outtype, file in value.items()
            )
            parts.append(f'"gguf": {{\n{text}\n}}')
        elif key in ("tensors", "prompts", "logits", "mean_hidden_state", "folders", "size_labels"):
            parts.append(f'"{key}": {lines(value)}')
        elif key == "config":
            parts.append(f'"config": {json.dumps(value, indent=2, ensure_ascii=False)}')
        else:
            parts.append(f'"{key}": {json.dumps(value, ensure_ascii=False)}')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")
    assert json.loads(path.read_text()) == json.loads(json.dumps(golden))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("llama_cpp", type=Path, help="source of llama.cpp, with convert_hf_to_gguf.py")
    parser.add_argument("output", type=Path, nargs="?", default=HERE, help="folder of the JSON files")
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--keep", type=Path, help="folder to keep checkpoints and GGUF files in")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    converter = Converter(arguments.llama_cpp)
    made_with = {
        "llama.cpp": "llama-cpp-python 0.3.36, vendor/llama.cpp",
        **{name: version(name) for name in ["transformers", "torch", "safetensors", "tokenizers", "numpy"]},
    }
    (arguments.output / "names").mkdir(exist_ok=True)
    write_golden(arguments.output / "names" / "names.json", {"made_with": made_with, **converter.names()})
    work = arguments.keep or Path(tempfile.mkdtemp())
    work.mkdir(exist_ok=True)
    for case in CASES:
        if arguments.only and case.name not in arguments.only:
            continue
        place = work / case.name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        folder = place / case.folder
        config = config_of(case)
        write_checkpoint(folder, config | case.output_config, [], case)
        tensors = tensors_of(case, folder)
        write_checkpoint(folder, config | case.output_config, tensors, case)
        outputs = outputs_of(case, folder)
        shown = [t for t in tensors if t["name"] not in case.hidden_from_converter]
        write_checkpoint(folder, config | case.converter_config, shown, case)
        files = {}
        for outtype in case.outtypes:
            gguf_path = place / f"{outtype}.gguf"
            converter.convert(folder, outtype, gguf_path)
            files[outtype] = converter.read(gguf_path)
        names = file_names(tensors, case)
        if len(set(names.values())) > 1:
            tensors = [tensor | {"file": names[tensor["name"]]} for tensor in tensors]
        golden = {
            "case": case.name,
            "about": case.about,
            "made_with": made_with,
            "folder": case.folder,
            "files": case.files,
            "config": config,
            "tensors": tensors,
            **({"converter_config": case.converter_config} if case.converter_config else {}),
            **({"hidden_from_converter": case.hidden_from_converter} if case.hidden_from_converter else {}),
            "prompts": case.prompts,
            case.output: outputs,
            "gguf": files,
        }
        path = arguments.output / f"{case.name}.json"
        write_golden(path, golden)
        n_weights = sum(int(np.prod(t["shape"])) for t in tensors)
        print(f"{case.name}: {len(tensors)} tensors, {n_weights} weights, {path.stat().st_size} bytes", flush=True)
    if not arguments.keep:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
