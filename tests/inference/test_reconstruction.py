"""Images of any size through an autoencoder."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import vqjax
from vqjax.__main__ import main
from vqjax.inference import reconstruction
from vqjax.inference.reconstruction import Reconstructor
from vqjax.runs import metrics
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1


def photograph(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 1), np.uint8)


@pytest.fixture(scope="module")
def small(trained_stage1):
    """Tiles of 8 positions, 16 pixels: the tiny stage 1 has stride 2."""
    return Reconstructor(Stage1(trained_stage1), 8)


@pytest.mark.more
@pytest.mark.parametrize("height, width", [(37, 20), (2, 3), (16, 16)])
def test_tiles_do_not_show(small, trained_stage1, height, width):
    """Whatever the tiles, codes and image are the same; an odd side is padded and cropped back."""
    original = photograph(height, width)
    in_tiles, at_once = small(original), Reconstructor(Stage1(trained_stage1), 24)(original)
    assert in_tiles.image.shape == original.shape and in_tiles.codes.shape == (-(-height // 2), -(-width // 2))
    np.testing.assert_array_equal(in_tiles.codes, at_once.codes)
    np.testing.assert_allclose(in_tiles.image.astype(int), at_once.image, atol=1)


def test_away_from_the_edges_it_is_the_network_itself(small, trained_stage1):
    stage1, original = Stage1(trained_stage1), photograph(64, 64)
    made, codes = small(original), np.asarray(stage1.encode(stage1.variables, original[None]))
    np.testing.assert_array_equal(made.codes[8:-8, 8:-8], codes[0, 8:-8, 8:-8])
    image = 255 * np.asarray(stage1.decode(stage1.variables, codes))[0]
    np.testing.assert_allclose(made.image[24:-24, 24:-24], image[24:-24, 24:-24], atol=0.51)


def test_figures_are_of_the_picture(small):
    original = photograph(37, 20)
    made = small(original)
    assert made.bits_per_pixel == pytest.approx(19 * 10 * 4 / (37 * 20))  # 16 codes of 4 bits each
    mse = np.mean((original / 255 - made.image / 255) ** 2)
    assert made.psnr == pytest.approx(-10 * np.log10(mse), abs=1e-4)


def test_ssim_in_strips_is_that_of_the_whole(monkeypatch):
    monkeypatch.setattr(reconstruction, "_STRIP", 8)
    x, y = np.random.default_rng(0).integers(0, 256, (2, 37, 20, 3), np.uint8)
    whole = metrics.ssim(np.float32(x) / 255, np.float32(y) / 255)
    assert reconstruction.ssim(x, y) == pytest.approx(float(whole), abs=1e-6)


@pytest.fixture
def files(tmp_path):
    """Two images of other sizes in a directory."""
    (tmp_path / "photos").mkdir()
    files = [tmp_path / "photos" / "color.png", tmp_path / "photos" / "gray.png"]
    Image.fromarray(photograph(9, 12)[..., 0]).convert("RGB").save(files[0])
    Image.fromarray(photograph(5, 7)[..., 0]).save(files[1])
    return files


def reconstruct(workdir, files, *words):
    return main(["reconstruct", str(workdir), *map(str, files), *map(str, words)])


def test_the_command_writes_both_side_by_side(trained_stage1, files, tmp_path, capsys):
    reconstruct(trained_stage1, files, "--out", tmp_path / "both.png")
    picture = np.asarray(Image.open(tmp_path / "both.png"))
    assert picture.shape == (9 + 4 + 5, 12 + 4 + 12)
    np.testing.assert_array_equal(picture[:9, :12], photograph(9, 12)[..., 0])
    np.testing.assert_array_equal(picture[13:, :7], photograph(5, 7)[..., 0])
    lines = capsys.readouterr().out.splitlines()
    assert "color.png: 12 x 9 pixels, 1.111 bits per pixel, PSNR" in lines[0] and len(lines) == 3
    reconstruct(
        trained_stage1, [files[0].parent], "--out", tmp_path / "again.png"
    )  # it was "a directory, expected a file"
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "both.png").read_bytes()


def test_a_file_per_image(trained_stage1, small, files, tmp_path, capsys):
    reconstruct(trained_stage1, [files[0].parent], "--format", "png", "--out", tmp_path / "out", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["written"] == [str(tmp_path / "out")] and [row["file"] for row in said["images"]] == [*map(str, files)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00000.png", "00001.png", "reconstructed.csv"]
    for number, size in enumerate([(9, 12), (5, 7)]):
        image = np.asarray(Image.open(tmp_path / "out" / f"{number:05}.png")).astype(int)
        np.testing.assert_allclose(image, small(photograph(*size)).image[..., 0], atol=1)
    with (tmp_path / "out" / "reconstructed.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [(row["reconstruction"], row["file"], row["width"]) for row in rows] == [
        ("00000.png", str(files[0]), "12"),
        ("00001.png", str(files[1]), "7"),
    ]


def test_a_table_of_the_metrics(trained_stage1, small, files, tmp_path):
    path, rows = vqjax.Tokenizer.load(trained_stage1).reconstruct_files(files, tmp_path / "table.csv")
    with path.open() as file:
        header, *lines = csv.reader(file)
    assert header == ["file", "width", "height", "bits_per_pixel", "psnr", "ssim"]
    assert lines == [[str(value) for value in row] for row in rows]
    assert rows[0].psnr == pytest.approx(small(photograph(9, 12)).psnr, abs=0.01)


def test_what_cannot_be_reconstructed_is_refused(trained_stage1, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("L", (1, 9)).save(tmp_path / "thin.png")
    Image.new("L", (9, 9)).save(tmp_path / "good.png")
    good, out = tmp_path / "good.png", tmp_path / "out.png"
    for name, message in (
        ("text.png", "text.png: not an image that can be read"),
        ("thin.png", "thin.png: 1 x 9 pixels, expected at least the stride of the run's networks, 2"),
    ):
        with pytest.raises(InputError, match=message):
            reconstruct(trained_stage1, [good, tmp_path / name], "--out", out)
    (tmp_path / "directory.png").mkdir()
    for wrong in ("none/out.png", "out.docx", "out.psd"):
        with pytest.raises(InputError, match="^--out=.*: expected a picture, as PNG, or a table"):
            reconstruct(trained_stage1, [good], "--out", tmp_path / wrong)
    with pytest.raises(InputError, match="^--out=.*: expected a file that can be written, directory.png"):
        reconstruct(trained_stage1, [good], "--out", tmp_path / "directory.png")
    with pytest.raises(InputError, match="^--workdir=.*expected the workdir of a trained model"):
        reconstruct(tmp_path, [good], "--out", out)
    with pytest.raises(InputError, match="^expected images, found none"):
        vqjax.Tokenizer.load(trained_stage1).reconstruct_files([], out)
    with pytest.raises(InputError, match="^--out=.* is in use"):
        reconstruct(trained_stage1, [good], "--format", "png", "--out", tmp_path)
    assert not out.exists()
