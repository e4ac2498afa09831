"""The paper's benchmarks in their usual layouts: the images of the test half, and their labels under every aspect."""

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import miniatures as mini
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from conditional_image_embeddings import datasets
from conditional_image_embeddings.datasets import car_classes, files
from conditional_image_embeddings.errors import DatasetError

BIRD_LABELS = ["White Pelican", "White necked Raven", "White necked Raven", "Common Yellowthroat"]
FLAT_BIRD_LABELS = [BIRD_LABELS[3], *BIRD_LABELS[1:3], BIRD_LABELS[0]]  # White_Necked comes before White_Pelican
CAR_LABELS = {
    "car model": list(mini.TEST_CARS.values()),
    "car manufacturer": ["FIAT", "Infiniti", "Ram", "smart"],
    "car type": ["hatchback", "coupe", "van", "convertible"],
}
CLOTHES_LABELS = {
    "clothing category": ["Dress", "Sweater", "Sweater"],
    "texture type": ["1 0 0 0 0 0 0", "0 0 0 0 0 1 0", "0 0 0 0 0 1 0"],
    "fabric type": ["0 0 1 0 0 0", "0 0 0 0 0 1", "0 0 0 0 0 1"],
    "fit type": ["1 0 0", "0 0 1", "0 0 1"],
}
FLAT_CLOTHES_LABELS = CLOTHES_LABELS | {"clothing category": ["3", "2", "2"]}
FRAME_LABELS = {
    "car model": ["sedan", "van"],
    "car color": ["red", "blue"],
    "background color": ["blue", "red"],
}
FILM_LABELS = {
    "movie genre": ["Adventure", "Comedy", "N/A"],
    "movie's production country": ["UK", "USA", "N/A"],
}


def labels(benchmark: datasets.Benchmark) -> dict[str, list[str]]:
    """Condition to labels in the order of the image ids; each image has each label, and a file."""
    ids = sorted(benchmark.images)
    assert all(path.is_file() for _, path in benchmark)
    assert [Path(benchmark.root, image_id).resolve() for image_id in ids] == [
        benchmark.images[i].resolve() for i in ids
    ]
    return {str(aspect.condition): [of[image_id] for image_id in ids] for aspect, of in benchmark.labels.items()}


def birds_in_class_folders(root: Path) -> None:
    for name in mini.BIRDS:
        mini.picture(root / "train" / name)


def birds_named_only(root: Path) -> None:
    for name in mini.TEST_BIRDS:
        mini.picture(root / name.partition(".")[2])


def flat_birds(root: Path) -> None:
    for name in mini.TEST_BIRDS:
        mini.picture(root / Path(name).name)


def flat_birds_with_the_list(root: Path) -> None:
    for name in mini.BIRDS:
        mini.picture(root / Path(name).name)
    mini.write(root / "images.txt", (f"{number} {name}" for number, name in enumerate(mini.BIRDS, 1)))


def cars_in_class_folders(root: Path) -> None:
    for number, name in mini.CARS.items():
        mini.picture(root / "car_data" / "car_data" / "test" / name.replace("/", "-") / f"{number:05}.jpg")


def cars_in_underscored_folders(root: Path) -> None:
    for number, name in mini.CARS.items():
        mini.picture(root / "train" / name.replace("/", "_").replace(" ", "_") / f"{number:05}.jpg")


def clothes_in_img(root: Path) -> None:
    mini.clothes(root, "Img/img")


def posters_beside_the_texts(root: Path) -> None:
    mini.films(root, ("utf-16-le", "utf-8-sig", "utf-16-be"))
    (root / "groundtruth").rename(root / "Movie_Poster_Metadata")


def reference_cars(root: Path) -> None:
    mini.car_frames(root, "synthetic_metadata.csv")


def reference_cars_elsewhere(root: Path) -> None:
    reference_cars(root)
    (root.parents[1] / "metadata").mkdir()
    (root / "synthetic_metadata.csv").rename(root.parents[1] / "metadata" / "synthetic_metadata.csv")


def cars_with_two_numberings(root: Path) -> None:
    """pandas counts the rows beside the frames."""
    mini.car_frames(root)
    mini.as_pandas_writes(root / "cars.csv")


def test_rows_stand_in_the_annotations_order(tmp_path: Path) -> None:
    """As the paper's code scores them: k-means depends on it."""
    clothes = {f"{name}/img_{k}.jpg": (k % 2, {k % 2, 17, 23}) for k, name in enumerate("dacb")}
    mini.flat_clothes(tmp_path / "deepfashion", clothes)
    found = datasets.get("deepfashion", tmp_path)
    expected = [name.replace("/", "-") for name in clothes]
    assert list(found.images) == expected
    assert all(list(labels) == expected for labels in found.labels.values())


def flat_clothes_of_pandas(root: Path) -> None:
    mini.flat_clothes(root)
    mini.as_pandas_writes(root / "deepfashon_metadata.csv")


def flat_clothes_of_all_splits(root: Path) -> None:
    """What the reference's script leaves: every image of the data set, of which its table lists the test images."""
    mini.flat_clothes(root)
    mini.picture(root / "Cape-img_00000001.jpg")
    mini.as_pandas_writes(root / "deepfashon_metadata.csv", root.parents[1] / "metadata" / "deepfashon_metadata.csv")


def clothes_in_folders_with_the_table(root: Path) -> None:
    mini.flat_clothes(root)
    for name in mini.CLOTHES:
        (root / "img" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name.replace("/", "-")).rename(root / "img" / name)


def posters_with_a_table_of_pandas(root: Path) -> None:
    mini.film_table(root)
    mini.as_pandas_writes(root / "movie_poseter_metadata.tsv")


def posters_of_the_reference(root: Path) -> None:
    mini.film_table(root)
    of = root.parents[1] / "metadata" / "movie_poseter_metadata.tsv"
    mini.as_pandas_writes(root / of.name, of)


def posters_with_a_spreadsheet_s_table(root: Path) -> None:
    mini.film_table(root)
    path = root / "movie_poseter_metadata.tsv"
    path.write_bytes(path.read_text().encode("utf-16"))


LAYOUTS: list[tuple[str, Callable[[Path], object], dict[str, list[str]]]] = [
    ("cub200", mini.birds, {"bird species": BIRD_LABELS}),
    ("cub200", birds_in_class_folders, {"bird species": BIRD_LABELS}),
    ("cub200", birds_named_only, {"bird species": sorted(BIRD_LABELS)}),
    ("cub200", flat_birds, {"bird species": FLAT_BIRD_LABELS}),
    ("cub200", flat_birds_with_the_list, {"bird species": FLAT_BIRD_LABELS}),
    ("cars196", mini.combined_cars, CAR_LABELS),
    ("cars196", lambda root: mini.combined_cars(root, ""), CAR_LABELS),
    ("cars196", cars_in_class_folders, CAR_LABELS),
    ("cars196", cars_in_underscored_folders, CAR_LABELS),
    ("movie_posters", mini.films, FILM_LABELS),
    ("movie_posters", posters_beside_the_texts, FILM_LABELS),
    ("movie_posters", mini.film_table, FILM_LABELS),
    ("deepfashion", mini.clothes, CLOTHES_LABELS),
    ("deepfashion", clothes_in_img, CLOTHES_LABELS),
    ("deepfashion", mini.flat_clothes, FLAT_CLOTHES_LABELS),
    ("deepfashion", flat_clothes_of_pandas, FLAT_CLOTHES_LABELS),
    ("deepfashion", flat_clothes_of_all_splits, FLAT_CLOTHES_LABELS),
    ("deepfashion", clothes_in_folders_with_the_table, FLAT_CLOTHES_LABELS),
    ("movie_posters", posters_with_a_table_of_pandas, FILM_LABELS),
    ("movie_posters", posters_of_the_reference, FILM_LABELS),
    ("movie_posters", posters_with_a_spreadsheet_s_table, FILM_LABELS),
    ("synthetic_cars", mini.car_frames, FRAME_LABELS),
    ("synthetic_cars", reference_cars, FRAME_LABELS),
    ("synthetic_cars", reference_cars_elsewhere, FRAME_LABELS),
    ("synthetic_cars", cars_with_two_numberings, FRAME_LABELS),
]
IDS = [f"{n}-{i}" for i, (n, *_) in enumerate(LAYOUTS)]


@pytest.mark.parametrize(("name", "layout", "expected"), LAYOUTS, ids=IDS)
def test_every_layout_gives_the_same_labels(
    tmp_path: Path, name: str, layout: Callable[[Path], object], expected: dict[str, list[str]]
) -> None:
    root = tmp_path / "datasets" / name
    root.mkdir(parents=True)
    layout(root)
    found = datasets.get(name, tmp_path / "datasets")
    assert labels(found) == expected
    assert found.dataset == name
    # The same from the folder itself, from the root that a database remembers, and under hyphens.
    for directory in (root, Path(found.root)):
        assert labels(datasets.get(name, directory)) == expected
    root.rename(tmp_path / "datasets" / name.replace("_", "-"))
    assert labels(datasets.get(name.replace("_", "-"), tmp_path / "datasets")) == expected


def cannot_be_scored(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "cannot be scored yet" in record.getMessage()]


@pytest.mark.parametrize(("name", "layout", "expected"), LAYOUTS, ids=IDS)
def test_images_are_enough_to_embed(
    tmp_path: Path,
    name: str,
    layout: Callable[[Path], object],
    expected: dict[str, list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / "datasets" / name
    root.mkdir(parents=True)
    layout(root)
    whole = datasets.get(name, tmp_path / "datasets")
    assert datasets.get_images(name, tmp_path / "datasets") == whole
    assert not cannot_be_scored(caplog)
    for path in (*root.rglob("*"), *(tmp_path / "metadata").rglob("*")):
        if path.suffix in {".csv", ".tsv", ".txt", ".mat"} and path.name != "test.txt":
            path.unlink()
    found = datasets.get_images(name, tmp_path / "datasets")
    assert found.root == whole.root
    assert found.images.items() >= whole.images.items()  # the same ids, so that nothing is embedded again
    assert [aspect.condition for aspect in found.aspects] == list(expected)
    if any(found.labels.values()):  # those that the names tell
        assert found == whole
        return
    (said,) = cannot_be_scored(caplog)
    assert said.startswith(f"{name}: {len(found)} images of ")
    checked = datasets.check(name, tmp_path / "datasets")
    assert (checked.root, checked.images, checked.labelled, checked.labels) == (found.root, len(found), 0, {})
    assert said.endswith(checked.missing.removeprefix(f"{name}: "))
    with pytest.raises(DatasetError):
        datasets.get(name, tmp_path / "datasets")


def test_images_of_other_halves_are_not_embedded_where_their_names_tell(tmp_path: Path) -> None:
    mini.combined_cars(tmp_path / "cars196", "")
    (tmp_path / "cars196" / "cars_annos.mat").unlink()
    test = ["008055.jpg", "012000.jpg", "014000.jpg", "016185.jpg"]
    assert list(datasets.get_images("cars196", tmp_path).images) == test
    reference_cars(tmp_path / "synthetic_cars")
    (tmp_path / "synthetic_cars" / "synthetic_metadata.csv").unlink()
    assert list(datasets.get_images("synthetic_cars", tmp_path).images) == ["0001.png", "0002.png"]
    mini.birds(tmp_path / "cub200")
    (tmp_path / "cub200" / "CUB_200_2011" / "images.txt").write_bytes(b"nonsense")
    assert list(datasets.get_images("cub200", tmp_path).images) == [f"images/{name}" for name in mini.TEST_BIRDS]
    mini.clothes(tmp_path / "deepfashion")
    mini.picture(tmp_path / "deepfashion" / "img" / "Cape" / "img_00000001.jpg")
    (tmp_path / "deepfashion" / "Anno_fine" / "test_attr.txt").unlink()
    assert sorted(datasets.get_images("deepfashion", tmp_path).images) == [f"img/{name}" for name in mini.CLOTHES]


def test_where_nothing_tells_the_halves_all_images_are_embedded(tmp_path: Path) -> None:
    for number in (1, 2, 8041):  # Kaggle's two folders, flattened: both are numbered from 1
        mini.picture(tmp_path / "cars196" / f"{number:05}.jpg")
    assert len(datasets.get_images("cars196", tmp_path)) == 3
    of = mini.devkit_cars(tmp_path / "kaggle" / "cars196")
    (tmp_path / "kaggle" / "cars196" / "cars_test_annos_withlabels (1).mat").unlink()
    found = datasets.get_images("cars196", tmp_path / "kaggle")
    train = {image_id for image_id in of if image_id.startswith("cars_train/")}
    assert found.images.keys() >= of.keys() - train  # any of these may be a test image
    assert {labels.keys() <= train for labels in found.labels.values()} == {True}


def test_what_labels_do_not_cover_is_embedded_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mini.film_table(tmp_path / "movie_posters")
    mini.picture(tmp_path / "movie_posters" / "tt9.jpg")
    (tmp_path / "movie_posters" / "tt0080339.jpg").unlink()
    found = datasets.get_images("movie_posters", tmp_path)
    assert list(found.images) == ["tt0079285.jpg", "tt0081505.jpg", "tt9.jpg"]
    assert {tuple(labels) for labels in found.labels.values()} == {("tt0079285.jpg", "tt0081505.jpg")}
    (said,) = cannot_be_scored(caplog)
    assert "tt0080339" in said
    assert "tt9" in said
    checked = datasets.check("movie_posters", tmp_path)
    assert (checked.images, checked.labelled) == (3, 2)


@pytest.mark.parametrize("name", datasets.NAMES)
def test_other_folders_are_not_taken_for_a_benchmark(tmp_path: Path, name: str) -> None:
    mini.picture(tmp_path / "photos" / "0001.jpg")
    for directory in (tmp_path, tmp_path / "photos"):
        with pytest.raises(DatasetError, match=r"nothing of it|is missing"):
            datasets.get_images(name, directory)
    with pytest.raises(DatasetError, match="unknown dataset"):
        datasets.get_images("imagenet", tmp_path)


def test_frames_that_may_be_counted_from_0_are_asked_for(tmp_path: Path) -> None:
    reference_cars(tmp_path / "synthetic_cars")
    path = tmp_path / "synthetic_cars" / "synthetic_metadata.csv"
    path.write_text(path.read_text().replace("\n1001,", "\n0,"))
    with pytest.raises(DatasetError, match=r"metadata\.csv: its first column has no name and counts from 0"):
        datasets.get("synthetic_cars", tmp_path)
    assert len(datasets.get_images("synthetic_cars", tmp_path)) == 2


def test_films_are_labelled_as_by_the_protocol(tmp_path: Path) -> None:
    """The first of several, spaces aside; the first record of a film; `N/A` is a label; only films with a poster."""
    films = [
        ("tt1", "Comedy, Drama", "USA, UK"),
        ("tt2", "Comedy", "USA"),
        ("tt1", "Drama", "France"),
        ("tt3", " Drama ,Comedy", "UK ,USA"),
        ("tt4", "N/A", "N/A"),
        ("tt5", None, " "),
        ("tt6", "N/A, Comedy", "USA"),
        ("tt7", "Western", "USA"),
    ]
    records = [{"imdbID": film, "Genre": genre, "Country": country} for film, genre, country in films]
    root = tmp_path / "movie_posters"
    mini.write(root / "groundtruth" / "1980.txt", map(json.dumps, records[:2]))
    mini.write(root / "groundtruth" / "1981.txt", map(json.dumps, records[2:]))
    rows = ["\t".join(["imdbID", "Genre", "Country"]), *("\t".join(map(str, film)) for film in films[:-1])]
    mini.write(tmp_path / "table" / "movie_posters" / "films.tsv", [row.replace("None", "") for row in rows])
    for number in range(1, 7):
        mini.picture(root / f"tt{number}.jpg")
        mini.picture(tmp_path / "table" / "movie_posters" / f"tt{number}.jpg")
    for directory in (tmp_path, tmp_path / "table"):
        assert labels(datasets.get("movie_posters", directory)) == {
            "movie genre": ["Comedy", "Comedy", "Drama", "N/A", "N/A", "N/A"],
            "movie's production country": ["USA", "USA", "UK", "N/A", "N/A", "USA"],
        }


def test_the_paper_s_commands_embed_first_and_ask_for_labels_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "datasets" / "movie_posters"
    mini.film_table(root)
    for film, copy in (("tt0080339", "tt1"), ("tt0079285", "tt2")):
        shutil.copy(root / f"{film}.jpg", root / f"{copy}.jpg")
    table = root / "movie_poseter_metadata.tsv"
    content = table.read_text() + "tt1\tComedy\tUSA\ntt2\tAdventure\tUK\n"
    table.unlink()

    def run(command: str, *arguments: object) -> Result:
        script = runpy.run_path(str(Path(__file__).parents[1] / command))
        return CliRunner().invoke(script["main"], ["--embedding_dir", str(tmp_path / "e"), *map(str, arguments)])

    shared = ("--model_id", "builtin-clip", "--dataset_name", "movie_posters", "--datasets_dir", tmp_path / "datasets")
    done = run("inference.py", *shared)
    assert done.exit_code == 0, done.output
    assert "5 embedded, 0 already there" in done.stdout
    (said,) = cannot_be_scored(caplog)
    assert "5 images are in" in said
    refused = run("evaluate.py", "--setting_pattern", "*")
    assert refused.exit_code == 1
    assert "nothing that labels them" in refused.stderr
    table.write_text(content)
    again = run("inference.py", *shared)
    assert "0 embedded, 5 already there" in again.stdout
    assert len(cannot_be_scored(caplog)) == 1
    scored = run("evaluate.py", "--setting_pattern", "*")
    assert scored.exit_code == 0, scored.output
    assert "movie genre" in scored.stdout


def test_cars_of_kaggle_s_copy(tmp_path: Path) -> None:
    of = mini.devkit_cars(tmp_path / "cars196")
    found = datasets.get("cars196", tmp_path)
    assert found.labels[datasets.Aspect("car model")] == {
        image_id: name for image_id, name in of.items() if name != "AM General Hummer SUV 2000"
    }


def test_the_aspects_are_the_paper_s() -> None:
    paper = {
        "cars196": ["car model", "car manufacturer", "car type"],
        "cub200": ["bird species"],
        "movie_posters": ["movie genre", "movie's production country"],
        "deepfashion": ["clothing category", "texture type", "fabric type", "fit type"],
    }
    rows = {row["name"]: row for row in datasets.describe()}
    assert list(rows) == list(datasets.NAMES)
    assert rows["synthetic_cars"]["aspects"][:3] == ["car model", "car color", "background color"]
    assert {name: rows[name]["aspects"] for name in paper} == paper
    assert {name: row["images"] for name, row in rows.items()} == {
        "synthetic_cars": 1000,
        "cars196": 8131,
        "cub200": 5924,
        "movie_posters": 8052,
        "deepfashion": 4000,
    }


def test_every_car_class_has_a_manufacturer_and_a_type() -> None:
    assert len(set(car_classes.CLASSES)) == 196
    test = [name for name in car_classes.CLASSES if car_classes.is_test(name)]
    assert (len(test), test[0]) == (98, "FIAT 500 Abarth 2012")
    types = {name: car_classes.car_type(name) for name in car_classes.CLASSES}
    assert set(types.values()) == {*("sedan", "SUV", "coupe", "convertible", "hatchback", "wagon", "van", "pickup")}
    assert len({types[name] for name in test}) == 7  # as in the stored results of InDiReCT, like the 35
    assert len({car_classes.manufacturer(name) for name in test}) == 35
    known = {
        "AM General Hummer SUV 2000": ("AM General", "SUV"),
        "HUMMER H2 SUT Crew Cab 2009": ("HUMMER", "pickup"),
        "Aston Martin Virage Coupe 2012": ("Aston Martin", "coupe"),
        "Land Rover LR2 SUV 2012": ("Land Rover", "SUV"),
        "Rolls-Royce Phantom Drophead Coupe Convertible 2012": ("Rolls-Royce", "convertible"),
        "Ford Ranger SuperCab 2011": ("Ford", "pickup"),
        "Ford E-Series Wagon Van 2012": ("Ford", "van"),
        "Honda Odyssey Minivan 2012": ("Honda", "van"),
        "Chevrolet Corvette ZR1 2012": ("Chevrolet", "coupe"),
        "Dodge Ram Pickup 3500 Quad Cab 2009": ("Dodge", "pickup"),
        "Volvo 240 Sedan 1993": ("Volvo", "sedan"),
    }
    assert {name: (car_classes.manufacturer(name), types[name]) for name in known} == known
    makers = {car_classes.manufacturer(name) for name in car_classes.CLASSES}
    assert len(makers) == 49
    for name in car_classes.CLASSES:
        assert car_classes.named(name.replace("/", "-").replace(" ", "_").upper()) == name


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def append(path: str, line: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / path).open("a") as file:
            file.write(f"{line}\n")

    return change


def empty(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(b"")


def extra(path: str) -> Callable[[Path], None]:
    return lambda root: mini.picture(root / path)


BIRD = f"CUB_200_2011/images/{mini.TEST_BIRDS[0]}"
BROKEN: list[tuple[str, Callable[[Path], object], Callable[[Path], object], str]] = [
    ("cub200", mini.birds, remove(BIRD), r"images\.txt: 1 of 4 images have no image: 101\.White.*download cub200"),
    ("cub200", mini.birds, empty(BIRD), r"images\.txt: 1 of 4 images have no image: 101\.White"),
    ("cub200", mini.birds, extra(f"{BIRD}.png"), r"1 images have no label here: 101\.White_Pelican/.*png"),
    ("cub200", mini.birds, append("CUB_200_2011/images.txt", f"6 {mini.BIRDS[1]}"), r"line 6: 101\.W.* is there twice"),
    ("cub200", mini.birds, append("CUB_200_2011/images.txt", "6 nonsense"), r"images\.txt, line 6 is not .*nonsense"),
    (
        "cub200",
        flat_birds,
        extra("Sooty_Albatross_0001_2.jpg"),
        r"no label here: Sooty.*only images of the classes 101",
    ),
    ("cub200", lambda root: None, extra("Sooty_Albatross_0001_2.jpg"), r"no label here: Sooty.*classes 101-200"),
    (
        "cub200",
        birds_in_class_folders,
        extra(f"test/{mini.BIRDS[1]}"),
        r"test/101.*and .*train/101.* have the same name|train/101.*and .*test/101.* have the same name",
    ),
    ("cars196", mini.combined_cars, remove("cars_annos.mat"), r"cars_annos\.mat, .* is missing: put it beside"),
    ("cars196", mini.combined_cars, remove("car_ims/008055.jpg"), r"1 of 4 images have no image: 008055\.jpg"),
    ("cars196", mini.combined_cars, extra("car_ims/009000.jpg"), r"1 images have no label here: 009000\.jpg"),
    ("cars196", mini.combined_cars, empty("cars_annos.mat"), r"cars_annos\.mat cannot be read"),
    (
        "cars196",
        mini.devkit_cars,
        remove("cars_test_annos_withlabels (1).mat"),
        r"cars_test_annos_withlabels\.mat is missing, .*cars_test_annos\.mat has none",
    ),
    ("cars196", mini.devkit_cars, remove("car_devkit/devkit/cars_train_annos.mat"), r"cars_train_annos\.mat is miss"),
    ("deepfashion", mini.clothes, remove("Anno_fine/test_attr.txt"), r"test_attr\.txt is missing; "),
    ("deepfashion", mini.clothes, remove("Anno_fine/test.txt"), r"test\.txt is missing; "),
    ("deepfashion", mini.clothes, append("Anno_fine/test_cate.txt", "1"), r"test_cate\.txt has 4 lines, but .* has 3"),
    (
        "deepfashion",
        mini.clothes,
        remove("img/Knit_Sweater/img_00000004.jpg"),
        r"test\.txt: 1 of 3 images have no image: Knit_Sweater/img_00000004\.jpg",
    ),
    (
        "deepfashion",
        mini.flat_clothes,
        append("deepfashon_metadata.csv", "Knit_Sweater-img_00000003.jpg,2,0,0,1"),
        r"csv, line 5: Knit_.* is there twice",
    ),
    ("deepfashion", mini.flat_clothes, append("deepfashon_metadata.csv", "x.jpg,2"), r"line 5: 2 values for 5 columns"),
    ("deepfashion", mini.flat_clothes, append("other.csv", "file_names,fit"), r"several tables of labels: deep.*other"),
    ("movie_posters", mini.film_table, remove("tt0080339.jpg"), r"1 of 3 films have no image: tt0080339; get the rest"),
    ("movie_posters", mini.film_table, extra("tt1.jpg"), r"1 films have no label here: tt1"),
    ("movie_posters", mini.films, append("groundtruth/1980.txt", '{"imdbID": "t'), r"1980\.txt, line \d+ is broken"),
    (
        "movie_posters",
        mini.films,
        append("groundtruth/1980.txt", '{"Genre": "Short"}'),
        r"1980.*: a film has no imdbID",
    ),
    ("movie_posters", mini.films, append("groundtruth/1980.txt", '"a film"'), r"1980\.txt, line \d+: not a film"),
    ("movie_posters", mini.films, lambda root: shutil.rmtree(root / "Movie_Poster_Dataset"), r"3 of 3 films have no"),
]


@pytest.mark.parametrize(("name", "layout", "change", "message"), BROKEN, ids=[f"{i}" for i in range(len(BROKEN))])
def test_files_that_do_not_fit_are_refused_in_one_line(
    tmp_path: Path, name: str, layout: Callable[[Path], Any], change: Callable[[Path], Any], message: str
) -> None:
    root = tmp_path / name
    root.mkdir()
    layout(root)
    change(root)
    with pytest.raises(DatasetError, match=message) as raised:
        datasets.get(name, tmp_path)
    assert "\n" not in str(raised.value)
    found = datasets.check(name, tmp_path)
    assert not found.complete
    assert found.missing == str(raised.value)


def test_what_is_missing_may_be_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mini.birds(tmp_path / "cub200")
    (tmp_path / "cub200" / BIRD).unlink()
    mini.picture(tmp_path / "cub200" / f"{BIRD}.png")
    found = datasets.get("cub200", tmp_path, allow_missing=True)
    assert labels(found) == {"bird species": BIRD_LABELS[1:]}
    assert "1 of 4 images have no image" in caplog.text
    assert "1 images have no label" in caplog.text
    mini.devkit_cars(tmp_path / "cars196")
    shutil.rmtree(tmp_path / "cars196" / "cars_test")
    (tmp_path / "cars196" / "cars_test_annos_withlabels (1).mat").unlink()
    assert len(datasets.get("cars196", tmp_path, allow_missing=True)) == 2


def test_a_film_without_a_poster_and_a_poster_without_a_film_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "movie_posters"
    mini.films(root)
    (root / "Movie_Poster_Dataset" / "1981" / "tt0080339.jpg").unlink()
    mini.picture(root / "Movie_Poster_Dataset" / "1981" / "tt9.jpg")
    mini.picture(root / "Movie_Poster_Dataset" / "1981" / "tt0079285.jpg")  # a second poster of a film of 1980
    found = datasets.get("movie_posters", tmp_path)
    assert labels(found)["movie genre"] == ["Adventure", "N/A"]
    assert "1 of 3 films have no image: tt0080339" in caplog.text
    assert "1 films have no label here: tt9" in caplog.text


def test_a_mat_file_of_another_numbering_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "cars196"
    mini.combined_cars(root)
    for rows, message in (
        ([{"relative_im_path": "car_ims/000001.jpg", "class": 99}], r"000001.*another numbering"),
        ([{"relative_im_path": "car_ims/008055.jpg", "class": 197}], r"annotation 1: class 197 is none of 1-196"),
        ([{"relative_im_path": "car_ims/000001.jpg", "class": 1}], r"no image of the classes 99-196"),
        ([{"fname": "000001.jpg"}], r"have no relative_im_path, class, but fname"),
        ([{"relative_im_path": "car_ims/008055.jpg", "class": 99}] * 2, r"annotation 2: 008055\.jpg is there twice"),
    ):
        content = {"annotations": mini.annotations(rows), "class_names": mini.names()}
        savemat(root / "cars_annos.mat", content)
        with pytest.raises(DatasetError, match=message):
            datasets.get("cars196", tmp_path)
    savemat(root / "cars_annos.mat", {"class_names": mini.names()})
    with pytest.raises(DatasetError, match=r"cars_annos\.mat has no annotations"):
        datasets.get("cars196", tmp_path)


@pytest.mark.parametrize("name", datasets.NAMES)
def test_nothing_there_says_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=rf"^{name}: nothing of it .*cie datasets "):
        datasets.get(name, tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / name / "archive.zip").touch()
    found = datasets.check(name, tmp_path)
    assert "only archive.zip, not unpacked" in found.missing
    assert (found.root, found.images, found.labels) == (None, 0, {})


def test_a_check_counts_against_the_complete_copy(tmp_path: Path) -> None:
    mini.clothes(tmp_path / "deepfashion")
    found = datasets.check("deepfashion", tmp_path)
    assert (found.images, found.of_images) == (3, 4000)
    assert found.labels == {"clothing category": 2, "texture type": 2, "fabric type": 2, "fit type": 2}
    assert "4,000 images" in found.missing
    datasets.get("deepfashion", tmp_path)  # and is no error: what is there fits


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])), max_size=5), st.data())
def test_lines_are_read_back_whatever_each_is_encoded_in(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("lines") / "text.txt"
    encoded = [text.encode("utf-8") for text in texts]
    path.write_bytes(b"\r\n".join(encoded))
    assert files.lines(path) == (
        [text.removeprefix("\ufeff") if i == 0 else text for i, text in enumerate(texts)] or [""]
    )


def test_a_line_of_another_encoding_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("Amélie\n".encode() + "Amélie… “x”\n".encode("cp1252") + b"caf\xe9\x81\n")
    assert files.lines(path) == ["Amélie", "Amélie… “x”", "café\x81", ""]
    path.write_bytes(b"\xff\xfea")
    with pytest.raises(DatasetError, match=r"text\.txt is broken"):
        files.lines(path)
