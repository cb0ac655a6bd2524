"""Image files as the arrays that a model takes."""

import numpy as np
import pytest
from PIL import Image

from vqjax.data.images import read_image
from vqjax.system.errors import InputError


@pytest.mark.parametrize(
    "mode, size, shape, expected",
    [
        ("L", (8, 8), (8, 8, 1), []),
        ("RGB", (8, 8), (8, 8, 3), []),
        ("RGB", (8, 8), (8, 8, 1), ["converted from RGB to L"]),
        ("P", (8, 8), (8, 8, 3), ["converted from P to RGB"]),
        ("CMYK", (20, 10), (8, 8, 1), ["converted from CMYK to L", "resized from 20 x 10 and cropped to 8 x 8 pixels"]),
        ("L", (16, 16), (8, 8, 1), ["resized from 16 x 16 to 8 x 8 pixels"]),
        ("I;16", (8, 8), (8, 8, 1), ["scaled from 16 bits to 8"]),
        ("L", (12, 8), (8, 12, 1), []),  # Pillow's width comes first
    ],
)
def test_other_sizes_and_modes_are_converted_with_a_note(tmp_path, mode, size, shape, expected):
    Image.new(mode, size).save(tmp_path / "image.tiff")
    image, notes = read_image(tmp_path / "image.tiff", shape)
    assert image.shape == shape and image.dtype == np.uint8 and notes == expected


def test_a_drawing_on_nothing_is_one_on_white(tmp_path):
    drawing = Image.new("LA", (8, 8), (0, 0))
    drawing.putpixel((3, 2), (0, 255))
    drawing.save(tmp_path / "drawing.png")
    image, notes = read_image(tmp_path / "drawing.png", (8, 8, 1))
    assert image[2, 3, 0] == 0 and image.sum() == 63 * 255 and notes[0] == "transparency laid over white"


def test_of_several_frames_the_first_is_taken(tmp_path):
    frames = [Image.new("L", (8, 8), grey) for grey in (10, 200)]
    frames[0].save(tmp_path / "film.tiff", save_all=True, append_images=frames[1:])
    image, notes = read_image(tmp_path / "film.tiff", (8, 8, 1))
    assert np.all(image == 10) and notes == ["the first of its frames"]


@pytest.mark.parametrize("pixels", [50, 20])  # of 64: Pillow warns, or refuses from twice as many on
def test_an_image_that_is_too_large_is_refused(tmp_path, monkeypatch, pixels):
    Image.new("L", (8, 8)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(InputError, match=f"large.png: too large, expected at most {pixels} pixels"):
        read_image(tmp_path / "large.png", (8, 8, 1))


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    Image.new("LAB", (8, 8)).save(tmp_path / "lab.tiff")
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(whole)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:2000])
    frames = [Image.new("L", (8, 8), grey) for grey in (10, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    film = (tmp_path / "film.gif").read_bytes()
    (tmp_path / "film.gif").write_bytes(film[: film.rindex(b",") + 1])  # the second frame ends after its first byte
    for name, message in (
        ("nowhere.png", "no such file"),
        ("", "a directory, expected a file"),
        ("text.png", "not an image that can be read"),
        ("lab.tiff", "expected a picture of 8 or 16 bits per channel, found mode 'LAB'"),
        ("half.png", "damaged: image file is truncated"),
        ("film.gif", "damaged: "),
    ):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            read_image(tmp_path / name, (8, 8, 1))
