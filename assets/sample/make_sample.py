#!/usr/bin/env python3
"""Trains Planish's sample model: a tiny Llama in Hugging Face layout, from public-domain novels, on one CPU thread.

    python make_sample.py train    --text war-and-peace.txt emma.txt ... --work WORK --minutes 75
    python make_sample.py export   --work WORK --out assets/sample
    python make_sample.py evaluate --text war-and-peace.txt emma.txt ... --model assets/sample [--write-validation FILE]

`train` unwraps the books' paragraphs, splits the books into chapters, holds every 20th chapter out for validation, trains a byte-level
BPE on the rest and then the model, for --minutes or for --steps. WORK then holds the tokenizer, the log and two checkpoints: the last
one and the one with the lowest validation loss. `train --resume` goes on from the last one. `export` writes the mean of the
two as BF16: late in the run the model begins to learn the training text by heart, and the mean predicts unseen text better than either.
`evaluate` loads the exported folder with transformers, measures its perplexity on the held-out chapters and lets it write a few lines.

Each book is a plain text file with lines that read "CHAPTER <number>"; what stands before the first of them is dropped. README.md says
which files were used and how to get them.

Run with Python 3.11, torch 2.15.0, transformers 5.24.0, tokenizers 0.23.3, safetensors 0.8.0, numpy 2.4.6. Seeds are fixed and there is
one thread, but with --minutes the learning rate follows the clock: only a run with --steps can repeat. bfloat16 matrix products need a
processor with AVX512-BF16 or AMX to be fast; --f32 does without.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import re
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

VOCAB = 2048
HIDDEN = 256  # every row length is a multiple of 256: the k-quants' super-block
FEED_FORWARD = 512
LAYERS = 4
HEADS = 4
KV_HEADS = 2
HEAD_DIM = 64
CONTEXT = 512
ROPE_THETA = 10000.0
NORM_EPS = 1e-5
END = "<|endoftext|>"
HOLD_OUT = 20  # one chapter in so many is for validation
SEED = 20
LOG_FIELDS = ["step", "tokens", "train_loss", "validation_loss", "learning_rate", "seconds"]


# ---------------------------------------------------------------------------------------------------------------------------- text


def chapters(path):
    """The chapters of a book, each as paragraphs on one line with an empty line between two of them."""
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n").replace("_", "")
    parts = re.split(r"^ *chapter +(?:[ivxlc]+|\d+)\.? *$", text, flags=re.MULTILINE | re.IGNORECASE)[1:]
    if not parts:
        raise SystemExit(f"{path}: no chapter headings found")
    result = []
    for part in parts:
        paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", part)]
        # "VOLUME II", "BOOK TWO: 1805", "THE END": headings of what follows, or nothing at all
        result.append("\n\n".join(p for p in paragraphs if p and not (p.isupper() and len(p) < 40)))
    return result


def split(paths):
    """(training chapters, validation chapters); the validation set takes the middle one of every 20 chapters of each book."""
    train, validation = [], []
    for path in paths:
        for index, chapter in enumerate(chapters(path)):
            (validation if index % HOLD_OUT == HOLD_OUT // 2 else train).append(chapter)
    return train, validation


def train_tokenizer(texts):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


def encode(tokenizer, texts):
    """All chapters as one sequence, each with the end token before it."""
    end = tokenizer.token_to_id(END)
    ids = []
    for encoding in tokenizer.encode_batch(texts):
        ids.append(end)
        ids.extend(encoding.ids)
    return np.array(ids, dtype=np.int64)


# --------------------------------------------------------------------------------------------------------------------------- model


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, (HEADS + 2 * KV_HEADS) * HEAD_DIM, bias=False)
        self.out = nn.Linear(HEADS * HEAD_DIM, HIDDEN, bias=False)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, HEADS + 2 * KV_HEADS, HEAD_DIM).transpose(1, 2)
        qk, v = qkv[:, : HEADS + KV_HEADS], qkv[:, HEADS + KV_HEADS :]
        first, second = qk.chunk(2, dim=-1)  # rotates halves, as transformers' Llama does
        qk = qk * cos + torch.cat((-second, first), dim=-1) * sin
        q, k = qk[:, :HEADS], qk[:, HEADS:]
        group = HEADS // KV_HEADS
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        # written out and in blocks of queries: compiled, it is twice as fast on a CPU as scaled_dot_product_attention
        blocks = []
        for start in range(0, length, 128):
            stop = min(start + 128, length)
            scores = q[:, :, start:stop] @ k[:, :, :stop].transpose(-1, -2) * HEAD_DIM**-0.5 + mask[start:stop, :stop]
            blocks.append(torch.softmax(scores, dim=-1).to(v.dtype) @ v[:, :, :stop])
        y = torch.cat(blocks, dim=2).transpose(1, 2)
        return self.out(y.reshape(batch, length, HEADS * HEAD_DIM))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up = nn.Linear(HIDDEN, 2 * FEED_FORWARD, bias=False)
        self.down = nn.Linear(FEED_FORWARD, HIDDEN, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):
        return F.rms_norm(x, (HIDDEN,), self.weight, NORM_EPS)


class Block(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.attention_norm, self.attention = Norm(), Attention()
        self.feed_forward_norm, self.feed_forward = Norm(), FeedForward()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, cos, sin, mask):
        x = x + self.dropout(self.attention(self.attention_norm(x), cos, sin, mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Llama(nn.Module):
    """The same function as transformers' LlamaForCausalLM with tied embeddings, with fewer and larger matrix products."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, HIDDEN)
        self.blocks = nn.ModuleList(Block(dropout) for _ in range(LAYERS))
        self.norm = Norm()
        self.dropout = nn.Dropout(dropout)
        angles = torch.outer(torch.arange(CONTEXT), ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -math.inf).triu(1), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.04 / math.sqrt(2 * LAYERS) if last else 0.04)

    def forward(self, ids):
        length = ids.shape[1]
        cos, sin, mask = self.cos[:length], self.sin[:length], self.mask[:length, :length]
        if torch.is_autocast_enabled("cpu"):
            cos, sin, mask = cos.bfloat16(), sin.bfloat16(), mask.bfloat16()
        x = self.dropout(self.embedding(ids))
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return F.linear(self.norm(x), self.embedding.weight)

    def loss(self, ids, reduction="mean"):
        logits = self(ids[:, :-1])
        return F.cross_entropy(logits.float().reshape(-1, VOCAB), ids[:, 1:].reshape(-1), reduction=reduction)


# ------------------------------------------------------------------------------------------------------------------------ training


def batches(ids, batch, seed):
    """Endless batches of CONTEXT + 1 tokens: each epoch cuts the text at another offset and shuffles the pieces."""
    generator = np.random.default_rng(seed)
    while True:
        offset = int(generator.integers(CONTEXT))
        starts = np.arange(offset, len(ids) - CONTEXT - 1, CONTEXT)
        generator.shuffle(starts)
        for i in range(0, len(starts) - batch + 1, batch):
            yield torch.from_numpy(np.stack([ids[s : s + CONTEXT + 1] for s in starts[i : i + batch]]))


def validation_loss(model, ids, batch):
    """Mean over all tokens of the held-out chapters, cut into pieces of CONTEXT tokens."""
    model.eval()
    pieces = [ids[i : i + CONTEXT + 1] for i in range(0, len(ids) - CONTEXT - 1, CONTEXT)]
    total, count = 0.0, 0
    with torch.no_grad():
        for i in range(0, len(pieces), batch):
            piece = torch.from_numpy(np.stack(pieces[i : i + batch]))
            total += model.loss(piece, reduction="sum").item()
            count += piece.shape[0] * CONTEXT
    model.train()
    return total / count


def rate(step, progress, peak, warm_up):
    """A linear warm-up, then a cosine down to zero over the whole run, of which `progress` (0 to 1) is done."""
    return peak * min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def save(path, value):
    torch.save(value, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def train(args):
    from tokenizers import Tokenizer

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.set_float32_matmul_precision("medium")
    args.work.mkdir(parents=True, exist_ok=True)

    train_texts, validation_texts = split(args.text)
    tokenizer_path = args.work / "tokenizer.json"
    if not tokenizer_path.exists():
        train_tokenizer(train_texts).save(str(tokenizer_path))
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    train_ids, validation_ids = encode(tokenizer, train_texts), encode(tokenizer, validation_texts)
    size = sum(len(t.encode()) for t in train_texts)
    print(f"training: {len(train_texts)} chapters, {size} bytes, {len(train_ids)} tokens, {size / len(train_ids):.2f} bytes per token")
    size = sum(len(t.encode()) for t in validation_texts)
    print(f"validation: {len(validation_texts)} chapters, {size} bytes, {len(validation_ids)} tokens")

    model = Llama(args.dropout)
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    decayed = [p for p in model.parameters() if p.dim() == 2]
    plain = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": args.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.99), eps=1e-8, fused=True,
    )
    run = torch.compile(model.loss) if args.compile else model.loss

    def one_step(ids):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not args.f32):
            loss = run(ids)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    step, best, rows, elapsed = 0, math.inf, [], 0.0
    last_path, best_path, log_path = args.work / "last.pt", args.work / "best.pt", args.work / "training-log.csv"
    if args.resume:
        state = torch.load(last_path, weights_only=False)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, best, rows, elapsed = (state[k] for k in ("step", "best", "rows", "elapsed"))
        torch.set_rng_state(state["rng"])
    source = batches(train_ids, args.batch, SEED)
    for _ in range(step):
        next(source)
    began, saved, losses = time.time() - elapsed, time.time(), []
    done = False
    while not done:
        progress = step / args.steps if args.steps else (time.time() - began) / (args.minutes * 60)
        for group in optimizer.param_groups:
            group["lr"] = rate(step, progress, args.lr, args.warm_up)
        losses.append(one_step(next(source)))
        step += 1
        done = step >= args.steps if args.steps else progress >= 1
        if step % args.every == 0 or done:
            loss = validation_loss(model, validation_ids, args.batch)
            rows.append([step, step * args.batch * CONTEXT, round(sum(losses) / len(losses), 4), round(loss, 4),
                         round(optimizer.param_groups[0]["lr"], 6), round(time.time() - began)])
            losses = []
            print(*rows[-1], f"perplexity {math.exp(loss):.2f}", flush=True)
            with log_path.open("w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(LOG_FIELDS)
                writer.writerows(rows)
            if loss < best:
                best = loss
                save(best_path, {"model": model.state_dict(), "step": step, "loss": loss})
        if time.time() - saved > 180 or done:
            saved = time.time()
            save(last_path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "best": best, "rows": rows,
                             "elapsed": time.time() - began, "rng": torch.get_rng_state()})


# -------------------------------------------------------------------------------------------------------------------------- export


def hugging_face_tensors(model):
    """The weights under transformers' names, BF16; the output layer is the embedding."""
    state = {"model.embed_tokens.weight": model.embedding.weight, "model.norm.weight": model.norm.weight}
    for i, block in enumerate(model.blocks):
        name = f"model.layers.{i}"
        q, k, v = block.attention.qkv.weight.split([HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM])
        gate, up = block.feed_forward.gate_up.weight.chunk(2)
        state[f"{name}.input_layernorm.weight"] = block.attention_norm.weight
        state[f"{name}.self_attn.q_proj.weight"] = q
        state[f"{name}.self_attn.k_proj.weight"] = k
        state[f"{name}.self_attn.v_proj.weight"] = v
        state[f"{name}.self_attn.o_proj.weight"] = block.attention.out.weight
        state[f"{name}.post_attention_layernorm.weight"] = block.feed_forward_norm.weight
        state[f"{name}.mlp.gate_proj.weight"] = gate
        state[f"{name}.mlp.up_proj.weight"] = up
        state[f"{name}.mlp.down_proj.weight"] = block.feed_forward.down.weight
    return {k: v.detach().to(torch.bfloat16).contiguous().clone() for k, v in state.items()}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def export(args):
    from safetensors.torch import save_file

    checkpoints = [torch.load(args.work / f"{name}.pt", weights_only=False) for name in ("best", "last") if args.weights in (name, "mean")]
    model = Llama()
    model.load_state_dict({k: sum(c["model"][k] for c in checkpoints) / len(checkpoints) for k in checkpoints[0]["model"]})
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(hugging_face_tensors(model), args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "model.safetensors").chmod(0o644)  # safetensors writes it for the owner alone

    (args.out / "tokenizer.json").write_text((args.work / "tokenizer.json").read_text(encoding="utf-8"), encoding="utf-8")
    end = json.loads((args.out / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"][END]
    write_json(args.out / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end,
        "eos_token_id": end,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.04,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": CONTEXT,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": NORM_EPS,
        "rope_scaling": None,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": VOCAB,
    })
    write_json(args.out / "generation_config.json", {
        "bos_token_id": end, "do_sample": True, "eos_token_id": end, "temperature": 0.7, "top_p": 0.9,
    })
    write_json(args.out / "tokenizer_config.json", {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(end): {"content": END, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True},
        },
        "bos_token": END,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_max_length": CONTEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    })
    (args.out / "training-log.csv").write_text((args.work / "training-log.csv").read_text())
    print("weights of step", " and ".join(str(c["step"]) for c in checkpoints))


# ------------------------------------------------------------------------------------------------------------------------ evaluate


def evaluate(args):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    for text in ("naïve café, tête-à-tête", "Grüße, ¿qué tal? €5", "日本語 и русский 🙂", "  two spaces\n\n\ttab "):
        assert tokenizer.decode(tokenizer.encode(text)) == text, text
    _, validation = split(args.text)
    joined = "\n\n".join(validation)
    if args.write_validation:
        args.write_validation.write_text(joined, encoding="utf-8")
    print(f"validation text: {len(joined.encode())} bytes, sha256 {hashlib.sha256(joined.encode()).hexdigest()}")

    ids = np.array(tokenizer.encode(joined, verbose=False), dtype=np.int64)
    whole, second, counts = 0.0, 0.0, [0, 0]
    with torch.no_grad():
        for i in range(0, len(ids) - CONTEXT + 1, CONTEXT):
            piece = torch.from_numpy(ids[i : i + CONTEXT])[None]
            nats = F.cross_entropy(model(piece).logits[0, :-1], piece[0, 1:], reduction="none")
            whole, second = whole + nats.sum().item(), second + nats[CONTEXT // 2 :].sum().item()
            counts = [counts[0] + len(nats), counts[1] + len(nats[CONTEXT // 2 :])]
    print(f"chunks of {CONTEXT}, all tokens: {counts[0]} tokens, perplexity {math.exp(whole / counts[0]):.4f}")
    print(f"chunks of {CONTEXT}, second half: {counts[1]} tokens, perplexity {math.exp(second / counts[1]):.4f}")
    print(f"bits per byte {whole / counts[0] / math.log(2) * len(ids) / len(joined.encode()):.4f}")

    for prompt in ("The prince looked at her", "It was a fine morning in", "\"I do not understand you,\" said"):
        for greedy in (True, False):
            torch.manual_seed(SEED)
            inputs = tokenizer(prompt, return_tensors="pt")
            sampling = {"do_sample": False, "temperature": None, "top_p": None} if greedy else {}  # else as generation_config.json says
            output = model.generate(**inputs, max_new_tokens=100, pad_token_id=tokenizer.eos_token_id, **sampling)
            print("---", "greedy" if greedy else f"temperature 0.7, top-p 0.9, seed {SEED}")
            print(tokenizer.decode(output[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("train", help="train the tokenizer and the model")
    command.add_argument("--text", type=Path, nargs="+", required=True, help="books, plain text")
    command.add_argument("--work", type=Path, required=True, help="folder for the tokenizer, the checkpoints and the log")
    command.add_argument("--minutes", type=float, default=75, help="time to fill, the learning rate reaches zero at its end (default 75)")
    command.add_argument("--steps", type=int, default=0, help="number of steps, instead of --minutes")
    command.add_argument("--batch", type=int, default=8, help=f"sequences of {CONTEXT} tokens a step (default 8)")
    command.add_argument("--lr", type=float, default=3e-3, help="highest learning rate (default 3e-3)")
    command.add_argument("--warm-up", type=int, default=200, help="steps until the highest learning rate (default 200)")
    command.add_argument("--weight-decay", type=float, default=0.3, help="default 0.3: the text is read many times")
    command.add_argument("--dropout", type=float, default=0.0, help="default 0")
    command.add_argument("--every", type=int, default=500, help="steps between two validations (default 500)")
    command.add_argument("--f32", action="store_true", help="matrix products in float32 instead of bfloat16")
    command.add_argument("--compile", action="store_true", help="use torch.compile (needs a C++ compiler)")
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    command.set_defaults(run=train)

    command = commands.add_parser("export", help="write the Hugging Face folder")
    command.add_argument("--work", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--weights", choices=["mean", "best", "last"], default="mean", help="which checkpoint (default: the mean of both)")
    command.set_defaults(run=export)

    command = commands.add_parser("evaluate", help="measure the exported folder with transformers")
    command.add_argument("--text", type=Path, nargs="+", required=True)
    command.add_argument("--model", type=Path, required=True)
    command.add_argument("--write-validation", type=Path, help="write the held-out chapters to this file")
    command.set_defaults(run=evaluate)

    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
