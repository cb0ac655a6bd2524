"""What a trained model has made, for other programs."""

from pathlib import Path

from vqjax.core.config import InputError
from vqjax.data import codes, datasets
from vqjax.tasks.stage1 import Stage1


def export_codes(workdir: str, split: str, out: str, data_dir: str | None = None, data_path: str | None = None) -> Path:
    """Writes the codes and labels of a split as described in `vqjax.data.codes`.

    Args:
      workdir: of a trained autoencoder.
      split: train, test, or validation, the share that the run held out of train.
      out: a directory; other splits of the same stage 1 may be there already.
      data_dir, data_path: as of `datasets.located`.

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
    config = datasets.located(stage1.config, data_dir, data_path)
    datasets.agree(config, stage1.facts)
    splits = datasets.load(config, (split,), stage1.read)
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
