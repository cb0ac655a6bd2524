"""PixelCNN and transformer on the same codes, with as many parameters and updates, on digits, MNIST and CIFAR-10.

python -m vqjax ablate --config configs/ablation/priors.py --seeds 3

On MNIST and CIFAR-10: --config configs/ablation/priors.py:mnist
2 cores (Xeon, AVX-512), 7 min beside other jobs, digits, seeds 0 to 2, mean and range: 3.181 (2.976 to 3.359) nats/code
by the PixelCNN, 3.129 (2.946 to 3.317) by the transformer in raster order, 3.188 (3.024 to 3.359) in any order. MNIST,
45 min, seed 0: 1.886, 1.779 and 1.931.
"""

from importlib import import_module

from ml_collections import ConfigDict

SIZES = {  # of a data set: its autoencoder, the PixelCNN's width for the transformer's number of parameters
    "digits": ("digits", 40),
    "mnist": ("mnist", 72),
    "cifar10": ("cifar10_ema", 64),
}


def get_config(dataset: str = "digits") -> ConfigDict:
    """An autoencoder, the PixelCNN on its codes, the transformer in raster order, and the one in any order."""
    if dataset not in SIZES:
        raise ValueError(f"configs/ablation/priors.py:{dataset}: expected one of {', '.join(SIZES)}")
    stage1, width = SIZES[dataset]
    priors = {
        "pixelcnn": _config(f"{dataset}_prior"),
        "raster": _config(f"{dataset}_transformer"),
        "any_order": _config(f"{dataset}_transformer"),
    }
    priors["pixelcnn"].model.pixelcnn.width = width
    priors["raster"].model.transformer.order = "raster"
    rows = {"autoencoder": _config(stage1), **priors}
    for prior in priors.values():
        prior.stage1 = "autoencoder"
    if dataset == "cifar10":  # a full training of each takes hours
        rows["autoencoder"].steps = 10_000
        for prior in priors.values():
            prior.update(steps=2_500, eval_every=500, save_every=500)
    return ConfigDict(rows, sort_keys=False)


def _config(name: str) -> ConfigDict:
    return import_module(f"configs.{name}").get_config()
