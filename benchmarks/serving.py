"""`cie serve` against offline `encode`, and against the same model behind LitServe and behind a plain FastAPI handler.

    uv run --group benchmarks python benchmarks/serving.py [--model small] [--seconds 10] [--requests 0] [--threads 1 2]

A second process asks, on loopback, with 1, 8 and 64 clients at once, each one image under two conditions per request.
Offline `encode` in this process and the servers take turns, round by round, so that a machine's drift meets all alike;
each share is of the same round's offline throughput. All of them share the machine's cores. `small` is the
random-weight Qwen2.5-VL of 70 million parameters. LitServe batches what comes within 10 ms, plain FastAPI
nothing. The clients are bare sockets, since a library for HTTP would take as much of the cores as a server.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import measuring
import numpy as np
from litserve_rival import answered, image_of
from PIL import Image

CLIENTS = (1, 8, 64)
CONDITIONS = ["car color", "car model"]
PICTURES = 32


def pictures(side: int) -> list[bytes]:
    """Photographs-to-be: smooth noise as JPEG."""
    found = []
    for seed in range(PICTURES):
        noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


def plain(model: str, port: int) -> None:
    """The rival, what one writes first: FastAPI runs it in its pool of threads, the model takes one image at a time."""
    import uvicorn
    from fastapi import Body, FastAPI

    import conditional_image_embeddings as cie

    embedder = cie.load(model, device="cpu")
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/embeddings")
    def embeddings(asked: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
        return answered(embedder.encode(image_of(asked), asked["conditions"]))

    uvicorn.run(app, port=port, log_level="error")


async def ask(port: int, clients: int, seconds: float, number: int, side: int) -> dict[str, Any]:
    """Ask for so many seconds, or so many requests in all; each client sends its next once it has its answer."""
    requests = []
    for each in pictures(side):
        uri = "data:image/jpeg;base64," + base64.b64encode(each).decode()
        body = json.dumps({"input": uri, "conditions": CONDITIONS, "encoding_format": "base64"}).encode()
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    took: list[float] = []
    begun = 0
    end = time.perf_counter() + seconds

    async def one(place: int) -> None:
        nonlocal begun
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        while begun < number if number else time.perf_counter() < end:
            begun += 1
            place += 1
            started = time.perf_counter()
            writer.write(requests[place % PICTURES])
            status, *fields = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            length = next(int(field.split(b":")[1]) for field in fields if field.startswith(b"content-length:"))
            answer = await reader.readexactly(length)
            if b" 200 " not in status:
                raise RuntimeError(answer)
            took.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one(7 * n) for n in range(clients)))
    wall = time.perf_counter() - started
    took.sort()
    share = {f"p{p}": 1000 * took[min(len(took) - 1, len(took) * p // 100)] for p in (50, 95, 99)}
    return {"requests": len(took), "per_second": len(took) / wall, **share}


def asked_by_another_process(port: int, clients: int, seconds: float, number: int, side: int) -> dict[str, Any]:
    given = [str(each) for each in (port, clients, seconds, number, side)]
    done = subprocess.run([sys.executable, __file__, "--ask", *given], capture_output=True, text=True, check=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    while True:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with status {process.returncode}")
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)


def counted(port: int) -> dict[str, float]:
    """Batches, images in them, and memory, as /metrics says."""
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def offline(embedder: Any, images: list[bytes], seconds: float) -> float:
    """Images per second of `encode`, all images in each call."""
    embedder.encode(images, CONDITIONS, show_progress_bar=False)
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        embedder.encode(images, CONDITIONS, show_progress_bar=False)
        done += len(images)
    return done / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="builtin", help="builtin, or small: Qwen2.5-VL with random weights")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=0, help="of each server in the end, to see its memory")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--ask", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--plain", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask:
        port, clients, seconds, number, side = arguments.ask
        how = (int(clients), float(seconds), int(number), int(side))
        print(json.dumps(asyncio.run(ask(int(port), *how))))
        return
    if arguments.plain:
        plain(arguments.plain[0], int(arguments.plain[1]))
        return
    import conditional_image_embeddings as cie

    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model
        if model == "small":
            import random_qwen

            model = str(random_qwen.save("small", Path(folder) / "model"))
        serve = [sys.executable, "-m", "conditional_image_embeddings", "serve", "-m", model, "--device", "cpu",
                 "--log-level", "warning"]  # fmt: skip
        commands = {f"cie serve, {n} thread(s)": [*serve, "--threads", str(n)] for n in arguments.threads}
        commands["LitServe"] = [sys.executable, str(Path(__file__).with_name("litserve_rival.py")), model]
        commands["plain FastAPI"] = [sys.executable, __file__, "--plain", model]
        ports = {name: 8940 + number for number, name in enumerate(commands)}
        started = []
        try:
            for name, command in commands.items():
                port = ["--port"] if name.startswith("cie serve") else []
                line = [*command, *port, str(ports[name])]
                started.append(subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True))  # noqa: S603
            for port, process in zip(ports.values(), started, strict=True):
                wait_for(port, process)
            run(arguments, ports, cie.load(model, device="cpu"))
        finally:
            for each in started:  # LitServe's processes do not end by themselves
                os.killpg(each.pid, signal.SIGKILL)
                each.wait()


def run(arguments: argparse.Namespace, ports: dict[str, int], embedder: Any) -> None:
    images = pictures(arguments.side)
    for port in ports.values():
        asked_by_another_process(port, 8, 2.0, 0, arguments.side)  # not counted
    rows, rates = [], []
    for clients in CLIENTS:
        told: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
        for _ in range(arguments.rounds):
            rates.append(offline(embedder, images, arguments.seconds))
            for name, port in ports.items():
                before = counted(port) if name.startswith("cie serve") else {}
                found = asked_by_another_process(port, clients, arguments.seconds, 0, arguments.side)
                found["share"] = found["per_second"] / rates[-1]
                if before:
                    after = counted(port)
                    batches, several = (
                        after[f"cie_batch_images_{part}"] - before[f"cie_batch_images_{part}"]
                        for part in ("count", "sum")
                    )
                    found["batch"] = several / batches
                told[name].append(found)
        for name, several_rounds in told.items():
            middle = {key: statistics.median(each[key] for each in several_rounds) for key in several_rounds[0]}
            rows.append([
                str(clients), name, f"{middle['per_second']:.1f}", f"{middle['share']:.0%}",
                *(f"{middle[p]:.0f}" for p in ("p50", "p95", "p99")),
                f"{middle['batch']:.1f}" if "batch" in middle else "",  # the rivals count none
            ])  # fmt: skip
    print(measuring.machine())
    print(
        f"{arguments.model}, {arguments.side} px, {len(CONDITIONS)} conditions, {arguments.rounds} rounds of "
        f"{arguments.seconds:g} s, medians; offline encode in each round: "
        f"{', '.join(f'{each:.1f}' for each in rates)} images/s"
    )
    header = ["clients", "server", "requests/s", "of encode", "p50 ms", "p95 ms", "p99 ms", "images per batch"]
    print(measuring.table(header, rows))
    if arguments.requests:
        for name, port in ports.items():
            if name.startswith("cie serve"):
                sizes = []
                for _ in range(4):
                    asked_by_another_process(port, 16, 0, arguments.requests // 4, arguments.side)
                    sizes.append(counted(port)["process_resident_memory_bytes"] / 2**20)
                shown = ", ".join(f"{each:.0f}" for each in sizes)
                print(f"{name}: resident MiB after each quarter of {arguments.requests} requests: {shown}")


if __name__ == "__main__":
    main()
