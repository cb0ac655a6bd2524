"""Output for a person: what a run prints, the bar, and text from a user's data."""

import io
import os
import re
import struct
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from helpers import ENVIRONMENT, command

from vqjax.system import terminal
from vqjax.system.text import printable
from vqjax.tasks.prior import PriorTask
from vqjax.training import loop


@pytest.mark.more
def test_a_run_prints_lines_that_fit(small_config, tmp_path, capsys, monkeypatch):
    """In a file: a line per `log_every`, the seconds of each long action, and at the end the next commands."""
    monkeypatch.chdir(tmp_path)
    assert loop.train(small_config, "runs/digits") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert max(map(len, lines)) <= 100 and captured.err == ""
    for action in ("reading the data", "first weights", "first codes, by k-means", "compiling the step"):
        assert sum(bool(re.fullmatch(rf"{action} … \d+\.\d s", line)) for line in lines) == 1, action
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
    """A terminal that records its output."""

    def isatty(self):
        return True

    def rows(self):
        """Every text that stood in a line at some time."""
        return [row.rstrip() for row in re.split(r"[\r\n]", self.getvalue()) if row.strip()]


def a_terminal(monkeypatch):
    """Puts stdout and stderr on a terminal of unknown width: a bar has 10 columns there.

    Not a fixture, as pytest sets both again when a test begins.
    """
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(terminal.tqdm, "monitor_interval", 0)
    return screen


def test_the_bar_has_figures_from_the_first_steps_on(monkeypatch):
    screen = a_terminal(monkeypatch)
    monkeypatch.setattr(terminal, "FIRST_METRICS_SECONDS", -1.0)
    with terminal.Progress(0, 10, 4, ("loss", "psnr", "codes_used")) as progress:
        progress.step(1, 1, lambda: {"loss": 2.5})
        progress._bar.refresh()
        assert re.fullmatch(r"step 1/10 \|.*\| .* images/s, .* left, loss 2.5", screen.rows()[-1])
        progress.log(2, {"loss": 1.5, "psnr": 20.0}, 100.0)
        progress.step(2, 1, lambda: pytest.fail("figures have been logged"))
        progress._bar.refresh()
        assert screen.rows()[-1].endswith("left, loss 1.5, PSNR 20 dB")
        with progress.beside(2, "evaluating on test"):
            assert "step 2/10, evaluating on test |" in screen.rows()[-1]
    assert not [row for row in screen.rows() if row.startswith("step 2:")]


def test_the_bar_fits(monkeypatch):
    """With 10 columns of its own it has at most 100, in a long run with long names."""
    screen = a_terminal(monkeypatch)
    with terminal.Progress(24_000, 25_000, 128, PriorTask.headline) as progress:
        progress.log(24_999, dict.fromkeys(PriorTask.headline, 1.23456789), 1.0)
        progress._bar.refresh()
    assert len(screen.rows()[-1]) <= 100 and screen.rows()[-1].endswith("nats per code 1.235, perplexity 1.235")


def test_a_run_on_a_terminal(small_config, tmp_path, monkeypatch):
    """Messages have lines of their own beside the bar, and no metric is cut off."""
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


def test_an_action_that_fails_ends_its_line(capsys):
    with pytest.raises(ValueError), terminal.timed("reading"):
        raise ValueError
    assert capsys.readouterr().out == "reading … \n"


@pytest.mark.skipif(os.name != "posix", reason="terminals of its own")
@pytest.mark.parametrize("columns", [0, 80])
def test_a_terminal_without_a_width_shows_lines(columns):
    """As in a container whose terminal has 0 columns, where a bar would not show."""
    import fcntl
    import termios

    script = "from vqjax.system.terminal import Progress\nwith Progress(0, 10, 4, ['loss']) as progress:\n"
    script += "    progress.log(2, {'loss': 1.5}, 100.0)\n    progress.step(2, 2, dict)"
    terminal_end, child_end = os.openpty()
    fcntl.ioctl(child_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    ends = {"stdout": child_end, "stderr": child_end}
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, env=ENVIRONMENT, **ends).returncode == 0
    os.close(child_end)
    shown = os.read(terminal_end, 10_000).decode()
    os.close(terminal_end)
    assert ("step 2: loss 1.5, 100 images/s" in shown) == (columns == 0)
    assert ("step 0/10 |" in shown) == (columns == 80)


def test_a_command_says_once_that_jax_starts():
    script = "from vqjax.system.terminal import starting_jax\nfor _ in range(2):\n"
    script += "    with starting_jax():\n        import jax\n"
    done = command("-c", script)
    assert re.fullmatch(r"starting JAX … \d+\.\d s\n", done.stdout) and done.stderr == ""


@pytest.mark.parametrize(
    "text, shown",
    [
        ("cash$$ <b> \\ 寺 ж é ñ 👩\u200d👩\u200d👧 می\u200cخواهم", None),  # as it is, in any script
        ("a\x1b[31mred\r\n\tb\x7f\x9b", r"a\x1b[31mred\r\n\tb\x7f\x9b"),
        ("photo\u202egnp.exe\u2028", r"photo\u202egnp.exe\u2028"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
    ],
)
def test_text_of_a_user_is_printable(text, shown, tmp_path, monkeypatch, capsys):
    """Alone, in paths, in lines and in what takes long: nothing acts on the terminal, nothing is lost."""
    shown = text if shown is None else shown
    monkeypatch.chdir(tmp_path)
    assert printable(text) == printable(shown) == shown
    assert terminal.display_path(tmp_path / text) == shown
    assert terminal.wrap(text.replace("\n", "")) == shown.replace(r"\n", "")
    with terminal.timed(f"reading {text}"):
        pass
    assert capsys.readouterr().out.startswith(f"reading {shown} … ")
