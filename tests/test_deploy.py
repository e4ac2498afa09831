"""The files that run `cie serve` as a service: what can be held without a container engine or the network."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT
from serving_at_hand import serving

from conditional_image_embeddings.cli import main
from conditional_image_embeddings.cli.serve import PORT, serve
from conditional_image_embeddings.server.api.limits import Limits

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
JOINED = re.sub(r"\\\n", "", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
INSTRUCTIONS = [line.split(maxsplit=1) for line in JOINED.splitlines() if line]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNIT = (DEPLOY / "cie-serve.service").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VARIABLES = {"CIE_SERVE_" + (option.name or "").upper() for option in serve.params}
FILES = [*sorted(DEPLOY.iterdir()), ROOT / "docs" / "serving.md"]


def instructions(name: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == name]


def image_variables() -> dict[str, str]:
    (text,) = instructions("ENV")[-1:]
    return dict(each.split("=", 1) for each in text.split())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_is_an_option(path: Path) -> None:
    named = set(re.findall(r"CIE_SERVE_[A-Z_]*[A-Z]", path.read_text()))
    assert named <= VARIABLES
    assert named or path.name == "cuda.conf"


def test_the_image_has_the_project_s_versions() -> None:
    arguments = dict(each.split("=", 1) for each in instructions("ARG") if "=" in each)
    tested = {each.rsplit(" ", 1)[1] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)}
    assert arguments["PYTHON"] in tested
    assert re.fullmatch(r"\d+\.\d+\.\d+", arguments["UV"])  # one that is pinned
    assert set(re.findall(r"packages-(\w+)$", DOCKERFILE, re.MULTILINE)) == {"cpu", "cuda"}
    assert arguments["DEVICE"] == "cpu"
    extras = re.findall(r"--extra (\w+)", DOCKERFILE)
    assert {"serve"} <= set(extras) <= set(PROJECT["optional-dependencies"])
    for line in DOCKERFILE.splitlines():
        if "uv sync" in line or "uv export" in line:
            assert "--frozen" in line
            assert "--no-dev" in line
            assert "${EXTRAS}" in line


def test_the_image_runs_the_command_for_a_user_without_rights() -> None:
    variables = image_variables()
    assert variables["CIE_SERVE_PORT"] == str(PORT) == instructions("EXPOSE")[0]
    assert int(instructions("USER")[-1].split(":")[0]) >= 1000
    (entry,), (command,) = instructions("ENTRYPOINT"), instructions("CMD")
    assert [*ast.literal_eval(entry), *ast.literal_eval(command)] == ["cie", "serve"]
    assert main.commands["serve"] is serve  # type: ignore[attr-defined]
    assert variables["HF_HOME"].startswith(instructions("VOLUME")[0])


def test_the_image_s_check_is_of_health(monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = instructions("HEALTHCHECK")
    command = ast.literal_eval(check[check.index("CMD ") + len("CMD ") :])
    assert command[:2] == ["python", "-c"]
    with serving(api_key="k") as running:
        for port, status in ((running.address.rsplit(":", 1)[1].strip("/"), 0), ("1", 1)):
            done = subprocess.run([sys.executable, *command[1:]], env={"CIE_SERVE_PORT": port}, check=False,
                                  capture_output=True, timeout=60)  # fmt: skip
            assert done.returncode == status, done.stderr


@pytest.mark.parametrize(
    ("path", "sent"),
    [("src/conditional_image_embeddings/cli/serve.py", True), ("pyproject.toml", True), ("uv.lock", True),
     ("README.md", True), ("LICENSE", True), (".git/config", False), ("tests/test_deploy.py", False),
     ("deploy/api-key", False), ("deploy/.env", False), (".venv/bin/python", False), (".mypy_cache/a.json", False),
     ("embeddings/a.lance", False), ("src/conditional_image_embeddings/__pycache__/a.pyc", False)],
)  # fmt: skip
def test_what_the_image_is_built_from(path: str, sent: bool) -> None:
    """As Docker reads it: the last pattern that fits a path or a folder above it decides."""
    found = True
    parts = path.split("/")
    above = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        names = [each.rsplit("/", 1)[-1] for each in above] if anywhere != pattern else above
        if line and not line.startswith("#") and any(fnmatch(each, anywhere) for each in names):
            found = line.startswith("!")
    assert found is sent


def test_all_that_is_copied_is_sent() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for each in instructions("COPY"):
        if "--from" not in each:
            *sources, _ = each.split()
            for source in sources:
                assert f"!{source.removeprefix('./')}" in ignored
                assert (ROOT / source).exists()


def test_compose_gives_the_service_little() -> None:
    limits = Limits()
    assert set(COMPOSE["services"]) == {"serve", "serve-cuda"}
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(each.startswith("127.0.0.1:") and each.endswith(f":{PORT}") for each in service["ports"])
        assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
        assert int(service["stop_grace_period"].removesuffix("s")) > 2 * limits.timeout
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
        assert f"packages-{service['build']['args']['DEVICE']}" in DOCKERFILE
        assert ("profiles" in service) is (name == "serve-cuda")
        volumes = {each.rsplit(":", 2 if each.endswith(":ro") else 1)[-2 if each.endswith(":ro") else -1]
                   for each in service["volumes"]}  # fmt: skip
        assert volumes == {*instructions("VOLUME"), instructions("WORKDIR")[-1]}
        key = service["environment"]["CIE_SERVE_API_KEY_FILE"]
        assert key == f"/run/secrets/{service['secrets'][0]}"
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert f"/deploy/{Path(COMPOSE['secrets']['api-key']['file']).name}" in ignored


def test_the_unit_is_what_the_page_installs() -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    told = dict(line.split("=", 1) for line in UNIT.splitlines() if "=" in line and not line.startswith("#"))
    command = told["ExecStart"].split()
    assert command[1:] == ["serve"]
    assert f"python3 -m venv {Path(command[0]).parents[1]} " in page
    assert f"deploy/serve.env {told['EnvironmentFile']}" in page
    assert f"/dev/stdin {told['LoadCredential'].partition(':')[2]}" in page
    assert int(told["TimeoutStopSec"]) > 2 * Limits().timeout
    hardened = {"DynamicUser": "yes", "ProtectSystem": "strict", "StateDirectory": "cie", "NoNewPrivileges": "yes"}
    assert told | hardened | {"CapabilityBoundingSet": "", "Restart": "on-failure"} == told
    lines = (DEPLOY / "serve.env").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[A-Z_]+=\S*", line) for line in lines)  # systemd reads no shell


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("drop_in", [None, "cuda.conf"])
def test_systemd_finds_nothing_wrong(drop_in: str | None, tmp_path: Path) -> None:
    unit = tmp_path / "cie-serve.service"
    unit.write_text(UNIT.replace("/opt/cie/bin/cie", sys.executable))  # it looks whether the command is there
    if drop_in:
        unit.with_suffix(".service.d").mkdir()
        shutil.copy(DEPLOY / drop_in, unit.with_suffix(".service.d"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "cie" in line]) == (0, [])
