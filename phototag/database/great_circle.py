"""Distances on the earth, for SQL too: SQLite may be built without trigonometry."""

from __future__ import annotations

import math

EARTH_KM = 6371.0088  # mean radius (IUGG)
KM_FUNCTION = "phototag_km"
"""What `great_circle_km` is called in SQLite; every connection knows it."""


def great_circle_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the distance between two places in degrees, by the haversine formula (Sinnott, Sky & Telescope 1984)."""
    one, other = math.radians(latitude), math.radians(other_latitude)
    rise, run = (other - one) / 2, math.radians(other_longitude - longitude) / 2
    half = math.sin(rise) ** 2 + math.cos(one) * math.cos(other) * math.sin(run) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
