#!/usr/bin/env python3
"""Writes golden recipes for src/advise/mlx_recipe.rs: which layer mlx-lm quantizes, and how.

    pip install 'mlx[cpu]==0.32.4' mlx-lm==0.32.2
    python tests/golden/make_mlx_recipes.py

Models are made from the `config.json` of the cases in `checkpoints/`, some with other sizes. `mlx/recipes.json` has for each case the
parameters of two and more dimensions with the length of their rows, and for each recipe one letter per parameter, explained in
`modes`; `.` is one that stays as it is, and a recipe that mlx-lm fails at is null. `not_rounded` are the parameters that no type in
`config.json` changes. `types` has what the weights of small checkpoints
are after a conversion without quantization.
"""

import copy
import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.convert import QUANT_RECIPES, convert, mixed_quant_predicate_builder
from mlx_lm.utils import _get_classes, quantize_model

FOLDER = Path(__file__).parent
CASES = [
    "deepseek-v2", "gemma2", "gemma3", "gemma3-v5-config", "gpt-oss", "gpt2", "granite", "llama", "llama-tied-bias", "mistral",
    "mixtral", "olmo2", "phi3", "phi4-mini", "qwen2", "qwen2-moe", "qwen3", "qwen3-moe", "starcoder2",
]
# Rows of whole groups of every length, and numbers of layers that share by eight and that do not.
SIZES = [{"num_hidden_layers": n, "hidden_size": 128, "intermediate_size": 256} for n in (1, 7, 8, 19)]
EVEN = [
    ("affine", 4, 64), ("affine", 2, 32), ("affine", 8, 128), ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16),
]


def cases():
    """Name and config of each case."""
    for name in CASES:
        yield name, json.loads((FOLDER / "checkpoints" / f"{name}.json").read_text())["config"]
    config = json.loads((FOLDER / "checkpoints" / "deepseek-v2.json").read_text())["config"]
    routing = {"topk_method": "noaux_tc", "scoring_func": "sigmoid", "n_group": 1, "topk_group": 1, "norm_topk_prob": True}
    yield "deepseek-v3", {**config, **routing, "model_type": "deepseek_v3"}
    for sizes in SIZES:
        config = json.loads((FOLDER / "checkpoints" / "llama.json").read_text())["config"]
        yield f"llama with {sizes['num_hidden_layers']} layers", {**config, **sizes}


def model_of(config):
    model_class, args_class = _get_classes(config)
    return model_class(args_class.from_dict(config))


def modes_after(config, mode, bits, group, recipe):
    """What became of each module, by path. A group length of None is the default."""
    model = model_of(config)
    predicate = mixed_quant_predicate_builder(recipe, model, group) if recipe else None
    model, _ = quantize_model(model, copy.deepcopy(config), group, bits, mode=mode, quant_predicate=predicate)
    return {path: f"{m.mode} {m.bits} {m.group_size or 64}" for path, m in model.named_modules() if "scales" in m}


def type_after(keys, stored):
    """Type of a norm's weights after a conversion of a checkpoint with these keys in `config.json`."""
    config = json.loads((FOLDER / "checkpoints" / "llama.json").read_text())["config"]
    config = {**{key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}, **keys}
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "source", Path(folder) / "made"
        shutil.copytree(FOLDER / "checkpoints" / "tokenizer", source)
        weights = {path: array.astype(stored) for path, array in tree_flatten(model_of(config).parameters())}
        mx.save_safetensors(str(source / "model.safetensors"), weights, metadata={"format": "pt"})
        (source / "config.json").write_text(json.dumps(config))
        convert(str(source), str(made))
        types = {str(array.dtype) for array in mx.load(str(made / "model.safetensors")).values()}
    assert len(types) == 1
    return types.pop().removeprefix("mlx.core.")


def types():
    """The keys, the type of the weights before and after."""
    names = ["bfloat16", "float16", "float32"]
    keys = [{}, {"torch_dtype": None}, {"torch_dtype": "auto"}, {"dtype": "bfloat16"}]
    keys += [{"torch_dtype": name} for name in names] + [{"text_config": {"dtype": name}} for name in names]
    keys += [{"text_config": {"torch_dtype": "bfloat16"}}, {"torch_dtype": "auto", "text_config": {"dtype": "float16"}}]
    keys += [{"torch_dtype": "float16", "text_config": {"dtype": "bfloat16"}}, {"torch_dtype": None, "text_config": {"dtype": "float16"}}]
    for change in keys:
        for name in names:
            yield [change, name, type_after(change, getattr(mx, name))]


def main():
    mx.set_default_device(mx.cpu)
    letters, found = {}, []
    for name, config in cases():
        model = model_of(config)
        parameters = tree_flatten(model.parameters())
        is_rounded = getattr(model, "cast_predicate", lambda _: True)
        matrices = [(path, array.shape[-1]) for path, array in parameters if array.ndim > 1]
        entry = {"case": name, "model_type": config["model_type"], "n_layers": len(model.layers)}
        entry["not_rounded"] = [path for path, _ in parameters if not is_rounded(path)]
        entry["matrices"] = matrices
        entry["recipes"] = {}
        mixed = [("affine", None, group, recipe) for recipe in QUANT_RECIPES for group in (None, 32)]
        for mode, bits, group, recipe in [(*even, None) for even in EVEN] + mixed:
            label = f"{recipe} {group or 64}" if recipe else f"{mode} {bits} {group}"
            try:
                after = modes_after(config, mode, bits, group, recipe)
            except ValueError as error:
                # Groups of another length than the mode's, which the rows are not; or a model without the names of the recipes.
                assert "divisible" in str(error) or "expected keys" in str(error), error
                entry["recipes"][label] = None
                continue
            paths = [path.removesuffix(".weight") for path, _ in matrices]
            assert set(after) <= set(paths)
            row = [letters.setdefault(after[path], chr(ord("a") + len(letters))) if path in after else "." for path in paths]
            entry["recipes"][label] = "".join(row)
        found.append(entry)
    modes = {letter: label for label, letter in letters.items()}
    source = f"mlx {mx.__version__}, mlx-lm {importlib.metadata.version('mlx-lm')}"
    text = "{\n" + f'"source": {json.dumps(source)},\n"modes": {json.dumps(modes)},\n"cases": [\n'
    text += ",\n".join(json.dumps(entry) for entry in found) + '\n],\n"types": [\n'
    text += ",\n".join(json.dumps(row) for row in types()) + "\n]\n}\n"
    (FOLDER / "mlx" / "recipes.json").write_text(text)


if __name__ == "__main__":
    main()
