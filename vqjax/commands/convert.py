"""Makes a run of weights that another program has published: `python -m vqjax convert --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import parser

CIFAR10_VARIANCE = 0.0633  # of the training pixels, in [0, 1]


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax convert vq-vae-images model_ema.pth --out runs/published"
    flags = parser("convert", "Make a run of weights that another program has published.", example)
    flags.add_argument("source", help="the program that they are of: vq-vae-images")
    flags.add_argument("file", help="the weights, as torch.save writes a state_dict; nothing in it is executed")
    flags.add_argument("--out", required=True, help="the run's directory, new or empty")
    help = f"of the training pixels in [0, 1], for the loss (default: {CIFAR10_VARIANCE}, CIFAR-10's)"
    flags.add_argument("--variance", type=float, default=CIFAR10_VARIANCE, help=help)
    given = flags.parse_args(arguments)

    from vqjax.training.import_weights import (
        import_weights,  # JAX starts here, after the arguments are known to be right
    )

    workdir = import_weights(given.source, given.file, given.out, given.variance)
    print(f"in {workdir.path}: {', '.join(sorted(path.name for path in workdir.path.iterdir()))}")
