"""Charts and pages: drawings that hold what they are given, and pages that nothing can be smuggled into."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from phototag.errors import UsageError
from phototag.evaluation.curves import Calibrated
from phototag.report import blocks, html_environment, page, plots
from phototag.report.plots import Axis, Estimate, Series

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert('1')</script> & \"quoted\""


def drawn(svg: Markup) -> ElementTree.Element:
    """The drawing, which has to be well-formed."""
    return ElementTree.fromstring(svg)


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in svg.iter(f"{SVG}text")]


def line(**changes: object) -> Markup:
    series = Series("a", [0.0, 1.0, 2.0], [0.1, 0.5, 0.9], low=[0, 0.4, 0.8], high=[0.2, 0.6, 1.0])
    plain = {"title": "T", "description": "D", "x": Axis("epoch", 0, 2), "y": Axis("share", 0, 1, percent=True)}
    return plots.line_chart([series], **{**plain, **changes})  # type: ignore[arg-type]


def test_every_chart_says_what_it_shows() -> None:
    charts = [
        line(title=NASTY, description="told"),
        plots.reliability_diagram(
            [Calibrated("a", [0.2, 0.9], [0.3, 0.8], [4, 9], [0.1, 0.6], [0.6, 0.9])], title=NASTY, description="told"
        ),
        plots.interval_chart([Estimate("a", 0.5, 0.4, 0.6)], title=NASTY, description="told", axis=Axis("x", 0, 1)),
        plots.heat_map(np.array([[3, 1], [0, 2]]), ["a", "b"], title=NASTY, description="told"),
    ]
    for chart in charts:
        root = next(each for each in drawn(chart).iter(f"{SVG}svg") if each.get("role"))
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None and title.text == NASTY
        assert description is not None and description.text == "told"
        assert root.get("role") == "img"
        assert root.get("aria-labelledby", "").split() == [title.get("id"), description.get("id")]


def test_points_lie_where_their_values_are() -> None:
    path = next(each for each in drawn(line()).iter(f"{SVG}path") if each.get("class") == "line s1")
    points = np.array([[float(part) for part in pair.split()] for pair in (path.get("d") or "")[1:].split("L")])
    assert np.all(np.diff(points[:, 0]) == pytest.approx(np.diff(points[:, 0])[0], abs=0.02))
    # Upwards in values is downwards in the drawing.
    assert np.diff(points[:, 1]) == pytest.approx([np.diff(points[:, 1])[0]] * 2, abs=0.02)
    assert points[0, 1] > points[-1, 1]


def test_nothing_is_drawn_outside_the_drawing() -> None:
    wild = Series("a", [-5.0, 1.0, 50.0], [-3.0, 0.5, 9.0])
    chart = plots.line_chart([wild], title="T", description="D", x=Axis("x", 0, 2), y=Axis("y", 0, 1))
    path = next(each for each in drawn(chart).iter(f"{SVG}path") if "line" in (each.get("class") or ""))
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d") or "")]
    assert min(numbers) >= 0 and max(numbers) <= 440


def test_one_point_is_a_mark_and_none_is_no_error() -> None:
    for points in ([0.5], []):
        chart = plots.line_chart(
            [Series("a", points, points)], title="T", description="D", x=Axis("x", 0, 1), y=Axis("y", 0, 1)
        )
        marks = [each for each in drawn(chart).iter(f"{SVG}path") if "mark" in (each.get("class") or "")]
        assert len(marks) == len(points)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis("", 0, 1, percent=True), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]),
        (Axis("", 0.9, 0.96, percent=True), ["90 %", "92 %", "94 %", "96 %"]),
        (Axis("", 0.991, 0.9935, percent=True), ["99.10 %", "99.15 %", "99.20 %", "99.25 %", "99.30 %", "99.35 %"]),
        (Axis("", 1, 3, whole=True), ["1", "2", "3"]),
        (Axis("", 0, 30, whole=True), ["0", "10", "20", "30"]),
        (Axis("", 2.31, 2.78), ["2.4", "2.5", "2.6", "2.7"]),
    ],
)
def test_ticks_are_round_and_few(axis: Axis, expected: list[str]) -> None:
    assert [axis.text(tick) for tick in axis.ticks()] == expected


def test_an_axis_around_values_holds_them_and_stays_a_share() -> None:
    for values in ([0.5], [0.0, 1.0], [0.991, 0.992], []):
        axis = Axis.around("x", values, percent=True, least=0.02)
        assert 0.0 <= axis.low < axis.high <= 1.0
        assert all(axis.low <= value <= axis.high for value in values)
        assert 2 <= len(axis.ticks()) <= 8


def test_series_differ_by_more_than_colour() -> None:
    names = [f"backbone {number}" for number in range(4)]
    html = plots.legend(names)
    assert all(name in html for name in names)
    assert len(set(re.findall(r'stroke-dasharray="([^"]+)"', html))) == 3  # the first line is whole
    assert len({re.sub(r"[\d.]+", "", path) for path in re.findall(r'd="(M15[^"]+)"', html)}) == 4


def test_reliability_is_marks_with_intervals_and_no_line() -> None:
    curves = [Calibrated(name, [0.7, 0.9], [0.6, 0.8], [40, 41], [0.5, 0.7], [0.7, 0.9]) for name in "ab"]
    root = drawn(plots.reliability_diagram(curves, title="T", description="D"))
    kinds = [each.get("class") or "" for each in root.iter()]
    assert sum(kind.startswith("mark") for kind in kinds) == sum(kind.startswith("whisker") for kind in kinds) == 4
    assert not any(kind.startswith("line") for kind in kinds)
    assert "50 %" in texts(root) and "40 %" not in texts(root)  # the axes begin where the labels do


def test_a_heat_map_of_many_classes_keeps_its_labels_apart() -> None:
    names = [f"class number {number}" for number in range(75)]
    counts = np.eye(75, dtype=np.int64) * 9
    counts[3, 70] = 1
    whole = drawn(plots.heat_map(counts, names, title="T", description="D", groups=["a"] * 40 + ["b"] * 35))
    columns, rows, root = whole.iter(f"{SVG}svg")
    cells = [each for each in root.iter(f"{SVG}rect") if "cell" in (each.get("class") or "")]
    assert len(cells) == 76  # empty cells are not drawn
    assert any("class number 3 predicted as class number 70: 1 of 10" in "".join(cell.itertext()) for cell in cells)
    heights = sorted(float(each.get("y") or 0) for each in rows.iter(f"{SVG}text"))
    assert len(heights) == len(texts(columns)) == 75
    assert min(np.diff(heights)) >= 12
    assert not texts(root)  # the labels are beside the cells, so that they can stay in sight
    assert root.get("width")  # it does not shrink on a phone, it scrolls


def test_too_many_classes_for_a_heat_map_are_cut_to_the_worst() -> None:
    size = blocks.HEAT_MAP_CLASSES + 30
    counts = np.eye(size, dtype=np.int64) * 5
    counts[7, 100] = 4
    html = "".join(blocks.confusion_map(counts, [f"a/{number}" for number in range(size)], title="T"))
    assert f"The {blocks.HEAT_MAP_CLASSES} of {size} subclasses" in html
    assert "7 predicted as 100: 4 of 9" in html


# -- pages


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag not in ("meta", "br", "hr", "img", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def example() -> page.Page:
    rows = [
        [NASTY, page.Cell("1", 1.0), page.share_cell(None)],
        ["b", page.Cell("2", 2.0), page.share_cell(0.5, "more")],
    ]
    shown = [
        page.cards([page.Card(NASTY, "95 %", NASTY)]),
        page.paragraph(NASTY),
        page.statements([NASTY]),
        page.figure(line(title=NASTY), title=NASTY, caption=NASTY, names=[NASTY, "b"], wide=True),
        page.table(["class", "n", NASTY], rows, caption=NASTY, sortable=True),
        page.matrix([[1, 2], [0, 4]], [NASTY, "b"], caption=NASTY),
        page.folded(NASTY, page.heading(NASTY)),
        page.definitions({NASTY: NASTY}),
    ]
    return page.Page(NASTY, NASTY, [page.Section(NASTY, "one", shown)] * 3, [NASTY])


def test_names_of_users_are_never_markup() -> None:
    text = page.render(example())
    assert "<script>alert" not in text
    parsed = _Page(text)
    assert parsed.tags.count("script") == 1  # the page's own
    assert not parsed.open


@pytest.mark.parametrize("package", ["phototag.report", "phototag.web"])
def test_every_template_escapes_what_it_is_given(package: str) -> None:
    environment = html_environment(package)
    assert environment.autoescape is True
    assert environment.from_string("{{ name }}").render(name="<b>") == "&lt;b&gt;"
    for name in environment.list_templates(extensions=["html"]):
        assert environment.loader is not None
        source = environment.loader.get_source(environment, name)[0]
        assert not re.search(r"\|\s*safe\b|autoescape", source), name


def test_a_page_needs_nothing_from_elsewhere() -> None:
    text = page.render(example())
    assert all(address.startswith("#") for address in _Page(text).addresses)
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text and 'name="viewport"' in text


def test_the_page_s_own_rules_allow_its_own_style_and_script() -> None:
    import base64
    import hashlib

    text = page.render(example())
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in text or f"{tag}-src 'sha256-{digest}'" in text
    assert not re.search(r'\sstyle="|\son\w+="', text)


def test_names_that_are_not_utf_8_do_not_stop_a_report(tmp_path: Path) -> None:
    broken = b"caf\xe9".decode("utf-8", "surrogateescape")
    whole = page.Page(broken, broken, [page.Section(broken, "one", [page.paragraph(broken)])], [broken])
    page.write_page(whole, tmp_path / "new" / "report.html")
    assert "caf?" in (tmp_path / "new" / "report.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        page.write_page(example(), tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
