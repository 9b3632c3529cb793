"""The cases of make_goldens.py: one tiny checkpoint for each architecture and each branch of the converter."""

from dataclasses import dataclass, field
from typing import Callable

N_VOCAB = 320
PROMPTS = [
    [17, 204, 63, 311, 96, 150, 42, 258],
    [33, 87, 299, 12, 161, 240, 75, 128, 54, 316, 201, 9, 93, 177, 262, 38, 145, 220, 71, 304, 115, 26, 189, 250],
]


@dataclass
class Case:
    """A checkpoint: a config class of transformers with tiny sizes, and how published checkpoints of the kind differ."""

    name: str
    about: str
    config_class: str
    architecture: str
    config: dict
    dtype: str = "BF16"
    # Type of the tensors whose name holds the key, where it is not `dtype`.
    dtypes: dict = field(default_factory=dict)
    outtypes: list = field(default_factory=lambda: ["f32"])
    folder: str = ""
    files: dict = field(default_factory=dict)
    # What published config.json files of this kind do not hold, name differently or hold in addition.
    drop_config: list = field(default_factory=list)
    rename_config: dict = field(default_factory=dict)
    extra_config: dict = field(default_factory=dict)
    # The class of transformers that computes the outputs, if it is not `architecture`.
    model_class: str = ""
    model_arguments: dict = field(default_factory=dict)
    # From the name in transformers to the name in the checkpoint; an empty name leaves the tensor out.
    rename_tensor: Callable = lambda name: name
    extra_tensors: dict = field(default_factory=dict)
    missing_ok: list = field(default_factory=list)
    unexpected_ok: list = field(default_factory=list)
    # The model adds 1 to the weights of its norms, as Gemma does.
    norm_plus_one: bool = False
    prompts: list = field(default_factory=lambda: PROMPTS)
    # Or "mean_hidden_state".
    output: str = "logits"

    def __post_init__(self):
        self.folder = self.folder or f"golden-{self.name}"

    def tensor(self, name, shape):
        """Name, shape, type and rule of one tensor. Each rule gives values that BF16 and F16 hold exactly."""
        dtype = next((dtype for part, dtype in self.dtypes.items() if part in name), self.dtype)
        if is_norm_weight(name, shape):
            rule = (0, 0, -9) if self.norm_plus_one else (1, 2, -7)
        elif len(shape) == 1:
            rule = (0, 0, -9)
        elif any(part in name for part in ("embed", "wte", "wpe")):
            rule = (0, 0, -7)
        else:
            rule = (0, 0, -9 if shape[-1] <= 96 else -10)
        offset, shift, exp = rule
        return {"name": name, "shape": shape, "dtype": dtype, "offset": offset, "shift": shift, "exp": exp}


def is_norm_weight(name, shape):
    return len(shape) == 1 and name.endswith(".weight")


def sizes(**changes):
    """Sizes that most classes of transformers have under these names."""
    return {
        "vocab_size": N_VOCAB,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 0,
        **changes,
    }


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}

CASES = [
    Case(
        "llama", "Q and K are permuted.", "LlamaConfig", "LlamaForCausalLM",
        sizes(rms_norm_eps=1e-5), outtypes=["f32", "bf16", "f16", "auto"],
    ),
    Case(
        "llama-rope-llama3", "rope_scaling llama3 becomes the tensor rope_freqs; stored in F16.", "LlamaConfig", "LlamaForCausalLM",
        sizes(
            num_hidden_layers=1, num_key_value_heads=1, rope_theta=500000.0,
            rope_scaling={
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        ),
        dtype="F16", outtypes=["f32", "auto"],
    ),
    Case(
        "llama-tied-bias", "Biases of attention (permuted too) and MLP, tied embeddings, F32.", "LlamaConfig", "LlamaForCausalLM",
        sizes(attention_bias=True, mlp_bias=True, tie_word_embeddings=True), dtype="F32", outtypes=["f32", "auto"],
    ),
    Case(
        "llama-head-dim", "head_dim is not hidden_size / heads.", "LlamaConfig", "LlamaForCausalLM",
        sizes(head_dim=24, num_hidden_layers=1),
    ),
    Case(
        "llama-linear", "rope_scaling linear, under the old key `type`.", "LlamaConfig", "LlamaForCausalLM",
        sizes(num_hidden_layers=1, rope_scaling={"type": "linear", "factor": 2.0}),
    ),
    Case(
        "llama-yarn", "rope_scaling yarn.", "LlamaConfig", "LlamaForCausalLM",
        sizes(num_hidden_layers=1, rope_scaling={**YARN, "beta_fast": 16.0, "beta_slow": 2.0}),
    ),
    Case(
        "llama-old-config", "config.json as the first Llama had it: no KV heads, no head_dim, no rope_theta.", "LlamaConfig",
        "LlamaForCausalLM", sizes(num_hidden_layers=1, num_key_value_heads=4),
        drop_config=["num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "attention_bias", "mlp_bias"],
    ),
    Case(
        "llama-mixed-card", "Types differ between tensors; model card, generation_config.json and a telling folder name.",
        "LlamaConfig", "LlamaForCausalLM", sizes(num_hidden_layers=1), dtypes={"norm": "F32", "lm_head": "F16"},
        outtypes=["f32", "bf16", "f16", "auto"], folder="Tiny-Llama-3.2-0.1M-Instruct-v0.2",
        files={
            "generation_config.json": {"bos_token_id": 0, "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9},
            "README.md": (
                "---\nlicense: llama3.2\nlanguage:\n- en\n- de\nbase_model: meta-llama/Llama-3.2-1B\n"
                "pipeline_tag: text-generation\ntags:\n- facebook\n- llama-3\ndatasets:\n- HuggingFaceH4/ultrachat_200k\n---\n\n# Tiny\n"
            ),
        },
    ),
    Case(
        "mistral", "Sliding window off; converted as a Llama.", "MistralConfig", "MistralForCausalLM",
        sizes(sliding_window=None, rope_theta=1000000.0, head_dim=16),
    ),
    Case(
        "qwen2", "Biases of Q, K and V.", "Qwen2Config", "Qwen2ForCausalLM",
        sizes(rope_theta=1000000.0, use_sliding_window=False, tie_word_embeddings=True),
        outtypes=["f32", "auto"],
    ),
    Case(
        "qwen2-yarn", "rope_scaling yarn, untied.", "Qwen2Config", "Qwen2ForCausalLM",
        sizes(num_hidden_layers=1, rope_scaling=YARN),
    ),
    Case(
        "qwen3", "Norms of Q and K, head_dim is not hidden_size / heads.", "Qwen3Config", "Qwen3ForCausalLM",
        sizes(head_dim=24, rope_theta=1000000.0, tie_word_embeddings=True),
    ),
]
