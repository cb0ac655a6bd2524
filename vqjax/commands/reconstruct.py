"""Photographs through a trained autoencoder, whole: `python -m vqjax reconstruct --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import parser


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax reconstruct --workdir runs/photos photo.jpg --out both.png"
    flags = parser("reconstruct", "Encode and decode photographs of any size by a trained autoencoder.", example)
    flags.add_argument("--workdir", required=True, help="of a trained autoencoder")
    flags.add_argument("--out", help="the picture of both (default: reconstructed.png in the workdir)")
    flags.add_argument("images", nargs="+", metavar="image", help="a file")
    given = flags.parse_args(arguments)

    from vqjax.inference.reconstruction import reconstruct  # JAX starts here, after the arguments are known to be right

    out, found = reconstruct(given.workdir, given.images, given.out)
    for file, each in zip(given.images, found):
        height, width, _ = each.image.shape
        print(
            f"{file}: {width} x {height} pixels, {each.bits_per_pixel:.3f} bits per pixel, "
            f"PSNR {each.psnr:.2f} dB, SSIM {each.ssim:.3f}"
        )
    print(f"written to {out}")
