#!/usr/bin/env python3
"""Trains the tokenizer that all golden checkpoints share: byte-level BPE with 320 tokens, from a text of a few lines.

python make_tokenizer.py
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

N_VOCAB = 320
TEXT = [
    "A file is inspected, the machine is measured, a decision tree chooses a plan, the plan is carried out in the background,",
    "the result is measured and drawn. The weights of the tensors are computed from their names, and nobody has to store them.",
    "There the other tokens of this tiny vocabulary are learned: the, and, that, with, in, on, at, is, are, was, were.",
]


def main():
    folder = Path(__file__).parent / "tokenizer"
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    assert tokenizer.get_vocab_size() == N_VOCAB
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, indent=1) + "\n")
    config = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": 256,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
