"""Generated names, image files and directories of them."""

import io
import os

import numpy as np
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from PIL import Image

from vqjax.data.sets.division import split_of

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
SETTINGS = settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=SLOW)

# Names: of any script, with what means something to a shell, a terminal, HTML or Matplotlib, and bytes that are no text

AWKWARD = [
    "$",
    "cash$$",
    "<b>",
    "&amp;",
    "%s",
    "{}",
    "\\",
    "a\nb",
    "\x1b[31m",
    "\t",
    "\u202e",
    "\u2028",
    " ",
    "-rf",
    "~",
]
CHARACTERS = st.one_of(st.sampled_from(AWKWARD), st.text(st.characters(codec="utf-8"), min_size=1, max_size=6))
NAME_BYTES = st.one_of(
    st.lists(CHARACTERS, min_size=1, max_size=3).map(lambda parts: "".join(parts).encode()),
    st.binary(min_size=1, max_size=8),
)


def is_name(name):
    return not {*name} & {0, ord("/")} and not name.startswith((b".", b"__MACOSX")) and len(name) < 100


NAMES = NAME_BYTES.filter(is_name).map(os.fsdecode)

# Images: (content, ending)

EXIF = st.sampled_from([b"", b"Exif\0\0", b"no EXIF", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02x\0\0\0"])
FORMATS = {
    "PNG": (".png", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
    "JPEG": (".jpg", ["L", "RGB", "CMYK"]),
    "GIF": (".gif", ["L", "P"]),
    "WEBP": (".webp", ["RGB", "RGBA"]),
    "BMP": (".bmp", ["1", "L", "P", "RGB"]),
    "TIFF": (".tif", ["1", "L", "RGB", "RGBA", "CMYK", "I;16"]),
}


@st.composite
def image_files(draw):
    """The content of an image file and an ending for it."""
    form = draw(st.sampled_from([*FORMATS]))
    ending, modes = FORMATS[form]
    mode, size = draw(st.sampled_from(modes)), draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    options = {}
    if form in ("PNG", "JPEG", "WEBP"):
        if draw(st.booleans()):
            options["exif"] = draw(EXIF)
        else:
            exif = Image.Exif()
            exif[0x0112] = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535]))
            options["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue(), draw(st.sampled_from([ending, ending.upper(), ""]))


OTHERS = st.sampled_from(
    [("notes.txt", b"text"), ("Thumbs.db", b"\xd0\xcf"), (".DS_Store", b"Bud1"), ("README", b"# text")]
)


@st.composite
def trees(draw):
    """{relative path: content} of images, and of other files, in a layout: the number of directories above a file."""
    depth = draw(st.integers(0, 2))
    classes = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    assume(all(split_of(name) is None for name in classes))
    pictures, others = {}, {}
    for number, (content, ending) in enumerate(draw(st.lists(image_files(), min_size=8, max_size=14))):
        above = [("train", "test")[number % 2]] * (depth == 2) + [classes[number // 2 % len(classes)]] * (depth > 0)
        pictures["/".join([*above, f"{draw(NAMES)}{number}{ending}"])] = content
    for path in draw(st.lists(st.sampled_from(sorted(pictures)), max_size=4)):
        name, content = draw(OTHERS)
        others[f"{path.rpartition('/')[0]}/{name}".lstrip("/")] = content
    return depth, pictures, others
