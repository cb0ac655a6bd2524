"""Parts that the ablations share: a row is the config of a run."""

from ml_collections import ConfigDict

from configs import classifier, code_classifier


def end_to_end(dataset: str, steps: int, num_codes: int, **model: object) -> ConfigDict:
    """A classifier of the images, with fields of `model` as given."""
    config = _of_length(classifier.get_config(dataset), steps)
    config.model.update(model)
    for name in ("vq", "ema", "gumbel"):
        config.model[name].num_codes = num_codes
    return config


def two_stages(dataset: str, steps: int, stage1: str, **model: object) -> ConfigDict:
    """A classifier on what the stage 1 in a workdir, or of an earlier row, makes of the images."""
    config = _of_length(code_classifier.get_config(dataset), steps)
    config.stage1 = stage1
    config.model.update(model)
    return config


def _of_length(config: ConfigDict, steps: int) -> ConfigDict:
    """Evaluated five times."""
    config.update(steps=steps, eval_every=steps // 5, save_every=steps // 5)
    config.optimizer.warmup_share = classifier.WARMUP / steps
    return config
