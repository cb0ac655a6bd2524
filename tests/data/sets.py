"""Small sets on disk, in exactly the layouts and formats of the real ones."""

import gzip
import io
import struct
import tarfile

import numpy as np
from PIL import Image

from configs import autoencoder
from vqjax.config.schema import Settings
from vqjax.data import datasets


def config_of(name, **data):
    """The base config with a set, and fields of `config.data`."""
    config = autoencoder.get_config()
    config.data.update({"name": name, **{key: str(value) if key == "path" else value for key, value in data.items()}})
    return config


def opened(name, **data):
    return datasets.open_dataset(Settings.of(config_of(name, **data)).data)


def picture(seed, height=8, width=8, channels=3):
    """Random pixels, uint8 (H, W, C)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, **options)


def folder(root, count=40, classes=("ant", "bee"), **shape):
    """DIR/<class>/<file>; returns {relative path: pixels}."""
    found = {}
    for i in range(count):
        path = f"{classes[i % len(classes)]}/{i}.png" if classes else f"{i}.png"
        found[path] = picture(i, **shape)
        save(root / path, found[path])
    return found


def idx(path, array):
    """Write an array in the format of Yann LeCun's files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def mnist(root, suffix=".gz"):
    """Returns {split: (images, labels)}."""
    found = {}
    for seed, (name, prefix, count) in enumerate((("train", "train", 30), ("test", "t10k", 12))):
        found[name] = picture(seed, count, 28, 28), np.arange(count, dtype=np.uint8) % 10
        idx(root / f"{prefix}-images-idx3-ubyte{suffix}", found[name][0])
        idx(root / f"{prefix}-labels-idx1-ubyte{suffix}", found[name][1])
    return {name: (images[..., None], labels) for name, (images, labels) in found.items()}


def cifar(root, classes, packed):
    """The binary version of CIFAR-10 or CIFAR-100, as an archive or as its files."""
    fine = classes == 100
    folder = f"cifar-{classes}-binary" if fine else "cifar-10-batches-bin"
    names = "".join(f"class {i}\n" for i in range(classes)) + "\n"
    files = {"fine_label_names.txt" if fine else "batches.meta.txt": names.encode()}
    parts = {"train": ["train.bin"] if fine else [f"data_batch_{i}.bin" for i in range(1, 6)]}
    parts["test"] = ["test.bin" if fine else "test_batch.bin"]
    found = {}
    for seed, (name, wanted) in enumerate(parts.items()):
        images, labels = picture(seed, 4 * len(wanted) * 32, 32).reshape(-1, 32, 32, 3), []
        for number, file in enumerate(wanted):
            records = b""
            for image in images[4 * number : 4 * number + 4]:
                labels.append((7 * len(labels) + seed) % classes)
                coarse = bytes([labels[-1] // 5]) if fine else b""
                records += coarse + bytes([labels[-1]]) + image.transpose(2, 0, 1).tobytes()
            files[file] = records
        found[name] = images, np.array(labels)
    if packed:
        with tarfile.open(root / f"cifar-{classes}-binary.tar.gz", "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        for name, content in files.items():
            (root / name).write_bytes(content)
    return found


def svhn(root):
    """Format 2, in which 0 has the label 10."""
    from scipy.io import savemat

    found = {}
    for seed, name in enumerate(("train", "test")):
        images = picture(seed, 12 * 32, 32).reshape(12, 32, 32, 3)
        labels = np.arange(12) % 10
        savemat(
            root / f"{name}_32x32.mat",
            {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)},
        )
        found[name] = images, labels
    return found


def tiny_imagenet(root):
    """Three classes, two of which are called the same; returns {relative path: label}."""
    wnids = ["n02000003", "n01000001", "n03000002"]
    words = {"n01000001": "crane, bird", "n02000003": "crane", "n03000002": "goldfish, Carassius auratus"}
    root.mkdir(exist_ok=True)
    (root / "wnids.txt").write_text("\n".join(wnids))
    (root / "words.txt").write_text("".join(f"{wnid}\t{text}\n" for wnid, text in [*words.items(), ("n9", "other")]))
    label = {wnid: i for i, wnid in enumerate(sorted(wnids))}
    found = {}
    for wnid in wnids:
        for i in range(4):
            path = f"train/{wnid}/images/{wnid}_{i}.JPEG"
            save(root / path, picture(i, 64, 64), format="JPEG")
            found[path] = label[wnid]
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
    rows = []
    for i in range(6):
        save(root / f"val/images/val_{i}.JPEG", picture(i, 64, 64), format="JPEG")
        found[f"val/images/val_{i}.JPEG"] = label[wnids[i % 3]]
        rows.append(f"val_{i}.JPEG\t{wnids[i % 3]}\t0\t0\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    save(root / "test/images/test_0.JPEG", picture(0, 64, 64), format="JPEG")
    return found


def mini_imagenet(root):
    """Classes that differ between the three splits; returns {split: its file names}."""
    found, number = {}, 0
    for name, classes in (("train", 4), ("val", 1), ("test", 2)):
        rows, found[name] = [], []
        for _ in range(classes):
            wnid = f"n{number:08}"
            for i in range(6):
                file = f"{wnid}{i:08}.jpg"
                save(root / "images" / file, picture(i, 84, 84), format="JPEG")
                rows.append(f"{file},{wnid}\n")
                found[name].append(f"images/{file}")
            number += 1
        (root / f"{name}.csv").write_text("filename,label\n" + "".join(rows))
    return found


def food101(root):
    """Two classes, three images for training and one for test each, of several sizes."""
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "classes.txt").write_text("apple_pie\nwaffles\n")
    (root / "meta" / "labels.txt").write_text("Apple pie\nWaffles\n")
    lines = {"train": [], "test": []}
    for name in ("apple_pie", "waffles"):
        for i in range(4):
            save(root / "images" / name / f"{1000 + i}.jpg", picture(i, 40 + i, 50), format="JPEG")
            lines["test" if i == 3 else "train"].append(f"{name}/{1000 + i}")
    for name, found in lines.items():
        (root / "meta" / f"{name}.txt").write_text("\n".join(found) + "\n")
    return lines


def tiny_tfds(root, shape=(6, 6, 3), splits=("train", "test"), labels=True, label=None, name="tiny"):
    """A set of TFDS as ArrayRecord, prepared without TensorFlow; returns {split: images}.

    Labels are 0, 1, 2 in turn, or `label`, a number or a function of the split and of an example's number.
    """
    import tensorflow_datasets as tfds

    def label_of(split, i):
        return i % 3 if label is None else label(split, i) if callable(label) else label

    found = {each: [picture(seed * 100 + i, *_sized(shape, i)) for i in range(9)] for seed, each in enumerate(splits)}
    features = {"image": tfds.features.Image(shape=shape, encoding_format="png")}
    if labels:
        features["label"] = tfds.features.ClassLabel(names=["cat", "dog", "eel"])

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def generate(self, split):
        for i, image in enumerate(found[split]):
            pixels = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            yield i, {"image": pixels, **({"label": label_of(split, i)} if labels else {})}

    methods = {
        "VERSION": tfds.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": lambda self, manager: {each: self._generate_examples(each) for each in splits},
        "_generate_examples": generate,
        "__module__": __name__,
    }
    with tfds.core.registered.skip_registration():
        kind = type(name.title(), (tfds.core.GeneratorBasedBuilder,), methods)
    kind(data_dir=str(root), file_format="array_record").download_and_prepare()
    return found


def _sized(shape, i):
    return [side if side else 6 + i for side in shape[:2]] + [shape[2]]
