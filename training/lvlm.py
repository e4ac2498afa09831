"""The small vision-language model of the box before training: tokenizer, processor, architecture."""

import itertools

import numpy as np
from prompts import HELD_OUT, PAPER_PROMPTS, PARAPHRASES, caption, question, statement
from render_images import ASPECTS, PATCH, SIZE
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig

SCALE = 2  # patches a side that one image token joins
IMAGE_TOKENS = (SIZE // PATCH // SCALE) ** 2
BOS, EOS, IMAGE, AROUND, GLOBAL = (
    "<|im_start|>",
    "<end_of_utterance>",
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
)
SPECIAL = ["<unk>", "<pad>", BOS, EOS, AROUND, IMAGE, GLOBAL]
WORDS = sorted(set(itertools.chain.from_iterable(ASPECTS.values())))

# That of SmolVLM.
CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'] is not string and message['content'][0]['type'] == 'image' %}{{ ':' }}"
    "{% else %}{{ ': ' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}"
    "{% endfor %}{% endif %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
EXPANDED_IMAGE = f"{AROUND}{GLOBAL}{IMAGE * IMAGE_TOKENS}{AROUND}"  # what the processor makes of <image>


def in_chat(content: str, with_image: bool) -> str:
    """A user turn and the generation prompt, as the processor renders them."""
    return f"{BOS}User:{EXPANDED_IMAGE if with_image else ' '}{content}{EOS}\nAssistant:"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every answer word is one token, with and without a space before it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    rng = np.random.default_rng(0)
    corpus = [text for conditioned, plain in PAPER_PROMPTS for text in (conditioned.format(""), plain)]
    for aspect in ASPECTS:
        corpus += [f"regarding {text}:" for text in PARAPHRASES[aspect] + HELD_OUT[aspect]] * 4
        corpus += [question(rng, aspect) for _ in range(200)]
    for _ in range(2000):
        words = {aspect: str(rng.choice(choices)) for aspect, choices in ASPECTS.items()}
        corpus += [statement(rng, str(rng.choice(list(ASPECTS))), words), caption(rng, words, set(ASPECTS))]
    corpus += [f'User: {word}\nAssistant: {word}"\n"{word}"' for word in WORDS] * 200
    trainer = trainers.BpeTrainer(
        vocab_size=704,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",
        model_max_length=1024,
        chat_template=CHAT_TEMPLATE,
    )
    split = [word for word in WORDS for text in (word, f" {word}") if len(tokenizer(text)["input_ids"]) != 1]
    if split:
        raise ValueError(f"answer words of more than one token: {split}")
    return tokenizer


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Idefics3Processor:
    images = Idefics3ImageProcessor(
        size={"longest_edge": SIZE},
        max_image_size={"longest_edge": SIZE},
        do_image_splitting=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return Idefics3Processor(images, tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=CHAT_TEMPLATE)


def build_model(tokenizer: PreTrainedTokenizerFast) -> Idefics3ForConditionalGeneration:
    token = tokenizer.convert_tokens_to_ids
    ids = {"pad_token_id": token("<pad>"), "bos_token_id": token(BOS), "eos_token_id": token(EOS)}
    vision = Idefics3VisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=3,
        image_size=SIZE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        **ids,
    )
    config = Idefics3Config(
        vision_config=vision,
        text_config=text,
        scale_factor=SCALE,
        image_token_id=token(IMAGE),
        tie_word_embeddings=True,
        **ids,
    )
    return Idefics3ForConditionalGeneration(config)
