"""How far each family's shared passes lie from plain ones, as the tests measure it: the table of docs/families.md.

    uv run --group benchmarks python benchmarks/exactness.py

Runs the tests of the engine on tiny random-weight models (float32, two image sizes, K = 1, 3 and 8, three layers) and
prints the largest absolute difference that they saw.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import measuring

from conditional_image_embeddings.models.families import FAMILIES

TEST = "test_shared_passes_equal_plain_transformers"


def largest_differences() -> dict[str, str]:
    """By family, as the test recorded it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "tests/test_engine.py", "-k", TEST, f"--junit-xml={report}"]
        subprocess.run(command, check=True, cwd=Path(__file__).parent.parent, stdout=sys.stderr)  # noqa: S603 - ours
        cases = ET.parse(report).iter("testcase")  # noqa: S314 - pytest has just written it
        return {
            case.attrib["name"].partition("[")[2].rstrip("]"): each.attrib["value"]
            for case in cases
            for each in case.iter("property")
            if each.attrib["name"] == "largest_difference"
        }


def main() -> None:
    found = largest_differences()
    rows = [
        [family.title, f"`{family.model_type}`", family.sharing, family.why, f"{float(found[family.key]):.1e}"]
        for family in FAMILIES
    ]
    print(measuring.machine() + "\n")
    print(measuring.table(["family", "model_type", "way", "why not packed", "largest difference"], rows))


if __name__ == "__main__":
    main()
