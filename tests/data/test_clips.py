"""Films on disk become clips, or images."""

import subprocess

import numpy as np
import pytest
from helpers import dataset_of
from PIL import Image
from sets import config_of, opened

from vqjax.data import datasets
from vqjax.data.files.films import FILMS
from vqjax.system.errors import InputError


def film(frames=20, height=8, width=12, channels=3):
    """A bright column that moves to the right over a dark ground."""
    pixels = np.full((frames, height, width, channels), 40, np.uint8)
    for i, frame in enumerate(pixels):
        frame[:, i % width] = (200, 100, 220)[:channels]
    return pixels


def save_animation(path, frames, **options):
    images = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], **{"duration": 40, "loop": 0, **options})


def save_folder(path, frames):
    path.mkdir()
    (path / "notes.txt").write_text("no frame")
    for i, frame in enumerate(frames):
        Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).save(path / f"frame{i}.png")  # 10 after 9


WRITERS = {
    "film.npy": np.save,
    "film.npz": lambda path, frames: np.savez(path, images=frames),
    "floats.npz": lambda path, frames: np.savez(path, x=frames / 255),
    "film.gif": save_animation,
    "film.webp": lambda path, frames: save_animation(path, frames, lossless=True),
    "film.apng": lambda path, frames: save_animation(path, frames, format="PNG"),
    "film.png": save_animation,
    "frames": save_folder,
}


def read(path, frames, **data):
    """Train and test clips, and the set."""
    found = opened("clips", path=path, frames=frames, **data)
    return *(found.read(name).arrays["image"] for name in ("train", "test")), found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WRITERS)
def test_a_film_is_cut_in_order_and_its_end_is_for_test(tmp_path, name, channels):
    frames = film(channels=channels)
    WRITERS[name](tmp_path / name, frames)
    train, test, found = read(tmp_path / name, 3)
    # Test has a tenth or at least one clip: frames 17 to 19; 17 frames are left, which are 5 clips.
    np.testing.assert_array_equal(train, frames[:15].reshape(5, 3, 8, 12, channels))
    np.testing.assert_array_equal(test, frames[None, 17:])
    assert (
        found.shape == (3, 8, 12, channels) and found.sizes == {"train": 5, "test": 1} and found.files("train") is None
    )
    ignored = ["1 file ignored, no images: 1 .txt"] if name == "frames" else []
    assert found.notes == (*ignored, "2 frames at the end of train left over, too few for a clip")
    assert read(tmp_path / name, 3)[2].notes == found.notes  # from what is kept


@pytest.mark.parametrize("name", [*WRITERS])
def test_the_folder_config_takes_films(tmp_path, name):
    """Frame by frame, or as clips if it says of how many frames; a directory of frames is one of images."""
    frames = film()
    WRITERS[name](tmp_path / name, frames)
    if name == "frames":
        assert opened("folder", path=tmp_path / name, test=0.3).class_names == ()
        return
    assert opened("folder", path=tmp_path / name, frames=3).shape == (3, 8, 12, 3)
    found = opened("folder", path=tmp_path / name, test=0.2)
    assert found.shape == (8, 12, 3) and found.class_names == ()
    for name in ("train", "test"):
        numbers = np.array(found.files(name), int)
        np.testing.assert_array_equal(found.read(name).arrays["image"], frames[numbers])
    assert sum(found.sizes.values()) == 20
    if "." in name and name[-4:] not in (".npy", ".npz"):  # the end of a film
        assert found.files("test") == ["16", "17", "18", "19"]


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "film.apng"])
def test_each_frame_of_a_variable_rate_comes_once(tmp_path, name):
    """Also of a format that holds them for different times."""
    frames = film(12)
    durations = [20 if i % 3 else 250 for i in range(12)]
    WRITERS[name](tmp_path / name, frames)
    options = {"lossless": True} if name == "film.webp" else {"format": "PNG"} if name == "film.apng" else {}
    save_animation(tmp_path / name, frames, duration=durations, **options)
    train, test, _ = read(tmp_path / name, 2, test=0.5)
    np.testing.assert_array_equal(np.concatenate([train, test]).reshape(frames.shape), frames)


def test_what_a_viewer_without_animation_shows_is_no_frame(tmp_path):
    """The first image of an APNG, where that is not part of the film."""
    frames = film(8)
    cover = np.zeros_like(frames[:1])
    save_animation(tmp_path / "film.png", np.concatenate([cover, frames]), default_image=True)
    train, test, _ = read(tmp_path / "film.png", 2, test=0.5)
    np.testing.assert_array_equal(np.concatenate([train, test]).reshape(frames.shape), frames)


def column(frame):
    """Return the place of the bright column; colors have gone through a lossy code."""
    return frame.astype(int).sum((0, 2)).argmax()


@pytest.mark.parametrize("name", [name for name in FILMS if FILMS[name].__name__ == "_ffmpeg"])
def test_films_by_ffmpeg_have_each_frame_once(tmp_path, name):
    """At a constant rate, and at 16 and 250 ms in turn."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    frames = film(40, 32, 48)
    (tmp_path / "frames").mkdir()
    lines = []
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{i}.png")
        lines.append(f"file frames/{i}.png\nduration {0.25 if i % 3 == 0 else 0.016}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    source = ["-f", "concat", "-i", "list.txt", "-fps_mode", "passthrough", "-enc_time_base", "1:1000"]
    if name == ".avi":  # has no variable rate
        source = ["-framerate", "10", "-i", "frames/%d.png"]
    codec = ["-c:v", "libvpx" if name == ".webm" else "libx264", "-bf", "0", "-pix_fmt", "yuv420p"]
    subprocess.run([ffmpeg, "-v", "error", *source, *codec, f"film{name}"], cwd=tmp_path, check=True)
    train, test, _ = read(tmp_path / f"film{name}", 4)
    columns = [column(frame) for frame in np.concatenate([*train, *test])]
    assert columns == [i % 48 for i in range(40)]


def test_films_without_their_extra_say_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "film.mp4").touch()
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"pip install 'vqjax\[video\]'"):
        opened("clips", path=tmp_path / "film.mp4", frames=4)


@pytest.mark.parametrize("name", WRITERS)
def test_frames_are_brought_to_a_size(tmp_path, name):
    frames = np.zeros((8, 8, 16, 3), np.uint8)
    frames[:, :, 4:12] = 200 + np.arange(8)[:, None, None, None]  # the middle square; a GIF has no frame twice
    WRITERS[name](tmp_path / name, frames)
    train, _, found = read(tmp_path / name, 2, size="4")
    assert train.shape == (3, 2, 4, 4, 3 if name.endswith(("npy", "npz")) else 1)
    assert (train > 150).all()  # the sides are cut off, the shape is kept


@pytest.mark.parametrize("name", ["clips", "folder"])
def test_a_recording_has_its_own_split(tmp_path, name):
    whole = film(20).reshape(5, 4, 8, 12, 3)
    for split, part in (("train", whole[:3]), ("test", whole[3:])):
        np.savez(tmp_path / f"{split}.npz", image=part, episode=np.arange(len(part)))
    found = opened(name, path=tmp_path, frames=4)
    np.testing.assert_array_equal(found.read("train").arrays["image"], whole[:3])
    np.testing.assert_array_equal(found.read("test").arrays["image"], whole[3:])
    assert found.notes == () and found.shape == (4, 8, 12, 3)
    with pytest.raises(InputError, match=r"config.data.frames=3: .* has 3 clips of 4 frames"):
        opened(name, path=tmp_path, frames=3)


def test_arrays_of_splits_are_films_too(tmp_path):
    whole = film(20)
    np.savez(tmp_path / "film.npz", x_train=whole[:12], x_test=whole[12:])
    train, test, _ = read(tmp_path / "film.npz", 4)
    np.testing.assert_array_equal(np.concatenate([train, test]).reshape(whole.shape), whole)


def test_names_of_frames_are_in_the_order_of_their_numbers(tmp_path):
    """With digits that are none of a number, too; a link to nothing is no frame."""
    frames = film(12)
    save_folder(tmp_path / "frames", frames)
    (tmp_path / "frames" / "frame20.png").symlink_to(tmp_path / "nowhere.png")
    for i in range(12):
        (tmp_path / "frames" / f"frame{i}.png").rename(tmp_path / "frames" / f"\N{SUPERSCRIPT TWO}frame{i}.png")
    train, test, _ = read(tmp_path / "frames", 2, test=0.5)
    np.testing.assert_array_equal(np.concatenate([train, test]).reshape(frames.shape), frames)


def broken(path):
    path.write_bytes(b"GIF89a, or not")


def mixed(path):
    save_folder(path, film(6))
    Image.new("RGB", (3, 3)).save(path / "frame9.png")


def pickled(path):
    np.save(path, np.array([{}], object), allow_pickle=True)


def unreadable(path):
    save_folder(path, film(6))
    (path / "frame4.png").write_text("no image")


@pytest.mark.parametrize(
    "name, write, message",
    [
        ("film.gif", broken, "a damaged GIF file"),
        ("film.txt", lambda path: path.touch(), "expected a directory of frames, or a file that ends in .npz"),
        ("film.npz", lambda path: path.write_bytes(b"PK"), "cannot be read"),
        ("film.npz", lambda path: np.savez(path, x=film() - 300.0), "values from -260 to -80 in image 0"),
        (
            "film.npz",
            lambda path: np.savez(path, a=film(), b=film()),
            "expected an array `image` or `images`, found a, b",
        ),
        ("film.npy", lambda path: np.save(path, film()[..., 0]), "expected frames"),
        ("film.npy", lambda path: np.save(path, np.moveaxis(film(), -1, 1)), "looks like C first: transpose"),
        ("film.npy", lambda path: np.save(path, np.zeros((2, 4, 1, 8, 8))), "looks like C first: transpose"),
        ("film.npy", pickled, "cannot be read"),
        ("film.npy", lambda path: np.save(path, film(5)), "1 frames for one of train and test, expected at least"),
        ("frames", lambda path: path.mkdir(), "expected frames, found none"),
        ("frames", mixed, "frame 7 has another size than 8 x 12"),
        ("frames", unreadable, "frame4.png: not an image that can be read"),
    ],
)
def test_what_is_no_film_is_refused(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as error:
        opened("clips", path=tmp_path / name, frames=4)
    assert name in str(error.value) and len(str(error.value).splitlines()) <= 2


def test_a_damaged_film_is_one_line(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    with pytest.raises(InputError, match="film.mp4' cannot be read: ") as error:
        opened("clips", path=tmp_path / "film.mp4", frames=4)
    assert len(str(error.value).splitlines()) == 1


def test_a_picture_is_no_film(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="a single frame, expected the frames of a film"):
        opened("folder", path=tmp_path / "one.png")


def test_the_config_says_what_is_read(tmp_path):
    np.save(tmp_path / "film.npy", film())
    config = config_of("clips")
    for fields, message in (
        ({}, "config.data.path='': config.data.name='clips' expects a film"),
        ({"path": str(tmp_path / "none.gif")}, "none.gif': there is no such file or directory"),
        ({"path": str(tmp_path / "film.npy")}, "config.data.frames=0"),
        ({"frames": 4, "size": "8 by 8"}, "config.data.size='8 by 8': expected a number of pixels, or HxW"),
    ):
        config.data.update(fields)
        with pytest.raises(InputError, match=message):
            dataset_of(config)
    config.data.size = "4x6"
    assert datasets.dataset_facts(dataset_of(config))["image_shape"] == (4, 4, 6, 3)
