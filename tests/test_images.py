"""Images of every awkward kind: read the same however they come, or refused in one line that names them."""

import contextlib
import hashlib
import io
import os
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conditional_image_embeddings import ImageError
from conditional_image_embeddings.inputs import encoded as encoded_bytes
from conditional_image_embeddings.inputs.encoded import Encoded, FileStat, read_encoded
from conditional_image_embeddings.inputs.formats import FORMATS, HEIF_SUFFIXES, suffixes
from conditional_image_embeddings.inputs.images import read_image, stored_size, thumbnail

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def png(array: np.ndarray = PICTURE) -> bytes:
    return encoded(Image.fromarray(array), "PNG")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def psd(array: np.ndarray = PICTURE) -> bytes:
    """Photoshop's format at its least, which Pillow reads but does not write: header, three empty parts, raw planes."""
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, *array.shape[:2], 8, 3)
    return header + bytes(12) + bytes(2) + array.transpose(2, 0, 1).tobytes()


def heic(image: Image.Image, **options: object) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=-1, chroma=444, matrix_coefficients=0, **options)  # lossless
    return buffer.getvalue()


def in_format(kind: str, array: np.ndarray = PICTURE) -> bytes:
    if kind in {"PSD", "HEIF"}:
        return psd(array) if kind == "PSD" else heic(Image.fromarray(array))
    return encoded(Image.fromarray(array), kind)


def test_however_it_comes_the_pixels_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png())
    for image in (file, str(file), png(), Image.open(file), PICTURE, torch.from_numpy(PICTURE)):
        read = read_image(image, max_size=0)
        assert read.mode == "RGB"
        assert np.array_equal(np.asarray(read), PICTURE)


def test_a_large_jpeg_has_the_same_pixels_as_a_pil_image(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    Image.fromarray(PICTURE).resize((1600, 1200)).save(file)
    assert read_image(file, max_size=100).tobytes() == read_image(Image.open(file), max_size=100).tobytes()


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((64, 48), (64, 48)),
        ((1400, 700), (700, 350)),
        ((30, 2100), (10, 700)),
        ((9000, 2), (700, 1)),
        ((1000, 667), (700, 466)),  # 466.9: truncated, as the paper's code has it
        ((749, 1000), (524, 700)),
    ],
)
def test_the_longer_side_is_bounded(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert read_image(Image.new("RGB", size)).size == scaled


@pytest.mark.filterwarnings("ignore:Palette images:UserWarning")
def test_as_the_reference_reads_it() -> None:
    """Orientation ignored, alpha dropped, sizes truncated, 16 bits as `convert("RGB")` has them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.fromarray(PICTURE), "PNG", exif=exif)
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    deep = encoded(Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)), "PNG")
    for image in (turned, encoded(clear, "PNG"), clear, encoded(clear.quantize(), "PNG"), deep, PICTURE):
        read = read_image(image, as_reference=True)
        opened = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image
        expected = Image.fromarray(opened) if isinstance(opened, np.ndarray) else opened.convert("RGB")
        assert (read.size, read.tobytes()) == (expected.size, expected.tobytes())
    assert read_image(turned, as_reference=True).size == (64, 48)
    assert read_image(clear, as_reference=True).getpixel((3, 3)) == (255, 0, 0)
    wide = Image.fromarray(PICTURE).resize((1000, 667))
    expected = wide.resize((700, 466), Image.Resampling.LANCZOS)
    assert read_image(wide, as_reference=True).tobytes() == expected.tobytes()
    with pytest.raises(ImageError):
        read_image(b"no image", as_reference=True)


def test_transparency_is_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    palette = clear.convert("RGBA").quantize()
    for image in (clear, Image.new("LA", (8, 8), (0, 0)), Image.open(io.BytesIO(encoded(palette, "PNG")))):
        assert read_image(image).getpixel((3, 3)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    read = np.asarray(read_image(encoded(Image.fromarray(deep), "PNG")))[..., 0]
    assert np.array_equal(read, np.arange(256).reshape(16, 16))


def test_cmyk() -> None:
    cmyk = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red, green, blue = read_image(cmyk).getpixel((4, 4))
    assert red > 180
    assert max(green, blue) < 90
    assert read_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "MPO"])
def test_an_image_is_turned_before_it_is_scaled(kind: str) -> None:
    picture = Image.fromarray(PICTURE).resize((1000, 667))
    for orientation, turn in ((1, None), (3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"TIFF": {}, "AVIF": {"quality": 100, "speed": 10}}.get(kind, {"quality": 100})
        file = encoded(picture, kind, exif=exif, **options)
        upright = picture.transpose(turn) if turn is not None else picture
        read = read_image(file)
        assert read.size == ((466, 700) if orientation == 6 else (700, 466))
        expected = np.asarray(upright.resize(read.size, Image.Resampling.LANCZOS)).astype(int)
        assert np.abs(np.asarray(read) - expected).mean() < 4  # what the codec loses


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue", "lime")]
    file = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert getattr(Image.open(io.BytesIO(file)), "n_frames", 3) == 3
    assert np.abs(np.array(read_image(file).getpixel((9, 9))) - (255, 0, 0)).max() < 4
    later = Image.open(io.BytesIO(file))
    if kind in {"GIF", "TIFF"}:  # a PIL image is taken as it stands
        later.seek(1)
        assert read_image(later).getpixel((9, 9)) == (0, 0, 255)


def test_a_palette_with_transparency_is_white_where_it_is_clear() -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((3, 3), 0)
    for kind, transparency in (("PNG", 0), ("PNG", bytes([0, 255])), ("GIF", 0)):
        read = read_image(encoded(palette, kind, transparency=transparency))
        assert (read.getpixel((3, 3)), read.getpixel((0, 0))) == ((255, 255, 255), (0, 0, 255))
    half = Image.open(io.BytesIO(encoded(palette, "PNG", transparency=bytes([0, 128]))))
    assert read_image(half).getpixel((0, 0)) == (127, 127, 255)


def test_the_image_of_the_caller_is_left_alone() -> None:
    for mode in ("RGB", "L", "RGBA", "I;16"):
        given = Image.new(mode, (8, 8))
        read = read_image(given)
        assert read is not given
        read.paste("lime", (0, 0, 8, 8))
        assert (given.mode, given.getpixel((0, 0))) == (mode, Image.new(mode, (1, 1)).getpixel((0, 0)))


@pytest.mark.parametrize("kind", [*FORMATS, "MPO", "HEIF"])
def test_every_format_is_read(kind: str) -> None:
    read = read_image(in_format(kind, PICTURE[:48, :48]), max_size=0)
    reached = Image.open(io.BytesIO(in_format(kind, PICTURE[:48, :48]))) if kind != "HEIF" else read
    assert read.mode == "RGB"
    assert read.size == reached.size == ((1024, 1024) if kind == "ICNS" else (48, 48))
    assert read.tobytes() == reached.convert("RGB").tobytes()
    if kind in {"PSD", "QOI", "SGI", "PCX", "DIB", "HEIF"}:
        assert np.array_equal(np.asarray(read), PICTURE[:48, :48])


def test_the_suffixes_are_those_of_what_is_read() -> None:
    """A suffix is collected if and only if its format is read, by Pillow or by the extra for HEIF."""
    import pillow_heif

    Image.init()
    registered = Image.registered_extensions()
    before = dict(registered)
    pillow_heif.register_heif_opener()
    try:
        heif = {suffix for suffix, kind in Image.registered_extensions().items() if kind == "HEIF"}
    finally:
        Image.EXTENSION.clear()
        Image.EXTENSION.update(before)
        Image.ID.remove("HEIF")
        for registry in (Image.OPEN, Image.SAVE, Image.SAVE_ALL, Image.MIME):
            registry.pop("HEIF", None)
    assert heif == set(HEIF_SUFFIXES)
    for suffix, kind in before.items():
        assert (suffix in suffixes()) == (kind in {*FORMATS, "MPO"}), suffix
    assert suffixes() - set(before) == set(HEIF_SUFFIXES)
    assert {".jpg", ".png", ".psd", ".sgi", ".qoi", ".pcx", ".dib", ".icns", ".heic", ".avif"} <= suffixes()
    assert not suffixes() & {".eps", ".pdf", ".ps", ".wmf", ".svg", ".h5", ".fits"}


def test_heif_by_its_content_and_upright(tmp_path: Path) -> None:
    file = tmp_path / "really a heic.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(PICTURE)
    for turned in (heic(picture), heic(picture, exif=exif.tobytes())):
        file.write_bytes(turned)
        assert read_image(file).tobytes() == read_image(turned).tobytes()
        assert read_image(turned, as_reference=True).mode == "RGB"
    assert np.array_equal(np.asarray(read_image(heic(picture))), PICTURE)
    assert read_image(heic(Image.new("RGBA", (64, 64), (255, 0, 0, 0)))).getpixel((9, 9)) == (255, 255, 255)
    assert "HEIF" not in Image.OPEN  # the registry is everybody's
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(heic(picture)[:300])


def test_heif_without_its_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.heic"
    file.write_bytes(heic(Image.fromarray(PICTURE)))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for image in (file, file.read_bytes()):
        with pytest.raises(ImageError, match=r"HEIF.*pip install 'conditional-image-embeddings\[heif\]'"):
            read_image(image)
    with pytest.raises(ImageError, match="no image in a format"):
        read_image(b"\0\0\0\x18ftypqt  " + bytes(40))


def test_the_stored_size_is_in_the_header() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert stored_size(encoded(Image.fromarray(PICTURE), "JPEG", exif=exif)) == (64, 48)
    assert stored_size(heic(Image.fromarray(PICTURE))) == (64, 48)
    assert stored_size(Image.fromarray(PICTURE)) == (64, 48)
    with pytest.raises(ImageError, match="no image in a format"):
        stored_size(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(png())
    assert read_image(tmp_path / "photo.jpg").size == (64, 48)


@pytest.mark.parametrize("name", ["with space.png", "quote's \".png", "new\nline.png", "Ünïcode 車.png"])
def test_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(png())
    assert read_image(tmp_path / name).size == (64, 48)
    (tmp_path / name).write_bytes(png()[:60])
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello, world" * 10, "no image in a format"),
        (png()[: len(png()) // 2], "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no image in a format"),
        (psd().replace(b"\0\x08\0\x03", b"\0\x10\0\x03", 1), "PSD.*rare variant"),  # of 16 bits
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as error:
        read_image(file)
    assert "broken.png" in str(error.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "pipe.png")
    for path, reason in (
        (tmp_path / "none.png", "is not there"),
        (tmp_path, "is a folder"),
        (tmp_path / "link.png", "broken link"),
        (tmp_path / "pipe.png", "not a regular file"),
        ("https://example.org/a.png", "not fetched"),
    ):
        with pytest.raises(ImageError, match=reason):
            read_image(path)


def test_a_file_is_read_once_and_stays_what_it_was(tmp_path: Path) -> None:
    """Pixels, size, hash and status are those of one moment, whatever becomes of the file."""
    file = tmp_path / "a.png"
    file.write_bytes(png())
    status = file.stat()
    read = read_encoded(file)
    file.unlink()
    file.write_bytes(png(PICTURE[:10]))
    assert (read.path, read.data, read.sha256) == (file, png(), hashlib.sha256(png()).hexdigest())
    assert read.stat == FileStat(str(file), status.st_size, status.st_mtime_ns)
    file.unlink()
    assert stored_size(read) == (64, 48)
    assert np.array_equal(np.asarray(read_image(read, max_size=0)), PICTURE)
    assert read_encoded(png()) == Encoded(png())
    with pytest.raises(ImageError, match=r"a\.png' is not there"):
        read_encoded(file)
    with pytest.raises(ImageError, match=r"a\.png' is no image in a format"):
        read_image(Encoded(b"\x89PNG\r\n\x1a\n" + bytes(20), file))


def test_files_of_any_size_are_read_to_their_end_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    monkeypatch.setattr(encoded_bytes, "MAX_BYTES", 200_000)
    for size in (1, 65_535, 65_536, 65_537, 199_999, 200_000):
        file.write_bytes(bytes(size))
        assert read_encoded(file).data == bytes(size)
    for size in (200_001, 400_000):
        file.write_bytes(bytes(size))
        with pytest.raises(ImageError, match=f"has {size} bytes; at most 200000 are read"):
            read_encoded(file)
        with pytest.raises(ImageError, match=f"has {size} bytes; at most 200000 are read"):
            read_encoded(bytes(size))
    if Path("/proc/version").exists():  # a file that says 0 bytes
        assert read_encoded("/proc/version").data == Path("/proc/version").read_bytes()


def test_a_decompression_bomb_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encoded(Image.new("1", (15000, 15000)), "PNG")  # 225 million pixels in a few kilobytes
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="at most"):
        read_image(bomb)
    monkeypatch.setattr(encoded_bytes, "MAX_BYTES", 10)
    with pytest.raises(ImageError, match="bytes"):
        read_image(png())


ALPHA = np.dstack([PICTURE, np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)])
ARRAYS = {  # of the same picture as what stands beside it, which Pillow makes an image of
    "gray": (PICTURE[..., 0], PICTURE[..., 0]),
    "gray of one channel": (PICTURE[..., :1], PICTURE[..., 0]),
    "with alpha": (ALPHA, ALPHA),
    "floats": (PICTURE / 255, PICTURE),
    "floats of 32 bits": (PICTURE.astype(np.float32) / np.float32(255), PICTURE),
    "gray floats of 16 bits": ((PICTURE[..., 0] / 255).astype(np.float16), PICTURE[..., 0]),
    "floats with alpha": (ALPHA / 255, ALPHA),
    "channels first": (PICTURE.transpose(2, 0, 1), PICTURE),
    "channels first as floats": (PICTURE.transpose(2, 0, 1) / 255, PICTURE),
    "not contiguous": (PICTURE[::-2, ::-1], np.ascontiguousarray(PICTURE[::-2, ::-1])),
    "read only": (np.frombuffer(PICTURE.tobytes(), np.uint8).reshape(PICTURE.shape), PICTURE),
    "numbers as objects": (PICTURE.astype(object), PICTURE),
    "floats as objects": ((PICTURE / 255).astype(object), PICTURE),
    "black": (np.zeros((5, 7)), np.zeros((5, 7), np.uint8)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_and_tensors_of_every_layout(kind: str) -> None:
    array, same = ARRAYS[kind]
    before = array.copy()
    expected = read_image(encoded(Image.fromarray(same), "PNG"), max_size=0)
    assert read_image(array, max_size=0).tobytes() == expected.tobytes()
    assert np.array_equal(array, before)
    if array.dtype != object:
        tensor = torch.from_numpy(array.copy())
        devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        for device in devices:
            assert read_image(tensor.to(device), max_size=0).tobytes() == expected.tobytes()
        if array.dtype.kind == "f":
            rounded = read_image(tensor.to(torch.bfloat16).requires_grad_(), max_size=0)
            assert np.abs(np.asarray(rounded).astype(int) - np.asarray(expected)).max() <= 2


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PICTURE.astype(np.float32), r"has floats in 0\.\.255: expected 0\.\.1 \(divide by 255"),
        (PICTURE / 255 + 0.01, r"has floats in 0\.01\.\.1\.01: expected 0\.\.1"),
        (PICTURE / 255 - 0.01, "has floats in -0.01"),
        (np.full((4, 4), np.nan), r"has floats in nan\.\.nan"),
        (np.array([[0.5, np.inf]]), r"has floats in 0\.5\.\.inf"),
        (PICTURE.astype(np.int64), "has values of type int64: expected uint8, or floats in 0..1"),
        (PICTURE.astype(np.uint16), "has values of type uint16"),
        (PICTURE > 9, "has values of type bool"),
        (PICTURE[:0], r"has no pixels: its shape is \(0, 64, 3\)"),
        (np.zeros((3, 9, 3), np.uint8), r"has the shape \(3, 9, 3\), which may be \(3, H, W\) or \(H, W, 3\)"),
        (np.zeros((3, 9, 4), np.uint8), r"may be \(3, H, W\) or \(H, W, 4\)"),
        (np.zeros((9, 9, 2), np.uint8), r"has the shape \(9, 9, 2\): expected \(H, W\), \(H, W, 1 / 3 / 4\) or"),
        (np.zeros(9, np.uint8), r"has the shape \(9,\)"),
        (np.zeros((2, 9, 9, 3), np.uint8), "of several images pass each by itself"),
        (np.array(["a.png", "b.png"], object), "is an array of objects: of several images pass a list"),
        (np.full((4, 4), 256, object), "has values of type int64|is an array of objects"),
        ({"a": 1}, "expected a path, .* not dict"),
        (3, "not int"),
        (None, "not NoneType"),
    ],
)
def test_arrays_of_two_meanings_or_none_are_refused(array: object, message: str) -> None:
    for image in (array, torch.from_numpy(array) if isinstance(array, np.ndarray) and array.dtype != object else array):
        with pytest.raises(ImageError, match=message) as error:
            read_image(image)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)


def test_bytes_and_file_objects(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png())
    spooled = tempfile.SpooledTemporaryFile(max_size=10)  # noqa: SIM115 - what web frameworks hand over
    spooled.write(png())
    reader, writer = os.pipe()
    with file.open("rb") as opened, os.fdopen(reader, "rb") as pipe, os.fdopen(writer, "wb") as end, spooled:
        end.write(png())
        end.close()
        unbuffered = file.open("rb", buffering=0)
        for image in (bytearray(png()), memoryview(png()), opened, io.BytesIO(png()), spooled, unbuffered, pipe):
            if hasattr(image, "seek") and image is not pipe:
                image.seek(5)
            assert np.array_equal(np.asarray(read_image(image, max_size=0)), PICTURE)
            if hasattr(image, "seek") and image is not pipe:
                assert image.tell() == 5
                assert stored_size(image) == (64, 48)
                assert not image.closed
        unbuffered.close()
        with pytest.raises(ImageError, match="is empty"):
            read_image(pipe)
    with pytest.raises(ImageError, match="closed file"):
        read_image(opened)
    with file.open(encoding="latin-1") as text, pytest.raises(ImageError, match="mode 'rb'"):
        read_image(text)  # type: ignore[arg-type]


def test_a_thumbnail_is_small() -> None:
    made = thumbnail(Image.new("RGB", (4000, 1000), "red"))
    assert Image.open(io.BytesIO(made)).size == (160, 40)
    assert len(made) < 5000


def test_dark_sixteen_bit_images_stay_dark() -> None:
    dark = encoded(Image.fromarray(np.full((4, 4), 250, np.uint16)), "PNG")
    assert read_image(dark).getpixel((0, 0)) == (1, 1, 1)


def test_a_photograph_of_a_hundred_megapixels_is_read(recwarn: pytest.WarningsRecorder) -> None:
    large = encoded(Image.new("1", (11_600, 8_700), 1), "PNG")
    assert read_image(large, max_size=10).getpixel((5, 5)) == (255, 255, 255)
    assert not recwarn.list


WHOLE = {kind: in_format(kind, PICTURE[:16, :16]) for kind in (*FORMATS, "HEIF")}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@given(
    st.sampled_from([*FORMATS, "HEIF"]),
    st.floats(0.05, 1),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
)
def test_a_damaged_image_is_read_or_refused_never_anything_else(
    kind: str, part: float, flips: list[tuple[int, int]]
) -> None:
    damaged = bytearray(WHOLE[kind])
    for place, value in flips:
        damaged[place % len(damaged)] = value
    with contextlib.suppress(ImageError):
        assert read_image(bytes(damaged[: int(part * len(damaged))])).mode == "RGB"
