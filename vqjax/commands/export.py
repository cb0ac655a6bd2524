"""Writes what a trained model has made, for other programs: `python -m vqjax export --help`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vqjax.system.arguments import add_data_flags, parser


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax export codes --workdir runs/digits --split train --out digits_codes"
    flags = parser("export", "Write what other programs can read.", example)
    kinds = flags.add_subparsers(dest="kind", required=True, metavar="codes | tokenizer | classifier")
    kind = kinds.add_parser("codes", help="the codes of a split, for NumPy, nanoGPT or `datasets`")
    kind.set_defaults(write=_codes)
    kind.add_argument("--workdir", required=True, help="of a trained autoencoder")
    kind.add_argument("--format", choices=("numpy", "nanogpt", "parquet"), default="numpy", help="(default: numpy)")
    kind.add_argument(
        "--split", choices=("train", "validation", "test"), help="(default: train; nanogpt has its own two)"
    )
    kind.add_argument("--out", required=True, help="a directory")
    add_data_flags(kind)
    for name, what in (("tokenizer", "an autoencoder"), ("classifier", "a classifier")):
        kind = kinds.add_parser(name, help=f"{what}: its weights, and programs that run without vqjax")
        kind.set_defaults(write=_programs, stage1=None)
        kind.add_argument("--workdir", required=True, help=f"of {what} that was trained")
        kind.add_argument("--step", type=int, help="of the checkpoint (default: the best, or else the last)")
        kind.add_argument("--out", required=True, help="a directory, new or empty")
    kinds.choices["classifier"].add_argument(
        "--stage1", help="the autoencoder's run, if it is not where the classifier was trained on it"
    )
    given = flags.parse_args(arguments)
    given.write(given)


def _codes(given: argparse.Namespace) -> None:
    from vqjax.inference.export_codes import export_codes  # JAX starts here, after the arguments are known to be right

    directory = export_codes(given.workdir, given.split, given.out, given.format, given.data_dir, given.data_path)
    print(f"in {directory}: {', '.join(sorted(path.name for path in directory.iterdir()))}")


def _programs(given: argparse.Namespace) -> None:
    from vqjax.inference.export_programs import export_programs

    directory: Path = export_programs(given.kind, given.workdir, given.out, given.step, given.stage1)
    for path in sorted(directory.iterdir()):
        print(f"{path}: {path.stat().st_size:,} bytes")
