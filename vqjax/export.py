"""Writes what a trained model has made, for other programs: `python -m vqjax.export --help`."""

from collections.abc import Sequence

from vqjax.core.command import parser, run


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax export codes --workdir runs/digits --split train --out digits_codes"
    flags = parser("export", "Write what other programs can read.", example)
    kinds = flags.add_subparsers(dest="kind", required=True, metavar="codes")
    kind = kinds.add_parser("codes", help="the codes of a split, for NumPy, nanoGPT or `datasets`")
    kind.add_argument("--workdir", required=True, help="of a trained autoencoder")
    kind.add_argument("--format", choices=("numpy", "nanogpt", "parquet"), default="numpy", help="(default: numpy)")
    kind.add_argument(
        "--split", choices=("train", "validation", "test"), help="(default: train; nanogpt has its own two)"
    )
    kind.add_argument("--out", required=True, help="a directory")
    given = flags.parse_args(arguments)

    from vqjax.tasks.exports import export_codes  # JAX starts here, after the arguments are known to be right

    directory = export_codes(given.workdir, given.split, given.out, given.format)
    print(f"in {directory}: {', '.join(sorted(path.name for path in directory.iterdir()))}")


if __name__ == "__main__":
    run(main)
