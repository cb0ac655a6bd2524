"""Films on disk become clips."""

import gc

import numpy as np
import pytest
from PIL import Image

from vqjax.data import datasets
from vqjax.data.sets import clips
from vqjax.system.errors import InputError


def film(frames=20, height=8, width=12, channels=3):
    """A bright column that moves to the right over a dark ground."""
    found = np.full((frames, height, width, channels), 40, np.uint8)
    for i, frame in enumerate(found):
        frame[:, i % width] = (200, 100, 220)[:channels]
    return found


def save_gif(path, frames):
    images = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=40)


def save_folder(path, frames):
    path.mkdir()
    (path / "notes.txt").write_text("no frame")
    for i, frame in enumerate(frames):
        Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).save(path / f"frame{i}.png")  # 10 after 9


WRITERS = {
    "film.npy": np.save,
    "film.npz": lambda path, frames: np.savez(path, images=frames),
    "film.gif": save_gif,
    "frames": save_folder,
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WRITERS)
def test_a_film_is_cut_in_order_and_its_end_is_for_test(tmp_path, name, channels):
    frames = film(channels=channels)
    WRITERS[name](tmp_path / name, frames)
    found = clips.splits(tmp_path / name, 3)
    # Test has a tenth or at least one clip: frames 17 to 19; 17 frames are left, which are 5 clips.
    np.testing.assert_array_equal(found["train"], frames[:15].reshape(5, 3, 8, 12, channels))
    np.testing.assert_array_equal(found["test"], frames[None, 17:])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio leaves its pipes open
def test_an_mp4_has_its_frames(tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    pytest.importorskip("imageio_ffmpeg")
    frames = film(12, 32, 48)
    imageio.imwrite(tmp_path / "film.mp4", frames, plugin="FFMPEG", fps=10, macro_block_size=16)
    found = clips.splits(tmp_path / "film.mp4", 4)
    assert found["train"].shape == (2, 4, 32, 48, 3) and found["test"].shape == (1, 4, 32, 48, 3)
    for i, frame in enumerate(np.concatenate([*found["train"], *found["test"]]).astype(int)):
        assert frame.sum((0, 2)).argmax() == i  # where the column is; its colours went through a lossy code
    gc.collect()


def test_films_without_their_extra_say_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "film.mp4").touch()
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match="pip install imageio imageio-ffmpeg"):
        clips.splits(tmp_path / "film.mp4", 4)


@pytest.mark.parametrize("name", WRITERS)
def test_frames_are_brought_to_a_size(tmp_path, name):
    frames = np.zeros((8, 8, 16, 3), np.uint8)
    frames[:, :, 4:12] = 200 + np.arange(8)[:, None, None, None]  # the middle square; a GIF has no frame twice
    WRITERS[name](tmp_path / name, frames)
    found = clips.splits(tmp_path / name, 2, (4, 4))
    assert found["train"].shape == (3, 2, 4, 4, 1 if name in ("film.gif", "frames") else 3)
    assert (found["train"] > 150).all()  # the sides are cut off, the shape is kept


def test_a_recording_has_its_own_split(tmp_path):
    whole = film(20).reshape(5, 4, 8, 12, 3)
    for name, part in (("train", whole[:3]), ("test", whole[3:])):
        np.savez(tmp_path / f"{name}.npz", image=part)
    found = clips.splits(tmp_path, 4)
    np.testing.assert_array_equal(found["train"], whole[:3])
    np.testing.assert_array_equal(found["test"], whole[3:])
    with pytest.raises(InputError, match=r"config.data.frames=3: .* has 3 clips of 4 frames"):
        clips.splits(tmp_path, 3)


def broken(path):
    path.write_bytes(b"GIF89a, or not")


def mixed(path):
    save_folder(path, film(6))
    Image.new("RGB", (3, 3)).save(path / "frame9.png")


def pickled(path):
    np.save(path, np.array([{}], object), allow_pickle=True)


@pytest.mark.parametrize(
    "name, write, message",
    [
        ("film.gif", broken, "not an image that can be read"),
        ("film.txt", lambda path: path.touch(), "expected a folder of frames, or one of .npz"),
        ("film.npz", lambda path: path.write_bytes(b"PK"), "cannot be read as arrays"),
        ("film.npz", lambda path: np.savez(path, x=film()), "expected an array `image`, found x"),
        ("film.npy", lambda path: np.save(path, film() / 255), "expected uint8 frames"),
        ("film.npy", lambda path: np.save(path, film()[..., 0]), "expected uint8 frames"),
        ("film.npy", pickled, "cannot be read as arrays"),
        ("film.npy", lambda path: np.save(path, film(5)), "1 frames for one of train and test, expected at least"),
        ("frames", lambda path: path.mkdir(), "expected frames, found none"),
        ("frames", mixed, "frame 7 has another size than 8 x 12"),
    ],
)
def test_what_is_no_film_is_refused(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as error:
        clips.splits(tmp_path / name, 4)
    assert name in str(error.value) and len(str(error.value).splitlines()) <= 5


def test_the_config_says_what_is_read(small_config, tmp_path):
    np.save(tmp_path / "film.npy", film())
    small_config.data.name = "clips"
    for fields, message in (
        ({}, "config.data.path='': config.data.name='clips' expects a film"),
        ({"path": str(tmp_path / "none.gif")}, "none.gif': there is no such file or directory"),
        ({"path": str(tmp_path / "film.npy")}, "config.data.frames=0"),
        ({"frames": 4, "size": "8 by 8"}, "config.data.size='8 by 8': expected a number of pixels, or HxW"),
    ):
        small_config.data.update(fields)
        with pytest.raises(InputError, match=message):
            datasets.check_splits(small_config)
    small_config.data.size = "4x6"
    assert datasets.dataset_facts(small_config)["image_shape"] == (4, 4, 6, 3)
