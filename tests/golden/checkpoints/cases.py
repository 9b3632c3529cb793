"""The cases of make_goldens.py: one tiny checkpoint for each architecture and each branch of the converter."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

N_VOCAB = 320
PROMPTS = [
    [17, 204, 63, 311, 96, 150, 42, 258],
    [33, 87, 299, 12, 161, 240, 75, 128, 54, 316, 201, 9, 93, 177, 262, 38, 145, 220, 71, 304, 115, 26, 189, 250],
]

# Names of folders with the number of parameters inside: what becomes of them in `general.*`.
FOLDER_NAMES = [
    ("Meta-Llama-3.1-8B-Instruct", 8030261312),
    ("Llama-3.2-1B", 1235814400),
    ("Llama-2-7b-chat-hf", 6738415616),
    ("Mistral-7B-Instruct-v0.3", 7248023552),
    ("Mixtral-8x7B-Instruct-v0.1", 46702792704),
    ("Mixtral-8x22B-v0.1", 140630071296),
    ("Mistral-Nemo-Instruct-2407", 12247782400),
    ("Qwen2.5-0.5B-Instruct", 494032768),
    ("Qwen2.5-7B-Instruct-1M", 7615616512),
    ("Qwen1.5-MoE-A2.7B-Chat", 14315784192),
    ("Qwen3-30B-A3B-Instruct-2507", 30532122624),
    ("Qwen3-0.6B", 751632384),
    ("gemma-2-2b-it", 2614341888),
    ("gemma-3-270m", 268098176),
    ("gemma-3-4b-it", 3880099328),
    ("Phi-3-mini-4k-instruct", 3821079552),
    ("Phi-3-mini-128k-instruct", 3821079552),
    ("Phi-3.5-mini-instruct", 3821079552),
    ("Phi-4-mini-instruct", 3836021760),
    ("gpt2", 124439808),
    ("gpt2-xl", 1557611200),
    ("gpt2-medium", 354823168),
    ("starcoder2-3b", 3030371328),
    ("falcon-7b-instruct", 7217189760),
    ("OLMo-2-1124-7B-Instruct", 7298617344),
    ("granite-3.3-2b-instruct", 2533539840),
    ("bge-small-en-v1.5", 33212160),
    ("all-MiniLM-L6-v2", 22565376),
    ("bert-base-uncased", 108891648),
    ("DeepSeek-V2-Lite-Chat", 15706484224),
    ("deepseek-coder-1.3b-base", 1346471936),
    ("TinyLlama-1.1B-Chat-v1.0", 1100048384),
    ("SmolLM2-135M-Instruct", 134515008),
    ("Hermes-3-Llama-3.1-8B-lorablated", 8030261312),
    ("Tiny-Llama-3.2-0.1M-Instruct-v0.2", 71872),
    ("bloom-7b1", 7069016064),
    ("Llama-3-8B-Instruct-Gradient-1048k", 8030261312),
    ("model-f16", 8030261312),
    ("my model", 1000),
    ("My_Model", 1000),
    ("checkpoint-1000", 8030261312),
    ("v2", 1000),
    ("a--b-", 1000),
    ("5f0b02c75b57c5855da9ae460ce51323ea669d8a", 8030261312),
]
# Numbers of parameters: total, shared, of one expert, and the number of experts.
PARAMETER_COUNTS = [
    (1, 1, 0, 0),
    (999, 999, 0, 0),
    (9949, 9949, 0, 0),
    (9951, 9951, 0, 0),
    (71872, 71872, 0, 0),
    (999499, 999499, 0, 0),
    (999999, 999999, 0, 0),
    (1000000, 1000000, 0, 0),
    (1000001, 1000001, 0, 0),
    (1235814400, 1235814400, 0, 0),
    (8030261312, 8030261312, 0, 0),
    (46702792704, 1605640192, 5637144576, 8),
    (30532122624, 1541093376, 226492416, 128),
    (1100000000000, 1100000000000, 0, 0),
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
    # `config` is config.json itself, not arguments of the config class.
    raw_config: bool = False
    # What published config.json files of this kind do not hold, name differently or hold in addition.
    drop_config: list = field(default_factory=list)
    rename_config: dict = field(default_factory=dict)
    extra_config: dict = field(default_factory=dict)
    # What config.json has in addition while the outputs are computed, as transformers 4 does not know what transformers 5 writes.
    output_config: dict = field(default_factory=dict)
    # From a tensor's name to the number of its file, where there is more than one.
    shard_of: Callable = lambda name: 1
    # The class of transformers that computes the outputs, if it is not `architecture`.
    model_class: str = ""
    model_arguments: dict = field(default_factory=dict)
    # From the name in transformers to the name in the checkpoint; an empty name leaves the tensor out.
    rename_tensor: Callable = lambda name: name
    extra_tensors: dict = field(default_factory=dict)
    # Corrects what transformers computes differently from the model's own code.
    prepare_model: Callable = lambda model: None
    missing_ok: list = field(default_factory=list)
    unexpected_ok: list = field(default_factory=list)
    # What config.json has in addition for the converter, where this version of llama.cpp fails at published ones.
    converter_config: dict = field(default_factory=dict)
    # Tensors of published checkpoints that the converter of this version of llama.cpp fails at, so it gets none of them.
    hidden_from_converter: list = field(default_factory=list)
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
        if dtype == "I64":
            rule = (0, 0, 0)
        if dtype == "U8":
            # Blocks of MXFP4 hold any byte; exponents of 121 to 124 make weights as large as those of other matrices.
            rule = (123, 6, 0) if name.endswith("_scales") else (0, 0, 0)
        offset, shift, exp = rule
        return {"name": name, "shape": shape, "dtype": dtype, "offset": offset, "shift": shift, "exp": exp}


def is_norm_weight(name, shape):
    return len(shape) == 1 and name.endswith((".weight", ".gamma"))


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
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0, 1.0, 1.05, 1.1, 1.25, 1.5, 1.75, 2.0],
    "long_factor": [1.0, 1.1, 1.5, 2.0, 3.5, 5.0, 8.25, 11.5],
}
GPT2 = {"vocab_size": N_VOCAB, "n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 256, "bos_token_id": 0, "eos_token_id": 0}
FALCON = {
    "vocab_size": N_VOCAB,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "alibi": False,
    "bias": False,
    "parallel_attn": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
BERT = {
    "vocab_size": N_VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "type_vocab_size": 2,
}
BERT_HEADS = {
    "cls.predictions.bias": [N_VOCAB],
    "cls.predictions.transform.dense.weight": [64, 64],
    "cls.predictions.transform.dense.bias": [64],
    "cls.predictions.transform.LayerNorm.gamma": [64],
    "cls.predictions.transform.LayerNorm.beta": [64],
    "cls.seq_relationship.weight": [2, 64],
    "cls.seq_relationship.bias": [2],
}
DEEPSEEK = sizes(
    num_key_value_heads=4,
    kv_lora_rank=32,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=16,
    moe_intermediate_size=32,
    n_routed_experts=4,
    n_shared_experts=2,
    num_experts_per_tok=2,
    first_k_dense_replace=1,
    norm_topk_prob=False,
    routed_scaling_factor=1.0,
    topk_method="greedy",
    n_group=1,
    topk_group=1,
    aux_loss_alpha=0.001,
)


# llama.cpp rounds the range of yarn's ramp to whole dimensions, which `truncate` forbids: this theta puts its end just below 2.
GPT_OSS = sizes(
    head_dim=16,
    num_local_experts=4,
    num_experts_per_tok=2,
    sliding_window=8,
    rope_theta=10766.0,
    rope_scaling={**YARN, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False},
)
# Beside what the class has, published files say this.
GPT_OSS_EXTRA = {"attention_bias": True, "experts_per_token": 2, "initial_context_length": 64, "swiglu_limit": 7.0}
MXFP4 = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}


def mxfp4_tensors(n_layers, n_experts, n_embd, n_ff):
    """Blocks and scales of the experts' projections, instead of the projections."""
    tensors = {}
    for layer in range(n_layers):
        for part, n_rows, row_len in [("gate_up_proj", 2 * n_ff, n_embd), ("down_proj", n_embd, n_ff)]:
            name = f"model.layers.{layer}.mlp.experts.{part}"
            tensors[f"{name}_blocks"] = [n_experts, n_rows, row_len // 32, 16]
            tensors[f"{name}_scales"] = [n_experts, n_rows, row_len // 32]
    return tensors


def scale_attention_as_deepseek_does(model):
    """The factor mscale squared on the attention scores: in DeepSeek's own code and in DeepseekV3, lacking in DeepseekV2."""
    scaling = model.config.rope_scaling
    mscale = 0.1 * scaling["mscale_all_dim"] * math.log(scaling["factor"]) + 1.0
    for layer in model.model.layers:
        layer.self_attn.scaling *= mscale * mscale


def old_bert_name(name):
    """The name that bert-base-uncased has for a tensor of BertModel."""
    name = "bert." + name
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


CASES = [
    Case(
        "llama",
        "Q and K are permuted.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(rms_norm_eps=1e-5),
        outtypes=["f32", "bf16", "f16", "q8_0", "auto"],
    ),
    Case(
        "llama-eleven-layers",
        "Tensors come in the order of their names: layer 10 before layer 2.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(hidden_size=32, intermediate_size=32, num_hidden_layers=11, num_attention_heads=2, num_key_value_heads=1),
    ),
    Case(
        "llama-sharded",
        "Two files and an index: the tensors of the first file come first.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(num_hidden_layers=1),
        shard_of=lambda name: 2 if name.startswith(("lm_head", "model.layers.0.mlp", "model.norm")) else 1,
    ),
    Case(
        "llama-v5-config",
        "config.json as transformers 5 writes it: rope_parameters holds rope_theta and the scaling.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(num_hidden_layers=1),
        drop_config=["rope_theta", "rope_scaling"],
        extra_config={"rope_parameters": LLAMA3 | {"rope_theta": 500000.0}, "transformers_version": "5.24.0"},
        output_config={"rope_scaling": LLAMA3, "rope_theta": 500000.0},
    ),
    Case(
        "llama-rope-llama3",
        "rope_scaling llama3 becomes the tensor rope_freqs; stored in F16.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(num_hidden_layers=1, num_key_value_heads=1, rope_theta=500000.0, rope_scaling=LLAMA3),
        dtype="F16",
        outtypes=["f32", "auto"],
    ),
    Case(
        "llama-tied-bias",
        "Biases of attention (permuted too) and MLP, tied embeddings, F32.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
        dtype="F32",
        outtypes=["f32", "auto"],
    ),
    Case(
        "llama-head-dim",
        "head_dim is not hidden_size / heads.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(head_dim=24, num_hidden_layers=1),
    ),
    Case(
        "llama-linear",
        "rope_scaling linear, under the old key `type`.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(num_hidden_layers=1, rope_scaling={"type": "linear", "factor": 2.0}),
    ),
    Case(
        "llama-yarn",
        "rope_scaling yarn.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(num_hidden_layers=1, rope_scaling={**YARN, "beta_fast": 32.0, "beta_slow": 1.0}),
    ),
    Case(
        "llama-old-config",
        "config.json as the first Llama had it: no KV heads, no head_dim, no rope_theta.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(num_hidden_layers=1, num_key_value_heads=4),
        drop_config=["num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "attention_bias", "mlp_bias"],
    ),
    Case(
        "llama-mixed-card",
        "Types differ between tensors; model card, generation_config.json and a telling folder name.",
        "LlamaConfig",
        "LlamaForCausalLM",
        sizes(num_hidden_layers=1),
        dtypes={"norm": "F32", "lm_head": "F16"},
        outtypes=["f32", "bf16", "f16", "auto"],
        folder="Tiny-Llama-3.2-0.1M-Instruct-v0.2",
        files={
            "generation_config.json": {"bos_token_id": 0, "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9},
            "README.md": (
                "---\nlicense: llama3.2\nlanguage:\n- en\n- de\nbase_model: meta-llama/Llama-3.2-1B\n"
                "pipeline_tag: text-generation\ntags:\n- facebook\n- llama-3\ndatasets:\n- HuggingFaceH4/ultrachat_200k\n---\n\n# Tiny\n"
            ),
        },
    ),
    Case(
        "mistral",
        "Sliding window off; converted as a Llama.",
        "MistralConfig",
        "MistralForCausalLM",
        sizes(sliding_window=None, rope_theta=1000000.0),
    ),
    Case(
        "mistral-head-dim",
        "The kind of Nemo: head_dim is not hidden_size / heads.",
        "MistralConfig",
        "MistralForCausalLM",
        sizes(sliding_window=None, num_hidden_layers=1, rope_theta=1000000.0, head_dim=24),
    ),
    Case(
        "qwen2",
        "Biases of Q, K and V.",
        "Qwen2Config",
        "Qwen2ForCausalLM",
        sizes(rope_theta=1000000.0, use_sliding_window=False, tie_word_embeddings=True),
        outtypes=["f32", "auto"],
    ),
    Case(
        "qwen2-yarn",
        "rope_scaling yarn, untied.",
        "Qwen2Config",
        "Qwen2ForCausalLM",
        sizes(num_hidden_layers=1, rope_scaling=YARN),
    ),
    Case(
        "qwen3",
        "Norms of Q and K, head_dim is not hidden_size / heads.",
        "Qwen3Config",
        "Qwen3ForCausalLM",
        sizes(head_dim=24, rope_theta=1000000.0, tie_word_embeddings=True),
    ),
    Case(
        "qwen3-v5-config",
        "config.json as transformers 5 writes it: rope_parameters of type default.",
        "Qwen3Config",
        "Qwen3ForCausalLM",
        sizes(head_dim=16, num_hidden_layers=1),
        drop_config=["rope_theta", "rope_scaling"],
        extra_config={"rope_parameters": {"rope_theta": 5000000.0, "rope_type": "default"}, "transformers_version": "5.24.0"},
        output_config={"rope_theta": 5000000.0},
    ),
    Case(
        "gemma3",
        "Norms get the 1 added; window of 8 in five of six layers; local and global rope base.",
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        sizes(
            num_hidden_layers=6,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=8,
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
        ),
        norm_plus_one=True,
        outtypes=["f32", "auto"],
    ),
    Case(
        "gemma3-linear",
        "rope_scaling linear for the global layers, one KV head, head_dim is not hidden_size / heads.",
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        sizes(
            num_hidden_layers=6,
            head_dim=24,
            num_key_value_heads=1,
            query_pre_attn_scalar=24,
            sliding_window=8,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
        ),
        norm_plus_one=True,
    ),
    Case(
        "gemma3-v5-config",
        "config.json as transformers 5 writes it: rope_parameters for each type of layer.",
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        sizes(num_hidden_layers=2, head_dim=16, query_pre_attn_scalar=16, sliding_window=8),
        drop_config=["rope_theta", "rope_scaling", "rope_local_base_freq"],
        extra_config={
            "rope_parameters": {
                "full_attention": {"factor": 8.0, "rope_theta": 500000.0, "rope_type": "linear"},
                "sliding_attention": {"rope_theta": 20000.0, "rope_type": "default"},
            },
            "transformers_version": "5.24.0",
        },
        output_config={
            "rope_theta": 500000.0,
            "rope_local_base_freq": 20000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
        norm_plus_one=True,
    ),
    Case(
        "gemma3-vision",
        "Language model inside a vision model: names have a prefix, text_config lacks what is default.",
        "Gemma3Config",
        "Gemma3ForConditionalGeneration",
        {
            "text_config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "model_type": "gemma3_text",
                "num_hidden_layers": 2,
                "sliding_window": 8,
                "vocab_size": N_VOCAB,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            },
            "vision_config": {
                "hidden_size": 32,
                "image_size": 28,
                "intermediate_size": 64,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 2,
                "num_hidden_layers": 1,
                "patch_size": 14,
                "vision_use_head": False,
            },
            "mm_tokens_per_image": 4,
            "image_token_index": 319,
            "boi_token_index": 317,
            "eoi_token_index": 318,
            "tie_word_embeddings": True,
        },
        raw_config=True,
        norm_plus_one=True,
        rename_tensor=lambda name: (
            name.replace("model.language_model.", "language_model.model.")
            .replace("model.vision_tower", "vision_tower")
            .replace("model.multi_modal_projector", "multi_modal_projector")
        ),
    ),
    Case(
        "gemma2",
        "Norms get the 1 added, soft caps that bite, window of 8 in every other layer.",
        "Gemma2Config",
        "Gemma2ForCausalLM",
        sizes(head_dim=16, query_pre_attn_scalar=16, sliding_window=8, attn_logit_softcapping=2.0, final_logit_softcapping=4.0),
        norm_plus_one=True,
        outtypes=["f32", "bf16"],
    ),
    # The folders of Phi-3 have other names, as llama.cpp expects certain tokens in a model that calls itself so.
    Case(
        "phi3",
        "Q, K and V in one tensor, gate and up in one tensor.",
        "Phi3Config",
        "Phi3ForCausalLM",
        sizes(pad_token_id=0, sliding_window=128, original_max_position_embeddings=256),
        outtypes=["f32", "auto"],
        folder="golden-fused",
    ),
    Case(
        "phi3-longrope",
        "rope_scaling longrope: two tensors of factors. The prompts are short enough for the short factors.",
        "Phi3Config",
        "Phi3ForCausalLM",
        sizes(
            pad_token_id=0,
            num_hidden_layers=1,
            max_position_embeddings=1024,
            original_max_position_embeddings=256,
            rope_scaling=LONGROPE,
        ),
        folder="golden-longrope",
    ),
    Case(
        "phi3-longrope-long",
        "The prompts are long enough for the long factors; longrope under its old name su.",
        "Phi3Config",
        "Phi3ForCausalLM",
        sizes(pad_token_id=0, num_hidden_layers=1, original_max_position_embeddings=4, rope_scaling=LONGROPE),
        extra_config={"rope_scaling": LONGROPE | {"type": "su"}},
        folder="golden-longrope",
    ),
    Case(
        "phi4-mini",
        "A part of each head is rotated, longrope, tied embeddings, no sliding window.",
        "Phi3Config",
        "Phi3ForCausalLM",
        sizes(
            pad_token_id=0,
            max_position_embeddings=1024,
            original_max_position_embeddings=256,
            partial_rotary_factor=0.75,
            tie_word_embeddings=True,
            sliding_window=None,
            rope_scaling={
                "type": "longrope",
                "short_factor": [1.0, 1.0, 1.1, 1.25, 1.5, 2.0],
                "long_factor": [1.0, 1.5, 2.0, 3.5, 5.0, 8.25],
            },
        ),
    ),
    Case(
        "gpt2",
        "As published: no prefix, attention masks among the tensors, transposed matrices, F32.",
        "GPT2Config",
        "GPT2LMHeadModel",
        GPT2,
        dtype="F32",
        outtypes=["f32", "auto"],
        extra_config={"n_ctx": 256},
        rename_tensor=lambda name: name.removeprefix("transformer."),
        extra_tensors={f"h.{layer_idx}.attn.bias": [1, 1, 256, 256] for layer_idx in range(2)},
        unexpected_ok=[f"h.{layer_idx}.attn.bias" for layer_idx in range(2)],
        hidden_from_converter=[f"h.{layer_idx}.attn.bias" for layer_idx in range(2)],
    ),
    Case(
        "gpt2-prefixed",
        "As transformers saves it: names with a prefix, BF16.",
        "GPT2Config",
        "GPT2LMHeadModel",
        GPT2,
        outtypes=["f32", "bf16"],
        extra_config={"n_ctx": 256},
    ),
    Case(
        "starcoder2",
        "Biases everywhere, LayerNorm, tied embeddings.",
        "Starcoder2Config",
        "Starcoder2ForCausalLM",
        sizes(sliding_window=128, use_bias=True, rope_theta=100000.0, norm_epsilon=1e-5),
        outtypes=["f32", "auto"],
    ),
    Case(
        "falcon",
        "The 40b kind: groups of Q, K and V are sorted, two norms per layer.",
        "FalconConfig",
        "FalconForCausalLM",
        FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
        outtypes=["f32", "auto"],
    ),
    Case(
        "falcon-multi-query",
        "The 7b kind: one KV head, one norm per layer.",
        "FalconConfig",
        "FalconForCausalLM",
        FALCON | {"new_decoder_architecture": False, "multi_query": True, "num_kv_heads": 1, "tie_word_embeddings": False},
    ),
    Case(
        "falcon-7b-config",
        "config.json without num_kv_heads, as published for Falcon 7b: multi_query means one KV head.",
        "FalconConfig",
        "FalconForCausalLM",
        FALCON | {"new_decoder_architecture": False, "multi_query": True, "num_hidden_layers": 1},
        drop_config=["num_kv_heads"],
        converter_config={"num_kv_heads": 1},
    ),
    Case(
        "olmo2",
        "Norms of Q and K over all heads, norms after attention and MLP only.",
        "Olmo2Config",
        "Olmo2ForCausalLM",
        sizes(rms_norm_eps=1e-6, rope_theta=500000.0, pad_token_id=0),
        outtypes=["f32", "auto"],
    ),
    Case(
        "granite",
        "Q and K are permuted; four multipliers.",
        "GraniteConfig",
        "GraniteForCausalLM",
        sizes(
            attention_multiplier=0.125,
            embedding_multiplier=3.0,
            residual_multiplier=0.5,
            logits_scaling=2.0,
            tie_word_embeddings=True,
            rope_theta=5000000.0,
        ),
        outtypes=["f32", "auto"],
    ),
    Case(
        "smollm3",
        "Q and K are permuted; every fourth layer does not rotate them, and config.json does not say that the head is tied.",
        "SmolLM3Config",
        "SmolLM3ForCausalLM",
        sizes(num_hidden_layers=5, pad_token_id=0, rope_theta=5000000.0),
        outtypes=["f32", "auto"],
    ),
    Case(
        "mixtral",
        "The experts of a layer become one tensor; Q and K are permuted.",
        "MixtralConfig",
        "MixtralForCausalLM",
        sizes(num_local_experts=4, num_experts_per_tok=2, sliding_window=None, rope_theta=1000000.0),
        outtypes=["f32", "auto"],
    ),
    Case(
        "qwen2-moe",
        "Experts and a shared expert with its gate.",
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        sizes(
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            shared_expert_intermediate_size=64,
            decoder_sparse_step=1,
        ),
        outtypes=["f32", "auto"],
    ),
    Case(
        "qwen3-moe",
        "Experts, norms of Q and K; the weights of the experts are normalized.",
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        sizes(
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            head_dim=24,
            norm_topk_prob=True,
            decoder_sparse_step=1,
        ),
        outtypes=["f32", "auto"],
    ),
    Case(
        "bert",
        "As sentence-transformers publishes it: pooler and position_ids are left out, the kind of pooling is written, F32.",
        "BertConfig",
        "BertModel",
        BERT,
        dtype="F32",
        dtypes={"position_ids": "I64"},
        outtypes=["f32", "f16"],
        extra_tensors={"embeddings.position_ids": [1, 256]},
        unexpected_ok=["embeddings.position_ids"],
        output="mean_hidden_state",
        files={
            "modules.json": [
                {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            ],
            "1_Pooling/config.json": {
                "word_embedding_dimension": 64,
                "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False,
            },
        },
    ),
    Case(
        "bert-masked-lm",
        "As BERT was first published: prefix, gamma and beta, the heads of the pre-training.",
        "BertConfig",
        "BertForMaskedLM",
        BERT,
        model_class="BertModel",
        output="mean_hidden_state",
        rename_tensor=old_bert_name,
        model_arguments={"add_pooling_layer": False},
        extra_tensors=BERT_HEADS,
        unexpected_ok=[*BERT_HEADS, "pooler.dense.weight", "pooler.dense.bias"],
    ),
    Case(
        "deepseek-v2-lite",
        "MLA without a low rank for Q: kv_b is split, its K part transposed; a dense layer, experts, shared experts.",
        "DeepseekV2Config",
        "DeepseekV2ForCausalLM",
        DEEPSEEK | {"q_lora_rank": None},
        outtypes=["f32", "auto"],
    ),
    Case(
        "deepseek-v2",
        "MLA with a low rank for Q, rope_scaling yarn with mscale.",
        "DeepseekV2Config",
        "DeepseekV2ForCausalLM",
        DEEPSEEK
        | {
            "q_lora_rank": 24,
            "n_group": 2,
            "topk_group": 1,
            "topk_method": "group_limited_greedy",
            "routed_scaling_factor": 2.0,
            "rope_scaling": {
                "type": "yarn",
                "factor": 4,
                "original_max_position_embeddings": 64,
                "beta_fast": 32,
                "beta_slow": 1,
                "mscale": 0.707,
                "mscale_all_dim": 0.707,
            },
        },
        prepare_model=scale_attention_as_deepseek_does,
    ),
    Case(
        "gpt-oss",
        "Experts of all layers in one tensor each, rows of gate and up taking turns, transposed; sinks; windows of 8 in every other layer.",
        "GptOssConfig",
        "GptOssForCausalLM",
        GPT_OSS,
        extra_config=GPT_OSS_EXTRA,
        outtypes=["f32", "bf16"],
    ),
    Case(
        "gpt-oss-mxfp4",
        "As published: the experts in MXFP4, blocks and scales apart.",
        "GptOssConfig",
        "GptOssForCausalLM",
        GPT_OSS,
        dtypes={"_blocks": "U8", "_scales": "U8"},
        extra_config=GPT_OSS_EXTRA | {"quantization_config": MXFP4},
        rename_tensor=lambda name: "" if name.endswith(("gate_up_proj", "down_proj")) else name,
        extra_tensors=mxfp4_tensors(2, 4, 64, 96),
        outtypes=["f32", "bf16"],
    ),
]
