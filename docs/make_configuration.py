"""Writes docs/configuration.md from the comments of configs/: `python docs/make_configuration.py`."""

import ast
import importlib
import io
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
BASES = {  # those that spell out every field of a task
    "autoencoder": "Autoencoders",
    "prior": "Priors",
    "classifier": "Classifiers, end to end",
    "code_classifier": "Classifiers on the codes of an autoencoder",
}
INTRODUCTION = """\
# Configuration

Made by `python docs/make_configuration.py` from the comments of [configs/](../configs/). Change those, not this page.

A run is described by a config: a Python file with a function `get_config`. Each of the four tasks has a *base*, which
spells out every field. The other configs import a base, directly or through another config, and set what differs.

Any field is also a flag of the command line, and an attribute in Python:

```
python train.py --config configs/digits.py --config.steps=500 --config.model.ema.num_codes=64
```

```python
config = vqjax.get_config("digits")
config.steps = 500
config.model.ema.num_codes = 64
```

Some fields choose one of several entries by name, for example `model.quantizer`. Each entry has its own fields, in a
section of that name, here `model.ema` or `model.vq`. Only the chosen entry's fields have an effect. A wrong name, type
or range is refused before anything is trained.

`python -m vqjax train --config digits --help` prints the fields of one config with its values.
"""


def comments(source: str) -> dict[str, str]:
    """The comment beside each field of a base config, "" for none, by dotted path, in the file's order."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    beside = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    base = next(node for node in ast.walk(ast.parse(source)) if _calls(node, "ConfigDict"))
    return dict(_fields(base.args[0], beside, ""))  # type: ignore[attr-defined]


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _fields(call: Any, beside: Mapping[int, str], prefix: str) -> Iterator[tuple[str, str]]:
    """The fields of a `dict(...)` or `{...}`. One that is written on one line is a field: it has one comment."""
    if isinstance(call, ast.Dict):
        found = [(key.value, value) for key, value in zip(call.keys, call.values) if isinstance(key, ast.Constant)]
    else:
        found = [(keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg]
    for name, value in found:
        yield prefix + name, beside.get(value.end_lineno, "")
        if (_calls(value, "dict") or isinstance(value, ast.Dict)) and value.lineno < value.end_lineno:
            yield from _fields(value, beside, f"{prefix}{name}.")


def tables(config: ConfigDict, texts: Mapping[str, str], path: str = "") -> Iterator[str]:
    """The lines of a section's table, then those of the sections in it."""
    order = {name: i for i, name in enumerate(texts)}
    names = sorted(config, key=lambda name: order.get(path + name, len(order)))
    inner = [name for name in names if any(text.startswith(f"{path}{name}.") for text in texts)]
    if path:
        yield from (f"### `{path[:-1]}`", "")
    yield from ("| field | value | |", "| --- | --- | --- |")
    for name in names:
        if name not in inner:
            text = texts.get(path + name, "").replace("|", "\\|")
            yield f"| `{name}` | {_shown(config[name])} | {text} |"
    yield ""
    for name in inner:
        yield from tables(config[name], texts, f"{path}{name}.")


def _shown(value: Any) -> str:
    if isinstance(value, ConfigDict):
        return ", ".join(f"`{name}`: {_shown(value[name])}" for name in sorted(value)) or "no fields"
    return f"`{value:_}`" if type(value) is int else f"`{value}`" if value != "" else ""


def listing() -> Iterator[str]:
    """The configs that can be run, a line each."""
    yield from ("| config | |", "| --- | --- |")
    for path in sorted((ROOT / "configs").rglob("[!_]*.py"), key=lambda path: (len(path.parts), path)):
        name = path.relative_to(ROOT / "configs").with_suffix("").as_posix()
        if name not in ("autoencoder", "prior"):
            docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
            yield f"| [{name}](../configs/{name}.py) | {docstring.splitlines()[0]} |"


def page() -> str:
    """docs/configuration.md, as the configs have it now."""
    found = [INTRODUCTION, "## The configs", "", *listing(), ""]
    texts: dict[str, str] = {}  # of a field that a base takes from another, those of the other
    for name, title in BASES.items():
        module = importlib.import_module(f"configs.{name}")
        texts |= comments((ROOT / "configs" / f"{name}.py").read_text())
        varies = (
            " Its argument is a data set; these are the values for `digits`." if hasattr(module, "VARIANTS") else ""
        )
        found += [f"## {title}", "", f"The base is [configs/{name}.py](../configs/{name}.py).{varies}", ""]
        found += tables(module.get_config(), texts)
    return "\n".join(found).rstrip() + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page())
