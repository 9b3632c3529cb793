#!/usr/bin/env python3
"""Writes the golden data of the tokenizer converter: small tokenizers of every kind, and the key-values that llama.cpp's
convert_hf_to_gguf.py makes of them.

    python make_tokenizer_golden.py LLAMA_CPP_SOURCE [OUTPUT_FOLDER]

One folder for each case: the checkpoint's files without weights, and `expected.json`: the class, the pre-tokenizer that the
converter was told (our vocabularies are in no list), and `[key, type, value]` of all `tokenizer.*` in file order.

LLAMA_CPP_SOURCE is vendor/llama.cpp of the sdist of llama-cpp-python 0.3.36; nothing of it is copied. Made with
transformers 4.57.6, tokenizers 0.22.2 and sentencepiece 0.2.1 or later. The result is the same each time.
"""

import io
import json
import logging
import shutil
import sys
from importlib import import_module
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

# Ours: sentences that repeat their words, some numbers, accents and other scripts.
TEXT = [
    "The small model runs on the old laptop, and the old laptop runs the small model.",
    "A weight becomes four bits; four bits become a weight again, not quite the same.",
    "She said: \"I'll measure it twice, you'll see it once.\" They're done by 12:45.",
    "In 2023 there were 3 models, in 2024 there were 33, in 2025 there were 333.",
    "for i in range(10):\n    total += i\n    print(total)\n",
    "Größe, Öl und Übung: schöne Wörter. Élève, garçon, déjà vu. Большая модель. 小さな模型。",
    "the model, the tokens, the vocabulary, the merges, the bytes; the model reads the tokens",
]

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")


def byte_level(n_tokens, pre_tokenizer, **model):
    """A byte-level BPE trained on the text."""
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=n_tokens, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def split_bytes(regex):
    split = pre_tokenizers.Split(Regex(regex), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def piece_model(**options):
    """A SentencePiece model trained on the text."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=out, num_threads=1, minloglevel=2, hard_vocab_limit=False,
        normalization_rule_name="identity", **options
    )  # fmt: skip
    return out.getvalue()


def write(folder: Path, files):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def compact(tokenizer):
    return json.loads(tokenizer.to_str())


def config(architecture, model_type, vocab_size, **more):
    return {"architectures": [architecture], "model_type": model_type, "vocab_size": vocab_size, **more}


# --- Cases ------------------------------------------------------------------------------------------------------------


def llama3():
    """Merges as pairs, a token before each text, several tokens that end it, a vocabulary that is filled up."""
    tokenizer = byte_level(320, split_bytes(LLAMA3), ignore_merges=True)
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
            special_tokens=[("<|begin_of_text|>", 320)],
        ),
    ])  # fmt: skip
    settings = {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "clean_up_tokenization_spaces": True,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": "{{ bos_token }}{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}",
    }
    return "llama-bpe", {
        "config.json": config("LlamaForCausalLM", "llama", 330, bos_token_id=320, eos_token_id=[321, 324]),
        "tokenizer.json": compact(tokenizer),
        "tokenizer_config.json": settings,
    }


def qwen2():
    """Merges as text, added tokens that are no special ones, templates in files of their own, descriptions that differ."""
    tokenizer = byte_level(310, split_bytes(QWEN2))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    for token, special in [("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", False), ("<tool_call>", False)]:
        tokenizer.add_tokens([AddedToken(token, special=special, normalized=False)])
    tokenizer.add_tokens([AddedToken("▁▁", normalized=True), AddedToken("Ġ odd", normalized=False)])
    data = compact(tokenizer)
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    decoder = {
        str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in data["added_tokens"]
    }
    decoder["313"]["special"] = True
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "tokenizer_class": "Qwen2Tokenizer",
    }
    return "qwen2", {
        "config.json": config("Qwen2ForCausalLM", "qwen2", 320, bos_token_id=310, eos_token_id=312),
        "tokenizer.json": data,
        "tokenizer_config.json": settings,
        "chat_template.jinja": "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}",
        "additional_chat_templates/tool-use.jinja": "{{ tools }}",
    }


def gpt2_parts():
    """vocab.json and merges.txt alone."""
    tokenizer = byte_level(300, pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    data = compact(tokenizer)
    vocab = data["model"]["vocab"] | {"<|endoftext|>": 300}
    merges = "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in data["model"]["merges"])
    return "gpt-2", {
        "config.json": config("GPT2LMHeadModel", "gpt2", 301, bos_token_id=300, eos_token_id=300),
        "vocab.json": vocab,
        "merges.txt": merges,
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024},
    }


def named_templates():
    """Several templates under names, special tokens that stand at both ends, numbers only in config.json."""
    tokenizer = byte_level(280, pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.add_special_tokens(["<s>", "</s>", "<end>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <end>", pair="<s> $A <end> </s> $B:1 <end>",
        special_tokens=[("<s>", 280), ("</s>", 281), ("<end>", 282)],
    )  # fmt: skip
    settings = {
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": [
            {"name": "default", "template": "{{ messages }}"},
            {"name": "tool use", "template": "{{ tools }}"},
        ],
    }
    return "gpt-2", {
        "config.json": config("Olmo2ForCausalLM", "olmo2", 283, pad_token_id=281),
        "tokenizer.json": compact(tokenizer),
        "tokenizer_config.json": settings,
    }


def piece_bpe(n_pieces=400):
    return piece_model(
        model_type="bpe", vocab_size=n_pieces, byte_fallback=True, split_digits=True, unk_id=0, bos_id=1, eos_id=2,
        user_defined_symbols=["<mine>"],
    )  # fmt: skip


def llama2():
    """SentencePiece BPE with added tokens in two files, beyond the vocabulary too."""
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": True,
        "added_tokens_decoder": {
            "0": {"content": "<unk>", "special": True},
            "1": {"content": "<s>", "special": True},
            "2": {"content": "</s>", "special": True},
            "401": {"content": "▁▁▁", "special": False},
            "402": {"content": "<|turn|>", "special": False},
            "999": {"content": "<far>", "special": True},
        },
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "tokenizer_class": "LlamaTokenizer",
    }
    return "default", {
        "config.json": config("LlamaForCausalLM", "llama", 405, bos_token_id=1, eos_token_id=2, pad_token_id=0),
        "tokenizer.model": piece_bpe(),
        "tokenizer_config.json": settings,
        "added_tokens.json": {"<pad>": 400, "<gone>": 777},
    }


def gemma():
    """SentencePiece Unigram under a class that wants no space before a text."""
    model = piece_model(
        model_type="unigram", vocab_size=170, add_dummy_prefix=False, remove_extra_whitespaces=False, pad_id=0, eos_id=1,
        bos_id=2, unk_id=3,
    )  # fmt: skip
    return "default", {
        "config.json": config("Gemma2ForCausalLM", "gemma2", 180, bos_token_id=2, eos_token_id=1, pad_token_id=0),
        "tokenizer.model": model,
        "tokenizer_config.json": {
            "add_bos_token": True,
            "added_tokens_decoder": {"170": {"content": "<unused0>"}, "171": {"content": "<start_of_turn>", "special": False}},
        },
    }


def llama_fast(tokenizer_model: bytes, work: Path):
    """tokenizer.json as transformers makes it of a SentencePiece model."""
    from transformers import LlamaTokenizerFast

    work.mkdir(parents=True, exist_ok=True)
    (work / "tokenizer.model").write_bytes(tokenizer_model)
    tokenizer = LlamaTokenizerFast.from_pretrained(work, from_slow=True, legacy=True)
    tokenizer.add_tokens(["<turn>"])
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(work / "fast")
    read = lambda name: json.loads((work / "fast" / name).read_text(encoding="utf-8"))
    return read("tokenizer.json"), read("tokenizer_config.json")


def llama_hf(work):
    """The same vocabulary without tokenizer.model."""
    data, settings = llama_fast(piece_bpe(), work)
    return "default", {
        "config.json": config("MistralForCausalLM", "mistral", 402, bos_token_id=1, eos_token_id=2),
        "tokenizer.json": data,
        "tokenizer_config.json": settings,
    }


def phi3(work):
    """SentencePiece BPE, with tokenizer.json over it."""
    data, settings = llama_fast(piece_bpe(), work)
    return "default", {
        "config.json": config("Phi3ForCausalLM", "phi3", 410, bos_token_id=1, eos_token_id=401, pad_token_id=401),
        "tokenizer.model": piece_bpe(),
        "tokenizer.json": data,
        "tokenizer_config.json": settings,
        "added_tokens.json": {"<more>": 405},
    }


def bert():
    """WordPiece: the trainer of the library numbers its pieces differently each time, so these are the words themselves."""
    normalizer, pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [word for line in TEXT for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(line))]
    letters = sorted(set("".join(words)))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ends = sorted({"##" + word[-3:] for word in words if len(word) > 5})
    pieces = special + letters + ["##" + letter for letter in letters] + ends
    pieces += sorted({word for word in words if 1 < len(word) < 6})
    tokenizer = Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    settings = {
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
        "do_lower_case": True,
        "tokenizer_class": "BertTokenizer",
    }
    n_tokens = tokenizer.get_vocab_size()
    return "bert-bge", {
        "config.json": config("BertModel", "bert", n_tokens, type_vocab_size=2, pad_token_id=0),
        "tokenizer.json": compact(tokenizer),
        "tokenizer_config.json": settings,
    }


# --- The reference ----------------------------------------------------------------------------------------------------


class Reference:
    """The vocabulary code of llama.cpp's converter, without any tensor."""

    def __init__(self, source: Path):
        sys.path.insert(0, str(source / "gguf-py"))
        sys.path.insert(0, str(source))
        self.gguf = import_module("gguf")
        self.base = import_module("conversion.base")
        self.conversion = import_module("conversion")

    def key_values(self, folder: Path, pre):
        hparams = self.base.ModelBase.load_hparams(folder, False)
        architecture = hparams["architectures"][0]
        self.base.TextModel.get_vocab_base_pre = lambda _self, _tokenizer: pre
        model_class = self.conversion.get_model_class(architecture)
        model = object.__new__(model_class)
        model.dir_model = folder
        model.hparams = hparams
        model.is_mistral_format = False
        model.hf_arch = model.origin_hf_arch = architecture
        model.gguf_writer = self.gguf.GGUFWriter(folder / "never-written.gguf", "llama")
        model.set_vocab()
        entries = []
        for key, value in model.gguf_writer.kv_data[0].items():
            if key.startswith("tokenizer."):
                entries.append([key, *self.of(value)])
        return architecture, entries

    def of(self, value):
        kind = value.type.name
        plain = lambda item: item.decode("utf-8") if isinstance(item, (bytes, bytearray)) else item
        if kind != "ARRAY":
            return kind, plain(value.value)
        items = [int(item) if type(item).__name__.endswith("Types") or "TokenType" in type(item).__name__ else plain(item)
                 for item in value.value]  # fmt: skip
        first = self.gguf.GGUFValueType.get_type(value.value[0]).name
        return f"ARRAY[{first}]", items


def main():
    source = Path(sys.argv[1])
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "tokenizers"
    logging.disable(logging.ERROR)
    reference = Reference(source)
    work = output / ".work"
    cases = {
        "llama3": llama3(),
        "qwen2": qwen2(),
        "gpt2-parts": gpt2_parts(),
        "named-templates": named_templates(),
        "llama2": llama2(),
        "gemma2": gemma(),
        "llama-hf": llama_hf(work / "llama-hf"),
        "phi3": phi3(work / "phi3"),
        "bert": bert(),
    }
    for name, (pre, files) in cases.items():
        folder = output / name
        write(folder, files)
        architecture, entries = reference.key_values(folder, pre)
        lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in entries)
        head = f'"architecture": {json.dumps(architecture)},\n "pre": {json.dumps(pre)}'
        (folder / "expected.json").write_text(f'{{\n {head},\n "entries": [\n{lines}\n ]\n}}\n', encoding="utf-8")
        print(name, [entry[0].removeprefix("tokenizer.ggml.") for entry in entries])
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
