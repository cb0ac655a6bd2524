"""Image files: found in what a user names, and written with numbers for names."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vqjax.data.formats.paths import escape_path
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path


def find_images(paths: Sequence[str | Path]) -> list[str]:
    """Return the files that paths name; in the place of a directory the images in it and below it, sorted.

    Raises InputError if there are none in a directory, or no paths.
    """
    if not paths:
        raise InputError("expected images, found none")
    files: list[str] = []
    for path in paths:
        if not absolute_path(path, "image").is_dir():
            files.append(str(path))
            continue
        inside, others = _images_below(os.path.expanduser(path))
        if not inside:
            raise InputError(f"{path}: expected images, found none in this directory")
        if others:
            print(f"{escape_path(str(path))}: {len(inside):,} images; {others:,} other files are left out")
        files += inside
    return files


def _images_below(directory: str) -> tuple[list[str], int]:
    """Return the image files of a directory and of those in it, by their endings, and the number of other files."""
    endings, images, others = _endings(), [], 0
    for parent, name in _walk(directory):
        if os.path.splitext(name)[1].lower() in endings:
            images.append(os.path.join(parent, name))
        else:
            others += 1
    return images, others


def _walk(directory: str) -> Iterator[tuple[str, str]]:
    """Yield directory and name of all files that are not hidden, sorted; links are followed, each place seen once."""
    seen = set()
    for parent, directories, names in os.walk(directory, followlinks=True):
        place = os.path.realpath(parent)
        directories[:] = sorted(name for name in directories if not name.startswith(".")) if place not in seen else []
        if place not in seen:
            yield from ((parent, name) for name in sorted(names) if not name.startswith("."))
        seen.add(place)


def _endings() -> set[str]:
    """Return the endings of the image files that Pillow can read."""
    return {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def save_numbered(directory: Path, images: np.ndarray, suffix: str = "", first: int = 0, digits: int = 5) -> list[str]:
    """Write images (N, H, W, C) uint8 as PNG files that are numbered, 00000.png and so on; returns their names."""
    names = []
    for number, image in enumerate(images, first):
        names.append(f"{number:0{digits}}{suffix}.png")
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(directory / names[-1])
    return names
