"""Images in every form that a program has them in, and what is said of those that are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import vqjax
from vqjax.inference.inputs import as_images, to_pixel_levels

pytest_plugins = "inference_fixtures"


@pytest.fixture(scope="module")
def tokenizer(runs):
    return vqjax.Tokenizer.load(runs / "tokenizer")


@pytest.fixture(scope="module")
def images():
    """Every level is among the pixels."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    images[:4] = np.arange(256).reshape(4, 8, 8, 1)
    return images


def saved(images, directory):
    paths = [directory / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images):
        Image.fromarray(image[..., 0]).save(path)
    return paths


def torch_tensor(images, dtype):
    torch = pytest.importorskip("torch")
    return (torch.from_numpy(images.copy()) / 255).to(getattr(torch, dtype)).requires_grad_()


FORMS = {
    "uint8": lambda images, _: images,
    "float64": lambda images, _: images / 255.0,
    "float32": lambda images, _: images.astype(np.float32) / 255,
    "float16": lambda images, _: (images / 255).astype(np.float16),
    "bfloat16": lambda images, _: jnp.asarray(images / 255, jnp.bfloat16),
    "longdouble": lambda images, _: images.astype(np.longdouble) / 255,
    "big-endian float32": lambda images, _: (images / 255).astype(">f4"),
    "big-endian float64": lambda images, _: (images / 255).astype(">f8"),
    "jax": lambda images, _: jnp.asarray(images),
    "not contiguous": lambda images, _: images.repeat(2, 0)[::2],
    "torch": lambda images, _: torch_tensor(images, "float32"),
    "torch bfloat16": lambda images, _: torch_tensor(images, "bfloat16"),
    "list": lambda images, _: list(images),
    "gray": lambda images, _: images[..., 0],
    "gray floats": lambda images, _: images[..., 0] / 255.0,
    "nothing masked": lambda images, _: np.ma.masked_array(images, np.zeros(images.shape, bool)),
    "pillow": lambda images, _: [Image.fromarray(image[..., 0]) for image in images],
    "pillow rgb": lambda images, _: [Image.fromarray(image[..., 0]).convert("RGB") for image in images],
    "paths": lambda images, directory: saved(images, directory),
    "names": lambda images, directory: [str(path) for path in saved(images, directory)],
}


@pytest.mark.parametrize("form", FORMS)
def test_an_image_gives_the_same_codes_however_it_comes(tokenizer, images, form, tmp_path):
    """Half precision can tell all levels apart."""
    np.testing.assert_array_equal(tokenizer.encode(FORMS[form](images, tmp_path)), tokenizer.encode(images))


def test_every_level_comes_back_from_floats_and_what_lies_between_stays():
    whole = np.arange(256, dtype=np.uint8)
    for dtype in (np.float16, np.float32, jnp.bfloat16):
        np.testing.assert_array_equal(to_pixel_levels(jnp.asarray(whole / 255, dtype)), whole)
    between = np.arange(255, dtype=np.float32) + np.float32(0.25)
    np.testing.assert_allclose(to_pixel_levels(jnp.asarray(between / 255)), between, atol=1e-4)


def test_the_gradient_of_pixels_is_the_same_on_whole_levels_and_between():
    pixels = jnp.array([0.0, 7 / 255, 7.3 / 255, 1.0])
    np.testing.assert_allclose(jax.grad(lambda x: to_pixel_levels(x).sum())(pixels), 255)


IMAGES = np.zeros((2, 8, 8, 1), np.uint8)
FLOATS = IMAGES / 255
WRONG = {
    "one image": (IMAGES[0], ValueError, r"images of shape \(8, 8, 1\): expected .*; one image\? images\[None\]$"),
    "one gray image": (IMAGES[0, ..., 0], ValueError, r"shape \(8, 8\): .*; one image\? images\[None\]$"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), ValueError, r"it looks like \(N, C, H, W\): transpose it$"),
    "a NaN": (np.where(np.arange(2)[:, None, None, None], np.nan, FLOATS), ValueError, "^NaN in image 1: expected"),
    "infinite": (FLOATS + np.inf, ValueError, "^images from inf to inf: expected uint8, or floats in"),
    "too large": (IMAGES + 1.5, ValueError, "^images from 1.5 to 1.5: expected uint8, or floats in"),
    "negative": (IMAGES - 0.5, ValueError, "^images from -0.5 to -0.5: expected"),
    "masked": (np.ma.masked_array(IMAGES, IMAGES == 0), TypeError, "expected an array without masked values; fill"),
    "integers": (IMAGES.astype(int), TypeError, "images of dtype int64: expected uint8, or floats in"),
    "none": (IMAGES[:0], ValueError, r"images of shape \(0, 8, 8, 1\): expected .*, found none"),
    "an empty list": ([], ValueError, "expected .*, found none"),
    "colors": (np.zeros((2, 8, 8, 3)), ValueError, r"\(2, 8, 8, 3\): expected \(N, H, W, 1\) or \(N, H, W\)$"),
    "ragged": ([[1.0], [1.0, 2.0]], ValueError, "images: expected an array"),
    "one path": ("picture.png", TypeError, r"found a single path: \['picture.png'\]"),
    "no file": (["nowhere.png"], ValueError, "nowhere.png: no such file"),
    "one Pillow image": (Image.new("L", (8, 8)), TypeError, "expected a list of Pillow images, found a single one"),
    "several sizes": ([Image.new("L", (8, s)) for s in (8, 10)], ValueError, "2 sizes .8 x 8, 8 x 10.: expected one"),
    "Pillow floats": ([Image.new("F", (8, 8))], ValueError, "expected a picture of 8 or 16 bits per channel"),
    "a mixed list": ([Image.new("L", (8, 8)), IMAGES[0]], TypeError, "found something else in it"),
    "words": ([b"abc"], TypeError, "expected an array of numbers, found list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_images_are_told_what_was_expected(name):
    images, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        as_images(images, (8, 8, 1))


def test_one_image_of_colors():
    with pytest.raises(ValueError, match=r"images of shape \(8, 8, 3\): .*one image\? images\[None\]"):
        as_images(np.zeros((8, 8, 3), np.uint8), (8, 8, 3))


def test_clips_are_taken_by_a_model_of_clips_alone():
    clips = np.zeros((2, 5, 8, 8, 1), np.uint8)
    assert as_images(clips, (5, 8, 8, 1)).shape == clips.shape
    with pytest.raises(ValueError, match=r"images of shape \(2, 5, 8, 8, 1\): expected \(N, H, W, 1\) or \(N, H, W\)$"):
        as_images(clips, (8, 8, 1))


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())])
def test_what_is_traced_is_told_of_the_pure_functions(tokenizer, transform):
    """It was a TracerArrayConversionError."""
    for use in (tokenizer.encode, tokenizer.reconstruct):
        with pytest.raises(TypeError, match=r"traced by jit, grad or vmap; there use .* tokenizer.functions\(\)"):
            transform(use)(np.zeros((2, 8, 8, 1), np.float32))
