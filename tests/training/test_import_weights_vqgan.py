"""VQGANs as runs, against taming-transformers' own networks on random weights.

LlamaGen's networks are the same by other names; its codes are nearest by their angle.
"""

import re

import numpy as np
import pytest
import yaml
from published import ATOL, FORMATS, MARGIN, SIZES, Malicious, command, random_images, save

import vqjax

torch = pytest.importorskip("torch")
model = pytest.importorskip("taming.modules.diffusionmodules.model")
quantize = pytest.importorskip("taming.modules.vqvae.quantize")
nn = torch.nn

CODES = 64
WIDTHS = {"VQModel": (24, 12), "GumbelVQ": (16, 16)}  # z_channels and embed_dim


def networks_config(kind, **changes):
    """Of a model with stride 4, and attention at 16 of 64 pixels."""
    sizes = {"ch": 32, "ch_mult": [1, 1, 2], "num_res_blocks": 2, "attn_resolutions": [16], "resolution": 64}
    rest = {"z_channels": WIDTHS[kind][0], "in_channels": 3, "out_ch": 3, "double_z": False, "dropout": 0.0}
    return {**sizes, **rest, **changes}


def published(kind, **changes):
    """A model by its class's name: taming's parts, by the names that its checkpoints have."""
    torch.manual_seed(0)
    latent, dim = WIDTHS[kind]
    ddconfig = networks_config(kind, **changes)
    network = nn.Module()
    network.encoder, network.decoder = model.Encoder(**ddconfig), model.Decoder(**ddconfig)
    if kind == "GumbelVQ":
        network.quantize = quantize.GumbelQuantize(latent, dim, CODES)
    else:
        network.quantize = quantize.VectorQuantizer2(CODES, dim, beta=0.25)
        nn.init.normal_(network.quantize.embedding.weight)
    network.quant_conv, network.post_quant_conv = nn.Conv2d(latent, dim, 1), nn.Conv2d(dim, latent, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:  # 0 or 1 at first
                parameter += 0.2 * torch.randn_like(parameter)
    return network.eval()


def expected(network, images, normalize=lambda vectors: vectors):
    """The codes (B, h, w), how far they are ahead of the next, and the reconstructions (B, H, W, 3) in [0, 1]."""
    quantizer = network.quantize
    with torch.no_grad():
        z = network.quant_conv(
            network.encoder(torch.tensor(images / 127.5 - 1, dtype=torch.float32).permute(0, 3, 1, 2))
        )
        if hasattr(quantizer, "proj"):
            scores, vectors = quantizer.proj(z).permute(0, 2, 3, 1), quantizer.embed.weight
        else:
            vectors = normalize(quantizer.embedding.weight)
            scores = -((normalize(z.permute(0, 2, 3, 1))[..., None, :] - vectors) ** 2).sum(-1)
        (best, second), codes = scores.topk(2)[0].unbind(-1), scores.argmax(-1)
        output = network.decoder(network.post_quant_conv(vectors[codes].permute(0, 3, 1, 2)))
    return codes.numpy(), (best - second).numpy(), ((output + 1) / 2).clip(0, 1).permute(0, 2, 3, 1).numpy()


def checkpoint(network, **changes):
    """As Lightning writes it, with networks of the loss; `changes` to the tensors, None for none."""
    state = {**network.state_dict(), "loss.discriminator.main.0.weight": torch.zeros(2, 3), **changes}
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    return {"epoch": 1, "state_dict": state, "callbacks": {nn.ReLU: {"best": np.float64(1)}}}


def described(path, kind, changes=(), **params):
    """Writes the model's yaml."""
    params = {
        "n_embed": CODES,
        "embed_dim": WIDTHS[kind][1],
        "ddconfig": networks_config(kind, **dict(changes)),
        **params,
    }
    path.write_text(yaml.safe_dump({"model": {"target": f"taming.models.vqgan.{kind}", "params": params}}))
    return path


@pytest.fixture(scope="module")
def network():
    return published("VQModel")


@pytest.mark.more
@pytest.mark.parametrize(
    "kind, form", [*[pytest.param("VQModel", form, marks=pytest.mark.slow) for form in FORMATS], ("GumbelVQ", "zip")]
)
def test_codes_and_images_are_those_of_the_package(kind, form, tmp_path):
    network = published(kind)
    file = save(checkpoint(network), tmp_path / "last.ckpt", form)
    words = [file, "--yaml", described(tmp_path / "model.yaml", kind), "--out", tmp_path / "run"]
    assert command("vqgan", *words) == 0
    tokenizer = vqjax.load(tmp_path / "run")
    assert tokenizer.num_codes == CODES and tokenizer.stride == 4 and tokenizer.grid() == (16, 16)
    for height, width in SIZES:
        images = random_images(height, width)
        codes, margin, reconstructions = expected(network, images)
        assert len(np.unique(codes)) > 2 and reconstructions.std() > 0.02
        sure = margin > MARGIN
        np.testing.assert_array_equal(tokenizer.encode(images)[sure], codes[sure])
        np.testing.assert_allclose(tokenizer.decode(codes), reconstructions, atol=ATOL)


def llamagen(network, stages=3):
    """The network's tensors as LlamaGen calls them."""
    parts = {"block": "res", "block_1": "0", "attn_1": "1", "block_2": "2"}

    def renamed(name):
        name = re.sub(r"encoder\.down\.(\d)", r"encoder.conv_blocks.\1", name)
        name = re.sub(r"decoder\.up\.(\d)", lambda up: f"decoder.conv_blocks.{stages - 1 - int(up[1])}", name)
        return ".".join(parts.get(part, part) for part in name.split("."))

    state = {renamed(name): tensor for name, tensor in network.state_dict().items()}
    return {**state, "quantize.codebook_used": torch.zeros(65536)}


@pytest.mark.more
def test_llamagens_codes_are_nearest_by_their_angle(network, tmp_path):
    file = save({"model": llamagen(network), "optimizer": {}, "steps": 3, "args": None}, tmp_path / "vq_ds4.pt")
    assert command("vqgan", file, "--out", tmp_path / "run", "--size", "64") == 0
    tokenizer = vqjax.load(tmp_path / "run")
    normalize = lambda vectors: nn.functional.normalize(vectors, dim=-1)  # noqa: E731
    np.testing.assert_allclose(np.linalg.norm(tokenizer.codebook, axis=1), 1, atol=1e-6)
    for height, width in SIZES:
        images = random_images(height, width)
        codes, margin, reconstructions = expected(network, images, normalize)
        assert len(np.unique(codes)) > 2 and not np.array_equal(codes, expected(network, images)[0])
        sure = margin > MARGIN
        np.testing.assert_array_equal(tokenizer.encode(images)[sure], codes[sure])
        np.testing.assert_allclose(tokenizer.decode(codes), reconstructions, atol=ATOL)


def test_the_codes_above_are_those_of_the_packages_quantizer(network):
    """Which cannot be asked for its distances."""
    images = random_images(64, 64)
    with torch.no_grad():
        z = network.quant_conv(network.encoder(torch.tensor(images / 127.5 - 1).float().permute(0, 3, 1, 2)))
        codes = network.quantize(z)[2][2]
    np.testing.assert_array_equal(codes.reshape(3, 16, 16), expected(network, images)[0])


@pytest.mark.more
def test_the_weights_tell_the_architecture(tmp_path):
    """Without a yaml; here one of another shape, from a plain state_dict."""
    sizes = dict(ch_mult=[1, 2], num_res_blocks=1, attn_resolutions=[64, 32])
    network = published("VQModel", **sizes)
    file = save(network.state_dict(), tmp_path / "model.pth")
    assert command("vqgan", file, "--out", tmp_path / "run", "--size", "32x64") == 0
    tokenizer = vqjax.load(tmp_path / "run")
    vqgan = tokenizer.config.model.vqgan
    assert (vqgan.multipliers, vqgan.attention, vqgan.blocks, vqgan.width) == ([1, 2], [0, 1], 1, 32)
    assert tokenizer.grid() == (16, 32)
    images = random_images(32, 64)
    codes, _, reconstructions = expected(network, images)
    np.testing.assert_allclose(tokenizer.decode(codes), reconstructions, atol=ATOL)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"quant_conv.bias": None}, "quant_conv.bias is missing"),
        ({"decoder.up.2.attn.1.norm.weight": None}, "decoder.up.2.attn.1.norm.weight is missing"),
        ({"encoder.down.1.attn.0.q.weight": torch.zeros(1)}, "1 unknown names: encoder.down.1.attn.0.q.weight"),
        ({"quantize.used": torch.zeros(1)}, "1 unknown names: quantize.used"),
        ({"decoder.conv_in.weight": torch.zeros(64, 12, 3, 3)}, "has shape (64, 12, 3, 3), expected (64, 24, 3, 3)"),
        ({"encoder.conv_in.weight": None}, "encoder.conv_in.weight is missing"),
        ({"encoder.conv_in.weight": torch.zeros(32, 1, 3, 3)}, "has shape (32, 1, 3, 3), expected (32, 3, 3, 3)"),
        ({"encoder.conv_in.weight": 3}, "expected a state_dict, tensors by name; encoder.conv_in.weight is int"),
        ({"encoder.conv_in.bias": Malicious("executed")}, "encoder.conv_in.bias is posix.mkdir"),
    ],
)
def test_other_files_are_refused(network, changes, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(checkpoint(network, **changes), tmp_path / "last.ckpt")
    assert command("vqgan", "last.ckpt", "--out", "run") == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and len(error.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt"}


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda path: described(path, "VQModel", {"ch_mult": [1, 2, 2]}), "multipliers is (1, 2, 2), those in"),
        (lambda path: described(path, "VQModel", {"attn_resolutions": [32]}), "attention is (1,), those in"),
        (lambda path: described(path, "VQModel", {"resamp_with_conv": False}), "resamp_with_conv=False: expected True"),
        (lambda path: described(path, "VQModel", {"num_blocks": 2}), "ddconfig.num_blocks is unknown. Did you mean"),
        (lambda path: described(path, "VQModel", {"ch": None}), "ddconfig: expected numbers for"),
        (lambda path: described(path, "VQModel", n_embed=32), "num_codes is 32, those in"),
        (lambda path: described(path, "GumbelVQ"), "gumbel is True, those in"),
        (lambda path: path.write_text("model: {target: other.Model, params: {}}"), "expected model.params.ddconfig of"),
        (lambda path: path.write_text("data: {}"), "expected a section named model"),
        (lambda path: path.write_text("model: ["), "expected a yaml file"),
        (lambda path: path.write_text("model: !!python/object/apply:os.mkdir [executed]"), "expected a yaml file"),
        (lambda path: None, "expected a yaml file"),
    ],
)
def test_a_yaml_of_another_model_is_refused(network, write, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(checkpoint(network), tmp_path / "last.ckpt")
    write(tmp_path / "model.yaml")
    assert command("vqgan", "last.ckpt", "--yaml", "model.yaml", "--out", "run") == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and len(error.strip().splitlines()) <= 2
    assert not (tmp_path / "run").exists() and not (tmp_path / "executed").exists()


def test_images_that_the_stride_does_not_divide_are_refused(network, tmp_path, capsys):
    file = save(checkpoint(network), tmp_path / "last.ckpt")
    assert command("vqgan", file, "--out", tmp_path / "run", "--size", "66") == 2
    assert "--size=66: expected a number of pixels, or HxW, that the stride 4 divides" in capsys.readouterr().err
