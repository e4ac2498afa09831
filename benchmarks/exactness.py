"""How far each family's shared passes lie from separate ones, as the tests measure it: the table of docs/families.md.

    uv run --group benchmarks python benchmarks/exactness.py
    uv run cie models --markdown > docs/families.md

Runs the tests of the engine on tiny random-weight models (float32, two image sizes, K = 1, 3 and 8, three layers) and
writes the largest absolute difference that they saw into `models/families.toml`.
"""

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import measuring

from conditional_image_embeddings.models import families

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
    record = Path(families.__file__).with_suffix(".toml")
    text = re.sub(r'measured_on = ".*"', f'measured_on = "{measuring.machine()}"', record.read_text(encoding="utf-8"))
    for key, difference in largest_differences().items():
        row = rf'(key = "{key}", .*difference = )\S+'
        text = re.sub(row, rf"\g<1>{float(difference):.1e}", text)
    record.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
