"""A database with a few photos."""

from tests.support.stored_photos import database  # noqa: F401  # a fixture
