"""Trained autoencoders."""

import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqjax.codes import CodeLayout, Codes
from vqjax.inference import functions
from vqjax.inference.base import Model
from vqjax.inference.functions import Functions
from vqjax.inference.inputs import as_codes, as_images, check_size, to_pixel_levels
from vqjax.runs.workdir import Workdir
from vqjax.system.arguments import argument_names
from vqjax.system.errors import InputError
from vqjax.system.switches import own_settings
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.stage1 import Stage1


class Tokenizer(Model):
    """A trained autoencoder: images to codes and back.

    Images are (N, H, W, C), uint8, or float in [0, 1], told apart by their dtype; (N, H, W) too if C is 1; or a list of
    Pillow images or of image files of one size, whose mode is converted. H and W may be others than in training where
    the stride divides them.

    Codes are (N, h, w) int32; with several codes per position (N, h, w, D); with several levels a dict {level's name:
    array}. `layout` describes them. Results are NumPy arrays. Wrong input is a ValueError, or a TypeError if it has the
    wrong type.

    Attributes:
      layout: of the codes of an image in training, a CodeLayout; None if the model has no codes.
      num_codes: K, the largest of the levels; 0 if the model has no codes.
      stride: pixels per position of the finest grid, in each direction.
    """

    tasks = ("autoencoder",)

    def __init__(self, path: Path, task: AutoencoderTask, variables: dict[str, Any], step: int):
        super().__init__(path, task, variables, step)
        self.layout: CodeLayout | None = task.layout
        self.num_codes: int = task.layout.max_codes if task.layout else 0
        self.stride: int = task.stride

    def grid(self, height: int | None = None, width: int | None = None) -> tuple[int, int]:
        """Return the (h, w) of the finest codes of an image of height x width pixels, by default as in training.

        Raises ValueError if the model's strides do not divide them.
        """
        trained = self._task.image_shape[-3:-1]
        height, width = (own if size is None else size for size, own in zip((height, width), trained))
        check_size(height, width, max(self._task.module.strides))
        return height // self.stride, width // self.stride

    @functools.cached_property
    def codebook(self) -> Any:
        """Vectors of the codes, (K, V) float32; (D, K, V) of D codes per position, whose sum the decoder sees.

        With several levels a dict {level's name: vectors}. ValueError without codes.
        """
        self._required_layout()
        with own_settings():
            return jax.tree.map(np.asarray, jax.jit(self._task.code_vectors)(self._variables))

    def encode(self, images: Any) -> Codes:
        """Return the codes of images."""
        self._required_layout()
        images = self._images(images)
        return self._map(self._encode, _pixels(images), image=images)

    def decode(self, codes: Codes) -> np.ndarray:
        """Return the images (N, H, W, C) float32 in [0, 1] of codes, integers in [0, K) on grids of any size.

        A preview needs the first codes alone: `codes[..., :d]` of D codes per position, {"top": …} of several levels.
        """
        layout = self._required_layout()
        codes = as_codes(codes, layout, first=True)
        arrays = self._part(codes if layout.by_name else ["codes"]).split(codes)
        coarsest, (stride, *_) = next(iter(arrays.values())), self._task.module.strides
        positions = coarsest[0].size // (coarsest.shape[-1] if layout.levels[0].depth > 1 else 1)
        images: np.ndarray = self._map(self._decode, positions * stride**2, **arrays)
        return images

    def _part(self, names: Collection[str]) -> CodeLayout:
        """Return the layout of the first levels, as many as there are names."""
        return self._required_layout().part(slice(len(names)))

    def reconstruct(self, images: Any) -> np.ndarray:
        """Return the reconstructions of images, (N, H, W, C) float32 in [0, 1]; also of a model without codes."""
        images = self._images(images)
        reconstructions: np.ndarray = self._map(self._reconstruct, _pixels(images), image=images)
        return reconstructions

    def functions(self) -> Functions:
        """Return encode and decode as pure functions, and their variables, for use under jit, grad and vmap."""
        return self._functions

    @functools.cached_property
    def _functions(self) -> Functions:
        return functions.pure_functions(self._task, self._variables)

    def _images(self, images: Any) -> np.ndarray:
        images = as_images(images, self._task.image_shape)
        self.grid(*images.shape[-3:-1])
        return images

    def _required_layout(self) -> CodeLayout:
        if self.layout is None:
            raise InputError(f"a model of config.model.quantizer={self.config.model.quantizer!r} has no codes")
        return self.layout

    def _encode(self, variables: Mapping, batch: Mapping) -> Codes:
        return functions.encode(self._task, variables, batch["image"])

    def _decode(self, variables: Mapping, batch: Mapping) -> jax.Array:
        names = batch.keys() & self._required_layout().names
        return functions.decode(self._task, variables, self._part(names).join(batch))

    def _reconstruct(self, variables: Mapping, batch: Mapping) -> jax.Array:
        if self.layout:
            return functions.decode(self._task, variables, self._encode(variables, batch))
        return self._task.reconstruct(variables, to_pixel_levels(batch["image"]))

    # Files. What these need is imported when they are called: it is slow, and not all of it must be installed.

    @functools.cached_property
    def _stage1(self) -> Stage1:
        return Stage1.of_checkpoint(Workdir(self.path), self._task, self.step, self._variables)

    @argument_names()
    def decode_file(
        self,
        codes: str | Path,
        out: str | Path,
        split: str | None = None,
        format: str = "npy",
        levels: Sequence[str] | None = None,
        depth: int | None = None,
    ) -> int:
        """Decode the codes in a file, from any program.

        Args:
          codes: .npy, .npz, .bin with its meta.json beside it, .parquet, or a directory of `export_codes`.
          out: a directory, new or empty.
          split: of the codes in a directory; by default the only one there.
          format: "npy" for images.npy, (N, H, W, C) uint8, and images.png, the first 64; "png" for a file per image.
          levels: names of the first levels, which alone are decoded, such as ["top"]; by default all.
          depth: number of codes of each position that are decoded, the first ones; by default all.

        Returns:
          N, the number of images.
        """
        from vqjax.inference.exports.decoding import Part, decode_file

        part = Part(None if levels is None else tuple(levels), depth)
        return decode_file(self._stage1, self.decode, codes, out, split, format, part)

    @argument_names()
    def reconstruct_files(self, files: Sequence[str | Path], out: str | Path | None = None, format: str = "") -> Any:
        """Encode and decode image files of any size, tile by tile, and write pictures of originals and results.

        Args:
          files: images, or directories of them.
          out: a picture of the first of them, each beside its reconstruction, by default reconstructed.png in the
            workdir; a table of the metrics, if it ends in .csv; or the directory of format "png".
          format: "png" for a file per reconstruction.

        Returns:
          The path that was written, and a `FileMetrics` for each image.
        """
        from vqjax.inference.reconstruction import reconstruct_files

        return reconstruct_files(self._stage1, files, out, format)

    @argument_names()
    def export_codes(
        self,
        out: str | Path,
        split: str | None = None,
        format: str = "numpy",
        data_dir: str | None = None,
        data_path: str | None = None,
    ) -> Path:
        """Write the codes, labels and paths of the images that the run was trained on.

        Args:
          out: a directory; it may have other splits of this model already, in the same format.
          split: "train" (default), "validation", "test", or "all".
          format: "numpy", "parquet", or "nanogpt", which has splits of its own.
          data_dir, data_path: where the data are now; see docs/data.md.

        Returns:
          The directory.
        """
        from vqjax.inference.exports.codes import export_codes

        return export_codes(self._stage1, out, split, format, data_dir, data_path)

    @argument_names()
    def export(self, out: str | Path) -> Path:
        """Write weights, and the programs encode and decode, for other software; see docs/export.md.

        Args:
          out: a directory, new or empty.

        Returns:
          The directory.
        """
        from vqjax.inference.exports.programs import export_tokenizer

        return export_tokenizer(self._task, self._variables, self.step, out)

    @argument_names()
    def explore(
        self,
        out: str | Path | None = None,
        num: int = 64,
        split: str = "test",
        data_dir: str | None = None,
        data_path: str | None = None,
    ) -> Path:
        """Write a page that shows the codes in a browser.

        Args:
          out: the page; by default explore.html in the workdir.
          num: images on it.
          split: that they are from.
          data_dir, data_path: where the data are now; see docs/data.md.

        Returns:
          The page.
        """
        from vqjax.inference.explore import Source, write_page

        source = Source(self._stage1, self._task.settings.data)
        return write_page(source, self.path, out, num, split, data_dir, data_path)


def _pixels(images: np.ndarray) -> int:
    """Pixels of an image (H, W, C) or a clip (T, H, W, C) of an array of them."""
    return images[0].size // images.shape[-1]
