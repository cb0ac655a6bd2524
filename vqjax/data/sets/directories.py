"""Directories of a user's images: what lies in them, and which of them are splits."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vqjax.data.files.names import number_of, some
from vqjax.data.files.pictures import is_image_name
from vqjax.data.sets.division import split_of
from vqjax.system.errors import InputError
from vqjax.system.text import printable

_PLAIN = (
    "train",
    "training",
    "validation",
    "val",
    "valid",
    "test",
    "testing",
)  # names of splits that go without saying
_ENDINGS = 5  # in a note
_LINKS = 5


class Listing(NamedTuple):
    """Files and directories below a directory, relative to it, in a fixed order.

    Attributes:
      files: all but hidden ones.
      directories: the same.
      hidden: number of hidden files.
      notes: what was not looked at, a line each.
    """

    files: list[str]
    directories: list[str]
    hidden: int
    notes: list[str]


class SplitDirectories(NamedTuple):
    """Directories of splits.

    Attributes:
      starts: {split: its directory}; {"train": ""} if the whole is one.
      notes: what was guessed or left out, a line each.
    """

    starts: dict[str, str]
    notes: list[str]


def list_files(root: Path) -> Listing:
    """List what lies below a directory, through links too, each directory once."""
    seen: dict[str, str] = {}  # a link may lead back, or to a directory that is listed under its own name
    files: list[str] = []
    directories: list[str] = []
    links: list[str] = []
    unread: list[OSError] = []
    hidden = 0
    for place, below, names in os.walk(root, onerror=unread.append, followlinks=True):
        path = os.path.relpath(place, root).replace(os.sep, "/")
        real = os.path.realpath(place)
        if real in seen:
            links.append(f"{path} is the same directory as {seen[real]}, and left out")
            below.clear()
            continue
        seen[real] = path if path != "." else "the whole"
        directories.append(path)
        below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
        shown = sorted(name for name in names if not name.startswith("."))
        hidden += len(names) - len(shown)
        files += [name if path == "." else f"{path}/{name}" for name in shown]
    notes = [printable(line) for line in links[:_LINKS]]
    if len(links) > _LINKS:
        notes.append(f"and {len(links) - _LINKS:,} more links to directories that are listed already")
    notes += [f"{printable(str(error.filename))} cannot be read, and is left out: {error.strerror}" for error in unread]
    return Listing(files, directories[1:], hidden, notes)


def may_be_image(path: str) -> bool:
    """Return whether a file is an image's by its name: its ending is one's, or it has none."""
    return is_image_name(path) or not os.path.splitext(path)[1]


def find_splits(listing: Listing, where: str) -> SplitDirectories:
    """Find the directories of splits among those at the top.

    Args:
      listing: of the whole.
      where: config key and value, for messages.

    Raises:
      InputError: there are such directories, but none for training, or two for the same; or it cannot be told whether
        they are splits or classes.
    """
    inside: dict[str, list[str]] = {}
    for path in filter(may_be_image, listing.files):
        top, slash, rest = path.partition("/")
        inside.setdefault(top if slash else "", []).append(rest)
    loose = len(inside.pop("", ()))
    named = {directory: name for directory in sorted(inside) if (name := split_of(directory))}
    others = sorted(inside.keys() - named)
    if not named or not _are_splits(inside, named, others, where):
        note = f"{some([*named])} taken for a class, not for a split: {some(others)} beside it is called like none"
        return SplitDirectories({"train": ""}, [note] if named else [])
    for name, count in Counter(named.values()).items():
        if count > 1:
            twice = [directory for directory in named if named[directory] == name]
            raise InputError(
                f"{where}: {' and '.join(map(printable, twice))} are both for {name}, expected one of them"
            )
    if "train" not in named.values():
        raise InputError(f"{where}: {some([*named])}, but no directory train")
    notes = []
    if guessed := [directory for directory in named if directory.lower() not in _PLAIN]:
        pairs = ", ".join(f"{printable(directory)} for {named[directory]}" for directory in guessed)
        notes.append(f"directories taken for splits: {pairs}")
    if others:
        count = sum(len(inside[directory]) for directory in others)
        notes.append(f"{some(others)} left out, with {number_of(count, 'file')}: beside splits, but called like none")
    if loose:
        notes.append(f"{number_of(loose, 'file')} left out, beside the directories of splits")
    return SplitDirectories({name: directory for directory, name in named.items()}, notes)


def _are_splits(
    inside: Mapping[str, Sequence[str]], named: Mapping[str, str], others: Sequence[str], where: str
) -> bool:
    """Return whether directories that are called like splits are splits, and not classes.

    They are if nothing else lies beside them, or if one is for training and another is not. Else they are classes,
    unless they have directories of their own, as splits of classes have: then it cannot be told, an InputError.
    """
    if not others or ("train" in named.values() and len({*named.values()}) > 1):
        return True
    for directory in named:
        below = {path.partition("/")[0] for path in inside[directory] if "/" in path}
        if 2 * sum("/" in path for path in inside[directory]) > len(inside[directory]):
            raise InputError(
                f"{where}: {printable(directory)} is called like a split and has directories ({some(sorted(below))}), "
                f"but {some(others)} beside it is called like none\n"
                "Splits are called train, validation and test; a class needs another name, or no directories"
            )
    return False


def ignored_note(ignored: Iterable[str], hidden: int) -> list[str]:
    """Return a line on files that are no images by their endings, and on hidden ones; none if there are none."""
    counts = Counter(os.path.splitext(path)[1].lower() for path in ignored)
    parts = [f"{count:,} {printable(ending) or 'without an ending'}" for ending, count in counts.most_common(_ENDINGS)]
    parts += ["…"] * (len(counts) > _ENDINGS) + [f"{hidden:,} hidden"] * bool(hidden)
    return [f"{number_of(counts.total() + hidden, 'file')} ignored, no images: {', '.join(parts)}"] * bool(parts)
