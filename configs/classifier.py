"""Quantized classifiers, end to end: the base, with every field, and its variants by data set.

python train.py --config configs/classifier.py:mnist

The argument is a data set (digits if there is none). Another quantizer, and a code per position instead of per image;
your own images, a directory for each class:
python train.py --config configs/classifier.py:mnist --config.model.quantizer=vq --config.model.quantize=grid
python train.py --config configs/classifier.py:folder --config.data.path=photos
and for a first look, at a few hundred of them: python train.py --config configs/classifier.py:folder,small

2 cores (Xeon, AVX-512), 0.4 min with compilation: on digits a test accuracy of 0.969, 145 of 512 codes used.
MNIST and CIFAR-10: configs/ablation/.
"""

from ml_collections import ConfigDict

from configs import autoencoder

WARMUP = 100  # steps, of a run of the length that the config has
_DEEPER = dict(width=16, stages=3)
VARIANTS = {
    "digits": dict(steps=600, eval_every=100, save_every=100, data=dict(crop=1), model=dict(backbone="small")),
    "mnist": dict(steps=3_000, data=dict(crop=2), model=dict(backbone="small", small=_DEEPER)),
    "fashion_mnist": dict(steps=6_000, data=dict(flip=True, crop=2), model=dict(backbone="small", small=_DEEPER)),
    "svhn_cropped": dict(steps=15_000, data=dict(crop=4)),
    "cifar10": dict(data=dict(flip=True, crop=4)),
    "cifar100": dict(data=dict(flip=True, crop=4)),
    "folder": dict(data=dict(size="64", flip=True, crop=4)),
    "food101": dict(steps=60_000, data=dict(size="64", flip=True, crop=4)),
    "tiny_imagenet": dict(steps=60_000, data=dict(flip=True, crop=4)),
    "mini_imagenet": dict(steps=40_000, data=dict(size="84", flip=True, crop=8)),
    "imagenet_resized": dict(steps=300_000, data=dict(size="32", flip=True, crop=4)),
    "imagenet2012": dict(steps=300_000, data=dict(size="64", flip=True, workers=8, resized_crop=0.25)),
}

FOLDER_SMALL = dict(  # a few hundred images, minutes on a laptop
    steps=400,
    batch_size=32,
    log_every=25,
    eval_every=50,
    save_every=50,
    data=dict(size="64", flip=True, crop=4),
    model=dict(
        backbone="small", small=_DEEPER, **{name: dict(num_codes=64) for name in ("ema", "vq", "simvq", "gumbel")}
    ),
)


def get_config(dataset: str = "digits") -> ConfigDict:
    """Every field of a classifier's run on a data set; the optimizer's and the quantizers' are those of stage 1."""
    variants = {**VARIANTS, "folder,small": FOLDER_SMALL}
    if dataset not in variants:
        raise ValueError(f"configs/classifier.py:{dataset}: expected a data set; known: {', '.join(variants)}")
    stage1 = autoencoder.get_config()
    optimizer = stage1.optimizer
    optimizer.update({"name": "adamw", "learning_rate": 2e-3, "schedule": "cosine"})
    optimizer.codebook_rate = 10.0
    optimizer.adamw.weight_decay = 0.05
    names = "none", "vq", "ema", "simvq", "gumbel", "fsq", "residual", "gaussian"
    quantizers = {name: stage1.model[name] for name in names}
    for name in ("vq", "ema", "simvq"):  # features move faster than in an autoencoder
        quantizers[name].beta = 0.25
    for name in ("vq", "ema"):  # and batches have fewer vectors
        quantizers[name].decay = 0.97
    # One code per image gives few gradients: a high temperature and aligned embeddings let most of each through.
    quantizers["gumbel"].update(alignment=8.0, diversity_weight=0.01)
    quantizers["gumbel"].temperature.update(start=8.0, end=4.0)
    quantizers["gumbel"].kl_weight.start = 1e-3
    config = ConfigDict(
        dict(
            task="classifier",  # what is trained
            init_from="",  # workdir of a run whose weights this one starts from
            seed=0,  # of the weights, the order and the noise
            steps=10_500,  # updates; so many are 30 epochs of CIFAR's 45,000
            batch_size=128,  # global: the devices share it
            parallel="pmap",  # or shard_map
            tracker="tensorboard",  # or wandb, mlflow; several with commas between, none: ""
            log_every=100,  # steps between lines of metrics.jsonl
            eval_every=500,  # steps between evaluations of the validation share
            save_every=500,  # steps between checkpoints
            data=dict(
                name=dataset.partition(",")[0],  # of the set, see docs/data.md
                data_dir="",  # where TFDS keeps its sets; empty: TFDS_DATA_DIR, else ~/tensorflow_datasets
                path="",  # of one's own images, or of a set as it is distributed
                size="",  # pixels, H x W as "48x64" or one number; empty: as they are
                channels=0,  # 1 or 3; 0: 1 if all are gray
                memory=4.0,  # GiB up to which images are held in memory, else they are decoded during training
                workers=0,  # processes that decode them then; 0: threads
                cache=True,  # keep the decoded images for the next command
                limit=0,  # images of each split, its first ones; 0: all
                shuffle=True,  # False: train in file order
                validation=0.1,  # share of train, its end, that is held out; the best checkpoint is chosen on it
                test=0.1,  # share of all that is for test, where a set has no splits of its own
                flip=False,  # mirror at random
                crop=0,  # pixels of reflected border, then a random crop
                resized_crop=0.0,  # least share of the area that is cut out at random and resized, if streamed; 0: off
                oversize=1.0,  # 1.25: held in memory a quarter larger than size, and the size cut out at random
            ),
            model=dict(
                dtype="float32",  # or bfloat16, of the networks' computation; codebook, logits and loss are float32
                backbone="resnet18",  # resnet18, deepmind or small
                resnet18=dict(width=64),  # of the first stage; 2, 4, 8 times as wide further in
                deepmind={
                    **stage1.model.deepmind.to_dict(),
                    "features": 128,  # channels of what it gives
                    "batch_norm": True,  # after every convolution that a ReLU follows
                },
                small=dict(width=32, stages=2),  # each halves the image and doubles the width
                quantizer="ema",  # or vq, simvq, gumbel, fsq, residual; without codes: none (plain), gaussian
                **quantizers,
                quantize="pooled",  # the mean over positions; or grid: every position, before that mean
                head="pooled",  # or, of a grid, flattened, conv
                pooled=dict(dropout=0.2),  # linear, on the mean over positions
                flattened=dict(dropout=0.2),  # linear, on the whole grid
                conv=dict(width=64, layers=2, dropout=0.2),  # convolutions, then the mean
                label_smoothing=0.0,  # share of each label that is spread over all classes
            ),
            optimizer=optimizer,
        )
    )
    config.update(variants[dataset])
    config.optimizer.warmup_share = WARMUP / config.steps
    return config
