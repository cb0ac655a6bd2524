"""Descriptions of many image files, kept between commands, so that only new files are read."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from vqjax.data import array_cache
from vqjax.data.files.pictures import Probe, probe_image
from vqjax.data.streaming import parallel_map
from vqjax.system.files import atomic_write

_FORMAT = 2  # of the file that is kept


class Stamp(NamedTuple):
    """Identity of a file's content, cheap: bytes, times of the last change of the content and of anything else.

    -1 where there is no file.
    """

    size: int = -1
    modified: int = -1
    changed: int = -1


class ProbedFile(NamedTuple):
    """A file and its description.

    Attributes:
      stamp: changes when the file does.
      probe: of its image.
      inode: equal for several names of one file.
    """

    stamp: Stamp
    probe: Probe
    inode: tuple[int, int]


def probe_files(root: Path, paths: Sequence[str]) -> dict[str, ProbedFile]:
    """Describe each file below a directory; a file that was not changed since the last time is not read again."""
    root_hash = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    kept = array_cache.cache_directory() / f"files-{root_hash}.json"
    known = _read(kept)
    stats = {path: _stat(root / path) for path in paths}
    new = [path for path, (stamp, _) in stats.items() if known.get(path, (None,))[0] != stamp]
    probes = with_progress(
        parallel_map(lambda path: probe_image(root / path), new), len(new), "looking at the files, once"
    )
    fresh = {path: (stats[path][0], probe) for path, probe in zip(new, probes)}
    entries = {path: fresh.get(path) or known[path] for path in paths}
    if fresh:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(kept) as temporary:
                temporary.write_text(json.dumps({"format": _FORMAT, "files": entries}))
        except OSError:  # then they are described again the next time
            pass
    return {path: ProbedFile(stamp, probe, stats[path][1]) for path, (stamp, probe) in entries.items()}


def with_progress(items: Iterable[Any], count: int, title: str) -> Iterator[Any]:
    """Yield the items, with a progress bar if they take long."""
    return iter(tqdm(items, total=count, desc=title, unit=" images", disable=None, delay=2))


def _stat(path: Path) -> tuple[Stamp, tuple[int, int]]:
    try:
        status = path.stat()
    except OSError:
        return Stamp(), (0, 0)
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns), (status.st_dev, status.st_ino)


def _read(file: Path) -> Mapping[str, tuple[Stamp, Probe]]:
    """Return what is kept; nothing if it is of another version, or damaged."""
    try:
        kept = json.loads(file.read_text())
        if kept["format"] != _FORMAT:
            return {}
        return {path: (Stamp(*stamp), Probe(*probe)) for path, (stamp, probe) in kept["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
