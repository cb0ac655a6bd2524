"""Imports published weights as a run: `vqjax convert --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.system.arguments import Parser, add_output_flags, number
from vqjax.system.terminal import starting_jax

CIFAR10_VARIANCE = 0.0633  # of the training pixels, in [0, 1]
IMAGENET_VARIANCE = 0.0522  # the same, by its usual means and standard deviations


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    description = "Import weights that another program has published as a run. Nothing in the files is executed."
    arguments = Parser("convert", "dall-e encoder.pkl decoder.pkl --out runs/dall-e", description=description)
    sources = arguments.add_subparsers(dest="source", required=True, metavar="vq-vae-images | dall-e | vqgan")
    source = sources.add_parser("vq-vae-images", help="VQ-VAE-Images, trained on CIFAR-10")
    source.add_argument("files", nargs=1, metavar="FILE", help="a state_dict")
    _add_run_flags(source, "CIFAR-10", CIFAR10_VARIANCE)
    _add_image_flags(source, "", "CIFAR-10, or 32 in a folder")
    source = sources.add_parser("dall-e", help="DALL-E's discrete VAE: 8,192 codes, stride 8")
    text = "the encoder, then the decoder: a module, or its state_dict"
    source.add_argument("files", nargs=2, metavar="FILE", help=text)
    _add_run_flags(source, "ImageNet", IMAGENET_VARIANCE)
    _add_image_flags(source, "256")
    source = sources.add_parser("vqgan", help="a VQGAN of taming-transformers or LlamaGen")
    source.add_argument("files", nargs=1, metavar="FILE", help="a checkpoint, or its state_dict")
    source.add_argument("--yaml", default="", metavar="FILE", help="the model's yaml: it is compared with the weights")
    _add_run_flags(source, "ImageNet", IMAGENET_VARIANCE)
    _add_image_flags(source, "", "the resolution in the yaml, or 256")
    return arguments


def _add_run_flags(source: Parser, dataset: str, variance: float) -> None:
    source.add_argument("--out", required=True, metavar="DIR", help="workdir of the run, new or empty")
    text = f"variance of the training pixels in [0, 1], for the loss (default: {variance}, {dataset}'s)"
    source.add_argument("--variance", type=number, default=variance, metavar="X", help=text)
    add_output_flags(source)


def _add_image_flags(source: Parser, size: str, default: str = "") -> None:
    text = f"size of the images that the run is for, in pixels, HxW or one number (default: {default or size})"
    source.add_argument("--size", default=size, help=text)
    text = "a folder of such images, for evaluate, explore and a prior, each of which can name it instead"
    source.add_argument("--data_path", default="", metavar="PATH", help=text)


def run(given: Any) -> Report:
    """Write the run."""
    with starting_jax():
        from vqjax.training.import_weights import import_weights

    options = {name: getattr(given, name) for name in ("size", "data_path", "yaml") if hasattr(given, name)}
    workdir = import_weights(given.source, given.files, given.out, given.variance, **options)
    paths = sorted(workdir.path.iterdir())
    return Report(
        [f"in {workdir.path}: {', '.join(path.name for path in paths)}"], {"written": [str(path) for path in paths]}
    )
