"""features.json, figures on the features of a classifier, as Markdown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqjax.runs.reports.tables import escape_markdown, markdown_table
from vqjax.system.files import read_json

_NAMES = {
    "fd_own": "FD-own",
    "kid": "KID",
    "accuracy": "accuracy of the classifier",
    "classification_accuracy_score": "accuracy of one trained on samples",
}


def features_section(workdir: Path, step: int) -> list[str]:
    """Return the paragraphs of a run's report on features.json; none if it is not of that step, or cannot be read."""
    try:
        content = read_json(workdir / "features.json")
        return [] if content["step"] != step else [*map(escape_markdown, describe_features(content)), table(content)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def describe_features(content: Mapping[str, Any]) -> list[str]:
    """Return lines on how the figures in features.json were made."""
    classifier, images = content["classifier"], content["images"]
    lines = [
        f"{images:,} images of each set; features: {classifier['dimensions']} of the classifier in "
        f"{classifier['workdir']}, step {classifier['step']:,}, fingerprint {classifier['fingerprint'][:12]}"
    ]
    if classifier["accuracy"] is not None:
        lines[0] += f", accuracy on all of {classifier['split']} {classifier['accuracy']:.4f}"
    if images <= classifier["dimensions"]:
        lines.append(f"FD-own: no more images than the {classifier['dimensions']} dimensions, it says little")
    return lines


def table(content: Mapping[str, Any]) -> str:
    """Return a row for each figure with its interval, and a column for each comparison; floors are named so."""
    comparisons = content["comparisons"]
    figures = dict.fromkeys(figure for column in comparisons.values() for figure in column)
    header = ["95 % interval", *(f"{'floor: ' * bool(number)}{name}" for number, name in enumerate(comparisons))]
    rows = [
        [_NAMES.get(figure, figure), *(_cell(column.get(figure)) for column in comparisons.values())]
        for figure in figures
    ]
    return markdown_table(header, rows)


def _cell(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return ""
    value, low, high = (f"{interval[name]:.3g}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
