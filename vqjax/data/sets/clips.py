"""Films as clips of T frames: from arrays, a GIF, a film such as MP4, or a folder of frames."""

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from vqjax.config.schema import Data, parse_size
from vqjax.data import images
from vqjax.data.sets.arrays import ArrayDataset, Arrays, resized
from vqjax.data.sets.base import file_stamp, require_path
from vqjax.system.errors import InputError

SPLITS = ("train", "test")
_LARGEST = 2**33  # bytes of frames that are held
_KEYS = ("image", "images")  # of the clips or frames in an .npz


class ClipsDataset(ArrayDataset):
    """Clips (T, H, W, C) of `config.data.frames` frames of the film in `config.data.path`, without labels."""

    uses = ("path", "size", "frames", "test")

    def __init__(self, data: Data):
        path = require_path(data, None, "a film, a folder of frames or a recording")
        if not data.frames:
            raise InputError(f"config.data.frames=0: config.data.name={data.name!r} expects the frames of a clip")
        size = parse_size(data.size, "config.data.size")
        both = functools.cache(lambda: splits(path, data.frames, size, data.test))

        def read(name: str) -> Arrays:
            return both()[name], np.zeros(len(both()[name]), np.int32)

        files = sorted(path.iterdir()) if path.is_dir() else [path]
        self.places = (path, *files)
        stamps = " ".join(map(file_stamp, files))
        super().__init__(data, read, (), f"clips {stamps} {data.size} {data.frames} {data.test}")


def splits(path: Path, length: int, size: tuple[int, int] | None = None, test: float = 0.1) -> dict[str, np.ndarray]:
    """The clips of "train" and "test".

    Args:
      path: a directory with train.npz and test.npz, as `python -m vqjax record` writes them; or a film, whose end is
        for test: an .npz or .npy of frames or clips, a GIF, an MP4, or a folder of frames in the order of their names.
      length: T, frames of a clip.
      size: (H, W) that frames are brought to, the shorter side first, the rest cut off around the middle; None: as
        they are.
      test: share of a film that is for test, or one clip if that is more.

    Returns:
      Arrays (N, T, H, W, C) uint8, C 1 if all is grey, else 3. What is left over at a film's end is not in them.

    Raises:
      InputError: there is no film, it cannot be read, or is too short or too large.
    """
    recorded = [path / f"{name}.npz" for name in SPLITS]
    if all(file.is_file() for file in recorded):
        parts = [_resized(_array(file), size) for file in recorded]
    else:
        film = read(path, size)
        last = round(len(film) * (1 - test))
        if film.ndim == 4:
            last = min(last, len(film) - length)  # one clip at least
        parts = [film[: max(last, 0)], film[max(last, 0) :]]
    found = {name: cut(part, length, path) for name, part in zip(SPLITS, parts)}
    shapes = {part.shape[1:] for part in found.values()}
    if len(shapes) > 1:
        raise InputError(f"config.data.path={path}: the clips of train and test differ in shape: {shapes}")
    return found


def cut(film: np.ndarray, length: int, path: Path) -> np.ndarray:
    """A film (F, H, W, C) as clips (N, T, H, W, C), each where the last one ends; clips (N, T, ...) as they are."""
    if film.ndim == 5:
        if len(film) and film.shape[1] == length:
            return film
        raise InputError(f"config.data.frames={length}: {path} has {len(film)} clips of {film.shape[1]} frames")
    count = len(film) // length
    if not count:
        raise InputError(
            f"config.data.path={path}: {len(film)} frames for one of train and test, expected at least "
            f"config.data.frames={length} for each"
        )
    return film[: count * length].reshape(count, length, *film.shape[1:])


def read(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Frames (F, H, W, C) or clips (N, T, H, W, C) of a film, uint8; see `splits`."""
    if path.suffix in (".npz", ".npy"):
        return _resized(_array(path), size)
    frames = _folder if path.is_dir() else READERS.get(path.suffix.lower())
    if frames is None:
        known = ", ".join([".npz", ".npy", *READERS])
        raise InputError(f"config.data.path={path}: expected a folder of frames, or one of {known}")
    found = _collect(path, frames(path), size)
    grey = (found[..., 0] == found[..., 1]).all() and (found[..., 0] == found[..., 2]).all()
    return found[..., :1] if grey else found


def _collect(path: Path, frames: Iterable[Image.Image], size: tuple[int, int] | None) -> np.ndarray:
    """Frames as an array (F, H, W, 3), each brought to the size as it comes."""
    found: list[np.ndarray] = []
    for frame in _pixels(path, frames, size):
        found.append(frame)
        if frame.shape != found[0].shape:
            height, width = found[0].shape[:2]
            raise InputError(
                f"config.data.path={path}: frame {len(found)} has another size than {height} x {width}; "
                "config.data.size brings all to one"
            )
        if len(found) * frame.nbytes > _LARGEST:
            raise InputError(
                f"config.data.path={path}: more than {_LARGEST >> 30} GiB of frames; expected fewer, or a smaller "
                "config.data.size"
            )
    if not found:
        raise InputError(f"config.data.path={path}: expected frames, found none")
    return np.stack(found)


def _pixels(path: Path, frames: Iterable[Image.Image], size: tuple[int, int] | None) -> Iterator[np.ndarray]:
    """The frames, (H, W, 3) each, in a size; what is wrong with them is an InputError that names the path."""
    try:
        for frame in frames:
            image = images.convert(frame, 3)[0]
            yield images.to_array(images.fit(image, size) if size else image)
    except InputError as error:
        raise InputError(f"config.data.path={path}: {error}") from error
    except Exception as error:  # readers of films fail in any way on a damaged file
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"config.data.path={path} cannot be read: {reason}") from error


def _resized(film: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Frames or clips (..., H, W, C) uint8 brought to a size."""
    frames = resized(film.reshape(-1, *film.shape[-3:]), size)
    return frames.reshape(*film.shape[:-3], *frames.shape[1:])


def _array(file: Path) -> np.ndarray:
    """Frames (F, H, W, C) or clips (N, T, H, W, C) in a file of NumPy."""
    try:
        with file.open("rb") as opened:
            found: Any = np.load(opened, allow_pickle=False)
            if file.suffix == ".npz":
                names = [name for name in _KEYS if name in found]
                if not names:
                    raise InputError(f"{file}: expected an array `image`, found {', '.join(found) or 'nothing'}")
                found = found[names[0]]
    except InputError:
        raise
    except Exception as error:  # a damaged archive fails in any way
        reason = str(error).partition("\n")[0]
        raise InputError(f"{file} cannot be read as arrays: {reason}") from error
    if found.dtype != np.uint8 or found.ndim not in (4, 5) or found.shape[-1] not in (1, 3) or not found.size:
        raise InputError(
            f"{file}: expected uint8 frames (F, H, W, C) or clips (N, T, H, W, C), C 1 or 3, found {found.dtype} "
            f"{found.shape}"
        )
    return np.asarray(found)


def _folder(path: Path) -> Iterator[Image.Image]:
    """The pictures of a folder, by their names: 2 before 10."""
    files = [file for file in path.iterdir() if file.is_file() and file.suffix.lower() in Image.registered_extensions()]
    for file in sorted(files, key=lambda file: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", file.name)]):
        yield images.open_image(file, 3)[0]


def _gif(path: Path) -> Iterator[Image.Image]:
    with images.open_source(path) as film:
        yield from ImageSequence.Iterator(film)


def _film(path: Path) -> Iterator[Image.Image]:
    """The frames of a film, by FFmpeg."""
    try:
        import imageio_ffmpeg  # noqa: F401  (imageio's plugin needs it)
        from imageio import v3 as imageio
    except ImportError as error:
        raise InputError("films need imageio and its FFmpeg\n  pip install imageio imageio-ffmpeg") from error
    for frame in imageio.imiter(path, plugin="FFMPEG"):
        yield Image.fromarray(frame)


READERS: dict[str, Callable[[Path], Iterator[Image.Image]]] = {
    ".gif": _gif,
    ".mp4": _film,
    ".mov": _film,
    ".avi": _film,
    ".mkv": _film,
    ".webm": _film,
}
