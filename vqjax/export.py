"""Writes what a trained model has made, for other programs: `python -m vqjax.export --help`."""

from collections.abc import Sequence

from vqjax.core.command import data_flags, parser, run


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax export codes --workdir runs/digits --split train --out digits_codes"
    flags = parser("export", "Write what other programs can read.", example)
    kinds = flags.add_subparsers(dest="kind", required=True, metavar="codes")
    kind = kinds.add_parser("codes", help="the codes of a split, as NumPy files and a meta.json")
    kind.add_argument("--workdir", required=True, help="of a trained autoencoder")
    kind.add_argument("--split", choices=("train", "validation", "test"), default="train")
    kind.add_argument("--out", required=True, help="a directory")
    data_flags(kind)
    given = flags.parse_args(arguments)

    from vqjax.tasks.exports import export_codes  # JAX starts here, after the arguments are known to be right

    directory = export_codes(given.workdir, given.split, given.out, given.data_dir, given.data_path)
    print(f"in {directory}: {', '.join(sorted(path.name for path in directory.iterdir()))}")


if __name__ == "__main__":
    run(main)
