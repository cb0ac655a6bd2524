import json

import numpy as np

from vqjax.system.files import read_json, to_json, write_json


def test_what_is_not_finite_is_null(tmp_path):
    value = {
        "a": float("nan"),
        "b": [1.5, float("inf"), (np.float64("-inf"), "nan")],
        "c": {"d": 3, "e": None, "f": True},
    }
    write_json(tmp_path / "figures.json", value)
    expected = {"a": None, "b": [1.5, None, [None, "nan"]], "c": {"d": 3, "e": None, "f": True}}
    assert read_json(tmp_path / "figures.json") == json.loads(to_json(value)) == expected
