"""Does quantization serve classification? On digits, in two minutes.

python -m vqjax.ablate --config configs/ablation/digits.py

Result: not run here.
"""

from ml_collections import ConfigDict

from configs import classifier, code_classifier, digits

CODES = 64  # for 1,293 images


def get_config() -> ConfigDict:
    """Each quantizer with one code per image, a grid of codes, and two stages beside the pixels as they are."""
    rows = {"none": end_to_end("none")}
    rows |= {f"one_{quantizer}": end_to_end(quantizer) for quantizer in ("vq", "ema", "gumbel")}
    rows["grid_ema"] = end_to_end("ema", quantize="grid")
    autoencoder = digits.get_config()
    autoencoder.update(steps=600, eval_every=600, save_every=600)
    rows |= {"autoencoder": autoencoder, "codes": two_stages(), "pixels": two_stages(inputs="pixels")}
    return ConfigDict(rows, sort_keys=False)


def _short(config: ConfigDict) -> ConfigDict:
    config.update(steps=300, eval_every=100, save_every=300)
    return config


def end_to_end(quantizer: str, **model: str) -> ConfigDict:
    """A classifier with that quantizer."""
    config = _short(classifier.get_config("digits"))
    config.model.update(quantizer=quantizer, **model)
    for name in ("vq", "ema", "gumbel"):
        config.model[name].num_codes = CODES
    return config


def two_stages(**model: str) -> ConfigDict:
    """A classifier on what the row `autoencoder` makes of the images."""
    config = _short(code_classifier.get_config("digits"))
    config.stage1 = "autoencoder"
    config.model.update(**model)
    return config
