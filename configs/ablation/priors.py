"""PixelCNN and transformer on the same codes, with as many parameters and updates, on digits, MNIST and CIFAR-10.

python -m vqjax ablate --config configs/ablation/priors.py --seeds 3

On MNIST and CIFAR-10: --config configs/ablation/priors.py:mnist
2 cores (Xeon, AVX-512), 7 min beside other jobs, digits, seeds 0 to 2, mean and range: 3.181 (2.976 to 3.359) nats/code
by the PixelCNN, 3.129 (2.946 to 3.317) by the transformer in raster order, 3.188 (3.024 to 3.359) in any order.
"""

from importlib import import_module

from ml_collections import ConfigDict

SIZES = {  # of a data set: its configs, the PixelCNN's width for the transformer's number of parameters, updates
    "digits": dict(stage1="digits", width=40),
    "mnist": dict(stage1="mnist", width=72),
    "cifar10": dict(stage1="cifar10_ema", width=64, stage1_steps=10_000, steps=2_500),
}


def get_config(dataset: str = "digits") -> ConfigDict:
    """An autoencoder, the PixelCNN on its codes, the transformer in raster order, and the one in any order."""
    if dataset not in SIZES:
        raise ValueError(f"configs/ablation/priors.py:{dataset}: expected one of {', '.join(SIZES)}")
    size = SIZES[dataset]
    rows = {
        "autoencoder": _config(size["stage1"]),
        "pixelcnn": _config(f"{dataset}_prior"),
        "raster": _config(f"{dataset}_transformer"),
        "any_order": _config(f"{dataset}_transformer"),
    }
    rows["pixelcnn"].model.pixelcnn.width = size["width"]
    rows["raster"].model.transformer.order = "raster"
    if "steps" in size:
        rows["autoencoder"].steps = size["stage1_steps"]
        for name in ("pixelcnn", "raster", "any_order"):
            rows[name].update(steps=size["steps"], eval_every=500, save_every=500)
    for name in ("pixelcnn", "raster", "any_order"):
        rows[name].stage1 = "autoencoder"
    return ConfigDict(rows, sort_keys=False)


def _config(name: str) -> ConfigDict:
    return import_module(f"configs.{name}").get_config()
