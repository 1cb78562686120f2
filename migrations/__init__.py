"""Migrations of phototag's database, run by `phototag.database.schema`; in a wheel, `phototag.migrations`."""
