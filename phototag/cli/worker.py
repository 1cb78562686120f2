"""`phototag worker`."""

from __future__ import annotations

import threading

import click

from phototag.cli.messages import say
from phototag.cli.options import DeviceOptions, db_option, device_options
from phototag.cli.tag import open_store
from phototag.cli.watch import stopped_by_signals


@click.command()
@db_option
@click.option("--once", is_flag=True, help="Exit once nothing is left to do.")
@device_options
def worker(db: str | None, once: bool, options: DeviceOptions) -> None:
    """Tag what 'phototag tag --cluster queue' puts into a PostgreSQL database, until it is stopped.

    Any number of workers may run, on any machine that has the photos and the model at the same paths. Ctrl-C (or
    SIGTERM) gives back what is in hand; a worker that dies has it taken over by another.
    """
    from phototag.cluster import QueueWorker
    from phototag.runtime import use_cores

    if options.jobs is not None:
        use_cores(options.jobs)
    stopping = threading.Event()
    with (
        open_store(db, dry_run=False) as store,
        QueueWorker(store, options.worker_setup, stop=stopping.is_set, say=say) as found,
        stopped_by_signals(stopping.set),
    ):
        found.run(once=once)
    total = found.total
    say(f"{total.tagged:,} tagged, {total.failed:,} failed.")
