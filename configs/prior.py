"""Stage 2, the base that the other priors import: every field. The data are the codes of the run in `stage1`."""

from ml_collections import ConfigDict

from configs import autoencoder


def get_config() -> ConfigDict:
    """Every field of a prior's run; the optimizer's are those of stage 1."""
    optimizer = autoencoder.get_config().optimizer
    del optimizer.codebook_rate  # there is no codebook
    optimizer.update({"name": "adam", "learning_rate": 1e-3, "schedule": "cosine", "clip_norm": 1.0})
    return ConfigDict(
        dict(
            task="prior",  # what is trained
            stage1="",  # workdir of a trained autoencoder: it says what the data and the codes are
            top_prior="",  # of a prior of one level: workdir of the prior of the levels before it
            init_from="",  # workdir of a run whose weights this one starts from
            seed=0,  # of the weights, the order and the noise
            steps=10_000,  # updates
            batch_size=64,  # global: the devices share it
            microbatch=0,  # of these a device takes at most so many at a time, and adds up their gradients; 0: chosen
            parallel="pmap",  # or shard_map
            tracker="tensorboard",  # or wandb, mlflow; several with commas between, none: ""
            log_every=100,  # steps between lines of metrics.jsonl
            eval_every=1_000,  # steps between evaluations of the validation share
            save_every=1_000,  # steps between checkpoints
            data=dict(
                name="",  # that of stage 1
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
                dtype="float32",  # of the network's computation; logits and loss are always float32
                ema_decay=0.999,  # decay of the average of the weights that is evaluated and sampled from; 0: none
                class_conditional=True,  # every layer sees the label
                level="",  # of several levels of codes: the last one that the prior sees; "": all
                prior="pixelcnn",  # or transformer
                pixelcnn=dict(
                    width=64,  # channels of each stack
                    layers=15,  # the first 7 x 7 under mask A, the others 3 x 3 under mask B
                    head_width=512,  # channels before the logits
                    dropout=0.1,  # share of the horizontal stack's activations
                ),
                transformer=dict(
                    width=128,  # numbers per code
                    layers=8,  # even: half of them read the codes that are known, half predict the others
                    heads=4,  # of width / heads numbers each, a multiple of 4
                    dropout=0.1,  # share of what each layer adds
                    order="any",  # or raster, which can neither fill in codes nor draw several at once
                    random_share=0.5,  # of random orders, in the last third of the run; 0 is best in raster order
                ),
            ),
            optimizer=optimizer,
        )
    )
