"""`phototag serve`."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phototag.cli.messages import say
from phototag.cli.options import GivenPath, SharedOption, db_option, max_megapixels_option
from phototag.errors import ModelError, StoreError, UsageError

if TYPE_CHECKING:
    from phototag.catalog import Gallery
    from phototag.web import Password, Security

_LONGEST_LINE_BYTES = 1 << 16
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_WARNING = (
    "From other computers this page asks for a password: anyone who reaches this port could otherwise see all "
    "photos and change their tags. The connection is not encrypted: in a network that you do not trust keep to --host "
    "127.0.0.1 and come through a tunnel, as with ssh -L."
)


class _Size(click.ParamType[int]):
    """A number of bytes, as in 500M or 2G."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is not a size; write it as in 500M or 2G", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


@click.command()
@db_option
@click.option(
    "--host",
    cls=SharedOption,
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where to listen. Anything but this computer's own loopback needs a password.",
)
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    metavar="N",
    help="The port; 0 takes any free one. [default: 8765, or the next free one]",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Answer also to this name of the computer, as it stands in the address of the page. Repeatable.",
)
@click.option(
    "--password-file",
    type=GivenPath(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The password is the first line of FILE. [default: PHOTOTAG_PASSWORD, or asked for where one is needed]",
)
@click.option("--open/--no-open", "opens", default=None, help="Show the page in a browser. [default: if there is one]")
@click.option(
    "--cache-size",
    "cache_bytes",
    type=_Size(),
    default="1G",
    show_default=True,
    metavar="SIZE",
    help="How much of the disk small copies of the photos may take.",
)
@max_megapixels_option
@click.option("--verbose", is_flag=True, help="Say what is asked for.")
def serve(
    db: str | None,
    host: str,
    port: int | None,
    allowed_hosts: tuple[str, ...],
    password_file: Path | None,
    opens: bool | None,
    cache_bytes: int,
    max_megapixels: int,
    verbose: bool,
) -> None:
    """Show the library in a browser: look through it, review tags, and see how right they are.

    Prints the link to open on the first line of stdout; it lets in anyone who has it. Only this computer can reach
    the page, unless --host says otherwise. Ctrl-C ends it; nothing that was saved is lost.
    """
    from phototag.catalog import Gallery
    from phototag.imaging import Thumbnailer, Thumbnails
    from phototag.settings import cache_folder
    from phototag.store import Store
    from phototag.web import Context, Security, bind, create_app, warm_up
    from phototag.web import serve as run

    with ExitStack() as stack:
        store = stack.enter_context(Store.open(db, create=False))
        listener = stack.enter_context(bind(host, port))
        # No one should have to type a password before hearing that the rest cannot work.
        password = _password(host, password_file)
        address, actual_port = listener.getsockname()[:2]
        names = _names(host, address)
        gallery = Gallery(store, indexes=cache_folder() / "catalog")
        stack.callback(gallery.close)
        thumbnailer = Thumbnailer(max_megapixels=max_megapixels)
        thumbnails = Thumbnails(cache_folder() / "thumbnails", limit_bytes=cache_bytes, thumbnailer=thumbnailer)
        stack.callback(thumbnails.close)
        security = Security(port=actual_port, hosts=(*names, *map(_bracketed, allowed_hosts)), password=password)
        app = create_app(Context(store, gallery, thumbnails, security), verbose=verbose)
        warm_up(app)
        others = [*names[1:2], *_interface(address)]
        ready = _announcement(
            security, names[0], others, actual_port, str(store.location), opens=opens, port_wanted=port
        )
        if gallery.reading is None:
            say(*_lost(gallery))
        else:  # counts of a part of the library would say little
            threading.Thread(target=_say_what_is_lost, args=(gallery,), name="lost labels", daemon=True).start()
        run(app, listener, ready=ready, closing=stack.close)


def _say_what_is_lost(gallery: Gallery) -> None:
    gallery.wait_until_read()
    with suppress(StoreError):
        say(*_lost(gallery))


def _lost(gallery: Gallery) -> tuple[str, ...]:
    """Return what to say where far fewer photos have a label by the active model than were to be expected."""
    from phototag.model import open_model
    from phototag.tagging import lost_labels

    try:
        model = open_model(None)
    except ModelError:
        return ()  # The page needs none.
    return lost_labels(gallery.reasons(model.hash), model.header, model.name)


def _password(host: str, file: Path | None) -> Password | None:
    """Return the password that was given, or is needed; None for a page that only this computer can reach."""
    from phototag.web import Password

    text = os.environ.get("PHOTOTAG_PASSWORD") or None
    if file is not None:
        try:
            # It may be a pipe, as of a password manager; one that nothing writes to is as good as empty.
            number = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            if sys.platform != "win32":
                os.set_blocking(number, True)
            with os.fdopen(number, "rb") as source:
                text = source.readline(_LONGEST_LINE_BYTES).decode("utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: cannot be read as a password: {error}") from error
    if not _is_loopback(host):
        say(_WARNING)
    if text is None and not _is_loopback(host):
        if not sys.stdin.isatty():
            raise UsageError(f"--host {host} needs a password: set PHOTOTAG_PASSWORD, or name a --password-file")
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return Password(text) if text is not None else None


def _is_loopback(host: str) -> bool:
    """Return whether only this computer can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _names(host: str, address: str) -> list[str]:
    """Return the names that requests may use for a server at `host`, which is `address`; the first one is for links."""
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        return ["localhost", socket.gethostname(), f"{socket.gethostname()}.local"]
    # What begins with a digit or holds a colon is a number, and may have been written in many ways.
    return [_bracketed(address if host[0].isdigit() or ":" in host else host)]


def _interface(address: str) -> list[str]:
    """Return the address under which the network knows this computer, if `address` means all of its addresses."""
    here = ipaddress.ip_address(address.partition("%")[0])
    if not here.is_unspecified:
        return []
    family, somewhere = (socket.AF_INET, "192.0.2.1") if here.version == 4 else (socket.AF_INET6, "2001:db8::1")
    try:
        # Nothing is sent: this only asks by which way it would be. The addresses are those set aside for examples.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            found = str(probe.getsockname()[0])
    except OSError:
        return []
    return [] if ipaddress.ip_address(found.partition("%")[0]).is_loopback else [_bracketed(found)]


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _announcement(
    security: Security,
    name: str,
    others: list[str],
    port: int,
    location: str,
    *,
    opens: bool | None,
    port_wanted: int | None,
) -> Callable[[], None]:
    """Return what to say, and do, once the server answers; `others` are its names for other computers."""
    from phototag.web import DEFAULT_PORT

    address = f"http://{name}:{port}/"

    def announce() -> None:
        click.echo(f"{address}?token={security.token}")
        if port_wanted is None and port != DEFAULT_PORT:
            say(f"Port {DEFAULT_PORT} is taken, so this is port {port}.")
        say(f"{location} is shown at that link until Ctrl-C. Who has the link can see and tag.")
        if others:
            say("From other computers: " + " or ".join(f"http://{each}:{port}/" for each in others))
        if _has_browser() if opens is None else opens:
            _open(f"{address}?token={security.ticket()}")

    return announce


def _has_browser() -> bool:
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open(link: str) -> None:
    import webbrowser

    def show() -> None:
        if not webbrowser.open(link):
            say("No browser could be started; open the link above in one.")

    # A browser may take its time to start, or run in this thread until it is closed.
    threading.Thread(target=show, name="browser", daemon=True).start()
