"""What a check of labelled pictures found: as an HTML page with the pictures, and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from phototag.dataset import KIND_WORDS, Checked, Kind, LabelledPicture, Suspect, groups_line
from phototag.paths import PhotoPath
from phototag.report.page import Block, Card, Page, Section, cards, folded, paragraph, table
from phototag.report.photographs import small_copies
from phototag.taxonomy import as_written
from phototag.text import Column, numbers, percent
from phototag.text import table as text_table

_LISTED = 20
# Small copies lie in the page itself: some 6 kB each.
_SHOWN_OF_A_KIND = 120
_SHOWN_SERIES = 12
_SHOWN_OF_A_SERIES = 6
_WIDEST = 44

_ADVICE = {
    Kind.COPY_OTHER_CLASS: "Training leaves all of them out. Leave the picture in the right class only.",
    Kind.WRONG_LABEL: "Another class is as probable, by pictures of other folds, as it is for its own pictures.",
    Kind.NEAR_OTHER_CLASS: "One of each two is labelled wrong, or both show a bit of each.",
    Kind.FAR: "Drawings, title pages, things of no class: they teach nothing, or the wrong thing.",
    Kind.LEAK: "Figures of a validation that shares pictures with the training are too good.",
    Kind.COPY: "Training counts each content once.",
    Kind.NEAR: "Training keeps them on one side of every split, and learns from each: they are not in the CSV.",
}


def suspects_text(found: Checked) -> str:
    """Return what was found for a terminal: the worst pictures, then counts, classes of few groups, and series."""
    lines = text_table(
        [
            Column("picture", most=_WIDEST),
            Column("label", most=_WIDEST),
            Column("why"),
            *numbers(("score", 6)),
            Column("rather, or like", most=_WIDEST),
        ],
        [
            (
                suspect.picture.path.name,
                _label(suspect.picture),
                str(suspect.kind),
                f"{suspect.score:.2f}",
                suspect.suggestion or (suspect.other.name if suspect.other else ""),
            )
            for suspect in found.suspects[:_LISTED]
        ],
    )
    if len(found.suspects) > _LISTED:
        lines.append(f"and {len(found.suspects) - _LISTED:,} more")
    counts = text_table(
        [*numbers("suspects"), Column("why"), Column("in words")],
        [(f"{count:,}", str(kind), KIND_WORDS[kind]) for kind, count in found.counts.items()],
    )
    few = text_table(
        [*numbers("groups", "pictures"), Column("classes of fewer than three groups")],
        [(str(groups), str(pictures), name) for name, (groups, pictures) in list(found.few_groups.items())[:_LISTED]],
    )
    if len(found.few_groups) > _LISTED:
        few.append(f"and {len(found.few_groups) - _LISTED:,} more classes")
    parts = [lines if found.suspects else ["Nothing suspect."], counts if found.suspects else []]
    parts += [few if found.few_groups else [], [groups_line(found.pictures)]]
    return "\n\n".join("\n".join(part) for part in parts if part)


def build_suspects_page(found: Checked) -> Page:
    """Build the page of a check, the worst first."""
    total = len(found.pictures)
    wrong = found.counts.get(Kind.WRONG_LABEL, 0)
    headline = [
        Card("Pictures", f"{total:,}", groups_line(found.pictures)),
        Card("Likely wrong labels", f"{wrong:,}", f"{percent(wrong / total)} of the pictures"),
        *(
            Card(str(kind).replace("_", " ").capitalize(), f"{count:,}", KIND_WORDS[kind])
            for kind, count in found.counts.items()
            if kind is not Kind.WRONG_LABEL
        ),
    ]
    note = (
        "A list to look through, not a verdict. Remove the rows of pictures that are fine from the CSV (--csv), and "
        "give it to “phototag train --without”."
    )
    sections = [Section("Result", "result", [cards(headline), paragraph(note, note=True)])]
    for kind in found.counts:
        sections.append(_kind(kind, [suspect for suspect in found.suspects if suspect.kind is kind]))
    if found.few_groups:
        sections.append(_few(found.few_groups))
    if found.series:
        sections.append(_series(found.series))
    compared = [f"Validation: {found.val.absolute()}"] if found.val else []
    return Page(
        title=f"Check of {found.source.name}",
        subtitle=f"{len(found.suspects):,} suspects among {total:,} labelled pictures",
        sections=sections,
        footer=[f"Data: {found.source.absolute()}", *compared],
    )


def _kind(kind: Kind, suspects: Sequence[Suspect]) -> Section:
    shown = suspects[:_SHOWN_OF_A_KIND]
    of_all = f" Shown are the worst {len(shown):,} of {len(suspects):,}." if len(shown) < len(suspects) else ""
    copies = small_copies([(suspect.picture.path, _lines(suspect)) for suspect in shown])
    words = KIND_WORDS[kind]
    title = f"{words[0].upper()}{words[1:]}: {len(suspects):,}"
    return Section(title, str(kind).replace("_", "-"), [paragraph(_ADVICE[kind] + of_all, note=True), copies])


def _lines(suspect: Suspect) -> tuple[str, ...]:
    lines = [f"is {as_written(_label(suspect.picture))}"]
    if suspect.suggestion:
        lines.append(f"rather {as_written(suspect.suggestion)}")
    if suspect.other:
        lines.append(f"like {suspect.other.name}")
    return tuple(lines)


def _few(classes: dict[str, tuple[int, int]]) -> Section:
    rows = [[as_written(name), str(groups), str(pictures)] for name, (groups, pictures) in classes.items()]
    note = "What is learned of a class by one or two series holds for these; photos of other series may look different."
    return Section(
        f"Classes of few groups: {len(rows):,}",
        "few-groups",
        [paragraph(note, note=True), table(["Class", "groups", "pictures"], rows, sortable=True)],
    )


def _series(series: Sequence[tuple[LabelledPicture, ...]]) -> Section:
    blocks: list[Block] = [
        paragraph("Pictures that belong together stay on one side of every split. The largest series:", note=True)
    ]
    for group in series[:_SHOWN_SERIES]:
        pictures: list[tuple[PhotoPath, tuple[str, ...]]] = [
            (picture.path, ()) for picture in group[:_SHOWN_OF_A_SERIES]
        ]
        blocks.append(folded(f"{as_written(_label(group[0]))}: {len(group):,} pictures", small_copies(pictures)))
    return Section(f"Series: {len(series):,}", "series", blocks)


def _label(picture: LabelledPicture) -> str:
    return "/".join(filter(None, (picture.superclass, picture.subclass))) or "no class"
