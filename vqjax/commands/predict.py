"""Tells the classes of image files: `python -m vqjax predict --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import parser


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax predict --workdir runs/classifier-mnist digit.png photo.jpg"
    flags = parser("predict", "Tell the classes of image files, by a trained classifier.", example)
    flags.add_argument("--workdir", required=True, help="the run of a classifier")
    flags.add_argument("--step", type=int, help="of the checkpoint (default: the best, or else the last)")
    flags.add_argument("--stage1", help="the autoencoder's run, if it is not where the classifier was trained on it")
    flags.add_argument("images", nargs="+", metavar="image", help="a file")
    given = flags.parse_args(arguments)

    from vqjax.inference.prediction import describe, predict

    for line in describe(given.images, *predict(given.workdir, given.images, given.step, given.stage1)):
        print(line)
