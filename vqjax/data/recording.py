"""Atari games, played at random and recorded as clips: needs ale-py, whose wheel has the ROMs."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from vqjax.config.check import check_name
from vqjax.data.sets.clips import SPLITS
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write, wrap_write_errors, write_json
from vqjax.system.paths import absolute_path

_SKIP = 4  # frames of the console per frame that is kept, with one action
_LONGEST = 18_000  # frames of the console in an episode: 5 minutes


def record(game: str, out: str | Path, clips: int, frames: int, seed: int, size: tuple[int, int]) -> dict[str, int]:
    """Play episodes with actions drawn evenly, and write train.npz, test.npz and recording.json.

    The last episode is for test, and no part of it for training. The same arguments give the same arrays.

    Args:
      game: name of a game in ale-py, such as boxing.
      out: a directory; a recording in it is replaced.
      clips: N for training, from as many episodes as that takes; for test one episode has at most as many.
      frames: T of a clip, 15 a second; a clip begins where the one before ends.
      seed: of the actions and of the game.
      size: (H, W) of a frame; the console's 210 x 160 pixels are averaged.

    Returns:
      The number of clips of each split. The files hold `image` (N, T, H, W, 3) uint8 and `episode` (N,) int32.

    Raises:
      InputError: ale-py is not installed, there is no such game, or the directory cannot be written to.
    """
    out = absolute_path(out, "--out")
    ale = _ale()
    check_name(ale.roms.get_all_rom_ids(), game, "--game")
    if out.exists() and (not out.is_dir() or any(out.iterdir()) and not (out / "recording.json").is_file()):
        raise InputError(f"--out={out}: expected a recording, an empty directory or none")
    splits, episodes = _play(ale, game, clips, frames, seed, size)
    counts = {name: len(split["image"]) for name, split in splits.items()}
    about = {"game": game, "frames": frames, "seed": seed, "size": size, "clips": counts, "episodes": episodes}
    with wrap_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        with atomic_write(out / f"{name}.npz") as temporary:
            np.savez_compressed(temporary, image=split["image"], episode=split["episode"])
    write_json(out / "recording.json", {**about, "ale_py": ale.__version__})
    return counts


def _play(
    ale: Any, game: str, clips: int, frames: int, seed: int, size: tuple[int, int]
) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Return the arrays of both splits, and the number of their episodes."""
    splits: dict[str, dict[str, np.ndarray]] = {}
    episodes = itertools.count()
    for name in SPLITS:
        images: list[np.ndarray] = []
        numbers: list[int] = []
        with tqdm(total=clips, desc=f"{game}, {name}", unit=" clips", disable=None) as progress:
            for episode in episodes:
                rest = itertools.islice(_clips(ale, game, frames, (seed, episode), size), clips - len(images))
                for clip in rest:
                    images.append(clip)
                    numbers.append(episode)
                    progress.update()
                if episode not in numbers:
                    raise InputError(f"--frames={frames}: an episode of {game} is shorter than that")
                if name == "test" or len(images) == clips:
                    break
        splits[name] = {"image": np.stack(images), "episode": np.array(numbers, np.int32)}
    return splits, next(episodes)


def _clips(ale: Any, game: str, frames: int, seed: tuple[int, int], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the clips (T, H, W, 3) of an episode, in order."""
    clip: list[np.ndarray] = []
    for frame in _frames(ale, game, seed):
        clip.append(np.asarray(Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BOX)))
        if len(clip) == frames:
            yield np.stack(clip)
            clip = []


def _frames(ale: Any, game: str, seed: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the frames (210, 160, 3) of an episode; each is the brighter of two, for sprites that flicker."""
    rng = np.random.default_rng(seed)
    console = ale.ALEInterface()
    console.setInt("random_seed", int(rng.integers(1, 2**31 - 1)))
    console.setInt("max_num_frames_per_episode", _LONGEST)
    console.setFloat("repeat_action_probability", 0.0)
    console.loadROM(ale.roms.get_rom_path(game))
    actions = console.getMinimalActionSet()
    while not console.game_over():
        action = actions[rng.integers(len(actions))]
        for _ in range(_SKIP - 1):
            console.act(action)
        previous = console.getScreenRGB()
        console.act(action)
        yield np.maximum(previous, console.getScreenRGB())


def _ale() -> Any:
    try:
        import ale_py
        import ale_py.roms
    except ImportError as error:
        raise InputError("recording needs ale-py, which has the games\n  pip install 'vqjax[atari]'") from error
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    return ale_py
