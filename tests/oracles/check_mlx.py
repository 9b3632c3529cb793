"""Does mlx-lm write the same tensors as Planish? Compares each folder `OUT/NAME/MODEL-mlx-LEVEL` with what `mlx_lm` makes of the checkpoint
in `CHECKPOINTS/NAME/*/`, tensor by tensor and bit by bit, and loads the folder with mlx-lm. `LEVEL-custom` has embeddings and head in 8 bits.

    check_mlx.py CHECKPOINTS OUT
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.utils import load_model, quantize_model

DTYPES = ("float16", "bfloat16", "float32")
CUSTOM = "-custom"
ENDS = ("embed_tokens", "wte", "lm_head")


def asked_dtype(config, level):
    """The type that `mlx_lm.convert` rounds to, as its own code finds it."""
    if level == "bf16":
        return "bfloat16"
    return config.get("torch_dtype") or config.get("text_config", {}).get("dtype")


def expected(checkpoint, level):
    """The tensors that `mlx_lm.convert` would save, and its configuration."""
    model, config = load_model(checkpoint, lazy=True)
    predicate = None
    if level.endswith(CUSTOM):
        level = level.removesuffix(CUSTOM)
        usual = getattr(model, "quant_predicate", lambda path, module: True)
        wide = {"group_size": 64, "bits": 8, "mode": "affine"}
        predicate = lambda path, module: wide if path.endswith(ENDS) else usual(path, module)
    dtype = asked_dtype(config, level)
    if dtype in DTYPES:
        may_cast = getattr(model, "cast_predicate", lambda _: True)
        cast = lambda path, value: (
            value.astype(getattr(mx, dtype)) if may_cast(path) and mx.issubdtype(value.dtype, mx.floating) else value
        )
        model.update(tree_map_with_path(cast, model.parameters()))
    if level.startswith("mixed"):
        predicate = mixed_quant_predicate_builder(level, model, 64)
        model, config = quantize_model(model, config, 64, None, quant_predicate=predicate)
    elif "-bit-g" in level:
        bits, group_size = map(int, level.split("-bit-g"))
        model, config = quantize_model(model, config, group_size, bits, quant_predicate=predicate)
    elif level != "bf16":
        model, config = quantize_model(model, config, None, None, mode=level, quant_predicate=predicate)
    return dict(tree_flatten(model.parameters())), config


def stored(folder):
    weights = {}
    for path in sorted(folder.glob("model*.safetensors")):
        weights.update(mx.load(str(path)))
    return weights


def is_equal(a, b):
    as_bytes = lambda array: array.reshape(-1).view(mx.uint8)
    return a.shape == b.shape and a.dtype == b.dtype and mx.array_equal(as_bytes(a), as_bytes(b)).item()


class OnlyOurs(Exception):
    """mlx-lm cannot convert the checkpoint, but loads the folder."""


def differences(checkpoint, folder, level):
    """What is wrong with a folder; empty where nothing is."""
    ours = stored(folder)
    try:
        theirs, config = expected(checkpoint, level)
    except (ValueError, AttributeError) as error:
        mx.eval(load_model(folder)[0].parameters())
        raise OnlyOurs from error
    found = [f"lacks {name}" for name in sorted(theirs.keys() - ours.keys())]
    found += [f"has {name}" for name in sorted(ours.keys() - theirs.keys())]
    found += [f"differs in {name}" for name in sorted(theirs.keys() & ours.keys()) if not is_equal(ours[name], theirs[name])]
    # mlx-lm is asked to load it: the modes are those of its configuration or follow from the shapes.
    loaded = dict(tree_flatten(load_model(folder)[0].parameters()))
    found += [f"is loaded without {name}" for name in sorted(ours.keys() - loaded.keys())]
    modes = json.loads((folder / "config.json").read_text()).get("quantization", {})
    if modes.get("mode", "affine") != config.get("quantization", {}).get("mode", "affine"):
        found.append(f"says the mode is {modes}")
    return found


def main(checkpoints, out):
    n_alike = n_other = n_only_ours = 0
    for folder in sorted(Path(out).glob("*/*-mlx-*")):
        name, level = folder.parent.name, folder.name.rsplit("-mlx-", 1)[1]
        checkpoint = next(path.parent for path in (Path(checkpoints) / name).glob("*/config.json"))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = differences(checkpoint, folder, level)
        except OnlyOurs:
            n_only_ours += 1
            continue
        except Exception as error:  # a folder that mlx-lm cannot load is a finding too
            found = [f"mlx-lm: {type(error).__name__}: {error}"[:200]]
        n_alike += not found
        n_other += bool(found)
        for difference in found[:5]:
            print(f"{name} {level}: {difference}", file=sys.stderr)
    print(f"mlx-lm writes {n_alike} of {n_alike + n_other} folders alike, and loads {n_only_ours} of which it cannot convert the checkpoint")
    return 1 if n_other or not n_alike else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
