"""Narrow by the folder that the file lies in, step by step down the tree."""

from __future__ import annotations

import re

import numpy as np

from phototag.catalog.facets.facet import Choice, Facet, Group, Values
from phototag.catalog.folders import folder_key
from phototag.catalog.snapshot import Bools, Snapshot
from phototag.errors import UsageError

_FOLDER_KEY = re.compile(r"[0-9a-f]{16}")


class ByFolder(Facet):
    """Photos anywhere under a folder; `folder` is its key, as `folder_key` gives it."""

    name, title, params = "folder", "Folder", ("folder",)

    def check(self, values: Values) -> None:
        if not _FOLDER_KEY.fullmatch(values.get("folder", "0" * 16)):
            raise UsageError("folder: not a key of a folder; take one from the list of folders")

    def mask(self, snapshot: Snapshot, values: Values) -> Bools:
        tree = snapshot.by_path.tree
        folder = tree.find(values["folder"])
        first, end = (0, 0) if folder is None else (folder, tree.ends[folder])
        return (snapshot.by_path.folder >= first) & (snapshot.by_path.folder < end)

    def group(self, snapshot: Snapshot, values: Values, found: Bools) -> Group:
        """Return the way down to the chosen folder, and the folders inside it; else the topmost ones."""
        tree = snapshot.by_path.tree
        direct = np.bincount(snapshot.by_path.folder[found], minlength=len(tree.paths))
        before = np.concatenate([[0], np.cumsum(direct)])
        index = tree.find(values.get("folder", ""))
        path = () if index is None else tree.way_to(index)
        inside = []
        for child, name in tree.choices(tree.top if index is None else index):
            photos = int(before[tree.ends[child]] - before[child])
            if photos:
                key = folder_key(tree.paths[child])
                inside.append(Choice(key=f"folder-{key}", label=name, count=photos, to={"folder": key}, hint=name))
        if not path or index is None:
            return Group(self, inside)
        choices = [Choice(key="folder-all", label="All folders", count=None, to={}, style="up")]
        for step, name in path:
            key, chosen = folder_key(tree.paths[step]), step == index
            choices.append(
                Choice(
                    key=f"folder-{key}",
                    label=name,
                    count=int(before[tree.ends[step]] - before[step]) if chosen else None,
                    to={} if chosen else {"folder": key},
                    chosen=chosen,
                    style="" if chosen else "up",
                    hint=name,
                    below=inside if chosen else (),
                )
            )
        return Group(self, choices)

    def words(self, snapshot: Snapshot, values: Values) -> str:
        tree = snapshot.by_path.tree
        index = tree.find(values["folder"])
        return "unknown" if index is None else tree.way_to(index)[-1][1]


FACET = ByFolder()
