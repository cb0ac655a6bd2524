"""A head that classifies what the decoder sees: accuracy beside MSE by the weight of its loss, on digits.

python -m vqjax ablate --config configs/ablation/joint_head.py --seeds 3

On CIFAR-10: --config configs/ablation/joint_head.py:cifar10
2 cores (Xeon, AVX-512), 6 min beside other jobs, digits, seeds 0 to 2: weight 0 has MSE 0.0039; 0.1 has 0.0050 and
accuracy 0.776; 1 has 0.0088 and 0.937; 10 has 0.0173 and 0.932. CIFAR-10, 16 min, seed 0: 0.0037; 0.0038 and 0.324;
0.0057 and 0.522; 0.0109 and 0.552.
"""

from ml_collections import ConfigDict

from configs import cifar10_ema, digits

SIZES = ("digits", "cifar10")
WEIGHTS = (0.0, 0.1, 1.0, 10.0)


def get_config(dataset: str = "digits") -> ConfigDict:
    """One row for each weight of the head's cross-entropy."""
    if dataset not in SIZES:
        raise ValueError(f"configs/ablation/joint_head.py:{dataset}: expected digits or cifar10")
    return ConfigDict(
        {f"weight_{weight:g}".replace(".", "_"): _row(dataset, weight) for weight in WEIGHTS}, sort_keys=False
    )


def _row(dataset: str, weight: float) -> ConfigDict:
    config = digits.get_config() if dataset == "digits" else cifar10_ema.get_config()
    if dataset == "cifar10":
        config.update(steps=2_500, eval_every=1_250, save_every=1_250)
        config.optimizer.update(name="adam", learning_rate=1e-3, schedule="cosine")
    config.model.class_weight = weight
    return config
