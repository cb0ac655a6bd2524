"""Files of torch.save, read without PyTorch: the same tensors, and nothing executed."""

import argparse
import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from published import FORMATS, Malicious, save

from vqjax.system.errors import InputError
from vqjax.training.import_weights.state_dict import StateDict
from vqjax.training.import_weights.torch_files import Record, Tensor, read_torch

torch = pytest.importorskip("torch")


def tensors():
    numbers = 10 * torch.randn(6, 5)
    floats = {str(dtype): numbers.to(dtype) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
    integers = {str(dtype): numbers.to(dtype) for dtype in (torch.int64, torch.int32, torch.int16, torch.int8)}
    others = {
        "uint8": torch.arange(250, dtype=torch.uint8),
        "bool": numbers > 0,
        "transposed": numbers.T,
        "part": numbers[2:5, 1::2],  # of the same storage
        "repeated": torch.arange(3.0).expand(4, 3),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(numbers),
    }
    return {**floats, **integers, **others}


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_are_those_that_pytorch_reads(form, tmp_path):
    torch.manual_seed(0)
    expected = tensors()
    found = read_torch(save(expected, tmp_path / "file", form))
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        array, tensor = found[name].numpy(), tensor.detach()
        assert found[name].shape == tuple(tensor.shape)
        assert array.dtype == (np.float32 if tensor.is_floating_point() else tensor.numpy().dtype), name
        np.testing.assert_array_equal(array, tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy())


def module():
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1, bias=False), torch.nn.BatchNorm2d(3), torch.nn.ReLU())
    return torch.nn.ModuleDict({"layers": layers, "last": torch.nn.Linear(3, 4)})


@pytest.mark.parametrize("form", FORMATS)
def test_a_module_that_was_saved_whole_has_its_state_dict(form, tmp_path):
    network = module()
    state = StateDict(save(network, tmp_path / "file", form))
    assert state.shapes == {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    np.testing.assert_array_equal(state.take("last.weight", (4, 3)), network["last"].weight.detach())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("section", ["state_dict", "model", "ema"])
def test_a_checkpoint_has_whatever_else_beside_the_weights(section, form, tmp_path):
    """As Lightning's: objects of classes that need not be installed, containers of their own, sets, numbers."""

    class Settings(collections.UserDict):
        pass

    network = module()
    other = {"a.b": torch.zeros(2)}
    rest = {
        "epoch": 3,
        "hyper_parameters": argparse.Namespace(rate=1e-3, names=["a"], seen={1, 2}),
        "callbacks": {torch.nn.ReLU: {"best": np.float64(0.5), "path": io.BytesIO}},
        "optimizer": [torch.optim.Adam(network.parameters()).state_dict(), collections.defaultdict(list, a=[1])],
        "model" if section == "ema" else "model_": other,  # the moving average of the weights goes first
    }
    state = StateDict(save({section: network.state_dict(), **rest}, tmp_path / "file", form))
    assert state.shapes == {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


class Call:
    """Calls any function when it is unpickled as usual."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_in_a_pickle_is_executed(form, tmp_path):
    target = tmp_path / "executed"
    code = f"__import__('os').mkdir({str(target)!r})"
    calls = [Malicious(target), Call(eval, code), Call(exec, code), Call(os.system, f"mkdir {target}")]
    for number, call in enumerate(calls):
        path = save({"a": torch.zeros(1), "b": call, "c": {call: call}}, tmp_path / f"{number}.pkl", form)
        content = read_torch(path)
        assert isinstance(content["b"], Record) and isinstance(content["a"], Tensor)
        with pytest.raises(InputError, match=r"b is \w+"):
            StateDict(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(calls[0]))
    assert target.exists()  # the test would notice


def archive(path, pickled, **files):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickled)
        for name, content in files.items():
            file.writestr(f"a/data/{name}", content)
    return path


def pickled(storage, *arguments):
    """A pickle of a tensor of any arguments, which no PyTorch would write."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value if isinstance(value, tuple) and value[:1] == ("storage",) else None

    buffer = io.BytesIO()
    tensor = Call(torch._utils._rebuild_tensor_v2, storage, *arguments)
    Pickler(buffer, 2).dump({"a": tensor})
    return buffer.getvalue()


FLOATS = ("storage", torch.FloatStorage, "0", "cpu", 6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((FLOATS, 0, (3, 3), (3, 1), False, {}), "larger than its numbers"),
        ((FLOATS, 4, (3,), (1,), False, {}), "larger than its numbers"),
        ((FLOATS, 0, (2,), (2**40,), False, {}), "larger than its numbers"),
        ((FLOATS, 0, (3,), (1, 1), False, {}), "larger than its numbers"),
        ((FLOATS, 5, (3,), (-1,), False, {}), "damaged"),
        ((FLOATS, "0", (3,), (1,), False, {}), "damaged"),
        (("numbers", 0, (3,), (1,), False, {}), "damaged"),
        ((("storage", torch.FloatStorage, "0", "cpu", 6, "view"), 0, (3,), (1,), False, {}), "not known here"),
    ],
)
def test_a_tensor_beyond_its_numbers_is_refused(arguments, message, tmp_path):
    path = archive(tmp_path / "file", pickled(*arguments), **{"0": bytes(24)})
    with pytest.raises(InputError, match=message) as error:
        read_torch(path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("files", [{}, {"0": bytes(20)}])
def test_missing_numbers_are_found_when_they_are_taken(files, tmp_path):
    state = StateDict(archive(tmp_path / "file", pickled(FLOATS, 0, (2, 3), (3, 1), False, {}), **files))
    with pytest.raises(InputError, match="a cannot be read") as error:
        state.take("a", (2, 3))
    assert len(str(error.value).splitlines()) == 1


def test_more_numbers_than_the_older_format_holds_are_not_read(tmp_path):
    """A pickle may say that there are more than there are: here the number of them is written over."""
    whole = save({"a": torch.ones(700)}, tmp_path / "file", "legacy").read_bytes()
    assert whole.count((700).to_bytes(2, "little")) == 3  # of the storage twice, and the tensor's shape
    (tmp_path / "file").write_bytes(whole.replace((700).to_bytes(2, "little"), (900).to_bytes(2, "little"), 2))
    state = StateDict(tmp_path / "file")
    with pytest.raises(InputError, match="a cannot be read: its numbers are cut off"):
        state.take("a", (900,))


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_was_cut_off_is_refused(form, tmp_path):
    whole = save({"a": torch.randn(1000)}, tmp_path / "whole", form).read_bytes()
    for size in range(0, len(whole), 97):
        path = tmp_path / "part"
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="expected a file as torch.save writes it") as error:
            read_torch(path)
        assert len(str(error.value).splitlines()) == 1
