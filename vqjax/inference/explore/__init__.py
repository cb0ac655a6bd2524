"""A page that shows the codes of a run in a browser: one HTML file that needs no server and no network."""

from vqjax.inference.explore.contents import PriorSamples, Source
from vqjax.inference.explore.page import write_page

__all__ = ["PriorSamples", "Source", "write_page"]
