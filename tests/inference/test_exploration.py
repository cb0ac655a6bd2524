"""The page on which codes can be looked at: what is on it, and how it works in a browser."""

import base64
import io
import json
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import fake
from helpers import dataset_of, rewrite
from PIL import Image

import vqjax
from vqjax import __main__
from vqjax.data import datasets
from vqjax.data.sets.base import NO_LABEL
from vqjax.data.splits import Split
from vqjax.inference.explore import Source, probabilities
from vqjax.inference.explore.contents import page_contents
from vqjax.inference.explore.patches import typical_patches
from vqjax.inference.explore.sheets import colors, sheet
from vqjax.inference.explore.views import views_of
from vqjax.runs import devices
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
NAMES = ["</script><script>", "b & c", *"23456789"]  # whatever classes are called


def pictures(sheet):
    """Those in a sheet, (N, H, W, 3) uint8."""
    with Image.open(io.BytesIO(base64.b64decode(sheet["url"].partition(",")[2]))) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    height, width = pixels.shape[0] // sheet["rows"], pixels.shape[1] // sheet["columns"]
    tiles = pixels.reshape(sheet["rows"], height, sheet["columns"], width, 3).swapaxes(1, 2)
    return tiles.reshape(-1, height, width, 3)[: sheet["count"]]


@pytest.fixture(scope="module")
def frozen(trained_stage1):
    return Stage1(trained_stage1)


@pytest.fixture(scope="module")
def split(frozen):
    """The test split, with its codes by stage 1 itself."""
    test = datasets.load_splits(dataset_of(frozen.settings.plain), ("test",))["test"].arrays
    return Split(**test, codes=np.asarray(frozen.encode(frozen.variables, test["image"])))


@pytest.fixture
def prior(prior_config, tmp_path):
    """The workdir of a tiny trained prior."""
    prior_config.steps = 2
    assert loop.train(prior_config, tmp_path / "prior") == 0
    return tmp_path / "prior"


@pytest.mark.more
def test_codes_are_those_of_stage_1(frozen, split):
    found = page_contents(Source(frozen, frozen.settings.data), 24, "test")
    codes, labels = split.arrays["codes"], split.arrays["label"]
    for code in range(16):
        here = codes == code
        assert found["codes"]["uses"][code] == here.sum()
        assert dict(found["codes"]["classes"][code]) == {
            label: here[labels == label].sum() for label in range(10) if here[labels == label].any()
        }
        counts = [count for _, count in found["codes"]["classes"][code]]
        assert counts == sorted(counts, reverse=True)
    rows = found["images"]["rows"]
    assert (
        len(rows) == 24 and rows[0] == 0 and rows[-1] == 359 and {*np.diff(rows)} <= {15, 16}
    )  # from all of the split
    np.testing.assert_array_equal(found["images"]["codes"], codes[rows].reshape(24, -1))
    assert found["images"]["labels"] == labels[rows].tolist()
    originals, decoded = pictures(found["images"]["originals"]), pictures(found["images"]["reconstructions"])
    np.testing.assert_array_equal(originals[..., :1], split.arrays["image"][rows])
    expected = 255 * np.asarray(frozen.decode(frozen.variables, codes[rows]))
    np.testing.assert_allclose(decoded[..., :1], expected, atol=0.501)
    psnr = 10 * np.log10(1 / ((originals[5] / 255 - decoded[5] / 255) ** 2).mean())
    assert found["images"]["psnr"][5] == pytest.approx(psnr, abs=0.051)
    field = np.asarray(frozen.decode(frozen.variables, jnp.full((1, 11, 11), 7)))[0, 8:14, 8:14]  # of stride 2
    np.testing.assert_allclose(pictures(found["codes"]["alone"])[7, ..., :1], 255 * field, atol=0.501)
    assert found["samples"] is None


def test_images_without_labels_are_of_no_class(frozen, split, monkeypatch):
    """They count as uses of their codes, not of a class."""
    labels = np.where(np.arange(len(split)) % 3, split.arrays["label"], NO_LABEL).astype(np.int32)

    def load_split(dataset, name, read=None):
        array = "codes" if read else "image"
        return Split(label=labels, **{array: split.arrays[array]})

    monkeypatch.setattr(datasets, "load_split", load_split)
    found = page_contents(Source(frozen, frozen.settings.data), 9, "test")
    for code in range(16):
        here = split.arrays["codes"] == code
        assert found["codes"]["uses"][code] == here.sum()
        assert sum(count for _, count in found["codes"]["classes"][code]) == here[labels != NO_LABEL].sum()
    assert NO_LABEL in found["images"]["labels"]


def test_patches_are_the_nearest_to_the_mean_of_their_code(frozen, split, monkeypatch):
    """Against the same by loops; on some of the images, which is enough where there are many.

    As many images go through the networks together as their size allows.
    """
    sizes, map_split = [], devices.map_split
    monkeypatch.setattr(devices, "images_at_a_time", lambda shape: 16 if shape == (8, 8, 1) else 0)
    monkeypatch.setattr(devices, "map_split", lambda *given: sizes.append(given[3]) or map_split(*given))
    rows = np.linspace(0, 359, 100).round().astype(int)
    (view,) = views_of(frozen.layout)
    patches, counts = typical_patches(frozen, view, split, positions=100 * 16)
    assert sizes == [16]
    z = np.asarray(frozen.latents(frozen.variables, split.arrays["image"][rows]))
    padded = np.pad(split.arrays["image"][rows], ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    codes, patches = split.arrays["codes"][rows], list(patches)
    assert len(patches) == counts.sum()
    for code in range(16):
        places = np.argwhere(codes == code)
        assert counts[code] == min(len(places), 8)
        vectors = z[codes == code]
        distances = ((vectors - vectors.mean(0)) ** 2).sum(1) if len(vectors) else np.empty(0)
        for nearest in np.argsort(distances, kind="stable")[: counts[code]]:
            image, row, column = places[nearest]
            expected = padded[image, 2 * row : 2 * row + 6, 2 * column : 2 * column + 6]
            np.testing.assert_array_equal(patches.pop(0), expected)


@pytest.mark.more
def test_pictures_have_the_probabilities_of_the_prior(prior):
    page = vqjax.Prior.load(prior).explore(num=15)
    data = json.loads(DATA.search(page.read_text("utf-8"))[1])
    for name in ("images", "completions"):
        codes, labels = np.array(data[name]["codes"]).reshape(15, 4, 4), data[name]["labels"]
        expected = vqjax.load(prior).log_prob(codes, labels)
        np.testing.assert_allclose(data[name]["nats"], -expected, atol=0.051)
        np.testing.assert_allclose(np.log(data[name]["probabilities"]).sum(1), expected, rtol=0.01)
        assert np.shape(data[name]["likely"]) == (15, 16, 5)
    found = data["samples"]
    labels = np.sort(np.arange(15) % 10)  # by class
    assert found["labels"] == labels.tolist()
    drawn = vqjax.Prior.load(prior).sample(15, labels.tolist())
    np.testing.assert_array_equal(found["codes"], drawn.codes.reshape(15, -1))
    np.testing.assert_allclose(pictures(found["images"])[..., :1], 255 * drawn.images, atol=0.501)
    expected = vqjax.load(prior).log_prob(drawn.codes, labels)
    np.testing.assert_allclose(found["nats"], -expected, atol=0.051)
    np.testing.assert_allclose(np.log(found["probabilities"]).sum(1), expected, rtol=0.01)
    likely, p = np.array(found["likely"]), np.array(found["likely_probabilities"])
    assert likely.shape == p.shape == (15, 16, 5) and (np.diff(p) <= 0).all() and (p.sum(-1) < 1).all()
    among = likely == np.array(found["codes"])[..., None]  # where what was drawn is among the likely, it has its p
    np.testing.assert_array_equal(p[among], np.array(found["probabilities"])[among.any(-1)])


@pytest.mark.more
def test_completions_keep_the_upper_half(prior, split):
    page = vqjax.Prior.load(prior).explore(num=15)
    found = json.loads(DATA.search(page.read_text("utf-8"))[1])["completions"]
    images, labels = (split.arrays[name][found["rows"]] for name in ("image", "label"))
    assert found["labels"] == labels.tolist()
    np.testing.assert_array_equal(pictures(found["originals"])[..., :1], images)
    kept, completed = (pictures(found[name])[..., :1] for name in ("kept", "images"))
    np.testing.assert_array_equal(kept[:, :4], images[:, :4])
    np.testing.assert_array_equal(completed[:, :4], images[:, :4])
    assert np.all(kept[:, 4:] == 255)
    keep = np.arange(8)[:, None].repeat(8, 1) < 4
    expected = vqjax.Prior.load(prior).complete(images, keep, labels.tolist())
    np.testing.assert_array_equal(found["codes"], expected.codes.reshape(15, -1))


@pytest.mark.parametrize("shape", [(1, 8, 8, 1), (7, 8, 12, 3), (30, 12, 4, 1)])
def test_a_sheet_keeps_its_pictures(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(pictures(sheet(images)), np.broadcast_to(images, (*shape[:3], 3)))


def test_a_sheet_stays_small():
    """Noise of 64 large images, which nothing compresses: five of these and the rest are below 5 MB."""
    made = sheet(np.random.default_rng(0).integers(0, 256, (64, 300, 200, 3), np.uint8))
    assert len(made["url"]) < 540_000 and pictures(made).shape == (64, 150, 100, 3)


def test_similar_vectors_have_similar_colors():
    """On a line the lightness is the place on it; fewer codes or dimensions than components are no matter."""
    line = np.array([[3.0, 3.0], [1.0, 1.0], [2.0, 2.0], [0.0, 0.0]])
    lightness = [float(color[6:11]) for color in colors(line)]
    np.testing.assert_allclose(np.abs(np.diff(lightness)), [2 * 0.46 / 3, 0.46 / 3, 2 * 0.46 / 3], atol=0.001)
    assert len(colors(np.ones((1, 4)))) == len(colors(np.ones((1, 1)))) == 1


def test_wrong_input_is_refused_and_nothing_written(trained_stage1, tmp_path):
    (tmp_path / "folder.html").mkdir()
    before = sorted(path for path in trained_stage1.iterdir())
    for words, message in (
        ([tmp_path / "nowhere"], "--workdir=.*: expected the workdir of a trained model, found no such directory"),
        ([trained_stage1, "--stage1", "x"], "--stage1=x: .* holds a run of task 'autoencoder', which has none"),
        ([trained_stage1, "--num", "0"], "--num=0: expected at least 1"),
        ([trained_stage1, "--num", "1001"], "--num=1001: expected at least 1 and at most 1000"),
        ([trained_stage1, "--out", "page.txt"], "--out=.*page.txt: expected a path that ends in .html"),
        ([trained_stage1, "--out", tmp_path / "no" / "a.html"], "in a directory that exists"),
        ([trained_stage1, "--out", tmp_path / "folder.html"], "expected a file that can be written"),
    ):
        with pytest.raises(InputError, match=message):
            __main__.main(["explore", *map(str, words)])
    assert sorted(path for path in trained_stage1.iterdir()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html"]


@pytest.mark.more
def test_a_classifier_has_no_page(classifier_config, tmp_path):
    classifier_config.steps, classifier_config.optimizer.warmup = 1, 0
    assert loop.train(classifier_config, tmp_path / "run") == 0
    with pytest.raises(InputError, match="holds a run of task 'classifier', expected 'autoencoder' or 'prior'"):
        __main__.main(["explore", str(tmp_path / "run")])


def test_the_validation_share_must_be_there(trained_stage1, tmp_path):
    with pytest.raises(ValueError, match="split=validation: the run was trained with config.data.validation=0.0"):
        vqjax.Tokenizer.load(trained_stage1).explore(tmp_path / "page.html", split="validation")
    assert not [*tmp_path.iterdir()]


def test_the_page_needs_nothing_but_itself(trained_stage1, tmp_path):
    page = tmp_path / "page.html"
    assert not __main__.main(["explore", "--workdir", str(trained_stage1), "--out", str(page)])
    text = page.read_text("utf-8")
    assert len(text) < 5_000_000 and str(trained_stage1.parent) not in text
    assert not re.search(
        r"https?:|//\w|@import|src=[\"'](?!data:)|href=[\"'](?!#)", re.sub(r"base64,[\w+/=]+", "", text)
    )
    assert "default-src 'none'" in text and "/* explore" not in text
    data = json.loads(DATA.search(text)[1])
    assert data["name"] == trained_stage1.name and len(data["images"]["codes"]) == 64


# In a browser


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    if not (chromium := shutil.which("chromium")):
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page, and sees that it neither fails nor asks for anything else."""
    complaints, pages = [], []

    def open_page(path, **settings):
        page = browser.new_page(**{"viewport": {"width": 1300, "height": 800}, **settings})
        pages.append(page)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda request: complaints.append(request.url) if request.url[:4] == "http" else None)
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]", timeout=20_000)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not complaints


def read_data(page):
    return json.loads(page.locator("#data").text_content())


def test_a_page_in_a_browser(prior, stage1, opened, monkeypatch):
    """What the pointer and the keyboard show, in a wide and in a narrow window. One run for all: it takes seconds."""
    # The names are not those of digits.
    monkeypatch.setattr(datasets, "check_same_dataset", lambda dataset, facts: None)
    rewrite(prior / "run.json", class_names=NAMES)
    rewrite(stage1 / "run.json", class_names=NAMES)
    path = vqjax.Prior.load(prior).explore(num=24)
    assert path == prior / "explore.html"
    page = opened(path)
    data, title = read_data(page), page.locator("#code-title")
    for section in ("#samples", "#completions", "#images", "#codes"):
        assert page.locator(section).is_visible()
    first = page.locator("#images .gallery canvas").first
    first.scroll_into_view_if_needed()
    box, codes = first.bounding_box(), data["images"]["codes"][0]
    quarter = box["width"] / 4  # a view, but for the gaps: original, codes, reconstruction, probabilities
    for column in range(4):  # the pointer, over the second row of the original
        page.mouse.move(box["x"] + quarter * (column + 0.5) / 4, box["y"] + box["height"] * 1.5 / 4)
        assert title.inner_text() == f"Code {codes[4 + column]}"
        assert page.locator("#place").inner_text() == f"row 2, column {column + 1}"
    code = codes[7]
    uses = data["codes"]["uses"][code]
    assert f"used {uses:,} times" in page.locator("#use").inner_text()
    assert page.locator("#inspector .patches canvas").count() == data["codes"]["patch_counts"][code]
    label = data["codes"]["classes"][code][0][0]
    assert page.locator("#inspector .shares").last.locator(".name").first.inner_text() == NAMES[label]
    first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() == f"Code {codes[10]}"
    page.keyboard.press("Enter")  # held: the pointer changes nothing, the arrows do
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    assert title.inner_text() == f"Code {codes[10]}" and page.locator("#pin").inner_text() == "held"
    faded = "each => getComputedStyle(each).opacity < 0.5"
    assert all(
        page.locator("#images figure").nth(i).evaluate(faded) == (codes[10] not in data["images"]["codes"][i])
        for i in range(24)
    )
    assert not page.locator("#inspector figure").first.evaluate(faded)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # into the next image, in the same row
    assert title.inner_text() == f"Code {data['images']['codes'][1][8]}"
    page.keyboard.press("Escape")
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    assert title.inner_text() == f"Code {codes[0]}"
    for section in ("images", "completions", "samples"):
        page.locator(f"#{section} .gallery canvas").nth(2).hover(position={"x": 5, "y": 5})
        text = page.locator("#inspector").inner_text()
        expected = 100 * data[section]["probabilities"][2][0]
        assert float(re.search(r"the prior gave it ([\d.]+) %", text)[1]) == pytest.approx(expected, abs=0.51)
        assert page.locator(f"#{section} .scale").is_visible()
        caption = page.locator(f"#{section} figcaption").nth(2).inner_text()
        assert caption.endswith(f"{data[section]['nats'][2] / 16:.2f} nats per code")
    page.locator("#samples-class").select_option(label=NAMES[1])
    assert page.locator("#samples figure:visible").count() == data["samples"]["labels"].count(1)


def test_codes_are_sorted_by_use(trained_stage1, opened, tmp_path):
    page = opened(vqjax.Tokenizer.load(trained_stage1).explore(tmp_path / "page.html", num=24))
    uses, tiles = read_data(page)["codes"]["uses"], page.locator(".code")

    def shown():
        return [int(text) for text in tiles.all_inner_texts()]

    assert not page.locator("#samples").is_visible() and not page.locator("#images .scale").is_visible()
    most = sorted(range(16), key=lambda code: -uses[code])
    assert shown() == most
    assert page.locator("#code-title").inner_text() == f"Code {most[0]}"
    page.locator("#sort").select_option("by number")
    assert shown() == list(range(16))
    tiles.first.focus()
    page.keyboard.press("End")
    assert page.locator("#code-title").inner_text() == "Code 15"
    unused = uses.index(0) if 0 in uses else None
    if unused is not None:
        tiles.nth(unused).hover()
        assert page.locator("#use").inner_text() == "not used in this split"


@pytest.mark.more
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window(trained_stage1, opened, tmp_path, scheme):
    """Nothing is wider than the window, what a touch shows is in view, and text stands out from what is behind it."""
    path = vqjax.Tokenizer.load(trained_stage1).explore(tmp_path / "page.html", num=24)
    page = opened(path, viewport={"width": 400, "height": 800}, color_scheme=scheme, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.locator("#images .gallery canvas").first.tap(position={"x": 5, "y": 5})
    title = page.locator("#code-title")
    assert title.inner_text() == f"Code {read_data(page)['images']['codes'][0][0]}"
    assert title.bounding_box()["y"] < 800 and page.locator("#pin").inner_text() == "held"
    for selector in ("#code-title", "#use", ".views", "figcaption"):
        color = page.locator(selector).first.evaluate("each => getComputedStyle(each).color")
        assert contrast(color, page.evaluate("getComputedStyle(document.body).backgroundColor")) > 4.5


def contrast(*written):
    """Of two colors as CSS writes them, rgb(r, g, b): from 1 to 21, as WCAG 2.2 has it."""
    levels = np.array([re.findall(r"\d+", color)[:3] for color in written], float) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    low, high = np.sort(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.slow
def test_a_page_without_classes(small_config, prior_config, opened, tmp_path, monkeypatch):
    """Of data without labels, whose images are not square; of so many positions that the likely codes have no room."""
    monkeypatch.setattr(probabilities, "_LIKELY_IN_ALL", 0)
    monkeypatch.setitem(datasets.DATASETS, "oblong", fake((8, 12, 1), ()))
    small_config.data.name, small_config.steps, small_config.model.quantizer = "oblong", 1, "fsq"
    assert loop.train(small_config, tmp_path / "oblong") == 0
    prior_config.stage1, prior_config.model.class_conditional, prior_config.steps = str(tmp_path / "oblong"), False, 1
    assert loop.train(prior_config, tmp_path / "prior") == 0
    page = opened(vqjax.Prior.load(tmp_path / "prior").explore(num=24))
    data = read_data(page)
    assert data["codes"]["classes"] is None and "Classes" not in page.locator("#inspector").inner_text()
    assert page.locator("#samples figcaption").first.inner_text().startswith("sample 1")
    page.locator("#samples .gallery canvas").first.hover(position={"x": 5, "y": 5})
    assert page.locator("#inspector .shares .name").all_inner_texts() == [str(data["samples"]["codes"][0][0])]
    canvas = page.locator("#images .gallery canvas").nth(1)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] - 3)
    assert page.locator("#place").inner_text() == "row 4, column 6"
    assert page.locator("#code-title").inner_text() == f"Code {data['images']['codes'][1][-1]}"
