"""The README's picture: the first query of the demo's page, photographed in headless Chromium.

uv run cie demo && uv run python docs/images/take_demo_picture.py cie-demo/report.html docs/images/demo.png
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

page, picture = map(Path, sys.argv[1:])
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    opened = browser.new_page(viewport={"width": 1000, "height": 2400}, device_scale_factor=1.25)
    opened.goto(page.resolve().as_uri())
    png = opened.locator(".query").first.screenshot()
    browser.close()
# A palette of 256 colours is a quarter of the size, and no worse to the eye.
Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
