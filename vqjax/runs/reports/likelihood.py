"""Figures of a prior's likelihood in eval.json, for a person."""

from collections.abc import Mapping
from typing import Any

from vqjax.runs.reports.tables import format_cell, markdown_table

_GIVEN_CLASS = (
    "The prior knows the class: bits_per_dim_of_images bounds -log2 p(image | class), without the bits of the class."
)


def describe_steps(figures: Mapping[str, Any]) -> list[str]:
    """Return a line of the nats per code by the number of steps; none for a run without them."""
    if not (measured := figures.get("nats_by_steps")):
        return []
    by_steps = ", ".join(f"{nats:.3f} in {steps}" for steps, nats in measured.items())
    return [f"nats per code in random orders, by the number of steps: {by_steps}"]


def likelihood_section(config: Mapping[str, Any], run: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """Return the paragraphs of a run's report on likelihood: what is bounded, and nats per code by steps."""
    section = []
    if "bits_per_dim_of_images" in figures and config["model"].get("class_conditional") and run["class_names"]:
        section.append(_GIVEN_CLASS)
    if measured := figures.get("nats_by_steps"):
        predicted = figures["nats_by_steps_predicted"]
        rows = [[steps, format_cell(nats), format_cell(predicted[steps])] for steps, nats in measured.items()]
        section.append(markdown_table(["steps", "nats per code, random orders", "predicted by validation"], rows))
    return section
