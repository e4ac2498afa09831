"""`cie serve`: the API."""

from pathlib import Path
from typing import Any

import click

from ..methods import METHODS
from . import limits
from .command import Command, end_now, json_object

PORT = 8900  # if it is free
SERVED = [name for name, each in METHODS.items() if each.conditions != "required"]
LEVELS = ("debug", "info", "warning", "error")
SIZE = click.IntRange(1, 2**40)
NUMBER = click.IntRange(1, 100_000)

# No option has another name in Python: its variable would have it too, CIE_SERVE_DEVICES for --device.


@click.command(cls=Command, context_settings={"auto_envvar_prefix": "CIE_SERVE", "show_default": True})
@click.option("-m", "--model", required=True, help="A hub id, a local directory, or `builtin`.")
@click.option("--method", type=click.Choice(SERVED), help="By default what the model is for: dior or clip.")
@click.option("--served-model-name", metavar="NAME", help="What clients call the model; by default as here.")
@click.option("--db", help="A collection, for /v1/search.")
@click.option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0: whoever reaches this machine.")
@click.option("--port", type=limits.PORT, help=f"The port.  [default: {PORT}, or any that is free]")
@click.option(
    "--api-key", metavar="KEY", help="What clients have to know. Better CIE_SERVE_API_KEY: others see options."
)
@click.option("--api-key-file", type=click.Path(path_type=Path), metavar="FILE",
              help="A file that holds it: a secret of Docker's, a credential of systemd's.")  # fmt: skip
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name that may be asked for. Repeat it.")
@click.option("--cors-origin", multiple=True, metavar="ORIGIN",
              help="A site whose pages may ask, such as https://app.example. Repeat it.")  # fmt: skip
@click.option("--allow-url-host", multiple=True, metavar="HOST",
              help="Fetch images that are URLs of this host. Repeat it. Without: none.")  # fmt: skip
@click.option("--allow-private-urls", is_flag=True, help="Such hosts may be in your own network.")
@click.option("--device", multiple=True, help="cpu, cuda, cuda:1, mps; repeat it for a model on each.")
@click.option("--threads", type=click.IntRange(1, 8), help="That run a model.  [default: 1 on a CPU, 2 elsewhere]")
@click.option("--queue", type=NUMBER, default=256, help="Images and texts that may wait; more are answered 503.")
@click.option("--timeout", type=limits.SECONDS, default=60.0, help="Seconds until a request is given up.")
@click.option("--max-body", type=SIZE, default=32 * 2**20, help="Bytes of a request.")
@click.option("--max-held", type=SIZE, default=2**30, help="Bytes of all requests under way.")
@click.option("--max-inputs", type=NUMBER, default=64, help="Images and texts per request.")
@click.option("--max-pixels", type=SIZE, default=50_000_000, help="Per image.")
@click.option("--max-conditions", type=NUMBER, default=64, help="Per request.")
@click.option("--max-text", type=NUMBER, default=10_000, help="Characters per text.")
@click.option("--image-max-size", type=limits.SIDE, default=700, help="Pixels on the longer side that the model sees.")
@click.option("--text-encoder", help="generative: a sentence-transformers id or directory, or minilm (in a package).")
@click.option("--positions", type=click.Choice(["native", "flat"]), help="flat: as the paper's reference code.")
@click.option("--thinking", type=click.Choice(["off", "as-is"]), help="A thought that the chat template opens.")
@click.option("--chat-template-kwargs", callback=json_object, metavar="JSON", help="Of the chat template.")
@click.option("--dtype", help="float32, bfloat16 or float16; by default float32 on a CPU, bfloat16 on a GPU.")
@click.option("--revision", help="The model's revision on the hub.")
@click.option("--local-files-only", is_flag=True, help="Never ask the hub.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model. Only if you trust it.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info")
@click.option("--log-json", is_flag=True, help="A JSON object per line.")
def serve(
    model: str,
    method: str | None,
    served_model_name: str | None,
    db: str | None,
    host: str,
    port: int | None,
    api_key: str | None,
    api_key_file: Path | None,
    allow_host: tuple[str, ...],
    cors_origin: tuple[str, ...],
    allow_url_host: tuple[str, ...],
    allow_private_urls: bool,
    device: tuple[str, ...],
    threads: int | None,
    log_level: str,
    log_json: bool,
    **rest: Any,
) -> None:
    r"""Answer over HTTP: embeddings, words, search, in the shape of OpenAI's API.

    /health answers 200 once the model has answered. Every option can be a variable: CIE_SERVE_PORT for --port. Ctrl-C
    or SIGTERM ends it, once what was accepted is answered.

    \b
    Example:  cie serve -m builtin
              cie serve -m Qwen/Qwen2.5-VL-7B-Instruct --db ./embeddings --host 0.0.0.0 --device cuda:0 --device cuda:1
    """
    from ..errors import OptionError, require

    require("serve", "the API")
    from ..methods import load
    from ..server import logs
    from ..server.api.application import application
    from ..server.api.limits import Limits
    from ..server.api.service import Service
    from ..server.running import address_of, listen, run, server_of, warn_if_open
    from ..server.safety import is_loopback

    if api_key_file is not None:
        if api_key is not None:
            raise OptionError("the API key is given twice: leave --api-key or --api-key-file out")
        try:
            api_key = api_key_file.read_text("ascii").strip()
        except (OSError, UnicodeError) as error:
            raise OptionError(f"the API key cannot be read from {api_key_file}: {error}") from error
    if api_key is not None and not api_key.strip():
        raise OptionError("the API key is empty: give one, or leave it out")
    logs.configure(log_level, as_json=log_json)
    bounds = Limits(**{name: rest.pop(name) for name in Limits.__dataclass_fields__})
    given = {name: value for name, value in rest.items() if value}
    loaders = [lambda each=each: load(model, method=method, device=each, **given) for each in device or (None,)]
    service = Service(loaders, name=served_model_name or model, limits=bounds, threads=threads)
    app = application(
        service, db=db, api_key=api_key, hosts=[host, *allow_host], any_host=not (allow_host or is_loopback(host)),
        cors_origins=cors_origin, url_hosts=allow_url_host, private_urls=allow_private_urls,
        **({"device": device[0]} if device else {}), local_files_only=rest["local_files_only"],
    )  # fmt: skip
    listening = listen(host, port, PORT)
    if api_key is None:
        warn_if_open(listening, "can have images embedded here")
    click.echo(f"Ask {address_of(listening)}v1/embeddings (Ctrl-C ends it)", err=True)
    server = server_of(app, grace=bounds.timeout, log_config=None)
    service.on_failure = lambda: setattr(server, "should_exit", server.should_exit or not service.has_answered)
    ended = run(app, listening, server=server)
    if service.failure is not None and not service.has_answered:
        raise service.failure
    if not ended:
        end_now()
