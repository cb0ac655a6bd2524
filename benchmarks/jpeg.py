"""JPEG on the held-out quarters of scikit-learn's photographs, at the size nearest to a number of bits.

python benchmarks/jpeg.py --out quarters --bits 0.141

The quarters are written as PNG, for python -m vqjax reconstruct.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from vqjax.data.sets import photos
from vqjax.inference.reconstruction import psnr, ssim


def encoded(image: np.ndarray, quality: int) -> bytes:
    """The whole file, its header counted; Huffman tables made for the image, colours at half the resolution."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.jpeg", description=__doc__)
    arguments.add_argument("--out", type=Path, required=True, help="a directory for the quarters")
    arguments.add_argument("--bits", type=float, required=True, help="per pixel")
    return arguments


def main() -> None:
    given = parser().parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name, image in zip(photos.NAMES, photos.split_left_right(photos.photographs())[1]):
        Image.fromarray(image).save(given.out / f"{name}.png")
        pixels = image.shape[0] * image.shape[1]
        files = {quality: encoded(image, quality) for quality in range(1, 96)}
        nearest = min(files, key=lambda quality: abs(8 * len(files[quality]) / pixels - given.bits))
        for quality in sorted({nearest, 5, 10, 20}):
            decoded = np.asarray(Image.open(io.BytesIO(files[quality])))
            print(
                f"{name}, quality {quality}: {len(files[quality])} bytes, {8 * len(files[quality]) / pixels:.3f} bits "
                f"per pixel, PSNR {psnr(image, decoded):.2f} dB, SSIM {ssim(image, decoded):.3f}"
            )


if __name__ == "__main__":
    main()
