"""Writes a page on which the codes of a run can be looked at: `python -m vqjax explore --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import add_data_flags, parser


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax explore --workdir runs/digits --out digits.html"
    flags = parser("explore", "Write a page on which codes can be looked at, one file for any browser.", example)
    flags.add_argument("--workdir", required=True, help="of a trained autoencoder, or of a prior")
    flags.add_argument("--out", help="the page (default: explore.html in the workdir)")
    flags.add_argument("--images", type=int, default=64, help="images, and samples of a prior (default: 64)")
    flags.add_argument("--split", choices=("train", "validation", "test"), default="test", help="(default: test)")
    flags.add_argument("--stage1", help="the autoencoder's run, if it is not where the prior was trained on it")
    add_data_flags(flags)
    given = flags.parse_args(arguments)

    from vqjax.inference.exploration import explore  # JAX starts here, after the arguments are known to be right

    page = explore(**vars(given))
    print(f"written to {page} ({page.stat().st_size / 1e6:.1f} MB): open it in a browser")
