"""Classifiers on the codes of a frozen stage 1: the base, with every field, and its variants by data set.

python train.py --config configs/mnist.py && python train.py --config configs/code_classifier.py:mnist

The argument is a data set (digits if there is none), which says where its stage 1 is expected.

2 cores (Xeon, AVX-512), 0.2 min with compilation: on digits a test accuracy of 0.936.
MNIST and CIFAR-10: configs/ablation/.
"""

from ml_collections import ConfigDict

from configs import classifier

VARIANTS = {
    "digits": dict(stage1="runs/digits", steps=600, eval_every=100, save_every=100),
    "mnist": dict(stage1="runs/mnist", steps=3_000),
    "fashion_mnist": dict(stage1="runs/fashion_mnist", steps=3_000),
    "svhn_cropped": dict(stage1="runs/svhn_cropped"),
    "cifar10": dict(stage1="runs/cifar10_ema"),
    "cifar100": dict(stage1="runs/cifar100"),
    "folder": dict(stage1="runs/folder"),
    "food101": dict(stage1="runs/food101", steps=20_000),
    "tiny_imagenet": dict(stage1="runs/tiny_imagenet", steps=20_000),
    "mini_imagenet": dict(stage1="runs/mini_imagenet", steps=20_000),
    "imagenet_resized": dict(stage1="runs/imagenet_resized", steps=100_000),
    "imagenet2012": dict(stage1="runs/imagenet2012", steps=100_000),
}


def get_config(dataset: str = "digits") -> ConfigDict:
    """Every field of such a run; the optimizer's and the heads' are those of the end-to-end classifiers."""
    if dataset not in VARIANTS:
        raise ValueError(f"configs/code_classifier.py:{dataset}: expected a data set; known: {', '.join(VARIANTS)}")
    base = classifier.get_config()
    optimizer, heads = base.optimizer, {name: base.model[name] for name in ("pooled", "flattened", "conv")}
    del optimizer.codebook_rate  # there is no codebook to train
    config = ConfigDict(
        dict(
            task="code_classifier",  # what is trained
            stage1="",  # workdir of a trained autoencoder: it says what the data and the codes are
            init_from="",  # workdir of a run whose weights this one starts from
            seed=0,  # of the weights, the order and the noise
            steps=5_000,  # updates
            batch_size=128,  # global: the devices share it
            parallel="pmap",  # or shard_map
            tracker="tensorboard",  # or wandb, mlflow; several with commas between, none: ""
            log_every=100,  # steps between lines of metrics.jsonl
            eval_every=500,  # steps between evaluations of the validation share
            save_every=500,  # steps between checkpoints
            data=dict(
                name=dataset,  # refused if stage 1 was trained on another; empty: that of stage 1
                data_dir="",  # empty: that of stage 1
                path="",  # the same
                memory=4.0,  # GiB up to which images are held in memory, else they are decoded during training
                workers=0,  # processes that decode them then; 0: threads
                cache=True,  # keep the decoded images for the next command
                limit=0,  # images of each split, its first ones; 0: all
                shuffle=True,  # False: train in file order
                validation=0.1,  # share of train, its end, that is held out; the best checkpoint is chosen on it
                flip=False,  # mirror at random; then, as with crop, codes are made on the fly
                crop=0,  # pixels of reflected border, then a random crop
            ),
            model=dict(
                dtype="float32",  # or bfloat16, of the head's convolutions; the rest is float32
                inputs="codes",  # their vectors; or, for comparison, latents: the encoder's; pixels
                head="conv",  # or pooled, flattened
                **heads,
                label_smoothing=0.0,  # share of each label that is spread over all classes
            ),
            optimizer=optimizer,
        )
    )
    config.update(VARIANTS[dataset])
    config.optimizer.warmup_share = classifier.WARMUP / config.steps
    return config
