"""An HTML page that needs no other file, readable on a phone and on paper."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import pandas as pd

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 78em; margin: 0 auto; padding: 1em; }
h1 { margin: .2em 0; } h2 { margin: 1.8em 0 .4em; border-bottom: 1px solid #ddd; }
nav a { margin-right: 1em; white-space: nowrap; } a { color: #0b5cad; }
.scroll { overflow-x: auto; } img { max-width: 100%; height: auto; }
@media screen and (max-width: 700px) { .scroll img { max-width: none; width: 50em; } }
table { border-collapse: collapse; font-size: .85em; margin: .6em 0; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid #e5e5e5; padding: .25em .7em; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; } .note { color: #555; font-size: .9em; }
details { margin: .6em 0; } summary { cursor: pointer; }
.warning { border-left: 4px solid #d55e00; padding-left: .7em; }
@page { margin: 15mm; }
@media print { nav { display: none; } body { font-size: 11pt; max-width: none; padding: 0; }
  details::details-content { content-visibility: visible; height: auto; } summary { font-weight: bold; }
  h2, .note, thead { break-after: avoid; } img, tr, p { break-inside: avoid; } img { max-height: 230mm; }
  .scroll { overflow: visible; } td, th { padding: .2em .4em; white-space: normal; }
  table { font-size: 7.5pt; } td { overflow-wrap: anywhere; } }
"""

_KEY: Final = "stalign-made-from"
_HEAD_CHARACTERS: Final = 4096


@dataclass(frozen=True)
class Section:
    """A heading and the HTML below it."""

    title: str
    body: str


def html_page(title: str, lead: str, sections: Sequence[Section], made_from: str = "") -> str:
    """The page's text: title, a line below it, links to the sections, the sections.

    Parameters
    ----------
    title, lead, sections
        What a reader sees.
    made_from
        Key of all that the page was made from, which `key_of_page` reads again.
    """
    anchors = {section.title: f"s{number}" for number, section in enumerate(sections)}
    links = " ".join(f'<a href="#{anchors[each.title]}">{escape(each.title)}</a>' for each in sections)
    bodies = "\n".join(
        f'<section><h2 id="{anchors[each.title]}">{escape(each.title)}</h2>\n{each.body}</section>' for each in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="{_KEY}" content="{escape(made_from)}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="note">{escape(lead)}</p>\n<nav>{links}</nav>\n{bodies}\n</body></html>\n'
    )


def key_of_page(path: Path) -> str:
    """What `html_page` was told that a page is made from; empty where there is no such page."""
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        found = re.search(rf'<meta name="{_KEY}" content="([^"]*)">', file.read(_HEAD_CHARACTERS))
    return found[1] if found else ""


def html_table(table: pd.DataFrame) -> str:
    """A table that scrolls sideways by itself on a narrow screen; missing values are dashes."""
    text = table.to_html(index=False, border=0, na_rep="–", float_format=_number)
    return f'<div class="scroll">{text}</div>'


def picture(png: bytes, title: str) -> str:
    """A picture inside the page, which a narrow screen shows large and scrolls sideways."""
    encoded = base64.b64encode(png).decode()
    return f'<div class="scroll"><img alt="{escape(title)}" src="data:image/png;base64,{encoded}"></div>'


def words(lines: Sequence[str], kind: str = "note") -> str:
    """Lines of text, each a paragraph."""
    return "".join(f'<p class="{escape(kind)}">{escape(line)}</p>' for line in lines)


def folded(title: str, body: str) -> str:
    """HTML that a click unfolds; it is unfolded on paper."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _number(value: float) -> str:
    """Three decimals, as in columns of metrics; none of large numbers, more of small ones."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if 0 < abs(value) < 0.001 else f"{value:.3f}"
