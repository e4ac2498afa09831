"""The README's picture: the first query of the demo's page, photographed in headless Chromium.

uv run cie demo && uv run python docs/images/take_demo_picture.py cie-demo/report.html docs/images/demo.png
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

page, picture = map(Path, sys.argv[1:])
options = ChromeOptions()
options.binary_location = shutil.which("chromium") or "chromium"
for flag in (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--window-size=1000,2400",
    "--force-device-scale-factor=1.25",
):
    options.add_argument(flag)
with Chrome(options, ChromeService(shutil.which("chromedriver"))) as browser:
    browser.get(page.resolve().as_uri())
    png = browser.find_element(By.CLASS_NAME, "query").screenshot_as_png
# A palette of 256 colours is a quarter of the size, and no worse to the eye.
Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
