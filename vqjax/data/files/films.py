"""Frames of films: of a GIF, WebP or APNG, an MP4 or the like, or a directory of frames; each once, as it is stored."""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from vqjax.data import images
from vqjax.data.files.damage import refuse_damage
from vqjax.data.files.pictures import is_image_name, open_image_file
from vqjax.system.errors import InputError

_MAX_BYTES = 2**33  # of frames that are held


def read_frames(path: Path, size: tuple[int, int] | None, where: str) -> np.ndarray:
    """Read the frames of a film or of a directory.

    Args:
      path: a directory of frames, in the order of their names, 2 before 10; or a file that ends in one of FILMS.
      size: (H, W) that frames are fitted to; None: as they are.
      where: config key and value, for messages.

    Returns:
      Frames (F, H, W, C) uint8, C 1 if all are gray, else 3.

    Raises:
      InputError: it cannot be read, has no frames, frames of several sizes, or too many.
    """
    reader = _directory if path.is_dir() else FILMS[path.suffix.lower()]
    frames: list[np.ndarray] = []
    for frame in _to_arrays(reader(path), size, where):
        frames.append(frame)
        if frame.shape != frames[0].shape:
            height, width = frames[0].shape[:2]
            raise InputError(
                f"{where}: frame {len(frames)} has another size than {height} x {width}; config.data.size brings all "
                "to one"
            )
        if len(frames) * frame.nbytes > _MAX_BYTES:
            raise InputError(
                f"{where}: more than {_MAX_BYTES >> 30} GiB of frames; expected fewer, or a smaller config.data.size"
            )
    if not frames:
        raise InputError(f"{where}: expected frames, found none")
    film = np.stack(frames)
    gray = (film[..., 0] == film[..., 1]).all() and (film[..., 0] == film[..., 2]).all()
    return film[..., :1] if gray else film


def _to_arrays(frames: Iterable[Image.Image], size: tuple[int, int] | None, where: str) -> Iterator[np.ndarray]:
    """Yield frames as (H, W, 3), fitted to a size."""
    try:
        with refuse_damage(f"{where} cannot be read"):
            for frame in frames:
                image = images.convert(frame, 3)[0]
                yield images.to_array(images.fit(image, size) if size else image)
    except InputError as error:
        raise error if where in str(error) else InputError(f"{where}: {error}") from error


def _directory(path: Path) -> Iterator[Image.Image]:
    files = [
        file for file in path.iterdir() if file.is_file() and is_image_name(file) and not file.name.startswith(".")
    ]
    for file in sorted(files, key=lambda file: _natural(file.name)):
        yield images.open_image(file, 3)[0]


def _natural(name: str) -> list[str | int]:
    """Sort key by which frame2 comes before frame10."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", name))]


def _animation(path: Path) -> Iterator[Image.Image]:
    with open_image_file(path) as film:
        for number, frame in enumerate(ImageSequence.Iterator(film)):
            if number or not film.info.get("default_image"):  # APNG: what a viewer shows that plays no films
                yield frame


def _ffmpeg(path: Path) -> Iterator[Image.Image]:
    """Yield the frames of a film as FFmpeg decodes them: PPM images one after another, without sound."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise InputError("films need FFmpeg\n  pip install 'vqjax[video]'") from error
    every_frame_once = ["-fps_mode", "passthrough"]  # or else at a constant rate: some are left out, others doubled
    output = [*every_frame_once, "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-i", f"file:{path}", *output]
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:
            assert process.stdout
            try:
                while process.stdout.readline():  # P6
                    width, height = map(int, process.stdout.readline().split())
                    process.stdout.readline()  # the highest level
                    yield Image.frombytes("RGB", (width, height), process.stdout.read(3 * width * height))
            except BaseException:  # the reader has had enough
                process.kill()
                raise
        if process.returncode:
            errors.seek(0)
            raise ValueError(errors.read().decode(errors="replace").strip().rpartition("\n")[2])


FILMS: dict[str, Callable[[Path], Iterator[Image.Image]]] = {
    ".gif": _animation,
    ".webp": _animation,
    ".apng": _animation,
    ".png": _animation,
    ".mp4": _ffmpeg,
    ".mov": _ffmpeg,
    ".avi": _ffmpeg,
    ".mkv": _ffmpeg,
    ".webm": _ffmpeg,
}
