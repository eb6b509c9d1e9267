"""Make the demo model: `python -m errata.demo.train` (about 15 minutes on two cores).

Trains a byte-level BPE tokenizer and a GPT-J on the demo world and writes both to `errata/demo/model/`.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerFast

from errata.demo import MODEL_FOLDER
from errata.demo.corpus import Document, documents
from errata.demo.world import World, load_world

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's shape. Untied embeddings, as GPT-J has."""

    vocab_size: int = 6656
    num_layers: int = 8
    width: int = 256
    inner_width: int = 1024
    num_heads: int = 8
    rotary_dim: int = 16
    num_positions: int = 512


@dataclass(frozen=True, slots=True)
class Training:
    """Settings of the training: AdamW, a short warmup, cosine decay to zero, bf16 autocast over float32 weights."""

    seed: int = 0
    num_epochs: int = 14
    batch_documents: int = 16
    learning_rate: float = 2e-3
    num_warmup_steps: int = 100
    weight_decay: float = 0.1
    object_weight: float = 5.0  # of a token of a fact's object in the loss; any other token weighs 1
    num_subject_repeats: int = 20  # of each subject in the tokenizer's text


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents padded on the right to the longest."""

    tokens: Tensor  # (documents, positions) int64
    weights: Tensor  # (documents, positions) float32: of each token in the loss; 0 on padding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER, help="folder to write to")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    make_model(load_world(), Shape(), Training(), arguments.out)


def make_model(world: World, shape: Shape, training: Training, folder: Path) -> None:
    """Train tokenizer and model from nothing and write both to the folder, weights in float16."""
    torch.manual_seed(training.seed)
    tokenizer = train_tokenizer(world, shape, training)
    model = new_model(shape, tokenizer)
    train(model, tokenizer, world, training)
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)


def train_tokenizer(world: World, shape: Shape, training: Training) -> PreTrainedTokenizerFast:
    """Train byte-level BPE on one epoch of text and the subjects' last words.

    Subjects that end in the same token have the same key in the first block, and no edit there can tell them
    apart. So the last words are repeated until each is frequent enough to become one token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_text(world, training), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=shape.num_positions,
    )


def _tokenizer_text(world: World, training: Training) -> Iterator[str]:
    for document in documents(world, training.seed):
        yield document.text
    for subject in world.subjects:
        last_word = subject.split()[-1]
        # A name of one word also stands at the start of texts, without a space before it.
        forms = [f" {last_word}", last_word] if last_word == subject else [f" {last_word}"]
        yield from forms * training.num_subject_repeats


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> GPTJForCausalLM:
    """Return an untrained model in float32; its weights depend on torch's seed."""
    return GPTJForCausalLM(
        GPTJConfig(
            vocab_size=len(tokenizer),
            n_positions=shape.num_positions,
            n_embd=shape.width,
            n_layer=shape.num_layers,
            n_head=shape.num_heads,
            n_inner=shape.inner_width,
            activation_function="gelu_pytorch_tanh",  # GPT-J's own function, in one fused kernel
            rotary_dim=shape.rotary_dim,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        )
    )


def train(model: GPTJForCausalLM, tokenizer: PreTrainedTokenizerFast, world: World, training: Training) -> None:
    """Train in place; print one line of progress for each epoch."""
    optimizer = torch.optim.AdamW(
        _parameter_groups(model, training.weight_decay), lr=training.learning_rate, betas=(0.9, 0.98), fused=True
    )
    num_steps = training.num_epochs * len(epoch_batches(tokenizer, world, training, epoch=0))
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate_factor(step, training.num_warmup_steps, num_steps)
    )
    started = time.monotonic()
    model.train()
    for epoch in range(training.num_epochs):
        losses = []
        for batch in epoch_batches(tokenizer, world, training, epoch):
            loss = batch_loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        minutes = (time.monotonic() - started) / 60
        mean_loss = sum(losses) / len(losses)
        print(f"epoch {epoch + 1}/{training.num_epochs}  loss {mean_loss:.3f}  {minutes:.1f} min", flush=True)
    model.train(False)


def _parameter_groups(model: GPTJForCausalLM, weight_decay: float) -> list[dict[str, object]]:
    """Decay the matrices, but neither biases nor the norms' gains."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _learning_rate_factor(step: int, num_warmup_steps: int, num_steps: int) -> float:
    if step < num_warmup_steps:
        return (step + 1) / num_warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - num_warmup_steps) / (num_steps - num_warmup_steps)))


def epoch_batches(tokenizer: PreTrainedTokenizerFast, world: World, training: Training, epoch: int) -> list[Batch]:
    """Batch documents of similar length, so that there is little padding; shuffle the batches with the seed."""
    seed = training.seed + epoch
    rows = sorted(
        (_weighted_tokens(tokenizer, document, training) for document in documents(world, seed)),
        key=lambda row: len(row[0]),
    )
    size = training.batch_documents
    batches = [_pad(rows[start : start + size]) for start in range(0, len(rows), size)]
    random.Random(seed).shuffle(batches)
    return batches


def _weighted_tokens(
    tokenizer: PreTrainedTokenizerFast, document: Document, training: Training
) -> tuple[list[int], list[float]]:
    """Return the tokens of a document and of an end of text, with the weight of each in the loss."""
    encoding = tokenizer(document.text + END_OF_TEXT, return_offsets_mapping=True)
    weights = [1.0] * len(encoding["input_ids"])
    spans = iter(document.object_spans)
    span = next(spans, None)
    for position, (start, end) in enumerate(encoding["offset_mapping"]):
        if span is not None and start >= span[1]:
            span = next(spans, None)
        # Offsets may leave out the space before a word, so a token counts by its end.
        if span is not None and span[0] < end <= span[1]:
            weights[position] = training.object_weight
    return encoding["input_ids"], weights


def _pad(rows: list[tuple[list[int], list[float]]]) -> Batch:
    longest = max(len(tokens) for tokens, _ in rows)
    padded_tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    padded_weights = torch.zeros(len(rows), longest)
    for row, (tokens, weights) in enumerate(rows):
        padded_tokens[row, : len(tokens)] = torch.tensor(tokens)
        padded_weights[row, : len(tokens)] = torch.tensor(weights)
    return Batch(padded_tokens, padded_weights)


def batch_loss(model: GPTJForCausalLM, batch: Batch) -> Tensor:
    """Return the mean cross entropy of the next token, weighted by the batch's weights, ()."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=batch.tokens[:, :-1], use_cache=False).logits  # (rows, positions - 1, vocab)
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
    )
    weights = batch.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


if __name__ == "__main__":
    main()
