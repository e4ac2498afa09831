"""Chat templates that raise, do not end or write too much: one line says so, in bounded time and memory."""

import resource
import threading
from pathlib import Path

import numpy as np
import pytest
from test_chat import IMAGES, PLAIN, dressed

import conditional_image_embeddings as cie
from conditional_image_embeddings.engine import template_bounds
from conditional_image_embeddings.errors import ModelError

IMAGE = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)
NO_IMAGE = "{% if messages[0]['content'] | selectattr('type', 'equalto', 'image') | list | length == 0 %}"
BOATS = "{% if 'boat' in messages[0]['content'][-1]['text'] %}"

RAISING = {
    "SecurityError": "{{ messages.append(1) }}",
    "TemplateSyntaxError": "{% for %}",
    "OverflowError": "{{ 10.0 ** 400 }}",
    "ZeroDivisionError": "{{ 1 // 0 }}",
    "TypeError": "{{ 1 + 'a' }}",
    "UndefinedError": "{{ nothing.of.that }}",
    "RecursionError": "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "its own": "{{ raise_exception('no images\nhere') }}",
}
ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "macros": "{% macro m(n) %}{% if n < 60 %}{{ m(n + 1) }}{{ m(n + 1) }}{% endif %}{% endmacro %}{{ m(0) }}",
    "power": "{{ (10 ** (10 ** 9)) % 7 }}",
}
HUGE = {
    "product": "{{ 'x' * 10 ** 10 }}",
    "center": "{{ 'a'.center(10 ** 10) }}",
    "format": "{{ '{:>10000000000}'.format(1) }}",
    "filter": "{{ [1] | batch(10 ** 10, 'x') | list }}",
    "doubling": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "for a text alone": NO_IMAGE + "{{ 'x' * 10 ** 10 }}{% endif %}",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dressed(tmp_path_factory.mktemp("qwen"), PLAIN, adds_bos=False)


def with_template(directory: Path, more: str) -> str:
    (directory / "chat_template.jinja").write_text(PLAIN.replace("IMAGE", IMAGES["qwen2_5_vl"]) + more)
    return str(directory)


def refused(directory: Path, more: str) -> str:
    with pytest.raises(ModelError) as error:
        cie.load(with_template(directory, more), device="cpu")
    text = str(error.value)
    assert "its chat template" in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", RAISING)
def test_whatever_a_template_raises_is_one_line(kind: str, directory: Path) -> None:
    refused(directory, RAISING[kind])


@pytest.mark.parametrize("kind", [kind for kind in RAISING if kind != "TemplateSyntaxError"])
def test_what_it_raises_for_some_texts_only_is_one_line_too(kind: str, directory: Path) -> None:
    embedder = cie.load(with_template(directory, f"{BOATS}{RAISING[kind]}{{% endif %}}"), device="cpu")
    assert np.isfinite(embedder.encode(IMAGE, "color")).all()
    for call in (lambda: embedder.encode(IMAGE, "boat"), lambda: embedder.encode_text("red", "boat")):
        with pytest.raises(ModelError, match="its chat template cannot be rendered") as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [kind for kind in RAISING if kind != "TemplateSyntaxError"])
def test_one_that_raises_for_texts_alone_embeds_images(kind: str, directory: Path) -> None:
    embedder = cie.load(with_template(directory, f"{NO_IMAGE}{RAISING[kind]}{{% endif %}}"), device="cpu")
    assert np.isfinite(embedder.encode(IMAGE, "color")).all()
    with pytest.raises(ModelError, match="no prompt for a text without an image"):
        embedder.encode_text("red", "color")


@pytest.mark.parametrize("kind", ENDLESS)
def test_one_that_does_not_end_is_stopped(kind: str, directory: Path, monkeypatch) -> None:
    monkeypatch.setattr(template_bounds, "SECONDS", 1)
    assert "does not end: it was stopped after 1 s" in refused(directory, ENDLESS[kind])


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="no limit on memory here")
@pytest.mark.parametrize("kind", HUGE)
def test_one_that_fills_the_memory_is_stopped(kind: str, directory: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "needs more than 512 MiB for a short text" in refused(directory, HUGE[kind])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**18  # KiB


@pytest.mark.parametrize("more", ["{{ 'x' * 10 ** 6 }}", "{% for i in range(99999) %}four{% endfor %}"])
def test_one_that_writes_too_much_is_refused(more: str, directory: Path) -> None:
    assert "characters around a short text" in refused(directory, more)


def test_one_that_is_too_long_is_refused(directory: Path) -> None:
    assert "no more than 1048576 are read" in refused(directory, f"{{# {'x' * 2**20} #}}")


def test_bounds_hold_in_a_thread(directory: Path) -> None:
    model, errors = with_template(directory, "{{ 'x' * 10 ** 10 }}"), []

    def load() -> None:
        try:
            cie.load(model, device="cpu")
        except ModelError as error:
            errors.append(str(error))

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "needs more than" in errors[0]


def test_a_known_template_is_not_tried_again(directory: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tried: list[object] = []
    own = template_bounds._problem
    monkeypatch.setattr(template_bounds, "_problem", lambda job: (tried.append(job), own(job))[1])
    for process in range(2):
        monkeypatch.setattr(template_bounds, "_known", set())
        for _ in range(2):
            cie.load(with_template(directory, "{# of this test #}"), device="cpu")
        assert len(tried) == 1, process
    cie.load(with_template(directory, "{# another #}"), device="cpu")
    assert len(tried) == 2
