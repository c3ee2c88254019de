"""A result's charts as pictures, for pages that cannot draw: the report's own charts, in its light colours."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import vl_convert

from eventmark.report.section_charts import drawn_chart
from eventmark.results.results import Chart

WIDTH = 760
_COLOUR = re.compile(r"(--[\w-]+): (#[0-9a-f]{6});")
_VARIABLE = re.compile(r"var\((--[\w-]+)\)")


def svg_of(chart: Chart) -> str:
    """The chart as SVG."""
    drawn = drawn_chart(chart).properties(title=chart.title, width=WIDTH, background="white")
    colours = _light_colours()
    text = _VARIABLE.sub(lambda found: colours[found[1]], json.dumps(drawn.to_dict()))
    svg: str = vl_convert.vegalite_to_svg(text)
    return svg


def _light_colours() -> dict[str, str]:
    """The style sheet's first value of each: the dark ones come after."""
    sheet = files("eventmark.report").joinpath("assets", "report.css").read_text(encoding="utf-8")
    colours: dict[str, str] = {}
    for name, value in _COLOUR.findall(sheet):
        colours.setdefault(name, value)
    return colours
