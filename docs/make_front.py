"""Draws docs/images/front.png, the picture of the README, of trained runs: `python docs/make_front.py COLOR PRIOR`.

COLOR is an autoencoder's run on CIFAR-10, PRIOR that of a transformer prior on MNIST. The picture is of these:

python train.py --config configs/cifar10_best.py --config.steps=10000
python train.py --config configs/mnist.py
python train.py --config configs/mnist_transformer.py
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import vqjax
from vqjax.config.schema import Data
from vqjax.data.datasets import open_dataset

PICTURE = Path(__file__).resolve().parent / "images" / "front.png"
GAP, TITLE = 28, 30  # pixels between panels, and above them
DRAWING = {"temperature": 0.9, "guidance": 2}
IMAGES = (3, 10, 111, 21, 27, 103, 59, 95, 118, 99, 23, 63, 74, 105, 98, 47)  # of the test split of CIFAR-10


def test_images(model: vqjax.Tokenizer) -> dict[str, np.ndarray]:
    """Return the test images of a model's data set, and their labels."""
    return open_dataset(Data(**model.config.data.to_dict())).read("test").arrays


def panel(rows: Sequence[np.ndarray], tile: int, space: Sequence[int]) -> Image.Image:
    """Return rows of images (N, H, W, C) in [0, 1] as a picture, with `space` pixels above each row."""
    width = len(rows[0]) * (tile + 2) - 2
    picture = Image.new("RGB", (width, sum(space) + len(rows) * tile), "white")
    top = 0
    for row, above in zip(rows, space):
        top += above
        for i, image in enumerate(np.uint8(255 * np.clip(row, 0, 1))):
            shown = Image.fromarray(image.squeeze()).convert("RGB").resize((tile, tile), Image.Resampling.BICUBIC)
            picture.paste(shown, (i * (tile + 2), top))
        top += tile
    return picture


def color_panel(workdir: str) -> Image.Image:
    """Return images above their reconstructions."""
    tokenizer = vqjax.Tokenizer.load(workdir)
    images = test_images(tokenizer)["image"][list(IMAGES)]
    both = images / 255, tokenizer.reconstruct(images)
    rows = [part[first : first + 8] for first in (0, 8) for part in both]
    return panel(rows, 64, (0, 2, 10, 2))


def samples_panel(prior: vqjax.Prior) -> Image.Image:
    """Return samples, a column for each class."""
    images = prior.sample(60, seed=0, **DRAWING).images
    return panel(images.reshape(6, 10, *images.shape[1:]), 42, (0, 3, 3, 3, 3, 3))


def completions_panel(prior: vqjax.Prior) -> Image.Image:
    """Return the left halves of six images, and three completions of each, given its class."""
    images, labels = (test_images(prior.tokenizer)[name][[2, 4, 61, 3, 11, 9]] for name in ("image", "label"))
    classes = [prior.class_names[label] for label in labels]
    height, width, _ = images.shape[1:]
    keep = np.zeros((height, width), bool)
    keep[:, : width // 2] = True
    drawn = prior.complete(images, keep, classes, num=3, seed=1, **DRAWING).images.reshape(6, 3, *images.shape[1:])
    kept = np.where(keep[..., None], images / 255, 0.35)
    rows = [np.stack([kept[i], *drawn[i]]) for i in range(6)]
    return panel(rows, 42, (0, 3, 3, 3, 3, 3))


def main(color: str, prior: str) -> None:
    """Draw the picture."""
    model = vqjax.Prior.load(prior)
    panels = {
        "images, and below them what 64 codes keep": color_panel(color),
        "new digits, by class": samples_panel(model),
        "kept, completed": completions_panel(model),
    }
    size = sum(part.width for part in panels.values()) + GAP * 4, max(part.height for part in panels.values())
    picture = Image.new("RGB", (size[0], size[1] + TITLE + 2 * GAP // 2), "white")
    draw, font, left = ImageDraw.Draw(picture), ImageFont.load_default(15), GAP
    for title, part in panels.items():
        draw.text((left, GAP // 2 - 2), title, "#37474f", font)
        picture.paste(part, (left, TITLE + GAP // 2 - 6))
        left += part.width + GAP
    picture.quantize(256, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
