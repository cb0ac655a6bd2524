"""Stage 1, the base that the other configs import: every field, with the values of VQ-VAE-Images on CIFAR-10."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Every field of a stage-1 run."""
    return ConfigDict(
        dict(
            task="autoencoder",  # what is trained
            init_from="",  # workdir of a run whose weights this one starts from
            seed=0,  # of the weights, the order and the noise
            steps=25_000,  # updates
            batch_size=32,  # global: the devices share it
            microbatch=0,  # of these a device takes at most so many at a time, and adds up their gradients; 0: chosen
            parallel="pmap",  # or shard_map
            tracker="tensorboard",  # or wandb, mlflow; several with commas between, none: ""
            log_every=100,  # steps between lines of metrics.jsonl
            eval_every=1_000,  # steps between evaluations of the whole split
            save_every=1_000,  # steps between checkpoints
            data=dict(
                name="cifar10",  # of the set, see docs/data.md
                data_dir="",  # where TFDS keeps its sets; empty: TFDS_DATA_DIR, else ~/tensorflow_datasets
                path="",  # of one's own images or film, or of a set as it is distributed
                size="",  # pixels, H x W as "48x64" or one number; empty: as they are
                channels=0,  # 1 or 3; 0: 1 if all are gray
                frames=0,  # of a clip, for clips
                memory=4.0,  # GiB up to which images are held in memory, else they are decoded during training
                workers=0,  # processes that decode them then; 0: threads
                cache=True,  # keep the decoded images for the next command
                limit=0,  # images of each split, its first ones; 0: all
                shuffle=True,  # False: train in file order
                validation=0.0,  # share of train, its end, that is held out; the best checkpoint is chosen on it
                test=0.1,  # share of all that is for test, where a set has no splits of its own
                flip=False,  # mirror at random
                crop=0,  # pixels of reflected border, then a random crop
                resized_crop=0.0,  # least share of the area that is cut out at random and resized, if streamed; 0: off
                oversize=1.0,  # 1.25: held in memory a quarter larger than size, and the size cut out at random
            ),
            model=dict(
                code_dim=64,  # D, the numbers of a code's vector
                dtype="float32",  # of the networks' computation; the codebook is always float32
                codec="single",  # one grid of codes; or hierarchical: two, a coarse one and a fine one
                single=dict(),  # encoder, quantizer, decoder
                hierarchical=dict(  # VQ-VAE-2: the chosen networks at both levels, with stages of their own
                    top=dict(quantizer="ema", num_codes=512, stages=1),  # coarse; num_codes=0: as in the section
                    bottom=dict(quantizer="ema", num_codes=512, stages=2),  # fine: each stage halves the image
                ),
                encoder="deepmind",  # or openai, vqgan
                decoder="deepmind",  # the same
                deepmind=dict(
                    width=128,  # channels inside; next to the image half as many
                    residual_width=32,  # channels inside a residual block
                    blocks=2,  # residual blocks
                    stages=2,  # each halves the image
                    batch_norm=False,  # after every convolution that a ReLU follows
                    weight_norm=False,  # on every convolution
                    kernel_init="lecun",  # or xavier, kaiming
                    relu_skip=False,  # a residual block adds to relu(x), not to x: for converted weights
                    remat=False,  # True: less memory for more time, for large images
                ),
                openai=dict(
                    width=64,  # next to the image; 2, 4, 8 times as wide further in
                    groups=3,  # the image is halved between groups
                    blocks=2,  # per group
                    kernel_init="lecun",  # or xavier, kaiming
                    remat=False,  # True: less memory for more time, for large images
                ),
                vqgan=dict(
                    width=128,  # where the multiplier is 1; a multiple of 32
                    multipliers=(1, 1, 2, 2, 4),  # of the width in each stage; the image is halved between stages
                    attention=(4,),  # stages with self-attention, 0 next to the image
                    blocks=2,  # residual blocks per stage; the decoder has one more
                    latent_width=256,  # channels before the encoder's last layer and after the decoder's first
                    kernel_init="lecun",  # or xavier, kaiming
                    remat=False,  # True: less memory for more time, for large images
                ),
                quantizer="ema",  # or vq, simvq, gumbel, fsq, residual; without codes: none, or gaussian (a VAE)
                none=dict(),  # nothing is quantized
                ema=dict(
                    num_codes=512,  # K, the number of codes
                    beta=1.0,  # weight of the commitment loss
                    gradient="straight_through",  # or rotation
                    cosine=False,  # True: vectors and codes have length 1, the nearest is that of the least angle
                    projection=0,  # numbers of a code's vector, from code_dim by a linear map; 0: code_dim, no map
                    decay=0.99,  # of the running means, per step
                    kmeans=True,  # start from k-means of encoder vectors
                    dead_code_threshold=0.01,  # codes used less than this share of 1 / K restart; 0: never
                ),
                vq=dict(
                    num_codes=512,  # K, the number of codes
                    beta=1.0,  # weight of the commitment loss
                    gradient="straight_through",  # or rotation, or diveq, which replaces the losses of the codebook
                    cosine=False,  # as in ema
                    projection=0,  # as in ema
                    decay=0.99,  # of the running frequency of each code, per step
                    kmeans=True,  # start from k-means of encoder vectors
                    dead_code_threshold=0.01,  # as in ema; not 0 with diveq
                ),
                simvq=dict(
                    num_codes=512,  # K, the number of codes; meant for 8,192 and more
                    beta=1.0,  # weight of the commitment loss
                    gradient="straight_through",  # or rotation, or diveq
                    cosine=False,  # as in ema
                    projection=0,  # as in ema
                ),
                gumbel=dict(
                    num_codes=512,  # K
                    hard=True,  # forward one-hot, backward relaxed
                    alignment=0.0,  # size of the first logits, with embeddings that point where they do; 0: at random
                    temperature=dict(schedule="exponential", start=2.0, end=0.5, share=0.8),  # of the softmax
                    kl_weight=dict(schedule="exponential", start=0.03, end=1e-4, share=0.5),  # of being undecided
                    diversity_weight=0.1,  # of the codes' even use
                    decay=0.99,  # of the running mean of that use
                    from_logits=False,  # True: the encoder gives the K logits, as DALL-E's; else a linear layer
                    embedding_dim=0,  # numbers of a code's vector; 0: code_dim
                ),
                fsq=dict(levels=(8, 8, 8)),  # of each number that is rounded; K is their product
                residual=dict(
                    quantizer="ema",  # of each level, with its fields above; or vq, simvq, gumbel, fsq
                    depth=2,  # levels, the number of codes per position
                    shared=False,  # True: one codebook for all levels; not with gumbel, fsq
                ),
                gaussian=dict(
                    latent_dim=16,  # numbers per position
                    kl_weight=dict(schedule="linear", start=0.0, end=0.01, share=0.2),  # of the nats per position
                ),
                likelihood="mse",  # or l1, logit_laplace
                mse=dict(weight=4.0, tanh=False),  # loss = weight * MSE / variance, pixels in [0, 1]
                l1=dict(weight=1.0, tanh=False),  # loss = weight * mean |error| / standard deviation
                logit_laplace=dict(
                    weight=1.0,  # of the nats per pixel and channel
                    epsilon=0.1,  # pixels are mapped to epsilon to 1 - epsilon
                    input_range="signed",  # what the encoder sees, -1 to 1; or mapped, as DALL-E's
                ),
                class_weight=0.0,  # of the cross-entropy of a head that classifies what the decoder sees; 0: no head
                head="pooled",  # or flattened, conv
                pooled=dict(dropout=0.0),  # linear, on the mean over positions
                flattened=dict(dropout=0.0),  # linear, on the whole grid
                conv=dict(width=64, layers=2, dropout=0.0),  # convolutions, then the mean
            ),
            optimizer=dict(
                name="amsgrad",  # adam, amsgrad, adamw or sgd
                learning_rate=3e-4,  # after the warm-up
                schedule="constant",  # constant, linear, cosine or exponential
                final_learning_rate=0.0,  # where the schedule ends
                warmup=0,  # steps of linear rise
                warmup_share=0.0,  # the same as a share of all steps; one of both is 0
                clip_norm=0.0,  # global norm of the gradient; 0: no clipping
                codebook_rate=30.0,  # times the learning rate, for a codebook with a gradient
                adam=dict(b1=0.9, b2=0.999, eps=1e-8),  # decays of the two moments
                amsgrad=dict(b1=0.9, b2=0.999, eps=1e-8),  # the same
                adamw=dict(b1=0.9, b2=0.999, eps=1e-8, weight_decay=1e-4),  # decays kernels only
                sgd=dict(momentum=0.9, nesterov=True, weight_decay=5e-4),  # the same
            ),
        )
    )
