"""Makes images of codes: `python -m vqjax decode --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import parser


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax decode --workdir runs/digits --codes codes.npy --out pictures"
    flags = parser("decode", "Make images of codes, by a trained autoencoder.", example)
    flags.add_argument("--workdir", required=True, help="of a trained autoencoder")
    flags.add_argument("--codes", required=True, help=".npy (N, h, w), or a .bin or .parquet of `export codes`")
    flags.add_argument("--out", required=True, help="a directory: images.npy, and images.png of the first 64")
    given = flags.parse_args(arguments)

    from vqjax.inference.decoding import decode  # JAX starts here, after the arguments are known to be right

    directory, count = decode(given.workdir, given.codes, given.out)
    print(f"in {directory}: images.npy ({count:,}), images.png")
