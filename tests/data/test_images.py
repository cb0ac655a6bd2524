"""One place where Pillow reads: modes, orientation, what is no image."""

import os

import numpy as np
import pytest
from PIL import Image
from sets import picture

from vqjax.data import images
from vqjax.system.errors import InputError


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_16_bits_are_scaled_not_cut_off(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    file = saved(tmp_path, Image.fromarray(levels))
    np.testing.assert_array_equal(images.decode_image(file, None, 1)[..., 0], [[0, 1, 128, 255]])
    assert images.probe_image(file) == (1, 4, True)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 0, 255, 51
    file = saved(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(images.decode_image(file, None, 3)[0], [[255] * 3, [0] * 3, [204] * 3])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_camera_says(tmp_path, orientation):
    """By the definition of EXIF: where row 0 and column 0 of what is stored belong."""
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    turned = {1: "x", 2: "x[:, ::-1]", 3: "x[::-1, ::-1]", 4: "x[::-1]", 5: "x.T"}
    turned |= {6: "x[::-1].T", 7: "x[::-1, ::-1].T", 8: "x.T[::-1]"}
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(tmp_path, Image.fromarray(pixels), exif=exif)
    expected = eval(turned[orientation], {"x": pixels})
    np.testing.assert_array_equal(images.decode_image(file, None, 1)[..., 0], expected)
    assert images.probe_image(file)[:2] == expected.shape


@pytest.mark.parametrize(
    "mode, colours, grey",
    [("L", 1, True), ("1", 1, True), ("LA", 1, True), ("P", 3, False), ("RGBA", 3, False), ("CMYK", 3, False)],
)
def test_modes(tmp_path, mode, colours, grey):
    """A colour is the same in every mode."""
    colour = 3 * (255 if mode == "1" else 204,) if grey else (204, 0, 51)
    image = Image.new("RGB", (8, 8), colour).convert(mode)
    file = saved(tmp_path, image, "image.tiff" if mode == "CMYK" else "image.png")
    assert images.probe_image(file) == (8, 8, grey)
    found = images.decode_image(file, None, colours)
    assert found.shape == (8, 8, colours)
    assert np.abs(found.astype(int) - colour[:colours]).max() <= 1


def test_a_grey_palette_is_grey(tmp_path):
    image = Image.fromarray(picture(0, channels=1)[..., 0]).quantize(16)
    assert images.probe_image(saved(tmp_path, image)).grey


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
    """Of its size; what comes of it is nearly what comes of all its pixels."""
    smooth = Image.fromarray(picture(0, 12, 16)).resize((800, 600), Image.Resampling.BICUBIC)
    file = saved(tmp_path, smooth, "image.jpg", quality=95)
    with images.open_source(file, 128) as image:
        assert image.size == (200, 150)
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
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.png")
    whole = saved(tmp_path, Image.fromarray(picture(0, 64, 64)), "whole.jpg")
    (tmp_path / "half.jpg").write_bytes(whole.read_bytes()[:1200])
    saved(tmp_path, Image.fromarray(np.zeros((8, 8), np.float32)), "float.tiff")
    for name, reason in (
        ("text.png", "not an image that can be read"),
        ("empty.jpg", "not an image that can be read"),
        ("half.jpg", "not an image that can be read"),
        ("pipe.png", "no regular file"),
        ("nowhere.png", "no such file"),
        ("", "a directory, expected a file"),
        ("float.tiff", "expected a picture of 8 or 16 bits per channel, found mode 'F'"),
    ):
        for read in (images.probe_image, lambda file: images.decode_image(file, (8, 8), 3)):
            with pytest.raises(InputError, match=f"^{reason}$"):
                read(tmp_path / name)


@pytest.mark.parametrize("pixels", [50, 20])  # of 64: Pillow warns, or refuses from twice as many on
def test_a_bomb_is_not_opened(tmp_path, monkeypatch, pixels):
    file = saved(tmp_path, Image.new("L", (8, 8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(InputError, match=f"^too large, expected at most {pixels} pixels$"):
        images.probe_image(file)
