"""Parts of a split's codes on their way to a file: checked, with their labels and paths, before anything is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from vqjax.codes import CodeLayout

Parts = Iterable[Mapping[str, np.ndarray]]  # each {name of the layout: (n, *shape)}, together N rows


def checked_parts(parts: Parts, layout: CodeLayout, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the parts of `count` rows of codes, each checked before the next is asked for.

    Raises ValueError for other names or shapes than the layout's, codes out of range, or another number of rows.
    """
    rows = 0
    for part in parts:
        if part.keys() != layout.names.keys():
            raise ValueError(f"arrays {', '.join(part)}: expected {', '.join(layout.names)}")
        lengths = set()
        for name, level in layout.names.items():
            array = part[name]
            lengths.add(len(array))
            if array.shape[1:] != level.shape or array.dtype.kind not in "iu":
                raise ValueError(f"{name} of {array.dtype} {array.shape[1:]}: expected integers {level.shape}")
            if array.size and not 0 <= int(array.min()) <= int(array.max()) < level.num_codes:
                raise ValueError(f"{name} from {array.min()} to {array.max()}: expected 0 to {level.num_codes - 1}")
        if len(lengths) > 1 or rows + max(lengths) > count:
            raise ValueError(f"{rows + max(lengths)} rows or more, expected {count}")
        rows += max(lengths)
        yield dict(part)
    if rows != count:
        raise ValueError(f"{rows} rows, expected {count}")


def regrouped(parts: Parts, size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the rows of the parts again, `size` in each part but the last."""
    pending: list[Mapping[str, np.ndarray]] = []
    count = 0
    for part in parts:
        pending.append(part)
        count += len(next(iter(part.values())))
        if count < size:
            continue
        whole = _concatenated(pending)
        full = count - count % size
        for start in range(0, full, size):
            yield {name: array[start : start + size] for name, array in whole.items()}
        pending, count = [{name: array[full:] for name, array in whole.items()}], count - full
    if count:
        yield _concatenated(pending)


def _concatenated(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_labels(label: np.ndarray, num_classes: int) -> None:
    """Raise ValueError unless the labels (N,) are those of so many classes, or -1 for none."""
    if len(label) and not -1 <= int(label.min()) <= int(label.max()) < max(1, num_classes):
        raise ValueError(f"labels from {label.min()} to {label.max()}: expected -1 to {max(1, num_classes) - 1}")
