"""What a prior is asked for and cannot do is refused in one line, before anything is compiled."""

import numpy as np
import pytest
from priors import LAYOUTS, K
from priors import prior as made

from vqjax.networks.priors import requests
from vqjax.system.errors import InputError

LENGTH = LAYOUTS["single"].length
ANY = {"order": "any", "random_share": 0.5}


def prior(name, **fields):
    return made(name, LAYOUTS["single"], **fields)


def refused(check, *arguments, match):
    with pytest.raises(InputError, match=match) as error:
        check(*arguments, "--flag")
    assert len(str(error.value).splitlines()) == 1 and str(error.value).startswith("--flag")


def known(*places):
    codes = np.full((2, LENGTH), -1)
    codes[:, list(places)] = 3
    return codes


@pytest.mark.parametrize("name, fields", [("pixelcnn", {}), ("transformer", {"order": "raster"})])
def test_a_raster_prior_continues_and_does_no_more(name, fields):
    raster = prior(name, **fields)
    for codes in (known(), known(0, 1, 2), known(*range(LENGTH))):
        requests.check_known(raster, codes, "--flag")
    requests.check_steps(raster, LENGTH, "--flag")
    requests.check_order(raster, np.arange(LENGTH), "--flag")
    only = "raster order alone, a transformer with order='any' and random_share > 0 knows any$"
    refused(requests.check_known, raster, known(1), match=f"expected to keep codes from the upper left on.*{only}")
    refused(requests.check_steps, raster, LENGTH - 1, match=f"=11: expected 12, one code per step; .*{only}")
    refused(requests.check_order, raster, np.arange(LENGTH)[::-1], match=f"expected raster order; .*{only}")


def test_a_prior_in_any_order_does_all():
    free = prior("transformer", **ANY)
    requests.check_known(free, known(1, 5), "--flag")
    requests.check_steps(free, 1, "--flag")
    requests.check_order(free, np.tile(np.arange(LENGTH)[::-1], (2, 1)), "--flag")
    requests.check_guidance(free, 2.5, "--flag")


@pytest.mark.parametrize("name", ["pixelcnn", "transformer"])
def test_what_no_prior_can_do_is_refused(name):
    each = prior(name)
    refused(requests.check_known, each, np.zeros((2, 3)), match=r"expected 12 codes per image, .* shape \(2, 3\)$")
    refused(requests.check_known, each, known(0) + K, match="expected codes from 0 to below K in 3 x 4 codes of 11")
    refused(requests.check_known, each, known(0) - 1, match="found -2 to 2$")
    for order in (np.zeros(LENGTH, int), np.arange(LENGTH - 1), np.arange(LENGTH) + 1):
        refused(requests.check_order, each, order, match="expected a permutation of the numbers 0 to 11$")
    for steps in (0, LENGTH + 1):
        refused(requests.check_steps, each, steps, match=f"={steps}: expected from 1 to 12, the number of codes")


def test_guidance_needs_classes_and_images_without():
    requests.check_guidance(prior("pixelcnn"), 1, "--flag")
    refused(
        requests.check_guidance, prior("pixelcnn"), 2.0, match="=2.0: expected 1, this prior knows no images without"
    )
    for name in ("pixelcnn", "transformer"):
        refused(requests.check_guidance, prior(name, num_classes=0), 0.5, match="=0.5: expected 1, .* has no classes")
