"""Trackers, each with its own package where that is installed, read by it again."""

import importlib.util
import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vqjax.runs import plots
from vqjax.runs.reports.writer import Writer
from vqjax.runs.trackers import TRACKERS, check_trackers
from vqjax.system.errors import InputError
from vqjax.system.files import write_json

CONFIG = {"steps": 8, "data": {"name": "digits", "size": ""}, "levels": (8, 8)}
FREQUENCY = np.array([0.5, 0.25, 0.25, 0.0])


def installed(name):
    return importlib.util.find_spec(TRACKERS[name].package) is not None


def read_tensorboard(workdir):
    events = EventAccumulator(str(workdir / "tensorboard"), {"histograms": 0}).Reload()
    config = json.loads(events.Tensors("config/text_summary")[-1].tensor_proto.string_val[0].decode().strip("`\n"))
    return {
        "loss": [(event.step, event.value) for event in events.Scalars("train/loss")],
        "pictures": [event.step for event in events.Images("test/seen")],
        "histograms": [(event.step, [*event.histogram_value.bucket]) for event in events.Histograms("test/codes")],
        "steps": config["steps"],
        "status": None,
    }


def leveldb_records(content):
    """The records of a log as LevelDB writes it: blocks of 32 KiB of parts with checksum, length and type."""
    at, parts = 0, []
    while at + 7 <= len(content):
        if (room := 2**15 - (at + 7) % 2**15) < 7:  # the file has a header of 7 bytes
            at += room
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts.append(content[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def read_wandb(workdir):
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its process has written all
    history, config, summary, ids = [], {}, {}, set()
    for part in sorted(workdir.glob("wandb/offline-run-*")):
        ids.add(part.name.rpartition("-")[2])
        for data in leveldb_records(next(part.glob("run-*.wandb")).read_bytes()[7:]):
            record = Record.FromString(data)
            history.append({(item.key or "/".join(item.nested_key)): item.value_json for item in record.history.item})
            for update in (*record.config.update, *record.run.config.update):
                config[update.key or "/".join(update.nested_key)] = update.value_json
            for update in record.summary.update:
                summary[update.key or "/".join(update.nested_key)] = update.value_json
    assert len(ids) == 1
    history = [{key: json.loads(value) for key, value in line.items()} for line in history if "step" in line]
    codes = [(line["step"], line["test/codes/values"]) for line in history if "test/codes/values" in line]
    return {
        "loss": [(line["step"], line["train/loss"]) for line in history if "train/loss" in line],
        "pictures": [line["step"] for line in history if "test/seen/path" in line],
        "histograms": codes,
        "steps": json.loads(config["steps"]),
        "status": json.loads(summary["status"]),
    }


def read_mlflow(workdir):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workdir / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(workdir.name).experiment_id])
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    (artifacts,) = (workdir / "mlflow").glob("*/artifacts")
    assert run.data.params["data.name"] == "digits"
    histograms = sorted(artifacts.glob("test/codes/*.json"))
    return {
        "loss": [(metric.step, metric.value) for metric in losses],
        "pictures": [int(path.stem) for path in sorted(artifacts.glob("test/seen/*.png"))],
        "histograms": [(int(path.stem), json.loads(path.read_text())["frequency"]) for path in histograms],
        "steps": json.loads((artifacts / "config.json").read_text())["steps"],
        "status": {"FINISHED": "finished", "KILLED": "stopped"}[run.info.status],
    }


READ = {"tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow}


@pytest.mark.more
@pytest.mark.filterwarnings("ignore")  # of the packages themselves
@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_that_is_stopped_and_resumed_is_one_run(name, tmp_path, capsys):
    if not installed(name):
        pytest.skip(f"{TRACKERS[name].package} is not installed")
    workdir = tmp_path / "digits"
    workdir.mkdir()
    plots.save_grid(workdir / "seen.png", np.zeros((2, 8, 8, 1)))
    for first, status, steps in ((0, "stopped", 8), (4, "finished", 12)):
        write_json(workdir / "config.json", {**CONFIG, "steps": steps})
        with Writer(workdir, first, name) as writer:
            for step in (first + 2, first + 4):
                writer.metrics(step, "train", {"loss": 1 / step, "bad": float("inf")})
            writer.pictures(first + 4, "test", [workdir / "seen.png"], FREQUENCY)
            writer.status = status
        for part in workdir.glob("wandb/offline-run-20[!0]*"):  # its name has the second in which it began
            part.rename(part.with_name(f"offline-run-20000101_00000{first}-{part.name.rpartition('-')[2]}"))
    seen = READ[name](workdir)
    assert [step for step, _ in seen["loss"]] == [2, 4, 6, 8]
    np.testing.assert_allclose([value for _, value in seen["loss"]], [1 / 2, 1 / 4, 1 / 6, 1 / 8], rtol=1e-6)
    assert seen["pictures"] == [4, 8] and [step for step, _ in seen["histograms"]] == [4, 8]
    np.testing.assert_allclose(seen["histograms"][0][1], FREQUENCY, atol=1e-6)
    assert seen["steps"] == 12 and seen["status"] in (None, "finished")
    output = capsys.readouterr()
    assert not output.out and not output.err


def test_an_unknown_tracker_is_refused():
    check_trackers("")
    check_trackers("tensorboard, ")
    with pytest.raises(InputError, match=r"config.tracker='tensorbord' is unknown. Did you mean \"tensorboard\"\?"):
        check_trackers("tensorboard,tensorbord")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_missing_is_named_with_its_extra(name, monkeypatch):
    monkeypatch.setattr(TRACKERS[name], "package", "not_installed")
    with pytest.raises(InputError) as refused:
        check_trackers(name)
    assert str(refused.value) == (f"config.tracker={name} needs the package not_installed: pip install 'vqjax[{name}]'")
