"""SVG of matplotlib for the inside of a page: text stays text, names and styles stay inside."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# matplotlib's settings while such a figure is drawn and written.
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ufd",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    # A third of a point: below what a reader sees, and a tenth of the points.
    "path.simplify_threshold": 0.3,
}
_REFERENCE = re.compile(r"#([\w.-]+)")
_ROUNDED = ("d", "x", "y", "width", "height", "transform")


def inline_svg(
    figure: Figure, prefix: str, label: str, linked: Mapping[str, str] | None = None
) -> str:
    """A figure as SVG, the same bytes every time.

    Several figures share the page's names and styles. So only ids that are referred to stay, with
    the prefix, and those of linked curves and points; rules for every element of the page go.

    Args:
        figure: Drawn under ``SETTINGS``, still in force.
        prefix: What the ids of this figure start with.
        label: Its name for those who do not see it.
        linked: Hints that pop up over the groups ``curve-<key>`` and ``point-<key>``.
    """
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    root = ET.fromstring(stream.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    hints = {f"{kind}-{k}": v for k, v in (linked or {}).items() for kind in ("curve", "point")}
    elements = list(root.iter())
    own = {element.attrib["id"] for element in elements if "id" in element.attrib} - hints.keys()
    for element in elements:
        _clean(element, own, prefix)
    named = {element.attrib["id"]: element for element in elements if "id" in element.attrib}
    for name, hint in hints.items():
        if name in named:
            _own_markers(named[name], named)
            title = ET.Element("title")
            title.text = hint
            named[name].insert(0, title)
    used = {found for e in elements for v in e.attrib.values() for found in _REFERENCE.findall(v)}
    for name, element in named.items():
        if name not in hints and name not in used:
            del element.attrib["id"]
    del root.attrib["width"], root.attrib["height"]
    root.set("class", "plot" if linked is None else "plot linked")
    root.set("role", "img" if linked is None else "group")
    root.set("aria-label", label)
    return ET.tostring(root, encoding="unicode")


def _clean(element: ET.Element, own: set[str], prefix: str) -> None:
    """Drop namespaces, fonts and digits; give the figure's own ids their prefix."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = dict(element.attrib)
    element.attrib.clear()
    for key, value in attributes.items():
        bare = key.rpartition("}")[2]
        if bare in ("href", "clip-path", "style"):
            value = _REFERENCE.sub(lambda m: f"#{prefix * (m[1] in own)}{m[1]}", value)
        if bare == "id" and value in own:
            value = prefix + value
        if bare in _ROUNDED:
            value = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}", value)
        if bare == "style":
            # The page names the font: not every device has this one.
            value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
            value = re.sub(r"font-family: [^;]*;? ?", "", value)
        if bare not in ("target", "version"):
            element.set(bare, value)
    for part in ("text", "tail"):
        if not (getattr(element, part) or "").strip():
            setattr(element, part, None)


def _own_markers(group: ET.Element, named: dict[str, ET.Element]) -> None:
    """Give a group its own copies of shared markers: what is shared cannot light up alone."""
    for use in list(group.iter("use")):
        marker = named[use.attrib.pop("href").removeprefix("#")]
        use.tag = "path"
        use.set("transform", f"translate({use.attrib.pop('x')} {use.attrib.pop('y')})")
        use.set("d", marker.attrib["d"])
