"""What a run tells a person."""

import io
import re

import pytest

from vqjax.system import terminal
from vqjax.tasks.prior import PriorTask
from vqjax.training import loop


def test_a_run_says_what_it_does_in_lines_that_fit(small_config, tmp_path, capsys, monkeypatch):
    """In a file: a line per `log_every`, times of what takes long, and at the end what to type next."""
    monkeypatch.chdir(tmp_path)
    assert loop.train(small_config, "runs/digits") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert max(map(len, lines)) <= 100 and captured.err == ""
    for what in ("reading the data", "first weights", "first codes, by k-means", "compiling the step"):
        assert sum(bool(re.fullmatch(rf"{what} … \d+\.\d s", line)) for line in lines) == 1, what
    logged = [line for line in lines if re.match(r"step \d: loss .*, PSNR .* dB, codes used \d+, .* images/s$", line)]
    assert [line[:6] for line in logged] == ["step 2", "step 4", "step 6"]
    assert sum(bool(re.match(r"step \d, test: .* \(\d+\.\d s\)$", line)) for line in lines) == 2
    end = lines[-7:]
    assert end[0].startswith("test, step 6: loss ") and end[1] == "in runs/digits:"
    assert "reconstructions.png" in end[2] and "eval.json" in end[3]
    assert re.fullmatch(r"  time      data .* s, step .* s, evaluation .* s, save .* s", end[4])
    assert end[5] == "next: python -m vqjax explore --workdir runs/digits"
    assert "train --config prior --config.stage1=runs/digits" in end[6]


class Screen(io.StringIO):
    """What a terminal is given."""

    def isatty(self):
        return True

    def rows(self):
        """What stood in a line at some time."""
        return [row.rstrip() for row in re.split(r"[\r\n]", self.getvalue()) if row.strip()]


def a_terminal(monkeypatch):
    """What stdout and stderr are on, of a width that is not known: a bar is 10 columns then.

    Not a fixture, as pytest sets both again when a test begins.
    """
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(terminal.tqdm, "monitor_interval", 0)
    return screen


def test_the_bar_has_figures_from_the_first_steps_on(monkeypatch):
    screen = a_terminal(monkeypatch)
    monkeypatch.setattr(terminal, "_SOON", -1.0)
    with terminal.Progress(0, 10, 4, ("loss", "psnr", "codes_used")) as progress:
        progress.step(1, 1, lambda: {"loss": 2.5})
        progress._bar.after_update()
        assert re.fullmatch(r"step 1/10 \|.*\| .* images/s, .* left, loss 2.5", screen.rows()[-1])
        progress.log(2, {"loss": 1.5, "psnr": 20.0}, 100.0)
        progress.step(2, 1, lambda: pytest.fail("figures have been logged"))
        progress._bar.after_update()
        assert screen.rows()[-1].endswith("left, loss 1.5, PSNR 20 dB")
        with progress.beside(2, "evaluating on test"):
            assert "step 2/10, evaluating on test |" in screen.rows()[-1]
    assert not [row for row in screen.rows() if row.startswith("step 2:")]


def test_the_bar_fits(monkeypatch):
    """In 100 columns with 10 for the bar itself, of a long run with long names."""
    screen = a_terminal(monkeypatch)
    with terminal.Progress(24_000, 25_000, 128, PriorTask.headline) as progress:
        progress.log(24_999, dict.fromkeys(PriorTask.headline, 1.23456789), 1.0)
        progress._bar.after_update()
    assert len(screen.rows()[-1]) <= 100 and screen.rows()[-1].endswith("nats per code 1.235, perplexity 1.235")


def test_a_run_on_a_terminal(small_config, tmp_path, monkeypatch):
    """What is said has lines of its own beside the bar, and no figure is cut off."""
    screen = a_terminal(monkeypatch)
    small_config.update({"steps": 2, "log_every": 1, "eval_every": 2})
    assert loop.train(small_config, tmp_path / "run") == 0
    rows = screen.rows()
    assert not [row for row in rows if len(row) > 100 and str(tmp_path) not in row]
    assert [row for row in rows if re.fullmatch(r"compiling the step … \d+\.\d s", row)]
    bars = [row for row in rows if " |" in row]
    assert bars[0].startswith("step 0/2 |")
    assert re.fullmatch(r"step 2/2 \|.*\| .* images/s, 00:00 left, loss [\d.]+, PSNR [\d.]+ dB", bars[-1])


def test_a_bar_on_the_terminal_and_lines_in_the_file(monkeypatch):
    """As with `python train.py > log`."""
    screen, file = a_terminal(monkeypatch), io.StringIO()
    monkeypatch.setattr("sys.stdout", file)
    with terminal.Progress(0, 10, 4, ("loss",)) as progress:
        progress.log(2, {"loss": 1.5}, 100.0)
        progress.step(2, 1, dict)
    assert file.getvalue() == "step 2: loss 1.5, 100 images/s\n"
    assert screen.rows()[-1].startswith("step 2/10 |")


def test_long_lines_fit():
    text = terminal.wrap(f"parameters: 9 ({', '.join(f'stack_{i} {10**i:,}' for i in range(9))}), /{'long/' * 30}")
    first, *rest = text.splitlines()
    assert len(first) <= 100 and rest and all(line.startswith("  ") for line in rest)
    assert f"/{'long/' * 30}" in text


def test_what_fails_ends_its_line(capsys):
    with pytest.raises(ValueError), terminal.timed("reading"):
        raise ValueError
    assert capsys.readouterr().out == "reading … \n"
