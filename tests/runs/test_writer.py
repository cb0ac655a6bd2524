"""Where figures go."""

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vqjax.runs import plots
from vqjax.runs.writer import Writer


def test_tensorboard_has_a_bin_for_each_code(tmp_path):
    frequency = np.array([0.5, 0, 0.25, 0.25])
    plots.save_grid(tmp_path / "seen.png", np.zeros((2, 8, 8, 1)))
    with Writer(tmp_path, 0) as writer:
        writer.pictures(3, "test", [tmp_path / "seen.png"], frequency)
        writer.pictures(4, "test", [], None)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = found.Histograms("test/codes")
    assert event.step == 3
    histogram = event.histogram_value
    np.testing.assert_allclose(histogram.bucket, frequency)
    np.testing.assert_allclose(histogram.bucket_limit, [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose([histogram.min, histogram.max, histogram.num], [-0.5, 3.5, 1])
    np.testing.assert_allclose([histogram.sum, histogram.sum_squares], [1.25, 3.25])
    assert [image.step for image in found.Images("test/seen")] == [3]
