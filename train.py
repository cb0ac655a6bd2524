"""Trains what a config describes:

python train.py --config configs/digits.py [--workdir DIR] [--config.steps=1000 ...]
"""

from vqjax import flags


def main(config, workdir) -> int:
    from vqjax import loop  # JAX starts here, after the flags are known to be right

    return loop.train(config, workdir)


if __name__ == "__main__":
    flags.run(main)
