"""`cie explore`: the page over a collection."""

from collections.abc import Sequence
from typing import Any

import click

from . import limits, options
from .command import Command, end_now

PORT = 8901  # if it is free


@click.command(cls=Command)
@click.argument("dbs", nargs=-1, metavar="[DB]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; others can look too.")
@click.option("--port", type=limits.PORT, help=f"The port.  [default: {PORT}, or any that is free]")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A name that the page may be asked for by. Repeat it."
)
@click.option("--no-browser", is_flag=True, help="Do not open the browser.")
@click.option(
    "--keep-model", type=limits.SECONDS, default=600.0, show_default=True, help="Seconds until an idle model is let go."
)
@options.loading
def explore(
    dbs: tuple[str, ...], host: str, port: int | None, hosts: tuple[str, ...], no_browser: bool, **how: Any
) -> None:
    r"""Look at collections in the browser: pictures under each aspect side by side, search, groups, a map.

    It listens on this machine only, changes no image, vector or word, and sends nothing anywhere. Ctrl-C ends it.

    \b
    Example:  cie explore ./embeddings
              cie explore ./cars ./posters --no-browser --port 8901
    """
    open_page(dbs or ("./embeddings",), host=host, port=port, hosts=hosts, browser=not no_browser, **how)


def open_page(
    dbs: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    hosts: Sequence[str] = (),
    browser: bool = True,
    **how: Any,
) -> None:
    """Serve the page until Ctrl-C."""
    from ..errors import require

    require("serve", "the page")
    from ..server.explorer.application import application
    from ..server.running import address_of, listen, run, warn_if_open

    app = application(dbs, hosts=[host, *hosts], **how)
    listening = listen(host, port, PORT)
    warn_if_open(listening)
    click.echo(f"Look at {address_of(listening)} (Ctrl-C ends it)", err=True)
    if not run(app, listening, browser=browser):
        end_now()
