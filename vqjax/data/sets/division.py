"""Training, validation and test: what users call them, and which images are for which where a set does not say it."""

import functools
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

_WORDS = {  # split -> words that users call it by
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation", "holdout", "heldout"),
}
_SPLIT_OF = {word: name for name, words in _WORDS.items() for word in words}
_FILLERS = {"set", "split", "data", "images", "image", "imgs", "img", "pictures", "photos"}  # as in train_images
_WRITTEN_APART = re.compile(r"\b(hold|held)[\W_]+out\b")

Item = TypeVar("Item")


@functools.cache
def split_of(name: str) -> str | None:
    """Return the split that a name means: "train" for train, Training_set or train2017; None if it means none."""
    joined = _WRITTEN_APART.sub(r"\1out", name.lower().replace("_", " "))
    words = [word.removesuffix("set") for word in re.split(r"[\W\d_]+", joined)]
    words = [word for word in words if word and word not in _FILLERS]
    return _SPLIT_OF.get(words[0]) if len(words) == 1 else None


def hash_to_unit(key: str, salt: str) -> float:
    """Return a hash of a key, such as a path, as a number in [0, 1)."""
    digest = hashlib.sha256(salt.encode() + b"\0" + os.fsencode(key)).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


class Division(Generic[Item]):
    """Division of a set's items into "train", which ends with those for validation, and "test".

    The splits that a set has are used as they are; without a test, validation is that, and without either a share of
    train, decided by a hash of each key: a new item moves no other. "train" is in the order of another hash, so that
    the items for validation are its end whatever share is asked for.

    Attributes:
      train, test: the items.
      notes: what was decided for the user, a line each.
    """

    def __init__(self, splits: Mapping[str, Sequence[Item]], key: Callable[[Item], str], test: float):
        """Divide items.

        Args:
          splits: those that the set has, "train" and maybe "validation" and "test", each in an order that does not
            depend on how the items were found.
          key: item -> what tells it from others.
          test: share of train that is for test, if there is neither test nor validation.
        """
        self.notes: tuple[str, ...] = ()
        train, validation = list(splits["train"]), splits.get("validation")
        if "test" in splits:
            self.test = list(splits["test"])
        elif validation is not None:
            self.test = list(validation)
            self.notes = ("there is no test: validation serves as that",)
        else:
            self.test = [item for item in train if hash_to_unit(key(item), "test") < test]
            train = [item for item in train if hash_to_unit(key(item), "test") >= test]
        ranked = sorted(((hash_to_unit(key(item), "validation"), item) for item in train), key=lambda pair: -pair[0])
        self._ranks = [rank for rank, _ in ranked]
        self._fixed = None if validation is None else len(validation)
        self.train = [*(item for _, item in ranked), *(validation or ())]

    def num_validation(self, share: float) -> int:
        """Number of items at the end of train that are for validation, where a share of them is to be."""
        return sum(rank < share for rank in self._ranks) if self._fixed is None else self._fixed
