"""Tiny copies of the paper's benchmarks, laid out and annotated as their authors do it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from conditional_image_embeddings.datasets.car_classes import CLASSES

BIRDS = (
    "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
    "101.White_Pelican/White_Pelican_0039_95692.jpg",
    "108.White_necked_Raven/White_Necked_Raven_0001_102659.jpg",
    "108.White_necked_Raven/White_Necked_Raven_0002_102661.jpg",
    "200.Common_Yellowthroat/Common_Yellowthroat_0003_190521.jpg",
)
TEST_BIRDS = BIRDS[1:]

# The number in the combined numbering, and the class; classes 1-98 end at image 8054.
CARS = {
    8: "AM General Hummer SUV 2000",
    8055: "FIAT 500 Abarth 2012",
    12000: "Infiniti G Coupe IPL 2012",
    14000: "Ram C/V Cargo Van Minivan 2012",
    16185: "smart fortwo Convertible 2012",
}
TEST_CARS = {number: name for number, name in CARS.items() if number > 8054}

# Category (its number among the names below), and 26 attributes of which 0-6, 17-22, 23-25 count.
CLOTHES = {
    "Floral-Print_Dress/img_00000065.jpg": (3, {0, 8, 19, 23}),
    "Knit_Sweater/img_00000003.jpg": (2, {5, 22, 25}),
    "Knit_Sweater/img_00000004.jpg": (2, {5, 9, 22, 25}),
}
CATEGORIES = ("Anorak", "Sweater", "Dress")

FILMS = (
    {"imdbID": "tt0079285", "Title": "Avalanche {1979} ObjectId", "Genre": "Adventure, Drama", "Country": "UK, USA"},
    {"imdbID": "tt0080339", "Title": 'The "Airplane"\\', "Genre": "Comedy", "Country": "USA"},
    {"imdbID": "tt0081505", "Title": "Amélie", "Genre": "N/A", "Country": None, "Box_office": None},
)


# Hue turned by half, the rest doubled, as the metadata has it. The last is for training.
FRAMES = {
    2: ("van", (0.166667, 2.0, 2.0), (0.5, 2.0, 2.0)),
    1: ("sedan", (0.5, 2.0, 2.0), (0.166667, 2.0, 2.0)),
    1001: ("sedan", (0.5, 2.0, 2.0), (0.5, 2.0, 2.0)),
}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = sum(map(ord, path.name)) % 256
    Image.new("RGB", (8, 8), (shade, shade // 2, 0)).save(path)


def write(path: Path, lines: Iterable[str], encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))


def birds(root: Path, names: Iterable[str] = BIRDS) -> None:
    """CUB_200_2011.tgz as unpacked into `root`."""
    root = root / "CUB_200_2011"
    for name in names:
        picture(root / "images" / name)
    write(root / "images.txt", (f"{number} {name}" for number, name in enumerate(names, 1)))
    write(root / "attributes" / "certainties.txt", ["1 not visible"])
    write(root.parent / "attributes.txt", ["1 has_bill_shape::curved"])


def annotations(rows: Iterable[Mapping[str, Any]]) -> Any:
    rows = list(rows)
    table = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        table[0, index] = tuple(row.values())
    return table


def names() -> Any:
    cells = np.empty((1, len(CLASSES)), dtype=object)
    cells[0] = CLASSES
    return cells


def combined_cars(root: Path, images: str = "car_ims", cars: Mapping[int, str] = CARS) -> None:
    """`car_ims` beside `cars_annos.mat`; `images` is "" for the flat layout, which the paper's reference has."""
    for number in cars:
        picture(root / images / f"{number:06}.jpg")
    rows = [
        {
            "relative_im_path": f"car_ims/{number:06}.jpg",
            "bbox_x1": 1,
            "class": CLASSES.index(name) + 1,
            "test": number % 2,
        }
        for number, name in cars.items()
    ]
    savemat(root / "cars_annos.mat", {"annotations": annotations(rows), "class_names": names()})


def devkit_cars(root: Path) -> dict[str, str]:
    """Kaggle's copy: `cars_train` and `cars_test` in folders of the same name, and the devkit. Image id to class."""
    of = {}
    (root / "car_devkit" / "devkit").mkdir(parents=True)
    files = {"train": "car_devkit/devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels (1).mat"}
    for split, file in files.items():
        rows = []
        for index, (number, name) in enumerate(CARS.items(), 1):
            if (number % 2 == 0) is (split == "test"):
                path = f"cars_{split}/cars_{split}/{index:05}.jpg"
                picture(root / path)
                rows.append({"bbox_x1": 1, "class": CLASSES.index(name) + 1, "fname": f"{index:05}.jpg"})
                of[path] = name
        savemat(root / file, {"annotations": annotations(rows)})
    savemat(root / "car_devkit" / "devkit" / "cars_meta.mat", {"class_names": names()})
    return of


def clothes(root: Path, images: str = "img") -> None:
    """`Anno_fine` beside `img`."""
    for name in CLOTHES:
        picture(root / images / name)
    fine = root / "Anno_fine"
    bits = [" ".join(str(int(column in ones)) for column in range(26)) for _, ones in CLOTHES.values()]
    write(fine / "test.txt", (f"img/{name}" for name in CLOTHES))
    write(fine / "test_cate.txt", (str(category) for category, _ in CLOTHES.values()))
    write(fine / "test_attr.txt", (f"{row} " for row in bits))
    write(fine / "list_category_cloth.txt", ["3", "category_name category_type", *(f"{n}  1" for n in CATEGORIES)])


def flat_clothes(root: Path, clothes: Mapping[str, tuple[int, set[int]]] = CLOTHES) -> None:
    """The paper's reference: all images in the folder, and a CSV file."""
    rows = ["file_names,clothing_category,texture,fabric,fit"]
    for name, (category, ones) in clothes.items():
        file = name.replace("/", "-")
        picture(root / file)
        patterns = (
            "".join(f"{int(c in ones)} " for c in columns) for columns in (range(7), range(17, 23), range(23, 26))
        )
        rows.append(",".join([file, str(category), *patterns]))
    write(root / "deepfashon_metadata.csv", rows)


def films(root: Path, encodings: tuple[str, ...] = ("utf-8", "utf-16", "cp1252")) -> None:
    """The authors' two archives as unpacked: posters by year, and a text file a year, each in its own encoding."""
    for year, (encoding, film) in enumerate(zip(encodings, FILMS, strict=True), 1980):
        picture(root / "Movie_Poster_Dataset" / str(year) / f"{film['imdbID']}.jpg")
        record = json.dumps({"Year": year} | film, ensure_ascii=False, indent=1)
        record = '{\n "_id" : ObjectId("58a1c9b0d2a2a7e2b7a6d001"),' + record[1:]
        write(root / "groundtruth" / f"{year}.txt", [record, record], encoding)  # each film is there twice


def film_table(root: Path, films: Iterable[Mapping[str, Any]] = FILMS) -> None:
    """The paper's reference: posters beside a table, both filtered."""
    rows = ["imdbID\tGenre\tCountry"]
    for film in films:
        picture(root / f"{film['imdbID']}.jpg")
        rows.append(f"{film['imdbID']}\t{str(film['Genre']).split(',')[0]}\t{(film['Country'] or 'N/A').split(',')[0]}")
    write(root / "movie_poseter_metadata.tsv", rows)


def as_pandas_writes(path: Path, to: Path | None = None) -> None:
    """The table as pandas and a spreadsheet leave it: an index without a name, N/A as nothing, quotes, CRLF, BOM."""
    mark = "\t" if path.suffix == ".tsv" else ","
    header, *rows = [line.split(mark) for line in path.read_text().splitlines()]
    lines = [["", *header], *([str(index), *row] for index, row in enumerate(rows))]
    text = "\r\n".join(mark.join(f'"{cell}"' if cell else "" for cell in line) for line in lines)
    path.unlink()
    to = to or path
    to.parent.mkdir(exist_ok=True)
    to.write_bytes(b"\xef\xbb\xbf" + text.replace('"N/A"', "").encode())


def car_frames(root: Path, table: str = "cars.csv") -> None:
    """Synthetic cars: frames with model and colours, in the original's columns; another table is the reference's."""
    if table == "cars.csv":
        header, folder = "frame", "cars"
    else:
        header, folder = "", ""  # the frame is the index, which pandas writes without a name
    rows = [f"{header},model,color_hue,color_sat,color_val,bg_color_hue,bg_color_sat,bg_color_val"]
    for frame, (model, color, background) in FRAMES.items():
        rows.append(",".join(map(str, (frame, model, *color, *background))))
        picture(root / folder / f"{frame:04}.png")
    write(root / table, rows)
