"""One place where Pillow reads: modes, orientation, what is no image."""

import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from sets import picture

from vqjax.data import images
from vqjax.data.files.pictures import Probe, load_image, probe_image
from vqjax.system.errors import InputError


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_16_bits_are_scaled_not_cut_off(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    file = saved(tmp_path, Image.fromarray(levels))
    np.testing.assert_array_equal(images.decode_image(file, None, 1)[..., 0], [[0, 1, 128, 255]])
    assert probe_image(file) == Probe("", 1, 4, True)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 0, 255, 51
    file = saved(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(images.decode_image(file, None, 3)[0], [[255] * 3, [0] * 3, [204] * 3])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_camera_says(tmp_path, orientation):
    """Definition of EXIF: where row 0 and column 0 of what is stored belong."""
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    turned = {1: "x", 2: "x[:, ::-1]", 3: "x[::-1, ::-1]", 4: "x[::-1]", 5: "x.T"}
    turned |= {6: "x[::-1].T", 7: "x[::-1, ::-1].T", 8: "x.T[::-1]"}
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(tmp_path, Image.fromarray(pixels), exif=exif)
    expected = eval(turned[orientation], {"x": pixels})
    np.testing.assert_array_equal(images.decode_image(file, None, 1)[..., 0], expected)
    assert probe_image(file)[1:3] == expected.shape


@pytest.mark.parametrize(
    "mode, colors, gray",
    [("L", 1, True), ("1", 1, True), ("LA", 1, True), ("P", 3, False), ("RGBA", 3, False), ("CMYK", 3, False)],
)
def test_modes(tmp_path, mode, colors, gray):
    """A color is the same in every mode."""
    color = 3 * (255 if mode == "1" else 204,) if gray else (204, 0, 51)
    image = Image.new("RGB", (8, 8), color).convert(mode)
    file = saved(tmp_path, image, "image.tiff" if mode == "CMYK" else "image.png")
    assert probe_image(file) == Probe("", 8, 8, gray)
    found = images.decode_image(file, None, colors)
    assert found.shape == (8, 8, colors)
    assert np.abs(found.astype(int) - color[:colors]).max() <= 1


def test_a_gray_palette_is_gray(tmp_path):
    image = Image.fromarray(picture(0, channels=1)[..., 0]).quantize(16)
    assert probe_image(saved(tmp_path, image)).gray


@pytest.mark.parametrize("size", [(8, 8), (4, 12), (12, 4)])
def test_the_shorter_side_then_the_middle(size):
    """A ramp keeps its slope, whatever is cut off."""
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8) * 2, (48, 96))
    found = np.asarray(images.fit(Image.fromarray(ramp), size)).astype(float)
    height, width = size
    assert found.shape == size
    scale = min(96 / width, 48 / height)
    expected = (96 - scale * width) + 2 * scale * (np.arange(width) + 0.5) - 1
    np.testing.assert_allclose(found[height // 2, 1:-1], expected[1:-1], atol=1.5)


def test_a_large_jpeg_is_read_at_a_fraction(tmp_path):
    """A fraction of its size; what comes of it is nearly what comes of all its pixels."""
    smooth = Image.fromarray(picture(0, 12, 16)).resize((800, 600), Image.Resampling.BICUBIC)
    file = saved(tmp_path, smooth, "image.jpg", quality=95)
    loaded = load_image(file, 128)
    assert loaded.image.size == (200, 150) and loaded.size == (800, 600)
    with Image.open(file) as image:
        expected = np.asarray(images.fit(image, (64, 64))).astype(float)
    assert np.abs(images.decode_image(file, (64, 64), 3) - expected).mean() < 1


def test_random_crops_lie_inside_and_keep_the_shape():
    areas = []
    for seed in range(300):
        left, top, right, bottom = images.random_box((90, 60), (20, 40), 0.25, np.random.default_rng(seed))
        assert 0 <= left < right <= 90 and 0 <= top < bottom <= 60
        np.testing.assert_allclose((right - left) / (bottom - top), 2, rtol=1e-6)
        areas.append((right - left) * (bottom - top) / (90 * 45))
    assert 0.25 <= min(areas) < 0.3 and 0.95 < max(areas) <= 1 + 1e-9


def test_what_is_no_image_says_why(tmp_path):
    """The true reason, in one line."""
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.png")
    whole = saved(tmp_path, Image.fromarray(picture(0, 64, 64)), "whole.jpg")
    (tmp_path / "half.jpg").write_bytes(whole.read_bytes()[:1200])
    png = bytearray(saved(tmp_path, Image.fromarray(picture(0))).read_bytes())
    png[20] ^= 1
    (tmp_path / "flipped.png").write_bytes(png)
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nquit\n")
    saved(tmp_path, Image.fromarray(np.zeros((8, 8), np.float32)), "float.tiff")
    for name, reason in (
        ("text.png", "not an image that can be read"),
        ("empty.jpg", "empty"),
        ("half.jpg", "damaged: image file is truncated .*"),
        ("flipped.png", "a damaged PNG file"),
        ("phone.heic", "a HEIC image, which Pillow does not read: convert it to JPEG or PNG"),
        ("script.eps", "not an image that can be read"),  # Ghostscript would run it
        ("pipe.png", "no regular file"),
        ("nowhere.png", "no such file"),
        ("", "a directory, expected a file"),
        ("float.tiff", "expected a picture of 8 or 16 bits per channel, found mode 'F'"),
    ):
        assert re.fullmatch(reason, probe_image(tmp_path / name).reason), name
        with pytest.raises(InputError, match=f"^{reason}$"):
            images.decode_image(tmp_path / name, (8, 8), 3)


@pytest.mark.parametrize("pixels", [50, 20])  # of 64: Pillow warns, or refuses from twice as many on
def test_a_bomb_is_not_opened(tmp_path, monkeypatch, pixels):
    file = saved(tmp_path, Image.new("L", (8, 8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    assert probe_image(file).reason == f"too large, expected at most {pixels} pixels"


# Metadata never costs an image


def exif(tag, kind, count, value):
    """EXIF with one entry."""
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHI4s", tag, kind, count, value) + bytes(4)


def png_with(kind, content, intact=True, last=False):
    """A chunk behind the first, or before the last."""

    def change(file):
        checksum = zlib.crc32(kind + content) ^ (not intact)
        chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
        at = len(file) - 12 if last else 33
        return file[:at] + chunk + file[at:]

    return change


def jpeg_with(marker, content):
    return lambda file: file[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + file[2:]


BOMB = b"a\0\0" + zlib.compress(bytes(100_000_000))
TEXT = exif(0x0112, 2, 2, b"x\0\0\0")  # an orientation that is text
METADATA = {
    "orientation of text": ("JPEG", jpeg_with(0xE1, TEXT)),
    "orientation of 9": ("JPEG", jpeg_with(0xE1, exif(0x0112, 3, 1, b"\0\x09\0\0"))),
    "no EXIF": ("JPEG", jpeg_with(0xE1, b"Exif\0\0no EXIF")),
    "truncated EXIF": ("JPEG", jpeg_with(0xE1, TEXT[:18])),
    "EXIF that points outside": ("JPEG", jpeg_with(0xE1, exif(0x011A, 5, 1, b"\xff\0\0\0"))),
    "short JFIF": ("JPEG", lambda file: file[:2] + b"\xff\xe0\0\x06JFIF" + file[20:]),
    "short Adobe": ("JPEG", jpeg_with(0xEE, b"Adobe")),
    "short ICC": ("JPEG", jpeg_with(0xE2, b"ICC_PROFILE\0")),
    "no MPO": ("JPEG", jpeg_with(0xE2, b"MPF\0no MPO")),
    "XMP": ("JPEG", jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe")),
    "text bomb": ("PNG", png_with(b"zTXt", BOMB)),
    "text bomb at the end": ("PNG", png_with(b"zTXt", BOMB, last=True)),
    "text of another checksum": ("PNG", png_with(b"tEXt", b"a\0b", intact=False)),
    "no ICC": ("PNG", png_with(b"iCCP", b"no ICC")),
    "short gamma": ("PNG", png_with(b"gAMA", b"")),
    "short density": ("PNG", png_with(b"pHYs", b"1")),
    "no animation": ("PNG", png_with(b"acTL", b"\0")),
    "PNG's orientation of text": ("PNG", png_with(b"eXIf", TEXT[6:])),
    "PNG's EXIF of another checksum": ("PNG", png_with(b"eXIf", TEXT[6:], intact=False)),
}


@pytest.mark.parametrize("name", METADATA)
def test_broken_metadata_costs_no_image(tmp_path, name):
    form, change = METADATA[name]
    whole = saved(tmp_path, Image.fromarray(picture(0, 16, 24)), f"whole.{form.lower()}")
    file = tmp_path / f"broken.{form.lower()}"
    file.write_bytes(change(whole.read_bytes()))
    assert probe_image(file) == probe_image(whole) == Probe("", 16, 24)
    for source in (file, file.read_bytes()):
        np.testing.assert_array_equal(images.decode_image(source, None, 3), images.decode_image(whole, None, 3))
    np.testing.assert_array_equal(images.read_image(file, (16, 24, 3))[0], images.decode_image(whole, None, 3))


def test_the_orientation_survives_other_metadata_that_is_broken(tmp_path):
    """A portrait by its EXIF stays one."""
    portrait = exif(0x0112, 3, 1, b"\0\x06\0\0")
    for form, marks, breaks in (
        ("jpeg", jpeg_with(0xE1, portrait), jpeg_with(0xE2, b"ICC_PROFILE\0")),
        ("png", png_with(b"eXIf", portrait[6:]), png_with(b"zTXt", BOMB)),
    ):
        file = saved(tmp_path, Image.fromarray(picture(0, 16, 24)), f"portrait.{form}")
        file.write_bytes(breaks(marks(file.read_bytes())))
        assert probe_image(file) == Probe("", 24, 16) and images.decode_image(file, None, 3).shape == (24, 16, 3)


def test_damaged_pixels_do_cost_it(tmp_path):
    """Metadata that is dropped does not make a whole file of half of one."""
    for form, breaks in (("jpeg", jpeg_with(0xE2, b"ICC_PROFILE\0")), ("png", png_with(b"iCCP", b"no ICC"))):
        file = saved(tmp_path, Image.fromarray(picture(0, 64, 64)), f"half.{form}")
        content = breaks(file.read_bytes())
        file.write_bytes(content[: len(content) // 2])
        assert probe_image(file).reason


def test_several_frames_are_told(tmp_path):
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert probe_image(tmp_path / "film.gif").animated
    assert images.open_image(tmp_path / "film.gif", 1)[1][0] == "the first of its frames"
