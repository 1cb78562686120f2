"""Remove photos that have been missing for long, but not what people said, what audits count and what may come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from phototag.library import is_gone
from phototag.store import Store
from phototag.tagging.missing import is_below, unmounted_points


@dataclass
class PrunePlan:
    """Ids of missing photos to `remove`, and how many are kept and why.

    `reviewed`: people said something of them. `sampled`: they are in a sample for an audit. `away`: they lie on a disk
    that is not mounted. `back`: there is a file again, which the next `phototag tag` finds.
    """

    remove: list[int] = field(default_factory=list)
    reviewed: int = 0
    sampled: int = 0
    away: int = 0
    back: int = 0


def plan_prune(store: Store, before: datetime, *, reviews: bool = False) -> PrunePlan:
    """Return what to do with the photos that have been missing since `before` or longer; `reviews`: reviewed ones go.

    Raises:
        StoreError: the database cannot be read.
    """
    plan, unmounted = PrunePlan(), unmounted_points(store)
    for page in store.photos.missing_before(before):
        for photo in page:
            if photo.sampled:
                plan.sampled += 1
            elif photo.reviewed and not reviews:
                plan.reviewed += 1
            elif is_below(photo.path, unmounted):
                plan.away += 1
            elif not is_gone(photo.path):
                plan.back += 1
            else:
                plan.remove.append(photo.id)
    return plan
