"""PixelCNN and transformer on the same codes, with as many parameters, and as many updates or as much time.

python -m vqjax ablate --config configs/ablation/priors.py --seeds 3

On MNIST and CIFAR-10: --config configs/ablation/priors.py:mnist
One of 2 cores (Xeon, AVX-512), beside other jobs. Digits, 10 min, seeds 0 to 2: 3.179 (2.965 to 3.410) nats/code by the
PixelCNN (3.159 at equal time), 3.142 (2.972 to 3.358) by the transformer in raster order, 3.200 (3.041 to 3.391) in any
order. MNIST, 91 min, seed 0: 1.772, 1.712 and 1.827. CIFAR-10, and MNIST at equal time, were not run here.
"""

from importlib import import_module

from ml_collections import ConfigDict

SIZES = {  # of a data set: its autoencoder, the PixelCNN of the transformer's number of parameters, updates of the
    "digits": ("digits", dict(width=40), 1.3),  # PixelCNN in the time of one of the transformer, on a CPU
    "mnist": ("mnist", dict(width=72, dropout=0.0), 1.5),
    "cifar10": ("cifar10_ema", dict(width=64, dropout=0.0), 0.75),
}
SHORT = dict(steps=4_000, batch_size=32, eval_every=1_000, save_every=1_000)  # a full training takes hours on a CPU


def get_config(dataset: str = "digits") -> ConfigDict:
    """An autoencoder; on its codes the transformer, in raster and in any order, and the PixelCNN, twice."""
    if dataset not in SIZES:
        raise ValueError(f"configs/ablation/priors.py:{dataset}: expected one of {', '.join(SIZES)}")
    name, fields, share = SIZES[dataset]
    autoencoder, transformer, pixelcnn = map(_config, (name, f"{dataset}_transformer", f"{dataset}_prior"))
    if dataset == "cifar10":
        autoencoder.steps = 10_000
        transformer.update(SHORT)
        transformer.model.transformer.dropout = 0.0
    pixelcnn.update({field: transformer[field] for field in SHORT})
    pixelcnn.model.pixelcnn.update(fields)
    priors = {
        "raster": transformer.copy_and_resolve_references(),
        "any_order": transformer,
        "pixelcnn": pixelcnn,
        "pixelcnn_equal_time": pixelcnn.copy_and_resolve_references(),
    }
    priors["raster"].model.transformer.order = "raster"
    priors["pixelcnn_equal_time"].steps = int(share * pixelcnn.steps)
    for prior in priors.values():
        prior.stage1 = "autoencoder"
    return ConfigDict({"autoencoder": autoencoder, **priors}, sort_keys=False)


def _config(name: str) -> ConfigDict:
    return import_module(f"configs.{name}").get_config()
