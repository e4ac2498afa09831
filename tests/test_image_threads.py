"""Images read by several threads at once: one object many times, what decoders say of each, memory for all together."""

import io
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from test_bit_depth import chunk, png, samples
from test_images import encoded, heic, in_format

import conditional_image_embeddings as cie
from conditional_image_embeddings import ImageError
from conditional_image_embeddings.inputs import sharing
from conditional_image_embeddings.inputs.formats import FORMATS
from conditional_image_embeddings.inputs.images import read_image
from conditional_image_embeddings.inputs.sharing import MemoryBudget

THREADS = 8
NOISE = np.random.default_rng(0).integers(0, 256, (400, 512, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE)
FRAMES = [PHOTO.quantize(64), PHOTO.rotate(180).quantize(64)]


def clear_palette() -> Image.Image:
    palette = PHOTO.quantize(64)
    palette.info["transparency"] = bytes(range(0, 256, 4))
    return palette


FILES: dict[str, bytes] = {
    **{kind: in_format(kind, NOISE[:48, :48]) for kind in (*FORMATS, "HEIF")},
    "large JPEG": encoded(PHOTO, "JPEG", quality=95),
    "CMYK": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "CMYK TIFF": encoded(PHOTO.convert("CMYK"), "TIFF", compression="tiff_lzw"),
    "frames of a GIF": encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]),
    "frames of an APNG": encoded(PHOTO, "PNG", save_all=True, append_images=[PHOTO.rotate(180)]),
    "frames of a TIFF": encoded(PHOTO, "TIFF", save_all=True, append_images=[PHOTO.rotate(180)], compression="jpeg"),
    "MPO": encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO.rotate(180)]),
    "palette with alpha": encoded(clear_palette(), "PNG", transparency=clear_palette().info["transparency"]),
    "RGBA": encoded(PHOTO.convert("RGBA").rotate(7, expand=True), "PNG"),
    "gray of 16 bits": png(samples(12)),
    "gray that says how many bits": png(samples(12) // 3, chunk(b"sBIT", b"\x0c")),
    "JPEG 2000 of 16 bits": encoded(Image.fromarray(samples(12)), "JPEG2000", irreversible=False),
    "colours of 16 bits": png(samples(12, 3)),
    "colours of 16 bits with alpha": png(samples(12, 4)),
    "turned": encoded(PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
}


def opened(kind: str, file: Any) -> Image.Image:
    if kind == "HEIF":
        import pillow_heif

        return pillow_heif.HeifImageFile(io.BytesIO(FILES[kind]))  # type: ignore[no-untyped-call]
    return Image.open(file)


def at_once(read: Callable[[int], bytes]) -> list[bytes]:
    """What so many threads get that begin at the same moment."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> bytes:
        barrier.wait()
        return read(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


@pytest.mark.parametrize("kind", FILES)
def test_one_object_read_by_many_threads_gives_the_same_pixels(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(FILES[kind])
    expected = read_image(FILES[kind]).tobytes()
    for file in (lambda: tmp_path / "a", lambda: io.BytesIO(FILES[kind])):
        for as_reference in (False, True):
            image = opened(kind, file())
            alone = read_image(opened(kind, file()), as_reference=as_reference).tobytes()
            reads = at_once(lambda _, image=image, ref=as_reference: read_image(image, as_reference=ref).tobytes())
            assert reads == [alone] * THREADS
            assert as_reference or alone == expected
            assert read_image(image, as_reference=as_reference).tobytes() == alone
    stream = io.BytesIO(FILES[kind])
    stream.seek(7)
    assert at_once(lambda _: read_image(stream).tobytes()) == [expected] * THREADS
    assert stream.tell() == 7


@pytest.mark.parametrize("kind", ["large JPEG", "RGBA", "CMYK TIFF", "colours of 16 bits", "frames of a GIF"])
def test_images_that_share_a_file_object(kind: str) -> None:
    file = io.BytesIO(FILES[kind])
    images = [Image.open(file) for _ in range(THREADS)]
    reads = at_once(lambda number: read_image(images[number]).tobytes())
    assert reads == [read_image(FILES[kind]).tobytes()] * THREADS


def test_an_image_in_draft_mode_stays_in_it() -> None:
    image = Image.open(io.BytesIO(FILES["large JPEG"]))
    image.draft("L", (128, 100))
    alike = Image.open(io.BytesIO(FILES["large JPEG"]))
    alike.draft("L", (128, 100))
    assert at_once(lambda _: read_image(image).tobytes()) == [alike.convert("RGB").tobytes()] * THREADS
    assert (image.mode, image.size) == ("L", (128, 100))


def state(image: Image.Image) -> tuple[Any, ...]:
    file = getattr(image, "fp", None)
    return (
        *(image.mode, image.size, image.format, image.tell(), dict(image.info), file is None or file.closed),
        *(image.getexif().tobytes(), image.getpalette(), image.tobytes()),
    )


@pytest.mark.parametrize("kind", FILES)
def test_reading_does_to_the_caller_s_image_what_its_own_load_does(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(FILES[kind])
    for file in (lambda: tmp_path / "a", lambda: io.BytesIO(FILES[kind])):
        for frame in range(2 if kind.startswith("frames") or kind == "MPO" else 1):
            given, loaded = opened(kind, file()), opened(kind, file())
            if frame:
                given.seek(frame)
                loaded.seek(frame)
            loaded.load()
            for as_reference in (False, True):
                read_image(given, as_reference=as_reference)
                given.load()
                assert state(given) == state(loaded)


def test_a_later_frame_of_16_bits_is_that_frame() -> None:
    frames = [Image.fromarray(samples(bits)) for bits in (12, 13)]
    file = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    image = Image.open(io.BytesIO(file))
    image.seek(1)
    assert read_image(image).tobytes() == read_image(frames[1]).tobytes()


def test_encode_takes_one_image_many_times(tmp_path: Path) -> None:
    embedder = cie.load("pixels", method="pixels")
    (tmp_path / "a.jpg").write_bytes(FILES["large JPEG"])
    for again in (Image.open(tmp_path / "a.jpg"), io.BytesIO(FILES["large JPEG"])):
        vectors = embedder.encode([again] * 9)
        assert np.array_equal(vectors, np.repeat(embedder.encode([tmp_path / "a.jpg"]), 9, 0))


def corrupt_exif(file: bytes, *, whole: bool = True) -> bytes:
    """A PNG that Pillow warns of when its EXIF is read."""
    entry = b"\x01\x12\x00\x02\x00\x00\x00\xff\x00\x00\xff\xff"
    broken = file[:33] + chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x02" + entry * 2 + bytes(4)) + file[33:]
    return broken if whole else broken[:-200]


def tiff_with_warnings(file: bytes) -> bytes:
    """A TIFF cut off in its directory: Pillow warns, libtiff writes to stderr."""
    return file[:-40]


def test_warnings_belong_to_the_image(recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture) -> None:
    picture = encoded(PHOTO, "PNG")
    tiff = encoded(PHOTO, "TIFF", compression="tiff_lzw")
    for filters in ("default", "always", "error"):
        with warnings.catch_warnings():
            warnings.simplefilter(filters)  # type: ignore[arg-type]
            for _ in range(2):
                assert read_image(corrupt_exif(picture)).size == PHOTO.size  # read: nothing to say
                with pytest.raises(ImageError, match=r"cannot be read: .*truncated|cannot be read"):
                    read_image(corrupt_exif(picture, whole=False))
                with pytest.raises(ImageError, match=r"a\.tif .*\(.*Truncated File Read"):
                    read_image(tiff_with_warnings(tiff), name="a.tif")
                read_image(encoded(clear_palette(), "PNG", transparency=bytes(64)), as_reference=True)
    assert not recwarn.list
    assert not [record for record in caplog.records if record.name.startswith("PIL")]


def test_others_keep_their_warnings_and_filters() -> None:
    broken = tiff_with_warnings(encoded(PHOTO, "TIFF", compression="tiff_lzw"))
    before = [each for each in warnings.filters if "inputs" not in type(each[1]).__module__]
    stop = threading.Event()

    def keep_reading() -> None:
        while not stop.is_set():
            with pytest.raises(ImageError):
                read_image(broken)

    readers = [threading.Thread(target=keep_reading) for _ in range(2)]
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        for reader in readers:
            reader.start()
        for number in range(200):
            warnings.warn(f"mine {number}", UserWarning, stacklevel=1)
        stop.set()
        for reader in readers:
            reader.join()
    mine = [str(each.message) for each in recorded if str(each.message).startswith("mine")]
    assert mine == [f"mine {number}" for number in range(200)]
    assert [each for each in warnings.filters if "inputs" not in type(each[1]).__module__] == before
    with pytest.warns(UserWarning, match="Truncated"), pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(broken))


def test_nothing_reaches_the_terminal(tmp_path: Path) -> None:
    """Not from Pillow's warnings and logs, nor from libtiff, which writes to the descriptor itself."""
    random = np.random.default_rng(0)
    for kind, mode in (("tiff_lzw", "RGB"), ("tiff_adobe_deflate", "RGB"), ("group4", "1"), ("jpeg", "RGB")):
        whole = encoded(PHOTO.convert(mode), "TIFF", compression=kind)
        for number in range(20):
            damaged = bytearray(whole)
            for place in random.integers(8, len(whole), 20):
                damaged[place] ^= 255
            (tmp_path / f"{kind}{number}.tif").write_bytes(damaged[: len(whole) - number % 2 * 60])
    script = (
        "import sys; from pathlib import Path; from conditional_image_embeddings import ImageError\n"
        "from conditional_image_embeddings.inputs.images import read_image\n"
        "failed = 0\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try: read_image(path)\n"
        "    except ImageError: failed += 1\n"
        "print(failed)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 20
    assert done.stderr == ""


def test_a_budget_is_never_exceeded_and_served_in_turn() -> None:
    budget, taken, most, lock = MemoryBudget(100), 0, 0, threading.Lock()
    alone = []

    def take(size: int) -> None:
        nonlocal taken, most
        with budget.holding(size):
            with lock:
                taken += size
                most = max(most, taken if size <= 100 else 0)
                if size > 100:
                    alone.append(taken == size)
            with lock:
                taken -= size

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(take, [30, 70, 1, 500, 100, 0] * 200))
    assert most <= 100
    assert alone == [True] * 200
    with pytest.raises(RuntimeError), budget.holding(100):
        raise RuntimeError
    with budget.holding(100):  # given back
        pass


def test_images_wait_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is decoded at one time than the budget allows for, and the budget bounds nothing else."""
    held: list[int] = []

    class Noted(MemoryBudget):
        def holding(self, size: int) -> Any:
            held.append(size)
            return super().holding(size)

    monkeypatch.setattr(sharing, "decoding", Noted(1000))  # less than any of these: each goes alone
    image = Image.open(io.BytesIO(FILES["RGBA"]))
    expected = read_image(FILES["RGBA"]).tobytes()
    sources = (FILES["RGBA"], image, FILES["RGBA"], image)
    assert at_once(lambda number: read_image(sources[number % 4]).tobytes()) == [expected] * THREADS
    assert min(held) >= 4 * PHOTO.width * PHOTO.height
    for broken in (encoded(PHOTO, "PNG")[:900], b"nothing"):
        with pytest.raises(ImageError):
            read_image(broken)
    assert read_image(PHOTO).size == PHOTO.size


SIDE = 2500
FORMS: dict[str, Callable[[], bytes]] = {
    "gray of 16 bits": lambda: png(np.full((SIDE, SIDE), 300, np.uint16)),
    "gray and alpha of 16 bits": lambda: png(np.full((SIDE, SIDE, 2), 300, np.uint16)),
    "colours of 16 bits": lambda: png(np.full((SIDE, SIDE, 3), 300, np.uint16)),
    "RGBA": lambda: encoded(Image.new("RGBA", (SIDE, SIDE)), "PNG"),
    "palette": lambda: encoded(Image.new("P", (SIDE, SIDE)), "PNG", transparency=0),
    "CMYK": lambda: encoded(Image.new("CMYK", (SIDE, SIDE)), "JPEG"),
    "floats": lambda: encoded(Image.new("F", (SIDE, SIDE), 0.5), "TIFF", compression="tiff_lzw"),
    "WEBP": lambda: encoded(Image.new("RGB", (SIDE, SIDE)), "WEBP"),
    "JPEG2000": lambda: encoded(Image.new("RGB", (SIDE // 2, SIDE // 2)), "JPEG2000"),
    "HEIF": lambda: heic(Image.new("RGB", (SIDE // 2, SIDE // 2))),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux tells it")
def test_an_image_takes_the_memory_that_it_is_said_to_take(tmp_path: Path) -> None:
    """In a process of its own, image after image: the peak is what was waited for, and strips."""
    for kind, made in FORMS.items():
        (tmp_path / kind).write_bytes(made())
    script = (
        "import io, sys; from pathlib import Path\n"
        "from conditional_image_embeddings.inputs import formats, images\n"
        "def peak(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) * 1024\n"
        "images.read_image(images.ordinary_image(50))\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    expected = formats.decoded_bytes(formats.open_encoded(path.read_bytes(), ''))\n"
        "    images.read_image(path, max_size=10)\n"
        "    Path('/proc/self/clear_refs').write_text('5')\n"
        "    before = peak(); images.read_image(path, max_size=10)\n"
        "    print(path.name, expected, peak() - before, sep=',')\n"
    )
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # freed memory goes back at once
    command = [sys.executable, "-c", script, str(tmp_path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()
    assert len(lines) == len(FORMS)
    for line in lines:
        kind, expected, peak = line.split(",")
        assert int(peak) <= 1.2 * int(expected) + 12e6, line
        assert int(peak) >= 0.3 * int(expected), line


def test_log_records_of_others_pass(caplog: pytest.LogCaptureFixture) -> None:
    read_image(PHOTO)
    logging.getLogger("PIL.TiffImagePlugin").error("of somebody else")
    assert "of somebody else" in caplog.text
