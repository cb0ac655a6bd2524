"""The estimate of a run before it starts: counts by hand and by XLA, and the command `plan`."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_autoencoder, small_classifier, small_prior
from helpers import session_of
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

import vqjax
from configs import imagenet_vqgan
from vqjax.__main__ import main
from vqjax.config.schema import Settings
from vqjax.ops import axes
from vqjax.ops.platforms import trace_for_accelerator
from vqjax.runs.state import num_bytes
from vqjax.system.accelerators import ACCELERATORS
from vqjax.system.errors import InputError
from vqjax.training import planned
from vqjax.training.cost import count
from vqjax.training.estimate import default_hosts, estimate, traced_cost
from vqjax.training.planned import KNOWN, ImageFacts, image_facts, planned_run
from vqjax.training.rates import Cluster, compute_seconds
from vqjax.training.setup import batch_shapes


def cluster(devices, hosts=1, device="a100", cores=12):
    return Cluster(devices, hosts, ACCELERATORS[device], cores)


def counted(function, *shapes, devices=4):
    """Cost of a device, of arrays in equal parts."""
    spec, mesh = PartitionSpec(axes.BATCH), AbstractMesh((devices,), (axes.BATCH,))
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    program = jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    return count(jax.make_jaxpr(program)(*shapes))


def test_products_by_hand():
    """(8, 16) @ (16, 16) on each of four devices; ten times in a scan; the dearest branch of a conditional."""
    product = 2 * 8 * 16 * 16

    def program(x, w):
        y, _ = jax.lax.scan(lambda y, _: (jnp.tanh(y @ w), None), x @ w, length=10)
        return jax.lax.cond(y.sum() > 0, lambda y: y @ w @ w, lambda y: y, y)

    assert counted(program, (32, 16), (64, 16)).flops == 13 * product


def test_a_convolution_by_hand():
    """Each of 2 x 8 x 8 results of 5 channels has 3 x 3 x 4 products; zeros between the inputs cost nothing."""

    def conv(x, dilation=1):
        kernel = jnp.ones((3, 3, 4, 5))
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 1), (1, 1)), lhs_dilation=(dilation,) * 2, dimension_numbers=numbers
        )

    assert counted(conv, (8, 8, 8, 4)).flops == 2 * (2 * 8 * 8 * 5) * (3 * 3 * 4)
    up = counted(lambda x: conv(x, dilation=2), (8, 8, 8, 4)).flops
    assert up == 2 * (2 * 15 * 15 * 5) * (3 * 3 * 4) / 4


def test_collectives_by_hand():
    """A ring sends a sum twice, a gather once; what a branch sends is apart."""

    def program(x):  # (2, 16) on each device
        mean = jax.lax.pmean(x.mean(0), axes.BATCH)
        gather = lambda: jax.lax.all_gather(x, axes.BATCH, tiled=True).sum()  # noqa: E731
        return x + mean + jax.lax.cond(mean[0] > 0, gather, lambda: 0.0)

    cost = counted(program, (8, 16))
    assert [(each.name, each.bytes, each.conditional) for each in cost.collectives] == [
        ("psum", 2 * 16 * 4, False),
        ("all_gather", 8 * 16 * 4, True),
    ]
    assert cost.communication() == 128 and cost.communication(True) == 128 + 512
    assert cluster(4).sent(cost.communication()) == 96


def test_live_memory_by_hand():
    """Two products of (2, 16) at a time; what is fused is not written."""
    cost = counted(lambda x, w: jnp.tanh((jnp.tanh(x @ w) + 1) @ w) @ w, (8, 16), (64, 16))
    array = 2 * 16 * 4
    assert cost.live == (2 * array, 2 * array)
    assert cost.operations == 3


CONFIGS = {"autoencoder": small_autoencoder, "classifier": small_classifier}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_estimate_agrees_with_the_run(name):
    """Parameters, state and gradients are those of the run itself; the sums those of its step."""
    config = CONFIGS[name]()
    session, found = session_of(config), estimate(planned_run(Settings.of(config)), cluster(8))
    state = session.abstract_state
    assert found.parameters == sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    assert found.checkpoint_bytes == found.memory_per_device["state"] == num_bytes(state)
    assert found.memory_per_device["gradients"] == num_bytes(state.params)
    least = 2 * 7 / 8 * num_bytes(state.params)
    most = 2 * 7 / 8 * num_bytes((state.params, state.extra)) + 1_000  # and the metrics
    assert least < found.communication["always"] <= most


@pytest.mark.more
@pytest.mark.parametrize("name", CONFIGS)
def test_counts_agree_with_those_of_xla(name):
    """Compiled with each operation's plain way, on one device: FLOPs, memory traffic, and live memory."""
    config = CONFIGS[name]()
    session = session_of(config, "shard_map", 1)
    spec, mesh = PartitionSpec(), Mesh(np.array(jax.devices()[:1]), (axes.BATCH,))
    step = jax.shard_map(
        trace_for_accelerator(session.step),
        mesh=mesh,
        in_specs=(spec, PartitionSpec(axes.BATCH)),
        out_specs=spec,
        check_vma=False,
    )
    batch = batch_shapes(session.splits["train"], config.batch_size)
    compiled = jax.jit(step, donate_argnums=0).lower(session.abstract_state, batch).compile()
    cost, analysis = traced_cost(planned_run(Settings.of(config)).task, 1)[1], compiled.cost_analysis()
    assert 0.9 < cost.flops / analysis["flops"] < 1.3  # XLA leaves out the products with what pads a convolution
    assert cost.traffic[0] < analysis["bytes accessed"] < cost.traffic[1]
    assert cost.live[0] < compiled.memory_analysis().temp_size_in_bytes < 1.5 * cost.live[1]


def test_more_devices_share_the_work_and_more_hosts_the_reading():
    config = small_autoencoder()
    images = ImageFacts((64, 64, 3), 10**7, 0, 1e5)
    found = [estimate(planned_run(Settings.of(config), images), cluster(*size)) for size in ((1, 1), (8, 1), (8, 2))]
    per_device = [each.memory_per_device["activations"][0] for each in found]
    assert per_device[1] < per_device[0] and found[0].communication["always"] == 0
    assert found[0].flops_per_image == pytest.approx(found[1].flops_per_image, rel=0.05)
    assert found[1].limit == "input" and found[1].input["cores"][0] == pytest.approx(12)  # all of them decode
    assert found[2].steps_per_second[1] > 1.9 * found[1].steps_per_second[1]


def test_images_in_memory_are_not_decoded():
    config = small_autoencoder()
    assert estimate(planned_run(Settings.of(config)), cluster(8)).input["cores"] == (0, 0)
    config.data.memory = 0.0
    assert estimate(planned_run(Settings.of(config), ImageFacts((8, 8, 1), 1_000)), cluster(8)).input["cores"][0] > 0


def test_remat_takes_less_memory_and_more_work():
    config = small_autoencoder()
    config.model.deepmind.blocks = 4
    found = estimate(planned_run(Settings.of(config)), cluster(1))
    memory = found.memory_per_device
    assert memory["activations"] == memory["without_remat"]
    assert memory["with_remat"][1] < 0.9 * memory["without_remat"][1]
    config.model.deepmind.remat = True
    other = estimate(planned_run(Settings.of(config)), cluster(1))
    assert other.memory_per_device["activations"] == memory["with_remat"]
    assert other.memory_per_device["without_remat"] == memory["without_remat"]
    assert other.flops_per_image > 1.1 * found.flops_per_image


def test_a_run_that_does_not_fit_says_so():
    config = small_autoencoder()
    config.model.deepmind.update({"width": 4096, "residual_width": 4096, "blocks": 12})
    found = estimate(planned_run(Settings.of(config)), cluster(1, device="rtx4090"))
    assert found.limit == "memory" and found.fits == (False, False)


def test_a_second_stage_reads_codes_of_a_stage_that_may_be_untrained(trained_stage1):
    """The codes of digits are 4 x 4 bytes; mirrored images are encoded anew, which takes work and images."""
    config = small_prior(trained_stage1)
    trained = estimate(planned_run(Settings.of(config)), cluster(2))
    config.stage1 = ""
    planned = estimate(planned_run(Settings.of(config), stage1=Settings.of(small_autoencoder())), cluster(2))
    assert planned == trained and planned.code_bytes == 16 * 1_437
    assert planned.input["bytes_per_second"] == pytest.approx(16 * 16 * planned.steps_per_second[1])
    config.data.flip = True
    mirrored = estimate(planned_run(Settings.of(config), stage1=Settings.of(small_autoencoder())), cluster(2))
    assert mirrored.flops_per_image > planned.flops_per_image
    assert mirrored.memory_per_device["frozen"] > 0 == planned.memory_per_device["frozen"]
    assert mirrored.input["bytes_per_second"] == pytest.approx(64 * 16 * mirrored.steps_per_second[1])


def test_imported_weights_do_not_say_how_many_images_there_are(monkeypatch):
    facts = {"image_shape": [8, 8, 3], "class_names": [], "sizes": {}}
    monkeypatch.setattr(planned, "Stage1", lambda path: SimpleNamespace(facts=facts, settings=None))
    with pytest.raises(InputError, match="config.stage1=runs/dall-e: .* --num_images and --shape say it$"):
        planned_run(Settings.of(small_prior("runs/dall-e")))


@pytest.mark.more
def test_the_tokenizer_of_llamagen_takes_the_time_that_its_authors_say():
    """37 images a second on an A100, by its own step and a tenth more work for its losses on features."""
    config = imagenet_vqgan.get_config()
    config.model.vqgan.remat = False
    flops = traced_cost(planned_run(Settings.of(config)).task, 64)[1].flops
    least, most = compute_seconds(1.1 * flops, ACCELERATORS["a100-80gb"], "bfloat16")
    assert 1 / most < 37 < 1 / least
    assert flops == pytest.approx(3 * 391e9, rel=0.03)  # a gradient takes twice a forward pass


@pytest.mark.parametrize("name", ["imagenet_vqgan", "imagenet_resized", "tiny_imagenet", "cifar100", "food101"])
def test_sets_that_are_not_here_are_known_by_name(name, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    config = vqjax.get_config(name)
    images = image_facts(planned_run(Settings.of(config)).task.settings.data)
    assert images.number == KNOWN[config.data.name].number and min(images.shape) > 0
    assert not config.data.size or images.shape[0] == int(config.data.size)


def test_usual_hosts():
    a100 = ACCELERATORS["a100"]
    assert [default_hosts(devices, a100) for devices in (1, 8, 16, 64, 12)] == [1, 1, 2, 8, 2]


PLAN = ("plan", "--config", "digits", "--devices", "8", "--device", "a100")


def test_the_command_prints_json(capsys):
    assert main([*PLAN, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    for name in ("parameters", "flops_per_image", "bytes_per_image", "memory_per_device", "communication", "input"):
        assert values[name]
    (slow, fast), hours = values["steps_per_second"], values["hours"]
    assert 0 < slow < fast and hours == [pytest.approx(1_500 / rate / 3600, rel=0.5) for rate in (fast, slow)]
    assert values["limit"] == "number of operations" and (values["devices"], values["hosts"]) == (8, 1)


def test_the_command_prints_lines(capsys):
    assert main([*PLAN, "--hosts=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "8 x a100, 2 hosts with 48 cores each, batches of 64" in lines
    assert any(line.startswith("memory of a device: ") and line.endswith(": fits") for line in lines)
    assert lines[-1] == "limit: number of operations" and max(map(len, lines)) <= 130


@pytest.mark.parametrize(
    "words, message",
    [
        (["--device=a1000"], "--device='a1000': expected one of v100, a100, .* Did you mean"),
        (["--devices=7"], r"config\.batch_size=64: expected a multiple of the 7 devices"),
        (["--devices=0"], "--devices=0: expected at least 1"),
        (["--hosts=3"], "--hosts=3: expected a divisor of the 8 devices"),
        (["--num_images=10"], "--num_images and --shape: expected both or neither"),
        (["--num_images=10", "--shape=10"], "--shape=10: expected HxWxC"),
        (["--cores=-1"], "--cores=-1: expected at least 0"),
        (["--stage1_config=digits"], "--stage1_config: expected none"),
        (["--config=digits_prior", "--stage1_config=classifier:mnist"], "^--stage1_config: a run of task 'classifier'"),
        (["--config=digits_prior", "--config.stage1=nowhere"], "nowhere.*; --stage1_config names the config"),
        (["--config=folder", "--config.data.path=nowhere"], "nowhere.*; --num_images and --shape say"),
        (["--config.data.name=diggits"], r"Did you mean \"digits\"\?; --num_images and --shape say"),
        (["--config.data.name="], "'' is unknown; --num_images and --shape say"),
    ],
)
def test_refusals_take_one_line(words, message):
    with pytest.raises(InputError, match=message) as refused:
        main([*PLAN, *words])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content, message", [("x = (", "SyntaxError"), ("", "expected a function get_config in it")])
def test_a_config_of_stage_1_that_fails_is_named_as_that(tmp_path, content, message):
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(InputError, match=f"^--stage1_config=.*broken.py: {message}"):
        main([*PLAN, "--config=digits_prior", f"--stage1_config={tmp_path / 'broken.py'}"])
