"""What a run tells a person."""

import io
import re

import pytest

from vqjax.training import loop, terminal


def test_a_run_says_what_it_does_in_lines_that_fit(small_config, tmp_path, capsys, monkeypatch):
    """In a file: a line per `log_every`, times of what takes long, and at the end what to type next."""
    monkeypatch.chdir(tmp_path)
    assert loop.train(small_config, "runs/digits") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert max(map(len, lines)) <= 100 and captured.err == ""
    for what in ("reading the data", "first weights and codes", "compiling the step"):
        assert sum(bool(re.fullmatch(rf"{what} … \d+\.\d s", line)) for line in lines) == 1, what
    logged = [line for line in lines if re.match(r"step \d: loss .*, PSNR .* dB, codes used \d+, .* images/s$", line)]
    assert [line[:6] for line in logged] == ["step 2", "step 4", "step 6"]
    assert sum(bool(re.match(r"step \d, test: .* \(\d+\.\d s\)$", line)) for line in lines) == 2
    end = lines[-6:]
    assert end[0].startswith("test, step 6: loss ") and end[1] == "in runs/digits:"
    assert "reconstructions.png" in end[2] and "eval.json" in end[3]
    assert end[4] == "next: python -m vqjax explore --workdir runs/digits"
    assert "train --config prior --config.stage1=runs/digits" in end[5]


def test_the_bar_has_figures_from_the_first_steps_on(monkeypatch, capsys):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(terminal, "_SOON", -1.0)
    with terminal.Progress(0, 10, 4, ("loss",)) as progress:
        progress.step(1, lambda: {"loss": 2.5})
        progress._bar.refresh()
        assert "step 1" in screen.getvalue() and "loss=2.5" in screen.getvalue() and "images/s" in screen.getvalue()
        progress.log(2, {"loss": 1.5, "psnr": 20.0}, 100.0)
        progress.step(2, lambda: pytest.fail("figures have been logged"))
        progress._bar.refresh()
        assert "loss=1.5" in screen.getvalue()
    assert "step 2:" not in capsys.readouterr().out


def test_what_fails_ends_its_line(capsys):
    with pytest.raises(ValueError), terminal.timed("reading"):
        raise ValueError
    assert capsys.readouterr().out == "reading … \n"
