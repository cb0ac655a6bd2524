"""Imports published weights as a run: `python -m vqjax convert --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import Parser, parser

CIFAR10_VARIANCE = 0.0633  # of the training pixels, in [0, 1]
IMAGENET_VARIANCE = 0.0522  # the same, by its usual means and standard deviations


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax convert dall-e encoder.pkl decoder.pkl --out runs/dall-e"
    flags = parser("convert", "Make a run of weights that another program has published.", example)
    sources = flags.add_subparsers(dest="source", required=True, metavar="vq-vae-images | dall-e | vqgan")
    source = sources.add_parser("vq-vae-images", help="VQ-VAE-Images, trained on CIFAR-10")
    source.add_argument("files", nargs=1, metavar="FILE", help="a state_dict")
    _add_run_flags(source, "CIFAR-10", CIFAR10_VARIANCE)
    source = sources.add_parser("dall-e", help="DALL-E's discrete VAE: 8,192 codes, stride 8")
    source.add_argument("files", nargs=2, metavar=("ENCODER", "DECODER"), help="a module, or its state_dict")
    _add_run_flags(source, "ImageNet", IMAGENET_VARIANCE)
    _add_image_flags(source, "256")
    source = sources.add_parser("vqgan", help="a VQGAN of taming-transformers or LlamaGen")
    source.add_argument("files", nargs=1, metavar="FILE", help="a checkpoint, or its state_dict")
    source.add_argument("--yaml", default="", help="the model's yaml: it is compared with the weights")
    _add_run_flags(source, "ImageNet", IMAGENET_VARIANCE)
    _add_image_flags(source, "", "the resolution in the yaml, or 256")
    given = vars(flags.parse_args(arguments))

    from vqjax.training.import_weights import (
        import_weights,
    )  # JAX starts here, after the arguments are known to be right

    workdir = import_weights(**given)
    print(f"in {workdir.path}: {', '.join(sorted(path.name for path in workdir.path.iterdir()))}")


def _add_run_flags(source: Parser, dataset: str, variance: float) -> None:
    source.add_argument("--out", required=True, metavar="DIR", help="of the run, new or empty")
    help = f"of the training pixels in [0, 1], for the loss (default: {variance}, {dataset}'s)"
    source.add_argument("--variance", type=float, default=variance, help=help)


def _add_image_flags(source: Parser, size: str, default: str = "") -> None:
    help = f"of the images that the run is for, in pixels, HxW or one number (default: {default or size})"
    source.add_argument("--size", default=size, help=help)
    help = "a folder of such images, for evaluate, explore and a prior; it may be named there instead"
    source.add_argument("--data_path", default="", metavar="DIR", help=help)
