import numpy as np
import pytest

from vqjax.config.check import check_value
from vqjax.config.schedules import SCHEDULES, ScheduleConfig
from vqjax.system.errors import InputError


@pytest.mark.parametrize(
    "schedule, middle", [("constant", 4.0), ("linear", 2.5), ("cosine", 2.5), ("exponential", 2.0)]
)
def test_values_by_hand(schedule, middle):
    """From 4 to 1 over the first half of the run."""
    ramp = ScheduleConfig(schedule, 4.0, 1.0, 0.5)
    end = 4.0 if schedule == "constant" else 1.0
    np.testing.assert_allclose([ramp(0), ramp(0.25), ramp(0.5), ramp(1.0)], [4, middle, end, end], rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_up_or_down_without_a_turn(schedule):
    for start, end in ((0.1, 2.0), (2.0, 0.1)):
        values = [float(ScheduleConfig(schedule, start, end, 0.7)(x)) for x in np.linspace(0, 1, 50)]
        assert np.all(np.diff(values) * (end - start) >= -1e-6)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"schedule": "cosin"}, r"config.x.schedule='cosin': expected one of .* Did you mean \"cosine\"\?"),
        ({"share": 0.0}, r"config.x.share=0.0: expected at least 1e-06 and at most 1"),
        ({"share": 1.5}, r"config.x.share=1.5: expected at least 1e-06 and at most 1"),
        ({"start": -1.0}, r"config.x.start=-1.0: expected at least 0"),
        ({"schedule": "exponential", "end": 0.0}, r"config.x: an exponential from 1.0 to 0.0: expected both greater"),
        ({"sahre": 1.0}, r"config.x.sahre is unknown. Did you mean \"share\"\?"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        check_value(
            {"schedule": "linear", "start": 1.0, "end": 0.5, "share": 1.0, **fields}, ScheduleConfig, "config.x"
        )
