"""Throughput of phototag beside the usual loop."""
