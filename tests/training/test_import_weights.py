"""VQ-VAE-Images' published weights as runs, against the same network in PyTorch."""

import json
import warnings

import jax
import numpy as np
import pytest
from conftest import fake
from helpers import rewrite
from PIL import Image
from published import Malicious, command

import vqjax
from vqjax.__main__ import main
from vqjax.data.datasets import DATASETS
from vqjax.tasks.stage1 import Stage1
from vqjax.training.import_weights.vq_vae_images import FACTS

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

WIDTH, RESIDUAL, CODES, DIM = 8, 4, 12, 6  # 12: no power of two
CODEBOOKS = [
    (True, True),
    *(pytest.param(*pair, marks=pytest.mark.more) for pair in ((True, False), (False, False), (False, True))),
]


def layer(kind, *arguments, norm, **options):
    made = kind(*arguments, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it has a successor, with other names
        return nn.utils.weight_norm(made) if norm else made


def stack(norm):
    """One block twice."""
    block = nn.Module()
    block._block = nn.Sequential(
        nn.ReLU(inplace=True),
        layer(nn.Conv2d, WIDTH, RESIDUAL, 3, padding=1, bias=False, norm=norm),
        nn.ReLU(inplace=True),
        layer(nn.Conv2d, RESIDUAL, WIDTH, 1, bias=False, norm=norm),
    )
    return nn.ModuleDict({"_layers": nn.ModuleList([block, block])})


class Twin(nn.Module):
    """The network of VQ-VAE-Images, with its names."""

    def __init__(self, ema, norm):
        super().__init__()
        half = WIDTH // 2
        self._encoder = nn.ModuleDict(
            {
                "_conv_1": layer(nn.Conv2d, 3, half, 4, 2, 1, norm=norm),
                "_conv_2": layer(nn.Conv2d, half, WIDTH, 4, 2, 1, norm=norm),
                "_conv_3": layer(nn.Conv2d, WIDTH, WIDTH, 3, 1, 1, norm=norm),
                "_residual_stack": stack(norm),
            }
        )
        if norm:
            self._encoder["_conv3"] = self._encoder["_conv_3"]
        self._pre_vq_conv = nn.Conv2d(WIDTH, DIM, 1)
        self._vq_vae = nn.Module()
        self._vq_vae._embedding = nn.Embedding(CODES, DIM)
        if ema:
            self._vq_vae._ema_w = nn.Parameter(torch.randn(CODES, DIM))
            self._vq_vae.register_buffer("_ema_cluster_size", 100 * torch.rand(CODES))
            self._vq_vae._ema_cluster_size[0] = 0
        self._decoder = nn.ModuleDict(
            {
                "_conv_1": layer(nn.Conv2d, DIM, WIDTH, 3, 1, 1, norm=norm),
                "_residual_stack": stack(norm),
                "_conv_trans_1": layer(nn.ConvTranspose2d, WIDTH, half, 4, 2, 1, norm=norm),
                "_conv_trans_2": layer(nn.ConvTranspose2d, half, 3, 4, 2, 1, norm=norm),
            }
        )
        with torch.no_grad():
            for name, parameter in self.named_parameters():  # so that the images tell the codes apart
                parameter *= 1 if "_vq_vae" in name else 2

    @staticmethod
    def _blocks(network, x):
        for block in network["_residual_stack"]["_layers"]:
            x = x + block._block(x)  # which has rectified x by the time it is added to
        return F.relu(x)

    def forward(self, x):
        """(B, 3, H, W) in [-1, 1] -> the codes (B, h, w), and what comes back."""
        encoder, decoder = self._encoder, self._decoder
        x = encoder["_conv_2"](F.relu(encoder["_conv_1"](x)))
        z = self._pre_vq_conv(self._blocks(encoder, encoder["_conv_3"](F.relu(x)))).permute(0, 2, 3, 1)
        vectors = self._vq_vae._embedding.weight
        codes = ((z[..., None, :] - vectors) ** 2).sum(-1).argmin(-1)
        x = self._blocks(decoder, decoder["_conv_1"](vectors[codes].permute(0, 3, 1, 2)))
        return codes, decoder["_conv_trans_2"](F.relu(decoder["_conv_trans_1"](x)))


def saved(path, ema=True, norm=False):
    torch.manual_seed(0)
    twin = Twin(ema, norm).eval()
    torch.save(twin.state_dict(), path)
    return twin


@pytest.mark.parametrize("ema, norm", CODEBOOKS)
def test_a_run_is_the_function_that_its_weights_are(ema, norm, tmp_path):
    twin = saved(tmp_path / "model.pth", ema, norm)
    assert command("vq-vae-images", tmp_path / "model.pth", "--out", tmp_path / "run") == 0
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    with torch.no_grad():
        codes, expected = twin(torch.tensor(2 / 255 * images.transpose(0, 3, 1, 2) - 1, dtype=torch.float32))
        expected = ((expected + 1) / 2).clip(0, 1).permute(0, 2, 3, 1).numpy()
    assert len(codes.unique()) > 2 and expected.std() > 0.02
    tokenizer = vqjax.load(tmp_path / "run")
    np.testing.assert_array_equal(tokenizer.codebook, twin._vq_vae._embedding.weight.detach())
    np.testing.assert_array_equal(tokenizer.encode(images), codes)
    np.testing.assert_allclose(tokenizer.reconstruct(images), expected, atol=1e-4)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    recorded["model"]["deepmind"]["relu_skip"] = False
    rewrite(tmp_path / "run" / "config.json", model=recorded["model"])
    assert np.abs(vqjax.load(tmp_path / "run").reconstruct(images) - expected).max() > 1e-2


@pytest.mark.parametrize("words, size", [(["--size", "48"], 48), ([], 32)])
def test_a_run_is_for_the_folder_that_is_named(words, size, tmp_path):
    """Of the size that is named, or of that of the published run; with its classes. Without a folder it has none."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.fromarray(np.full((50, 60, 3), 10 * number, np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    saved(tmp_path / "model.pth")
    folder = ["--data_path", tmp_path / "photos"]
    assert command("vq-vae-images", tmp_path / "model.pth", "--out", tmp_path / "run", *folder, *words) == 0
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["dataset"], facts["class_names"]) == ("folder", ["cat", "dog"])
    assert facts["image_shape"] == [size, size, 3]
    assert command("vq-vae-images", tmp_path / "model.pth", "--out", tmp_path / "odd", *folder, "--size", "30") == 2


@pytest.mark.more
def test_what_takes_a_finished_run_takes_it(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "cifar10", fake(class_names=FACTS["class_names"]))
    saved(tmp_path / "model.pth")
    (tmp_path / "run").mkdir()  # an empty one will do
    assert command("vq-vae-images", tmp_path / "model.pth", "--out", tmp_path / "run", "--variance", "0.07") == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "run.json", "saved.json", "checkpoints"}
    main(["evaluate", "--workdir", str(tmp_path / "run")])
    figures = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert figures["reconstruction_loss"] == pytest.approx(4 * figures["mse"] / 0.07, rel=0.2)  # of clipped pixels
    assert Stage1(tmp_path / "run").layout.single.num_codes == CODES
    assert jax.tree.leaves(Stage1(tmp_path / "run").variables)


def edited(path, **changes):
    """The file with other arrays, None for none."""
    saved(path)
    state = {**torch.load(path, weights_only=True), **{name.replace("__", "."): x for name, x in changes.items()}}
    torch.save({name: array for name, array in state.items() if array is not None}, path)


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda path: path.write_text("weights"), "expected a file as torch.save writes it"),
        (lambda path: path.write_bytes(b""), "expected a file as torch.save writes it"),
        (lambda path: torch.save([torch.zeros(1)], path), "found list"),
        (lambda path: torch.save({"a": Malicious(path.with_name("executed"))}, path), "a is posix.mkdir"),
        (lambda path: edited(path, _pre_vq_conv__bias=None), "_pre_vq_conv.bias is missing"),
        (lambda path: edited(path, extra__weight=torch.zeros(1)), "1 unknown names: extra.weight"),
        (lambda path: edited(path, _pre_vq_conv__bias=torch.zeros(3)), r"has shape (3,), expected (6,)"),
        (lambda path: None, "no such file"),
    ],
)
def test_another_file_is_refused(write, message, tmp_path, capsys):
    write(tmp_path / "model.pth")
    assert command("vq-vae-images", tmp_path / "model.pth", "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) <= 5 and "Traceback" not in error
    assert {path.name for path in tmp_path.iterdir()} <= {"model.pth"}  # nothing is left, nothing was executed


@pytest.mark.parametrize(
    "words, message",
    [
        (["vq-vae-image", "--out", "run"], "invalid choice: 'vq-vae-image'"),
        (["vq-vae-images", "--out", "run", "--yaml", "a.yaml"], "unrecognized arguments: --yaml"),
        (["vq-vae-images", "--out", "used"], "is in use: expected a new or empty directory"),
        (["vq-vae-images", "--out", "model.pth"], "is in use"),
        (["vq-vae-images", "--out", "model.pth/run"], "cannot be written to"),
        (["vq-vae-images", "--out", "run", "--variance", "-1"], "--variance=-1.0: expected greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved("model.pth")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    assert command(words[0], "model.pth", *words[1:]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists() and (tmp_path / "used" / "notes.txt").read_text() == "mine"
