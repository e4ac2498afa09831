"""Train the bundled vision-language model, from scratch, on rendered cars.

    uv run python training/train_lvlm.py --minutes 45 --seed 0 --device cpu --data /tmp/cars --out runs/lvlm

First the vision tower learns alone, with heads that are thrown away: every aspect from the mean patch, and the shares
of a car's parts in each patch. Then the whole model learns to answer prompts. The same command continues an
interrupted run.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lvlm import BOS, EOS, EXPANDED_IMAGE, build_model, build_processor, build_tokenizer, in_chat
from prompts import question, statement
from render_images import ASPECTS
from rendered_cars import RenderedCars
from torch import Tensor, nn
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from conditional_image_embeddings.datasets.car_bodies import Part

BATCH = 64
QUESTIONS = 4  # prompts an image
TEXTS = 32  # prompts a batch whose image is replaced by a text
CHECKPOINT_SECONDS = 120


class Heads(nn.Module):
    """What the vision tower learns from; no part of the shipped model."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.aspects = nn.ModuleList(nn.Linear(width, len(words)) for words in ASPECTS.values())
        self.parts = nn.Linear(width, len(Part))

    def forward(self, patches: Tensor, labels: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the accuracy of each aspect."""
        pooled = patches.mean(1)
        logits = [head(pooled).float() for head in self.aspects]
        loss = sum(F.cross_entropy(scores, labels[:, k]) for k, scores in enumerate(logits))
        dense = -(shares * F.log_softmax(self.parts(patches).float(), dim=-1)).sum(-1).mean()
        accuracy = torch.stack([(scores.argmax(-1) == labels[:, k]).float().mean() for k, scores in enumerate(logits)])
        return loss + dense, accuracy.detach()


class Dialogues:
    """Prompts and answers as token ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        if text not in self._known and len(self._known) < 200_000:
            self._known[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._known.get(text) or self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def sample(
        self, rng: np.random.Generator, labels: list[int], aspect: str | None, with_image: bool
    ) -> tuple[list[int], list[int]]:
        """A prompt and its answer. Without a condition any aspect of the image may be the answer."""
        words = {name: choices[label] for (name, choices), label in zip(ASPECTS.items(), labels, strict=True)}
        told = aspect or str(rng.choice(list(ASPECTS)))
        content = question(rng, aspect)
        if not with_image:
            content = statement(rng, told, words) + content
        if rng.random() < 0.75:
            prompt, answer = in_chat(content, with_image), f' {words[told]}"{EOS}'
        else:
            start = BOS if rng.random() < 0.5 else ""
            prompt, answer = start + (EXPANDED_IMAGE if with_image else "") + content, f'{words[told]}"{EOS}'
        return self.encode(prompt), self.encode(answer)


def language_loss(
    model: Idefics3ForConditionalGeneration,
    features: Tensor,
    labels: Tensor,
    dialogues: Dialogues,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """The loss of the answers, and the accuracy of the words that a condition asks for."""
    pairs, conditioned = [], []
    for row in labels.tolist():
        aspects = [*rng.permutation(list(ASPECTS))[: QUESTIONS - 1].tolist(), None]
        pairs += [dialogues.sample(rng, row, aspect, with_image=True) for aspect in aspects]
        conditioned += [aspect is not None for aspect in aspects]
    for _ in range(TEXTS):
        row = [int(rng.integers(len(words))) for words in ASPECTS.values()]
        aspect = None if rng.random() < 0.15 else str(rng.choice(list(ASPECTS)))
        pairs.append(dialogues.sample(rng, row, aspect, with_image=False))
        conditioned.append(aspect is not None)
    # Padding on the right: nothing attends to it in a causal model.
    tokens = nn.utils.rnn.pad_sequence(
        [torch.tensor(prompt + answer) for prompt, answer in pairs], batch_first=True
    ).to(labels.device)
    embeddings = model.get_input_embeddings()(tokens)
    images = features.repeat_interleave(QUESTIONS, dim=0).to(embeddings.dtype)
    embeddings = embeddings.masked_scatter((tokens == model.config.image_token_id)[..., None], images)
    hidden = model.model.text_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    where = [
        (k, len(prompt) - 1 + j, token, j == 0)
        for k, (prompt, answer) in enumerate(pairs)
        for j, token in enumerate(answer)
    ]
    rows, columns, targets, first = (torch.tensor(values, device=labels.device) for values in zip(*where, strict=True))
    logits = model.lm_head(hidden[rows, columns]).float()
    weights = torch.where(first, 1.0, 0.2)  # the word matters; the quotation mark and the end are easy
    loss = (F.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
    asked = torch.tensor(conditioned, device=labels.device)
    return loss, (logits[first].argmax(-1) == targets[first])[asked].float().mean().detach()


def optimizers(
    model: Idefics3ForConditionalGeneration, heads: Heads, rate: float, muon: bool
) -> dict[str, list[torch.optim.Optimizer]]:
    """Those of the vision tower with its heads, and those of the rest: Muon for inner matrices, AdamW otherwise."""
    vision = [
        *model.model.vision_model.named_parameters(),
        *((f"heads.{name}", p) for name, p in heads.named_parameters()),
    ]
    known = {id(parameter) for _, parameter in vision}
    language = [(name, parameter) for name, parameter in model.named_parameters() if id(parameter) not in known]
    result: dict[str, list[torch.optim.Optimizer]] = {}
    for stage, named in (("vision", vision), ("language", language)):
        inner = {
            name
            for name, p in named
            if muon and p.ndim == 2 and "embed" not in name and not name.startswith(("heads", "lm_head"))
        }
        others = [(name, p) for name, p in named if name not in inner]
        groups = [
            {"params": [p for _, p in others if p.ndim >= 2], "weight_decay": 0.05},
            {"params": [p for _, p in others if p.ndim < 2], "weight_decay": 0.0},
        ]
        result[stage] = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)]
        if inner:
            matrices = [p for name, p in named if name in inner]
            result[stage].append(torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"))
    return result


def continue_from(model: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Take the weights of an earlier run's model; a token that its tokenizer does not know keeps its own embedding."""
    earlier = Idefics3ForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)
    known = PreTrainedTokenizerFast.from_pretrained(directory).get_vocab()
    weights = earlier.state_dict()
    for name in ("model.text_model.embed_tokens.weight", "lm_head.weight"):
        own = model.state_dict()[name].clone()
        for token, row in tokenizer.get_vocab().items():
            if token in known:
                own[row] = weights[name][known[token]]
        weights[name] = own
    model.load_state_dict(weights)


def cosine(progress: float) -> float:
    return 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--vision-share", type=float, default=0.72, help="share of the time for the vision tower alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, required=True, help="the output of render_images.py")
    parser.add_argument("--init", type=Path, help="the model directory of an earlier run, to go on from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)

    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    checkpoint = options.out / "checkpoint.pt"
    if options.init and not checkpoint.exists():
        continue_from(model, tokenizer, options.init)
    model = model.to(options.device).train()
    model.set_attn_implementation("eager")  # faster than sdpa on a CPU at this size
    heads = Heads(model.config.vision_config.hidden_size).to(options.device)
    stages = optimizers(model, heads, options.rate, options.optimizer == "muon")
    every = [optimizer for stage in stages.values() for optimizer in stage]
    dialogues = Dialogues(tokenizer)
    cars = RenderedCars(options.data)

    step, language_step, elapsed = 0, 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=options.device, weights_only=True)
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(every, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, language_step, elapsed = state["step"], state["language_step"], state["elapsed"]

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "heads": heads.state_dict(),
            "optimizers": [o.state_dict() for o in every],
        }
        partial = checkpoint.with_suffix(".partial")
        torch.save(state | {"step": step, "language_step": language_step, "elapsed": elapsed}, partial)
        partial.replace(checkpoint)

    limit, saved_at, smooth = options.minutes * 60, elapsed, {}
    while elapsed < limit:
        started = time.perf_counter()
        progress = elapsed / limit
        talking = progress >= options.vision_share
        rng = np.random.default_rng([options.seed, step])
        if step % 200 == 0:
            cars = RenderedCars(options.data)
        images, labels, shares = (tensor.to(options.device) for tensor in cars.batch(rng, BATCH))
        with torch.autocast(options.device, torch.bfloat16):
            if talking:
                seen = model.model.get_image_features(images[:, None])
                patches, features = seen.last_hidden_state, torch.stack(list(seen.pooler_output))
            else:
                patches = model.model.vision_model(images).last_hidden_state
            loss, accuracy = heads(patches, labels, shares)
            numbers = dict(zip(ASPECTS, accuracy.tolist(), strict=True))
            if talking:
                answers, right = language_loss(model, features, labels, dialogues, rng)
                loss = answers + 0.1 * loss
                numbers |= {"words": right.item(), "answers": answers.item()}
        warmup = min(1.0, (step + 1) / 100)
        rates = {"vision": options.rate * warmup * cosine(progress)}
        if talking:
            since = (progress - options.vision_share) / (1 - options.vision_share)
            rates["language"] = options.rate * min(1.0, (language_step + 1) / 60) * cosine(since)
            language_step += 1
        loss.backward()
        for stage, rate in rates.items():
            parameters = [p for optimizer in stages[stage] for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for optimizer in stages[stage]:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
        for optimizer in every:
            optimizer.zero_grad(set_to_none=True)
        step += 1
        elapsed += time.perf_counter() - started
        smooth = {name: 0.97 * smooth.get(name, value) + 0.03 * value for name, value in numbers.items()}
        if step % 50 == 0:
            print(
                f"{elapsed:6.0f} s  step {step:5d}  "
                + "  ".join(f"{name} {value:.3f}" for name, value in smooth.items()),
                flush=True,
            )
        if elapsed - saved_at > CHECKPOINT_SECONDS:
            save()
            saved_at = elapsed
    save()
    half = model.half().cpu()
    half.save_pretrained(options.out / "model")
    build_processor(tokenizer).save_pretrained(options.out / "model")
    for path in (options.out / "model").iterdir():
        path.chmod(0o644)  # save_pretrained lets only the owner read


if __name__ == "__main__":
    main()
