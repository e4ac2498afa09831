"""The picture of the page: near to a red pickup in color, far from it in kind; photographed in headless Chromium.

uv run cie demo && uv run python docs/images/take_explore_picture.py cie-demo/embeddings docs/images/explore.png
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from explorer_at_hand import exploring

database, picture = map(Path, sys.argv[1:])
VIEW = "#c=car+color~1&c=car+model~-0.6&image_id=cars%2F0016.png&open=cars%2F0016.png"
with exploring(database) as address, sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1480, "height": 900}, device_scale_factor=1.25)
    page.goto(address + VIEW)
    page.locator(".neighbours").nth(4).locator(".neighbour").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.evaluate("document.activeElement.blur()")
    png = page.screenshot()
    browser.close()
# A palette of 256 colours is a quarter of the size, and no worse to the eye.
Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
