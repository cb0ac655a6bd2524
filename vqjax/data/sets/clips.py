"""Films as clips of T frames, or as images: from arrays, an animation, a film such as MP4, or a directory of frames."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vqjax.config.schema import Data, parse_size
from vqjax.data import array_cache
from vqjax.data.files.films import FILMS, read_frames
from vqjax.data.files.names import number_of
from vqjax.data.files.pictures import is_image_name
from vqjax.data.sets.array_files import ARRAYS, read_array_file, to_uint8
from vqjax.data.sets.arrays import ArrayDataset, Arrays, resized
from vqjax.data.sets.base import file_stamp, require_path
from vqjax.data.sets.directories import ignored_note
from vqjax.system.errors import InputError

SPLITS = ("train", "test")


class FilmDataset(ArrayDataset):
    """Film in `config.data.path`, without labels; its end is for test, unless it is a recording with a test of its own.

    A subclass writes `cut`.
    """

    _length = 1  # frames that an example has

    def __init__(self, data: Data):
        """Raises InputError if there is no film, it cannot be read, or is too short or too large."""
        path = require_path(data, None, "a film, a directory of frames or a recording")
        where, size = f"config.data.path={data.path!r}", parse_size(data.size, "config.data.size")
        parts = functools.cache(lambda: split_film(path, size, data.test, self._length, where))

        def read(name: str) -> Arrays:
            examples = self.cut(parts()[name], where)
            return examples, np.zeros(len(examples), np.int32)

        def left_over() -> dict[str, np.ndarray]:
            frames = [len(part) % self._length if part.ndim == 4 else 0 for part in parts().values()]
            return {"left_over": np.array(frames)}

        files = sorted(filter(Path.exists, path.iterdir())) if path.is_dir() else [path]
        identity = f"clips {' '.join(map(file_stamp, files))} {data.size} {self._length} {data.test}"
        super().__init__(data, read, (), identity)
        key = f"{identity} left over" if data.cache else ""
        self._notes += _film_notes(path, array_cache.cached_arrays(key, left_over)[0]["left_over"])
        parts.cache_clear()

    def cut(self, film: np.ndarray, where: str) -> np.ndarray:
        """Return the examples of frames (F, H, W, C) or of clips (N, T, H, W, C). Raises InputError, naming `where`."""
        raise NotImplementedError


class ClipsDataset(FilmDataset):
    """Clips (T, H, W, C) of `config.data.frames` frames, each where the last one ends."""

    uses = ("path", "size", "frames", "test")

    def __init__(self, data: Data):
        if not data.frames:
            require_path(data, None, "a film, a directory of frames or a recording")
            raise InputError(f"config.data.frames=0: config.data.name={data.name!r} expects the frames of a clip")
        self._length = data.frames
        super().__init__(data)

    def cut(self, film: np.ndarray, where: str) -> np.ndarray:
        length = self._length
        if film.ndim == 5:
            if len(film) and film.shape[1] == length:
                return film
            raise InputError(f"config.data.frames={length}: {where} has {len(film)} clips of {film.shape[1]} frames")
        count = len(film) // length
        if not count:
            raise InputError(
                f"{where}: {len(film)} frames for one of train and test, expected at least config.data.frames={length} "
                "for each"
            )
        return film[: count * length].reshape(count, length, *film.shape[1:])


class FramesDataset(FilmDataset):
    """Frames (H, W, C) as images."""

    uses = ("path", "size", "test")

    def cut(self, film: np.ndarray, where: str) -> np.ndarray:
        if film.ndim == 5 or not len(film):
            raise InputError(f"{where}: {'clips' if len(film) else 'a single frame'}, expected the frames of a film")
        return film

    def files(self, name: str) -> list[str]:
        """Return the number of each frame."""
        start = self.sizes["train"] if name == "test" else 0
        return [str(start + row) for row in range(self.sizes[name])]


def is_recording(path: Path) -> bool:
    """Return whether a directory holds clips as `vqjax record` writes them."""
    return all((path / f"{name}.npz").is_file() for name in SPLITS)


def split_film(path: Path, size: tuple[int, int] | None, test: float, length: int, where: str) -> dict[str, np.ndarray]:
    """Read a film as its splits.

    Args:
      path: a recording; or a film: a file that ends in one of ARRAYS or FILMS, or a directory of frames.
      size: (H, W) that frames are fitted to: the shorter side first, the rest cut off around the middle; None: as they
        are.
      test: share of a film that is for test, at its end; `length` frames at least.
      length: frames of an example.
      where: config key and value, for messages.

    Returns:
      {"train", "test"}: frames (F, H, W, C) or clips (N, T, H, W, C) uint8.

    Raises:
      InputError: there is no film, or it cannot be read.
    """
    if is_recording(path):
        films = {name: next(iter(_arrays(path / f"{name}.npz", size, where).values())) for name in SPLITS}
    elif path.suffix.lower() in ARRAYS:
        films = _arrays(path, size, where)
    elif path.is_dir() or path.suffix.lower() in FILMS:
        films = {"": read_frames(path, size, where)}
    else:
        known = ", ".join([*ARRAYS, *FILMS])
        raise InputError(f"{where}: expected a directory of frames, or a file that ends in {known}")
    film = films.get("", films.get("train"))
    if film is not None and "test" not in films:
        last = round(len(film) * (1 - test))
        if film.ndim == 4:
            last = min(last, len(film) - length)
        films = {"train": film[: max(last, 0)], "test": film[max(last, 0) :]}
    shapes = {part.shape[-3:] for part in films.values()}
    if len(shapes) > 1:
        raise InputError(f"{where}: the frames of train and test differ in shape: {shapes}")
    return {name: films[name] for name in SPLITS}


def _arrays(file: Path, size: tuple[int, int] | None, where: str) -> dict[str, np.ndarray]:
    """Return {split or "": frames (F, H, W, C) or clips (N, T, H, W, C)} of a file of NumPy, fitted to a size."""
    named = where if where.endswith(f"{file.name}'") else f"{where}: {file.name}"
    films = {}
    for split, film in read_array_file(file, named).images.items():
        if film.ndim not in (4, 5) or film.shape[-1] not in (1, 3) or not film.size or film.dtype.kind not in "buif":
            first = film.ndim in (4, 5) and film.shape[-3] in (1, 3)
            raise InputError(
                f"{named}: expected frames (F, H, W, C) or clips (N, T, H, W, C), C 1 or 3, uint8 or floats in [0, 1], "
                f"found {film.dtype} {film.shape}" + "; looks like C first: transpose, np.moveaxis(x, -3, -1)" * first
            )
        frames = resized(to_uint8(film, named).reshape(-1, *film.shape[-3:]), size)
        films[split] = frames.reshape(*film.shape[:-3], *frames.shape[1:])
    return films


def _film_notes(path: Path, left_over: np.ndarray) -> Iterator[str]:
    """Yield lines on what is not used."""
    if path.is_dir() and not is_recording(path):
        files = [file.name for file in path.iterdir() if file.is_file()]
        hidden = sum(name.startswith(".") for name in files)
        yield from ignored_note((name for name in files if not (name.startswith(".") or is_image_name(name))), hidden)
    for name, count in zip(SPLITS, left_over):
        if count:
            yield f"{number_of(int(count), 'frame')} at the end of {name} left over, too few for a clip"
