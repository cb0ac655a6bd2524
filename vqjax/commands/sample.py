"""Draws images from a trained prior: `python -m vqjax sample --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import add_data_flags, parser


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax sample --workdir runs/digits_prior --num 20 --classes 3,8 --temperature 0.9"
    flags = parser("sample", "Draw images from a trained prior.", example)
    flags.add_argument("--workdir", required=True, help="the prior's run")
    flags.add_argument("--num", type=int, default=80, help="images in all (default: 80); the picture shows up to 400")
    flags.add_argument("--classes", help="names or numbers with commas between, to cycle over (default: all)")
    flags.add_argument("--seed", type=int, default=0, help="of the noise: same seed, same images (default: 0)")
    flags.add_argument("--batch", type=int, default=64, help="images that are drawn at a time (default: 64)")
    flags.add_argument("--temperature", type=float, default=1.0, help="divides the logits (default: 1)")
    flags.add_argument("--top_k", type=int, default=0, help="draw among so many codes, the most probable")
    flags.add_argument("--top_p", type=float, default=1.0, help="draw among the codes with this probability together")
    flags.add_argument("--neighbours", action="store_true", help="put the nearest training image under each sample")
    flags.add_argument("--stage1", help="the autoencoder's run, if it is not where the prior was trained on it")
    flags.add_argument("--step", type=int, help="of the checkpoint (default: the best, or else the last)")
    flags.add_argument("--out", help="the picture (default: samples.png in the workdir); arrays go beside it, as .npz")
    add_data_flags(flags)
    given = flags.parse_args(arguments)

    from vqjax.inference.generation import sample  # JAX starts here, after the arguments are known to be right

    print("written to " + " and ".join(map(str, sample(**vars(given)))))
