"""Make HTML and SVG with Jinja, where every value is escaped: for reports, and for the pages of the web server."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

REPORT = "phototag.report"


def html_environment(package: str = REPORT) -> Environment:
    """Return the environment for the folder `templates` of a package, to which those of reports are added.

    Values are escaped in every template, whatever its name, and a name that is not defined is an error.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, REPORT))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@cache
def report_environment() -> Environment:
    """Return the environment of reports."""
    return html_environment()


def block(name: str, **values: object) -> Markup:
    """Return what a macro of blocks.html makes of some values."""
    made: Markup = getattr(report_environment().get_template("blocks.html").module, name)(**values)
    return made
