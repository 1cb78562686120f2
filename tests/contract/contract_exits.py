"""Situations in which a script looks at the exit code of `phototag`; they run in the library of contract_world.py."""

from __future__ import annotations

from collections.abc import Iterator

from contract_commands import walk

Situation = tuple[str, tuple[str, ...], str | None]

# What each command needs so that it gets as far as opening the database, the model or the data.
_WITH_DATABASE = (
    ("query",),
    ("status",),
    ("retag",),
    ("novel",),
    ("novel", "show", "1"),
    ("novel", "name", "1", "a/b"),
    ("audit", "truth", "photos/truth.csv"),
    ("audit", "sample"),
    ("audit", "review"),
    ("audit", "report"),
    ("export", "labels"),
    ("model", "diff", "tiny-heads", "tiny-full"),
    ("serve", "--no-open"),
    ("db", "info"),
    ("db", "upgrade"),
    ("db", "backup"),
    ("db", "check"),
)
_WITH_MODEL = (
    ("tag", "photos", "--model", "nosuch"),
    ("watch", "photos", "--once", "--model", "nosuch"),
    ("retag", "--model", "nosuch"),
    ("novel", "--model", "nosuch"),
    ("evaluate", "photos/truth.csv", "--model", "nosuch"),
    ("model", "show", "nosuch"),
    ("model", "use", "nosuch"),
    ("model", "remove", "nosuch", "--yes"),
    ("model", "tune", "nosuch", "--target-precision", "0.9"),
    ("model", "diff", "tiny-heads", "nosuch"),
    ("train", "more", "--extend", "nosuch"),
)
_WITH_DATA = (
    ("tag", "nowhere"),
    ("watch", "nowhere", "--once"),
    ("train", "nowhere", "--no-pretrained"),
    ("evaluate", "nowhere"),
    ("compare", "nowhere", "--backbone", "test_vit", "--backbone", "test_efficientnet", "--no-pretrained"),
    ("audit", "truth", "nowhere"),
)
_QUICK = ("--device", "cpu", "--runtime", "torch", "--jobs", "1")
_OTHERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("an unreadable photo that was given up", ("tag", "photos", *_QUICK)),
    ("an unreadable photo", ("tag", "photos", "--force", *_QUICK)),
    ("all photos unchanged", ("tag", "photos/red0.png", *_QUICK)),
    ("an empty folder", ("tag", "empty", *_QUICK)),
    ("an empty folder", ("watch", "empty", "--once", *_QUICK)),
    ("an empty folder", ("train", "empty", "--no-pretrained")),
    ("an empty folder", ("evaluate", "empty", "--model", "tiny-heads")),
    ("photos found", ("query", "--subclass", "red")),
    ("no photo found", ("query", "--subclass", "nosuch")),
    ("no photo found", ("query", "--count", "--subclass", "nosuch")),
    ("a wrong value", ("query", "--format", "xml")),
    ("a wrong value", ("query", "--sort", "colour")),
    ("a wrong value", ("query", "--min-score", "2")),
    ("a gate missed", ("audit", "truth", "photos/wrong.csv", "--fail-under", "subclass_accuracy=1.0")),
    ("a gate met", ("audit", "truth", "photos/truth.csv", "--fail-under", "subclass_accuracy=0.01")),
    ("an unknown gate", ("audit", "truth", "photos/truth.csv", "--fail-under", "beauty=0.5")),
    ("a gate missed", ("audit", "report", "--fail-under", "subclass_accuracy=1.0")),
    ("a gate met", ("audit", "report", "--fail-under", "superclass_accuracy=0.01")),
    ("an unknown gate", ("audit", "report", "--fail-under", "beauty=0.5")),
    ("an unknown sample", ("audit", "report", "--sample", "nosuch")),
    ("an unknown sample", ("audit", "review", "nosuch", "--no-view")),
    ("an unknown sample", ("audit", "sample", "nosuch", "--remove")),
    ("options that exclude each other", ("audit", "sample", "--list", "--size", "5")),
    ("options that exclude each other", ("novel", "--sheets", "there", "--no-sheets")),
    ("options that exclude each other", ("train", "data", "--val", "data", "--val-fraction", "0.2")),
    ("options that exclude each other", ("train", "more", "--extend", "tiny-heads", "--lr", "0.1")),
    ("an option that needs another", ("audit", "report", "--half-width", "0.1")),
    ("a format that has no end", ("watch", "photos", "--format", "json")),
    ("a page of another suffix", ("evaluate", "data", "--report", "page.pdf")),
    ("a page of another suffix", ("audit", "report", "--report", "page.pdf")),
    ("an unknown group", ("novel", "show", "99")),
    ("no label", ("novel", "name", "1", "nolabel")),
    ("no group found", ("novel", "--no-sheets", "--under", "photos/red0.png")),
    ("nothing to decide", ("retag", "--under", "empty")),
    ("scores of another model only", ("retag", "--model", "tiny-extended", "--dry-run")),
    ("scores of another model only", ("model", "diff", "tiny-extended", "builtin")),
    ("nothing to export", ("export", "labels", "--under", "empty")),
    ("a model that exists", ("train", "data", "--output", "tiny-heads")),
    ("a model that exists", ("model", "tune", "tiny-heads", "--target-precision", "0.6", "--output", "tiny-tuned")),
    ("the built-in model", ("model", "remove", "builtin", "--yes")),
    ("only one backbone", ("compare", "data", "--backbone", "test_vit", "--no-pretrained")),
    ("a backup that exists", ("db", "backup", "photos/truth.csv")),
    ("a backup", ("db", "backup", "copy.db")),
    ("no database at all", ("db", "check", "--db", "photos/truth.csv")),
    ("a sound database", ("db", "check")),
    ("tags that contradict their model", ("db", "check", "--db", "contradicting.db")),
    ("a password that is missing", ("serve", "--no-open", "--host", "0.0.0.0")),
    ("the watcher's state", ("status",)),
    ("the version", ("--version",)),
    ("no command", ()),
    ("no such command", ("fly",)),
    ("no such command", ("model", "fly")),
)


def situations() -> Iterator[Situation]:
    """Yield a name, the words on the command line and what is typed, for each situation."""
    for context in walk():
        words = tuple(context.command_path.split()[1:])
        yield "unknown option", (*words, "--no-such-option"), None
    for words in _WITH_DATABASE:
        yield "no database", (*words, "--db", "nowhere.db"), None
    for words in _WITH_MODEL:
        yield "no such model", words, None
    for words in _WITH_DATA:
        yield "no such folder", words, None
    for name, words in _OTHERS:
        yield name, words, None
    yield "a question that is denied", ("model", "remove", "tiny-extended"), "n\n"
    yield "nothing reviewed", ("audit", "review", "first", "--no-view"), "q\n"
    yield "a model that is removed", ("model", "remove", "tiny-extended", "--yes"), None
