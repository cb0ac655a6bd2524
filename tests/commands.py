"""The commands on the pages, as a reader types them."""

import re
import shlex
from typing import NamedTuple

from conftest import REPOSITORY

from vqjax import __main__

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OURS = re.compile(r"(?:python (train\.py|sample\.py)|(?:python -m )?vqjax(?: (--\w+|\w+)))(?: (.*))?")


class Command(NamedTuple):
    """One of vqjax's: its name, and its arguments."""

    name: str
    arguments: list[str]


def lines(path):
    """Lines of a page's blocks that are typed into a shell; long ones joined."""
    blocks = [text for language, text in BLOCK.findall(path.read_text()) if language in ("", "sh", "bash")]
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


def ours(line):
    """The commands of vqjax in a line; others, such as pip, are left out."""
    parts = [re.sub(r"^(\w+=\S+ )+", "", part.strip()) for part in line.split("&&")]
    found = [match for match in map(OURS.fullmatch, parts) if match]
    return [Command(match[2] or match[1].removesuffix(".py"), shlex.split(match[3] or "")) for match in found]


def call(command, *more):
    """Runs it in this process; returns the exit status. Raises InputError."""
    return __main__.main([command.name, *command.arguments, *more]) or 0


README = lines(REPOSITORY / "README.md")
# Each command of the README that is not run by a test as it stands, and why: it is only parsed.
ONLY_PARSED = {
    "git clone <address of this repository> vqjax && cd vqjax && pip install -r requirements.txt": "the network",
    "python -m vqjax ablate --config configs/ablation/digits.py": "two minutes: test_quantizers_are_compared, slow",
}
# Those that take more than a minute, or need what is not here, with what makes them shorter.
_SMALL = ("steps=1", "model.deepmind.width=8", "model.deepmind.blocks=1", "model.ema.num_codes=16")
_TINY = [f"--config.{field}" for field in _SMALL]
_EIGHT = "XLA_FLAGS=--xla_force_host_platform_device_count=8"  # as many as the tests have
SHORTER = {
    "python train.py --config configs/folder.py:small --config.data.path=DIR": [
        *_TINY,
        "--config.data.size=16",
    ],
    "python train.py --config configs/classifier.py:digits": [
        f"--config.{field}" for field in ("steps=1", "model.small.width=2")
    ],
    f"{_EIGHT} python train.py --config configs/digits.py --workdir runs/eight": _TINY,
}
# Run as they stand, by the fixtures of test_run.py.
MAIN_JOB = (
    "python train.py --config configs/digits.py",
    "python train.py --config configs/digits_prior.py",
    "python sample.py --workdir runs/digits_prior",
)
REST = [line for line in README if line not in (*ONLY_PARSED, *MAIN_JOB)]
