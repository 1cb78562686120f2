"""Migrations of phototag's database, run by `phototag.store.schema`; in a wheel, `phototag.migrations`."""
