"""DALL-E's discrete VAE as a run, against the package dall_e on random weights."""

import numpy as np
import pytest
from published import ATOL, MARGIN, SIZES, Malicious, command, random_images, save

import vqjax
from vqjax.system.errors import InputError
from vqjax.training.import_weights import import_weights

torch = pytest.importorskip("torch")
dall_e = pytest.importorskip("dall_e")

CODES = 512


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    sizes = {"n_hid": 64, "n_blk_per_group": 2, "vocab_size": CODES}
    encoder, decoder = dall_e.Encoder(**sizes), dall_e.Decoder(n_init=16, **sizes)
    with torch.no_grad():
        for name, parameter in [*encoder.named_parameters(), *decoder.named_parameters()]:
            if name.endswith(".b"):  # zero at first
                parameter.normal_(std=0.3)
            else:
                parameter.mul_(1.5)  # so that the images tell the codes apart
    return encoder.eval(), decoder.eval()


def expected(networks, images):
    """The codes (B, h, w), how much their logits are above the others', and the reconstructions (B, H, W, 3)."""
    encoder, decoder = networks
    with torch.no_grad():
        logits = encoder(dall_e.map_pixels(torch.tensor(images / 255, dtype=torch.float32).permute(0, 3, 1, 2)))
        codes = logits.argmax(1)
        best, second = logits.topk(2, dim=1)[0].unbind(1)
        one_hot = torch.nn.functional.one_hot(codes, CODES).permute(0, 3, 1, 2).float()
        mean = dall_e.unmap_pixels(torch.sigmoid(decoder(one_hot)[:, :3]))
    return codes.numpy(), (best - second).numpy(), mean.permute(0, 2, 3, 1).numpy()


def saved(networks, folder, content, form="zip"):
    return [
        save(content(network), folder / name, form) for network, name in zip(networks, ("encoder.pkl", "decoder.pkl"))
    ]


CONTENTS = {"module": lambda network: network, "state_dict": lambda network: network.state_dict()}


@pytest.mark.more
@pytest.mark.parametrize(
    "content, form",
    [
        ("module", "zip"),
        pytest.param("module", "legacy", marks=pytest.mark.slow),
        pytest.param("state_dict", "zip", marks=pytest.mark.slow),
    ],
)
def test_codes_and_images_are_those_of_the_package(networks, content, form, tmp_path):
    files = saved(networks, tmp_path, CONTENTS[content], form)
    assert command("dall-e", *files, "--out", tmp_path / "run", "--size", "64") == 0
    tokenizer = vqjax.load(tmp_path / "run")
    assert tokenizer.num_codes == CODES and tokenizer.stride == 8 and tokenizer.codebook.shape == (CODES, 16)
    for height, width in SIZES:
        images = random_images(height, width)
        codes, margin, reconstructions = expected(networks, images)
        assert len(np.unique(codes)) > 2 and reconstructions.std() > 0.02
        sure = margin > MARGIN
        np.testing.assert_array_equal(tokenizer.encode(images)[sure], codes[sure])
        np.testing.assert_allclose(tokenizer.decode(codes), reconstructions, atol=ATOL)


def without(name):
    return lambda network: {key: value for key, value in network.state_dict().items() if key != name}


def with_one_more(network):
    return {**network.state_dict(), "extra.w": torch.zeros(1)}


def reshaped(network):
    return {**network.state_dict(), "blocks.output.conv.b": torch.zeros(7)}


@pytest.mark.parametrize(
    "content, message",
    [
        (without("blocks.group_2.block_1.res_path.conv_3.w"), "blocks.group_2.block_1.res_path.conv_3.w is missing"),
        (without("blocks.group_2.block_1.id_path.w"), "blocks.group_2.block_1.id_path.w is missing"),
        (with_one_more, "1 unknown names: extra.w"),
        (reshaped, "blocks.output.conv.b has shape (7,), expected"),
        (lambda network: {"weight": torch.zeros(1)}, "blocks.input.w is missing"),
        (lambda network: {"weight": 1}, "expected a state_dict, tensors by name; weight is int"),
        (lambda network: torch.nn.Identity(), "expected a state_dict, tensors by name; found nothing"),
        (lambda network: torch.zeros(3), "expected a state_dict, tensors by name; found Tensor"),
    ],
)
def test_other_files_are_refused(networks, content, message, tmp_path, capsys):
    files = saved(networks, tmp_path, content)
    assert command("dall-e", *files, "--out", tmp_path / "run", "--size", "64") == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_another_number_of_files_is_refused(tmp_path):
    with pytest.raises(InputError, match="1 files: expected the encoder and the decoder of dall-e"):
        import_weights("dall-e", ["encoder.pkl"], tmp_path / "run", variance=0.05)


def test_the_files_in_the_other_order_are_refused(networks, tmp_path, capsys):
    files = saved(networks, tmp_path, CONTENTS["module"])
    assert command("dall-e", *files[::-1], "--out", tmp_path / "run") == 2
    assert "decoder.pkl: expected DALL-E's encoder" in capsys.readouterr().err


def test_a_module_with_code_in_it_is_refused(networks, tmp_path, capsys):
    encoder, decoder = networks
    encoder.blocks.input.register_parameter("extra", None)
    encoder.blocks.input._parameters["extra"] = Malicious(tmp_path / "executed")
    try:
        files = saved(networks, tmp_path, CONTENTS["module"])
    finally:
        del encoder.blocks.input._parameters["extra"]
    assert command("dall-e", *files, "--out", tmp_path / "run") == 2
    assert "blocks.input.extra is posix.mkdir" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--size", "100"], "--size=100: expected a number of pixels, or HxW, that the stride 8 divides"),
        (["--size", "64x100"], "--size=64x100: expected a number of pixels, or HxW, that the stride 8 divides"),
        (["--size", "large"], "--size='large': expected a number of pixels, or HxW"),
        (["--data_path", "nothing"], "there is no such file or directory"),
    ],
)
def test_images_that_cannot_be_are_refused(networks, words, message, tmp_path, capsys):
    files = saved(networks, tmp_path, CONTENTS["state_dict"])
    assert command("dall-e", *files, "--out", tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_an_image_whose_sides_the_stride_does_not_divide_is_refused(networks, tmp_path):
    files = saved(networks, tmp_path, CONTENTS["state_dict"])
    assert command("dall-e", *files, "--out", tmp_path / "run") == 0
    with pytest.raises(ValueError, match="images of 60 x 64 pixels: expected multiples of the stride 8"):
        vqjax.load(tmp_path / "run").encode(np.zeros((1, 60, 64, 3), np.uint8))
