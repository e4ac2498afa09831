"""The half of `explorer.py` that looks at the page in Chromium: waits, frames, memory of the tab."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from clustered_collections import CONDITIONS
from playwright.sync_api import Browser, Page

FLAGS = ("--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-sync")
SCREEN = {"width": 1280, "height": 900}
LOADS, SEARCHES, STOPS = 3, 50, 60
SECONDS = 2  # of each movement
READING, FLYING = 1_500, 20_000  # pixels a second
MIB = 2**20

WATCH = """
window.pictures = () => {
  const box = document.querySelector("#scroller")?.getBoundingClientRect();
  const tiles = [...document.querySelectorAll("#scroller .tile")].filter((each) => {
    const { top, bottom } = each.getBoundingClientRect();
    return bottom > box.top && top < box.bottom;
  });
  const there = tiles.filter((each) => each.querySelector("img")?.complete && each.querySelector("img").naturalWidth);
  return [there.length, tiles.length];
};
window.seen = {};
const look = () => {
  const [there, tiles] = document.querySelector("#scroller") ? pictures() : [0, 0];
  if (there) seen.first ??= performance.now();
  if (there && there === tiles) seen.all ??= performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
window.frames = (move, seconds) => new Promise((done) => {
  const taken = [];
  let began, last;
  const step = (now) => {
    if (last !== undefined) taken.push(now - last);
    began ??= now;
    last = now;
    if (now - began > 1000 * seconds) done(taken);
    else {
      move((now - began) / 1000);
      requestAnimationFrame(step);
    }
  };
  requestAnimationFrame(step);
});
"""
WITH_WEBGL = "WebGL2RenderingContext.prototype.getExtension = () => null;"  # it does not say that it is no card
SCROLL = """async ([place, speed, seconds]) => {
  const scroller = document.querySelector(place);
  scroller.scrollTop = 0;
  const seen = [];
  const taken = await frames((t) => {
    scroller.scrollTop = speed * t;
    if (place === "#scroller") seen.push(pictures());
  }, seconds);
  const shares = seen.map(([there, all]) => (all ? there / all : 1));
  return { taken, shown: shares.reduce((sum, each) => sum + each, 0) / Math.max(1, shares.length) };
}"""
RIVAL = """([kind, number, address]) => {
  document.body.replaceChildren();
  const list = document.createElement("div");
  list.id = "rival";
  Object.assign(list.style, { position: "fixed", inset: "0", overflow: "auto", display: "grid", gap: "12px",
    gridTemplateColumns: "repeat(8, 1fr)", gridAutoRows: "166px" });
  for (let row = 0; row < number; row++) {
    const box = document.createElement(kind);
    if (kind === "img") {
      const name = `album-${String(Math.floor(row / 500)).padStart(3, "0")}/IMG_${String(row).padStart(8, "0")}.jpg`;
      Object.assign(box, { loading: "lazy", decoding: "async", src: `${address}&image=${encodeURIComponent(name)}` });
    } else box.style.background = `hsl(${row % 360} 50% 50%)`;
    list.append(box);
  }
  document.body.append(list);
}"""
SEARCH = """async (hash) => {
  const before = document.querySelector("#scroller .tile")?.dataset.id;
  const began = performance.now();
  location.hash = hash;
  for (;;) {
    await new Promise(requestAnimationFrame);
    const tile = document.querySelector("#scroller .tile");
    const [there, all] = pictures();
    if (tile?.dataset.id && tile.dataset.id !== before && there === all && all) return performance.now() - began;
    if (performance.now() - began > 20000) throw new Error("no answer");
  }
}"""
ZOOM = """(seconds) => frames((t) => {
  const field = document.querySelector("#map .plane");
  const { left, top, width, height } = field.getBoundingClientRect();
  const deltaY = (t % 2 < 1 ? -1 : 1) * 20;
  const at = { clientX: left + width / 2, clientY: top + height / 2 };
  field.dispatchEvent(new WheelEvent("wheel", { deltaY, ...at, cancelable: true }));
}, seconds)"""
PAN = """(seconds) => frames((t) => {
  const key = t % 1 < 0.5 ? "ArrowLeft" : "ArrowRight";
  document.querySelector("#map .plane").dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
}, seconds)"""
WALK = """async (hash) => {
  const foot = document.querySelector("#map > .note");
  const walks = new Promise((done) => {
    new MutationObserver((_, self) => (self.disconnect(), done())).observe(foot, { childList: true });
  });
  const began = performance.now();
  location.hash = hash;
  await walks;
  const waited = performance.now() - began;
  return { waited, taken: await frames(() => {}, 0.9) };
}"""
HOVER = """async () => {
  const field = document.querySelector("#map .plane");
  const tip = field.querySelector(".tip");
  const box = field.getBoundingClientRect();
  const tips = [], looks = [];
  for (let place = 0; place < 400 && tips.length < 8; place++) {
    const [x, y] = [(place * 97) % (box.width - 80), (place * 61) % (box.height - 80)];
    const at = { clientX: box.left + 40 + x, clientY: box.top + 40 + y };
    const began = performance.now();
    field.dispatchEvent(new PointerEvent("pointermove", { ...at, pointerId: 1 }));
    looks.push(performance.now() - began);
    if (!field.classList.contains("hand")) continue;
    const image = () => tip.querySelector("img");
    const former = image();
    while (!(!tip.hidden && image() && image() !== former && image().complete) && performance.now() - began < 3000) {
      await new Promise(requestAnimationFrame);
    }
    tips.push(performance.now() - began);
  }
  return { tips, looks };
}"""

Rows = dict[str, str]


def measure(browser: Browser, address: str, name: str, images: int) -> tuple[Rows, Rows, Rows]:
    """What a user waits for, frames, and memory of the tab."""
    waits: Rows = {}
    frames: Rows = {}
    memory: Rows = {}
    loads = []
    for _ in range(LOADS + 1):
        with tab(browser, address) as page:
            until(page, "seen.all")
            loads.append(page.evaluate("() => [seen.first, seen.all]"))
    waits["first picture, first visit since the server started"] = f"{loads[0][0]:.0f}"
    waits["first screen, first visit"] = f"{loads[0][1]:.0f}"
    waits["first picture"], waits["first screen"] = (f"{each:.0f}" for each in np.median(loads[1:], axis=0))
    with tab(browser, address) as page:
        until(page, "seen.all")
        memory.update(held(page, "on opening"))
        frames["nothing moves"] = told(page.evaluate("(seconds) => frames(() => {}, seconds)", SECONDS))
        for speed in (READING, FLYING):
            found = page.evaluate(SCROLL, ["#scroller", speed, SECONDS])
            frames[f"scrolling {speed:,} pixels a second"] = told(found["taken"])
            frames[f"pictures there meanwhile, {speed:,}"] = f"{found['shown']:.0%}"
        scroll_through(page)
        memory.update(held(page, "scrolled to the end"))
        found = [page.evaluate(SEARCH, near(name, row, *CONDITIONS)) for row in range(SEARCHES)]
        memory.update(held(page, f"after {SEARCHES} searches"))
        waits["near another image: all its pictures"] = f"{np.median(found):.0f}"
    for kind, said in (("div", "boxes"), ("img", "lazy images")):
        with tab(browser, f"{address}look/tokens.css") as page:
            thumbnail = f"{address}api/{name}/thumbnail?space={space_of(page, address, name)}"
            page.evaluate(RIVAL, [kind, images, thumbnail])
            for speed in (READING, FLYING):
                found = page.evaluate(SCROLL, ["#rival", speed, SECONDS])
                frames[f"a plain page of {said}, {speed:,}"] = told(found["taken"])
    for said, script in (("WebGL", WITH_WEBGL), ("pixels", "")):
        with tab(browser, address, f"#in={name}&view=map", script) as page:
            until(page, "document.querySelector('#map .legend button')")
            waits[f"map, {said}"] = f"{page.evaluate('() => performance.now()'):.0f}"
            frames[f"map, {said}: zoom"] = told(page.evaluate(ZOOM, SECONDS))
            frames[f"map, {said}: pan"] = told(page.evaluate(PAN, SECONDS))
            page.keyboard.press("0")
            hovered = page.evaluate(HOVER)
            waits[f"map, {said}: pointer to picture"] = f"{np.median(hovered['tips'] or [0]):.0f}"
            waits[f"map, {said}: finding the point"] = f"{np.median(hovered['looks']):.1f}"
            walked = page.evaluate(WALK, f"#in={name}&view=map&by={CONDITIONS[1].replace(' ', '+')}")
            waits[f"map, {said}: another aspect"] = f"{walked['waited']:.0f}"
            frames[f"map, {said}: walk"] = told(walked["taken"])
    return waits, frames, memory


@contextmanager
def tab(browser: Browser, address: str, view: str = "", script: str = "") -> Iterator[Page]:
    context = browser.new_context(viewport=SCREEN)
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.add_init_script(WATCH + script)
        page.goto(address + view)
        yield page
    finally:
        context.close()


def until(page: Page, true: str) -> None:
    page.evaluate(f"async () => {{ while (!({true})) await new Promise(requestAnimationFrame); }}")


def near(name: str, row: int, *conditions: str) -> str:
    aspects = "".join(f"&c={each.replace(' ', '+')}~1" for each in conditions)
    return f"#in={name}{aspects}&image_id=album-000%2FIMG_{row:08}.jpg"


def space_of(page: Page, address: str, name: str) -> str:
    found: dict[str, Any] = json.loads(page.request.get(f"{address}api/{name}").text())
    return str(found["spaces"][0]["space"])


def scroll_through(page: Page) -> None:
    """To the end, with so many stops at which all that is on the screen has come."""
    for stop in range(STOPS + 1):
        page.evaluate(
            """async (share) => {
              const scroller = document.querySelector("#scroller");
              scroller.scrollTop = share * scroller.scrollHeight;
              for (let n = 0; n < 600; n++) {
                await new Promise(requestAnimationFrame);
                const [there, all] = pictures();
                if (n > 3 && there === all) return;
              }
            }""",
            stop / STOPS,
        )


def held(page: Page, when: str) -> Rows:
    """Of the tab, once its garbage is collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    session.send("Performance.enable")
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    told = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return {
        f"the tab's scripts, {when}": f"{told['JSHeapUsedSize'] / MIB:.1f}",
        f"nodes, {when}": f"{told['Nodes']:.0f}",
    }


def told(taken: list[float]) -> str:
    p50, p95 = np.percentile(taken, [50, 95])
    missed = max(0.0, 1 - len(taken) / (sum(taken) * 60 / 1000))
    return f"{p50:.0f} / {p95:.0f}; {missed:.0%}"
