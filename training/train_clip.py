"""Train the bundled CLIP model on captions of rendered cars, starting from the other model's vision tower.

    uv run python training/train_clip.py --minutes 8 --data /tmp/cars --lvlm runs/lvlm/checkpoint.pt --out runs/clip

The same command continues an interrupted run.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from prompts import caption
from render_images import ASPECTS, PATCH, SIZE
from rendered_cars import RenderedCars
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedTokenizerFast,
)

BATCH = 128
CHECKPOINT_SECONDS = 60


def build_tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    rng = np.random.default_rng(0)
    corpus = [captioned(rng, [int(rng.integers(len(words))) for words in ASPECTS.values()])[0] for _ in range(5000)]
    special = ["<unk>", "<pad>", "<bos>", "<eos>"]
    trainer = trainers.BpeTrainer(
        vocab_size=448,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        bos_token="<bos>",  # noqa: S106
        eos_token="<eos>",  # noqa: S106
        model_max_length=48,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> CLIPProcessor:
    images = CLIPImageProcessor(
        size={"height": SIZE, "width": SIZE}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return CLIPProcessor(images, tokenizer)


def build_model(tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=192, intermediate_size=768, num_hidden_layers=3, num_attention_heads=3,
        max_position_embeddings=48, bos_token_id=2, eos_token_id=3, pad_token_id=1, hidden_act="gelu",
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=192, intermediate_size=768, num_hidden_layers=6, num_attention_heads=3, image_size=SIZE,
        patch_size=PATCH,
        hidden_act="gelu_pytorch_tanh",  # that of Idefics3's tower
        layer_norm_eps=1e-6,
    )  # fmt: skip
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=128))


def start_from(model: CLIPModel, checkpoint: Path) -> list[str]:
    """Copy what has the same name and shape in the vision tower of the vision-language model; returns the names."""
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
    prefix = "model.vision_model."
    tower = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    own = model.vision_model.state_dict()
    copied = []
    for name, value in tower.items():
        if name == "embeddings.position_embedding.weight":  # CLIP's first position is the class token's
            own[name][1:] = value + tower["embeddings.patch_embedding.bias"]  # CLIP's patches have none of their own
        elif name in own and own[name].shape == value.shape:
            own[name].copy_(value)
        else:
            continue
        copied.append(name)
    return copied


def captioned(rng: np.random.Generator, labels: list[int]) -> tuple[str, list[bool]]:
    """A caption of an image, and which aspects it mentions: all, or each by chance, or one alone."""
    words = {name: choices[label] for (name, choices), label in zip(ASPECTS.items(), labels, strict=True)}
    kind = rng.random()
    names = list(ASPECTS)
    if kind < 0.35:
        mentioned = set(names)
    elif kind < 0.7:
        mentioned = {names[rng.integers(len(names))]}
    else:
        mentioned = {name for name in names if rng.random() < 0.5} or {names[rng.integers(len(names))]}
    return caption(rng, words, mentioned), [name in mentioned for name in names]


def contrastive_loss(scores: Tensor, matches: Tensor) -> Tensor:
    """Both directions; a caption matches every image of which it is true."""
    by_text = -(F.log_softmax(scores, 0) * matches).sum(0) / matches.sum(0)
    by_image = -(F.log_softmax(scores, 1) * matches).sum(1) / matches.sum(1)
    return (by_text.mean() + by_image.mean()) / 2


def embedding(output: object) -> Tensor:
    pooled = output if isinstance(output, Tensor) else output.pooler_output  # type: ignore[attr-defined]
    return F.normalize(pooled.float(), dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, required=True, help="the output of render_images.py")
    parser.add_argument("--lvlm", type=Path, help="checkpoint.pt of train_lvlm.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=1e-3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)

    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    checkpoint = options.out / "checkpoint.pt"
    if options.lvlm and not checkpoint.exists():
        print(f"{len(start_from(model, options.lvlm))} tensors from {options.lvlm}")
    model = model.to(options.device).train()
    model.set_attn_implementation("eager")
    # The tower has learnt already: it moves slower than what is new.
    tower = [p for name, p in model.named_parameters() if name.startswith("vision_model.encoder")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("vision_model.encoder")]
    groups = [
        {
            "params": [p for p in parameters if (p.ndim >= 2) == matrices],
            "weight_decay": 0.05 if matrices else 0.0,
            "scale": scale,
        }
        for parameters, scale in ((tower, 0.3 if options.lvlm else 1.0), (rest, 1.0))
        for matrices in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98), fused=True)
    step, elapsed = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=options.device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed = state["step"], state["elapsed"]

    def save() -> None:
        partial = checkpoint.with_suffix(".partial")
        torch.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "elapsed": elapsed},
            partial,
        )
        partial.replace(checkpoint)

    cars = RenderedCars(options.data)
    limit, saved_at, smooth = options.minutes * 60, elapsed, None
    while elapsed < limit:
        started = time.perf_counter()
        rng = np.random.default_rng([options.seed, 1, step])
        images, labels, _ = (tensor.to(options.device) for tensor in cars.batch(rng, BATCH))
        captions, mentioned = zip(*(captioned(rng, row) for row in labels.tolist()), strict=True)
        tokens = tokenizer(list(captions), padding=True, return_tensors="pt").to(options.device)
        silent = ~torch.tensor(mentioned, device=options.device)
        matches = ((labels[:, None] == labels[None]) | silent[None]).all(-1).float()
        with torch.autocast(options.device, torch.bfloat16):
            seen = embedding(model.get_image_features(pixel_values=images))
            read = embedding(model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask))
        loss = contrastive_loss(model.logit_scale.exp().clamp(max=100) * seen @ read.T, matches)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = (
                options.rate
                * group["scale"]
                * min(1.0, (step + 1) / 60)
                * (0.01 + 0.5 + 0.5 * math.cos(math.pi * elapsed / limit))
            )
        optimizer.step()
        step += 1
        elapsed += time.perf_counter() - started
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        if step % 50 == 0:
            print(f"{elapsed:6.0f} s  step {step:5d}  loss {smooth:.3f}", flush=True)
        if elapsed - saved_at > CHECKPOINT_SECONDS:
            save()
            saved_at = elapsed
    save()
    model.half().cpu().save_pretrained(options.out / "model")
    build_processor(tokenizer).save_pretrained(options.out / "model")
    for path in (options.out / "model").iterdir():
        path.chmod(0o644)  # save_pretrained lets only the owner read


if __name__ == "__main__":
    main()
