"""`cie embed --ray`: a cluster of two nodes, in processes of their own, stores what one process would."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import commands
import fragile_method
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from color_embedder import draw
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.distributed.ray_cluster import Pool
from conditional_image_embeddings.collection.job.distributed.ray_embedder import RayEmbedder, _check_versions, _checked
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.job.job_images import JobImage, Reader
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.versions import installed_versions
from conditional_image_embeddings.inputs.encoded import stat_of
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods import METHODS, registry
from conditional_image_embeddings.methods.request import Embedded, Request

IMAGES = 300
NODE = {"num_cpus": 1, "include_dashboard": False}
REQUEST = Request(top_words=1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Its address: two nodes of one core, each with processes of its own."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # the nodes' processes find `fragile_method`
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # Ray takes 127.0.0.1 for "this machine", by whatever address others reach it.
    found = Cluster(initialize_head=True, head_node_args={**NODE, "node_ip_address": "127.0.0.2"})
    found.add_node(**NODE, node_ip_address="127.0.0.3")
    yield found.address
    ray.shutdown()
    found.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw(tmp_path_factory.mktemp("ray") / "photos", IMAGES)
    (folder / "00100.png").write_bytes(b"none")
    Image.new("RGB", (8, 8), "red").save(folder / "00150.png")
    return folder


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    registry.register(fragile_method.ENTRY)
    yield
    del METHODS["fragile"]


def assert_same(db: Path, expected: Path) -> None:
    """All tables, but for the order of rows."""
    found, wanted = (lancedb.connect(path) for path in (db, expected))
    names = sorted(wanted.list_tables().tables)
    assert sorted(found.list_tables().tables) == names
    for name in names:
        rows = [each.open_table(name).to_arrow().sort_by("image_id") for each in (found, wanted)]
        assert rows[0] == rows[1], name


def test_the_rows_are_those_of_one_process(cluster: str, photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.glob("*.png"))[:150]
    table = tmp_path / "table.parquet"
    columns = {"id": [each.stem for each in files], "image": [each.read_bytes() for each in files]}
    pq.write_table(pa.table(columns), table, row_group_size=20)
    given = ["embed", table, "--method", "pixels"]
    for db, more in (("here", []), ("ray", ["--ray", cluster])):
        done = commands.cie(*given, "-e", tmp_path / db, *more)
        assert done.returncode == 3, done.stderr
        assert "149 embedded, 0 already there, 1 failed" in done.stdout
        assert "'00100' is no image" in done.stderr
    assert_same(tmp_path / "ray", tmp_path / "here")


def test_a_worker_that_dies_costs_nothing(cluster: str, photos: Path, tmp_path: Path) -> None:
    (source,), flag = find([photos]), tmp_path / "flag"
    embedder = RayEmbedder("fragile", {"method": "fragile", "flag": str(flag)}, REQUEST, address=cluster)
    report = run_job(Store(tmp_path / "ray"), source, embedder, REQUEST)
    assert flag.exists()
    assert [(each.embedded, each.failed) for each in report.settings] == [(IMAGES - 1, 1)]
    assert "img/s each" in embedder.progress
    run_job(Store(tmp_path / "here"), source, fragile_method.Fragile(flag=str(flag)), REQUEST)
    assert_same(tmp_path / "ray", tmp_path / "here")


def test_a_job_goes_on_where_its_driver_was_killed(cluster: str, photos: Path, tmp_path: Path) -> None:
    (source,), flag = find([photos]), tmp_path / "flag"
    flag.touch()
    line = [sys.executable, fragile_method.__file__, photos, tmp_path / "ray", flag, cluster]
    with subprocess.Popen(list(map(str, line)), stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert "committed\n" in driver.stdout
        driver.kill()
    here = fragile_method.Fragile(flag=str(flag))
    (done,) = run_job(Store(tmp_path / "ray"), source, here, REQUEST).settings
    assert 0 < done.already_there < IMAGES - 1  # how many a commit has depends on how long it waited for them
    assert done.embedded == IMAGES - 1 - done.already_there
    run_job(Store(tmp_path / "here"), source, here, REQUEST)
    assert_same(tmp_path / "ray", tmp_path / "here")


def test_a_file_that_changed_since_it_was_listed_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    """As the driver sees it: the worker has read what lies there now."""
    file = draw(tmp_path / "photos", 1) / "00000.png"
    listed, image = stat_of(file), JobImage("00000.png")
    read = Reader(700, as_reference=False, is_expected=lambda _, place: place == listed)
    read(image, file)
    made = Embedded(np.zeros((1, 1, 1, 1, 3), np.float32))
    assert _checked("00000.png", image.record, made, read) is made
    file.write_bytes(file.read_bytes() + b" ")
    Reader(700, as_reference=False)(image, file)
    changed = _checked("00000.png", image.record, made, read)
    assert isinstance(changed, cie.ImageError)
    assert str(changed) == f"{str(file)!r} changed while the job ran: run the same command again"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["-m", "./nowhere"], "nowhere"),
        (["--method", "pixels", "-c", "car color"], "without a condition"),
    ],
)
def test_what_the_worker_says_of_the_model_is_one_line(
    cluster: str, photos: Path, tmp_path: Path, given: list[str], said: str
) -> None:
    error = commands.error_of(commands.cie("embed", photos, *given, "-e", tmp_path / "db", "--ray", cluster), 1)
    assert error.splitlines()[-1].startswith("error: ")
    assert said in error.splitlines()[-1]


def test_a_model_that_fails_on_a_worker_ends_the_job(cluster: str, tmp_path: Path) -> None:
    (source,) = find([draw(tmp_path / "photos", 3)])
    embedder = RayEmbedder("fragile", {"method": "fragile", "flag": "", "scale": 0}, REQUEST, address=cluster)
    with pytest.raises(cie.ModelError, match="worn out"):
        run_job(Store(tmp_path / "db"), source, embedder, REQUEST)


def test_what_cannot_be_is_refused(photos: Path, tmp_path: Path) -> None:
    def refused(*given: object, status: int) -> str:
        return commands.error_of(commands.cie("embed", *given, "-e", tmp_path / "db"), status)

    assert "takes --ray" in refused(photos, "--method", "pixels", "--actors", 2, status=2)
    assert "embed with --method clip --ray first" in refused(
        photos, "-m", "builtin-clip", "--method", "clay", "-c", "a", "--ray", "local", status=2
    )
    assert "no address of a Ray cluster" in refused(photos, "--method", "pixels", "--ray", "photos", status=1)


def test_nodes_with_another_version(caplog: pytest.LogCaptureFixture) -> None:
    here = installed_versions()
    _check_versions(here)
    assert not caplog.records
    _check_versions({**here, "torch": "1.0"})
    assert "torch 1.0 (here " in caplog.text
    with pytest.raises(cie.ModelError, match=r"nodes have conditional-image-embeddings 0\.0 \(here .*install the same"):
        _check_versions({**here, "conditional-image-embeddings": "0.0"})


def test_a_gpu_is_not_chosen_for_workers() -> None:
    with pytest.raises(cie.OptionError, match="device cuda:1: on a cluster each worker has a GPU of its own"):
        RayEmbedder("builtin", {"device": "cuda:1"}, REQUEST)


def test_how_many_workers() -> None:
    eight, four = {"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}
    assert Pool.on([eight, four], None, None) == Pool(workers=2, cpus=4, gpus=1)
    assert Pool.on([eight, eight], 3, "cuda") == Pool(workers=3, cpus=4, gpus=1)
    assert Pool.on([four, four], None, None) == Pool(workers=2, cpus=4, gpus=0)
    assert Pool.on([eight, four], 4, "cpu") == Pool(workers=4, cpus=2, gpus=0)
    assert Pool.on([{"CPU": 1.0}], 3, None) == Pool(workers=3, cpus=1, gpus=0)
    assert Pool.on([{"memory": 1.0}], None, "cuda:0") == Pool(workers=1, cpus=1, gpus=1)
