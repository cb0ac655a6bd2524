"""What a trained model has made, for other programs:

python -m vqjax.export codes --workdir <stage 1> --split train --out DIR
"""

import argparse
import sys
from pathlib import Path

from vqjax import codes, data
from vqjax.command import status
from vqjax.config import InputError
from vqjax.stage1 import Stage1


def export_codes(workdir: str, split: str, out: str) -> Path:
    """Writes the codes and labels of a split as described in `vqjax.codes`.

    Args:
      workdir: of a trained autoencoder.
      split: train, test, or validation, the share that the run held out of train.
      out: a directory; other splits of the same stage 1 may be there already.

    Returns:
      The directory.

    Raises:
      InputError: no trained autoencoder, no such split, or the directory holds something else.
    """
    stage1, directory = Stage1(workdir, "--workdir"), Path(out)
    if directory.resolve() == stage1.kept.resolve():
        raise InputError(f"--out={out} is where stage 1 keeps its own codes: expected another directory")
    if directory.exists() and not _usable(directory, stage1.fingerprint):
        raise InputError(f"--out={out}: expected codes of the same stage 1, an empty directory or none")
    splits = data.load(stage1.config, (split,), stage1.read)
    if split not in splits:
        raise InputError(f"--split={split}: {workdir} was trained with config.data.validation=0.0")
    try:
        codes.write(directory, stage1.description, split, splits[split])
    except OSError as error:
        raise InputError(f"--out={out} cannot be written to: {error.strerror}") from error
    return directory


def _usable(directory: Path, fingerprint: str) -> bool:
    """Whether a directory is empty or has codes of the stage 1 with that fingerprint."""
    if not directory.is_dir():
        return False
    try:
        return not any(directory.iterdir()) or codes.fingerprint(directory) == fingerprint
    except InputError:  # a meta.json of something else
        return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m vqjax.export", description="Write what other programs can read.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kind = kinds.add_parser("codes", help="the codes of a split, as NumPy files and a meta.json")
    kind.add_argument("--workdir", required=True, help="of a trained autoencoder")
    kind.add_argument("--split", choices=("train", "validation", "test"), default="train")
    kind.add_argument("--out", required=True, help="a directory")
    arguments = parser.parse_args()
    directory = export_codes(arguments.workdir, arguments.split, arguments.out)
    print(f"in {directory}: {', '.join(sorted(path.name for path in directory.iterdir()))}")


if __name__ == "__main__":
    sys.exit(status(main))
