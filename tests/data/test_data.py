import jax
import numpy as np
import pytest
from helpers import dataset_of

from vqjax.data import datasets
from vqjax.data.augmentation import augment
from vqjax.data.batches import batch_rows, batches, evaluation_batches
from vqjax.data.splits import Split
from vqjax.system.errors import InputError


def split_of(size):
    images = np.arange(size * 4, dtype=np.uint8).reshape(size, 2, 2, 1)
    return Split(image=images, label=np.arange(size, dtype=np.int32))


def test_digits_are_scikit_learns(small_config):
    from sklearn.datasets import load_digits

    splits = datasets.load_splits(dataset_of(small_config))
    assert {name: len(split) for name, split in splits.items()} == {"train": 1437, "test": 360}
    raw = load_digits()
    np.testing.assert_array_equal(splits["test"].arrays["label"], raw.target[1437:])
    np.testing.assert_array_equal(splits["train"].arrays["image"][7, :, :, 0], np.round(255 * raw.images[7] / 16))
    assert splits["train"].arrays["image"].dtype == np.uint8


def test_variance_is_of_the_pixels_in_0_1(small_config):
    split = datasets.load_splits(dataset_of(small_config), ("train",))["train"]
    np.testing.assert_allclose(split.variance(), np.var(split.arrays["image"] / 255), rtol=1e-9)


def test_validation_is_the_last_share_of_train(small_config):
    whole = datasets.load_splits(dataset_of(small_config))["train"]
    small_config.data.validation = 0.1
    splits = datasets.load_splits(dataset_of(small_config))
    assert len(splits["validation"]) == 144
    np.testing.assert_array_equal(splits["train"].arrays["image"], whole.arrays["image"][:-144])
    np.testing.assert_array_equal(splits["validation"].arrays["label"], whole.arrays["label"][-144:])


def test_a_share_too_small_is_refused(small_config):
    small_config.data.validation = 1e-6
    with pytest.raises(InputError, match="config.data.validation=1e-06 of 1437 images"):
        datasets.load_splits(dataset_of(small_config))


def test_a_split_of_another_name_is_refused(small_config):
    with pytest.raises(InputError, match="--split='tests' is unknown. Did you mean \"test\""):
        datasets.load_split(dataset_of(small_config), "tests")
    with pytest.raises(InputError, match="--split=validation: the run was trained with config.data.validation=0.0"):
        datasets.load_split(dataset_of(small_config), "validation")


@pytest.mark.parametrize("batch_size", [3, 7, 25])
def test_each_epoch_has_each_row_once_and_its_own_order(batch_size):
    stream = np.concatenate([batch_rows(10, batch_size, step, 0, True) for step in range(20)])
    first, second = stream[:10], stream[10:20]
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second) and list(first) != list(range(10))


def test_batches_are_a_function_of_seed_and_step():
    whole = batches(split_of(10), 4, seed=1, shuffle=True)
    rows = [next(whole)["label"] for _ in range(9)]
    resumed = next(batches(split_of(10), 4, seed=1, shuffle=True, start=7))
    np.testing.assert_array_equal(resumed["label"], rows[7])
    other = next(batches(split_of(10), 4, seed=2, shuffle=True))
    assert list(other["label"]) != list(rows[0])
    np.testing.assert_array_equal(resumed["example"], np.arange(4))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_several_processes_share_a_batch(processes):
    """Each reads its part of the same global batch, in order."""
    for step in (0, 5):
        whole = batch_rows(10, 8, step, 0, True)
        parts = [batch_rows(10, 8, step, 0, True, process, processes) for process in range(processes)]
        assert {len(part) for part in parts} == {8 // processes}
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    second = next(batches(split_of(10), 8, 0, True, process=1, processes=2))
    np.testing.assert_array_equal(second["example"], [4, 5, 6, 7])
    np.testing.assert_array_equal(second["label"], next(batches(split_of(10), 8, 0, True))["label"][4:])


def test_without_shuffling_batches_follow_the_file():
    stream = batches(split_of(5), 3, seed=0, shuffle=False)
    assert [list(next(stream)["label"]) for _ in range(3)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3]]


def test_evaluation_covers_the_split_once():
    found = list(evaluation_batches(split_of(10), 4))
    assert all(len(batch["label"]) == 4 for batch in found)
    labels = np.concatenate([batch["label"][batch["real"]] for batch in found])
    np.testing.assert_array_equal(labels, np.arange(10))


def augmented(images, example, flip=True, crop=2, seed=0):
    return np.asarray(augment(images, np.asarray(example), jax.random.key(seed), flip, crop))


def test_augmentation_is_keyed_by_the_position_in_the_global_batch():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    whole = augmented(images, range(6))
    parts = [augmented(images[i : i + 2], range(i, i + 2)) for i in (0, 2, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert np.any(augmented(images, range(6), seed=1) != whole)


def test_flips_and_crops_are_what_they_say():
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 4, 1)).astype(np.uint8).repeat(200, 0)
    flips = {x.tobytes() for x in augmented(image, range(200), crop=0)}
    assert flips == {image[0].tobytes(), image[0][:, ::-1].tobytes()}
    padded = np.pad(image[0], ((1, 1), (1, 1), (0, 0)), mode="reflect")
    windows = {padded[i : i + 6, j : j + 4].tobytes() for i in range(3) for j in range(3)}
    assert {x.tobytes() for x in augmented(image, range(200), flip=False, crop=1)} == windows
    np.testing.assert_array_equal(augmented(image, range(200), flip=False, crop=0), image)
