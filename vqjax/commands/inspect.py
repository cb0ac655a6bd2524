"""Shows the data that a config describes, before anything is trained: `python -m vqjax inspect --help`."""

from collections.abc import Sequence

from vqjax.config.flags import parse_flags


def main(arguments: Sequence[str]) -> None:
    given = parse_flags(
        arguments,
        "inspect",
        "Show the data of a config: how much, of what, how fast, and what is odd. Nothing is trained.",
        "python -m vqjax inspect --config folder --config.data.path=photos",
    )

    from vqjax.training.inspection import inspect_data  # JAX starts here, after the flags are known to be right

    picture = given.workdir.with_name(f"{given.workdir.name}-data.png")
    for line in inspect_data(given.config, picture):
        print(line, flush=True)
    print(f"written to {picture}")
