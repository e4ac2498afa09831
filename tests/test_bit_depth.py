"""Images with more than 8 bits per sample: seen as what they show, neither clipped nor black."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from conditional_image_embeddings.inputs.images import read_image

Samples = NDArray[np.uint16]


def samples(bits: int, bands: int = 1) -> Samples:
    """Random samples that need so many bits, white and black among them."""
    made = np.random.default_rng(bits).integers(0, 2**bits, (12, 10, bands), dtype=np.uint16)
    made[0, 0], made[0, 1] = 2**bits - 1, 0
    return made if bands > 1 else made[..., 0]


def in_8_bits(array: NDArray[np.generic], white: float, black: float = 0) -> NDArray[np.uint8]:
    gray = ((array.astype(np.float64) - black) / (white - black) * 255).round().astype(np.uint8)
    return gray if gray.ndim == 3 else np.repeat(gray[..., None], 3, axis=2)


def pixels(image: bytes | Path | Image.Image) -> NDArray[np.uint8]:
    return np.asarray(read_image(image))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(array: Samples, *chunks: bytes) -> bytes:
    """A PNG of 16 bits per sample: gray, gray with alpha, RGB or RGBA."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if array.ndim == 2 else array.shape[2]]
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    body = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(array: NDArray[np.generic], tags: dict[int, tuple[int, ...]] | None = None, order: str = "<") -> bytes:
    """A TIFF of one strip, deflated if its tag says so; further tags are of type SHORT."""
    bands = 1 if array.ndim == 2 else array.shape[2]
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    if tags and tags.get(259) == (8,):
        data = zlib.compress(data)
        data += b"\0" * (len(data) % 2)
    fields = {
        256: (array.shape[1],),
        257: (array.shape[0],),
        258: (array.itemsize * 8,) * bands,
        259: (1,),
        262: (2 if bands > 2 else 1,),
        273: (8,),
        277: (bands,),
        278: (array.shape[0],),
        279: (len(data),),
        339: ({"u": 1, "i": 2, "f": 3}[array.dtype.kind],) * bands,
        **({338: (2,)} if bands == 4 else {}),
        **(tags or {}),
    }
    entries, extra = b"", b""
    after = 8 + len(data) + 2 + 12 * len(fields) + 4
    for tag, values in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            entries += struct.pack(f"{order}HHII", tag, 3, len(values), after + len(extra))
            extra += packed + b"\0" * (len(packed) % 2)
        else:
            entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(fields)) + entries + b"\0\0\0\0" + extra


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def packed_12_bits(array: Samples) -> bytes:
    """A TIFF whose samples have 12 bits in the file too."""
    first, second = array.reshape(-1, 2).T.astype(int)
    data = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)
    return tiff(data.reshape(len(array), -1), {256: (array.shape[1],), 258: (12,)})


def test_less_than_10_bits_are_taken_for_10_and_8_for_dark() -> None:
    assert np.array_equal(pixels(png(samples(9))), in_8_bits(samples(9), 1023))
    assert np.array_equal(pixels(png(samples(8))), in_8_bits(samples(8), 65535))


@pytest.mark.parametrize("bits", [10, 11, 12, 13, 14, 15, 16])
def test_gray_of_so_many_bits_in_16_uses_them_all(bits: int) -> None:
    gray = samples(bits)
    expected = in_8_bits(gray, 2**bits - 1)
    for image in (
        png(gray),
        tiff(gray),
        tiff(gray, order=">"),
        saved(Image.fromarray(gray), "TIFF", compression="tiff_lzw"),
        saved(Image.fromarray(gray), "JPEG2000", irreversible=False),
        Image.fromarray(gray),
        Image.fromarray(gray.astype(np.int32)),
        Image.fromarray(gray.astype(">u2")),
        Image.open(io.BytesIO(png(gray))),
    ):
        assert np.array_equal(pixels(image), expected)


@pytest.mark.parametrize("bits", [10, 12, 14, 15])
def test_colors_of_so_many_bits_in_16_keep_what_pillow_cuts_off(bits: int) -> None:
    for bands in (3, 4):
        colors = samples(bits, bands)
        if bands == 4:
            colors[..., 3] = 2**bits - 1  # opaque
        expected = in_8_bits(colors[..., :3], 2**bits - 1)
        for image in (
            png(colors),
            tiff(colors),
            tiff(colors, order=">"),
            tiff(colors, {259: (8,)}),
            tiff(colors, {259: (8,)}, order=">"),
            Image.open(io.BytesIO(png(colors))),
        ):
            assert np.array_equal(pixels(image), expected)
    both = samples(bits, 2)
    both[..., 1] = 2**bits - 1
    assert np.array_equal(pixels(png(both)), in_8_bits(both[..., 0], 2**bits - 1))


def test_deep_colors_with_alpha() -> None:
    colors = samples(12, 4)
    colors[..., 3] = 4095
    colors[5:, :, 3] = 0
    read = pixels(png(colors))
    assert np.array_equal(read[:5], in_8_bits(colors[:5, :, :3], 4095))
    assert (read[5:] == 255).all()
    colors[..., 3] = 65535  # 12-bit colours whose alpha has 16
    assert np.array_equal(pixels(png(colors)), in_8_bits(colors[..., :3], 4095))


def test_colors_of_16_bits_are_what_they_were() -> None:
    colors = samples(16, 3)
    for image in (png(colors), tiff(colors), tiff(colors, order=">")):
        assert np.array_equal(pixels(image), np.asarray(Image.open(io.BytesIO(image)).convert("RGB")))
        assert np.array_equal(pixels(image), (colors >> 8).astype(np.uint8))
    dark = np.full((4, 4, 3), 250, np.uint16)
    assert pixels(png(dark)).max() == 0


def test_what_a_file_declares_is_white() -> None:
    gray = samples(12)
    dim = (gray // 3).astype(np.uint16)  # its own range would make it bright
    for image, white in (
        (png(dim, chunk(b"sBIT", b"\x0c")), 4095),
        (tiff(dim, {281: (4095,)}), 4095),
        (tiff(dim, {341: (3000,)}), 3000),
        (tiff(dim, {281: (65535,)}), 65535),
        (packed_12_bits(dim), 4095),
        (b"P5 10 12 4095\n" + dim.astype(">u2").tobytes(), 4095),
        (b"P5 10 12 65535\n" + dim.astype(">u2").tobytes(), 65535),
        (b"P2 10 12 4095\n" + b" ".join(b"%d" % value for value in dim.flat), 4095),
    ):
        assert np.abs(pixels(image).astype(int) - in_8_bits(dim, white)).max() <= (image[:1] == b"P" or white > 4095)
    colors = (samples(12, 3) // 3).astype(np.uint16)
    assert np.array_equal(pixels(png(colors, chunk(b"sBIT", b"\x0c\x0c\x0c"))), in_8_bits(colors, 4095))
    assert np.array_equal(pixels(tiff(colors, {281: (4095,) * 3})), in_8_bits(colors, 4095))


def test_what_a_file_declares_wrongly_is_not_believed() -> None:
    full = samples(16)
    for image in (png(full, chunk(b"sBIT", b"\x0c")), tiff(full, {281: (4095,)}), tiff(full, {281: (0,)})):
        assert np.array_equal(pixels(image), in_8_bits(full, 65535))
    spread = samples(12) << 4  # as the PNG specification has it: 12 significant bits, left in 16
    assert np.array_equal(pixels(png(spread, chunk(b"sBIT", b"\x0c"))), in_8_bits(spread, 65535))


def test_jpeg_2000_declares_its_precision() -> None:
    dim = samples(12) // 3
    shifted = Image.fromarray(dim + np.uint16(2**15 - 2**11))  # stored around the middle of the range
    file = bytearray(saved(shifted, "JPEG2000", irreversible=False, no_jp2=True))
    assert file[42] == 16 - 1
    file[42] = 12 - 1
    assert np.asarray(Image.open(io.BytesIO(file))).max() == dim.max() << 4  # as Pillow hands it out
    assert np.abs(pixels(bytes(file)).astype(int) - in_8_bits(dim, 4095)).max() <= 1


def test_integers_and_floats_without_a_scale_spread_over_their_range() -> None:
    signed = samples(12).astype(np.int16) - 1000
    wide = samples(16).astype(np.uint32) << 16
    floats = samples(12).astype(np.float32) / 7 - 50
    for image, values in ((tiff(signed), signed), (tiff(signed, order=">"), signed), (tiff(floats), floats)):
        assert np.abs(pixels(image).astype(int) - in_8_bits(values, values.max(), values.min())).max() <= 1
    assert np.array_equal(pixels(tiff(wide)), in_8_bits(wide, 2**32 - 1))
    assert np.array_equal(pixels(Image.fromarray(floats)), pixels(tiff(floats)))
    assert pixels(Image.fromarray(np.full((4, 4), 200, np.int32))).max() == 200  # 8 bits in 32
    odd = floats.copy()
    odd[3, :3] = np.nan, np.inf, -np.inf
    read = pixels(Image.fromarray(odd))
    assert read[3, :3, 0].tolist() == [0, 255, 0]
    assert np.array_equal(np.delete(read, 3, 0), np.delete(pixels(Image.fromarray(floats)), 3, 0))
    for flat in (np.full((4, 4), 7.5), np.full((4, 4), np.nan)):
        assert pixels(Image.fromarray(flat.astype(np.float32))).max() == 0


def test_a_transparent_key_of_16_bits_is_white() -> None:
    for bits in (12, 16):
        gray, colors = samples(bits), samples(bits, 3)
        for image in (
            png(gray, chunk(b"tRNS", struct.pack(">H", gray[2, 3]))),
            png(colors, chunk(b"tRNS", struct.pack(">HHH", *colors[2, 3]))),
        ):
            assert pixels(image)[2, 3].tolist() == [255, 255, 255]
            assert pixels(image)[0, 1].tolist() == [0, 0, 0]


def test_orientation_of_deep_images() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = samples(12)
    expected = np.rot90(in_8_bits(gray, 4095), -1)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(pixels(saved(Image.fromarray(gray), kind, exif=exif)), expected)
    colors = samples(12, 3)
    plain = png(colors)
    oriented = plain[:33] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + plain[33:]
    expected = np.rot90(in_8_bits(colors, 4095), -1)
    assert np.array_equal(pixels(oriented), expected)
    assert np.array_equal(pixels(tiff(colors, {274: (6,)})), expected)


def test_a_16_bit_image_costs_itself_and_its_8_bit_result(tmp_path: Path) -> None:
    side = 5000
    file = tmp_path / "large.png"
    Image.fromarray(np.arange(side * side, dtype=np.uint16).reshape(side, side)).save(file, compress_level=1)
    script = (
        "import resource, sys; from conditional_image_embeddings.inputs.images import read_image\n"
        "read_image(sys.argv[1], max_size=10)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "read_image(sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    small = tmp_path / "small.png"
    Image.fromarray(samples(12)).save(small)
    command = [sys.executable, "-c", script, str(small), str(file)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peak * (1 if sys.platform == "darwin" else 1024) < 4 * side**2  # 2 bytes and 1 per pixel, and strips
