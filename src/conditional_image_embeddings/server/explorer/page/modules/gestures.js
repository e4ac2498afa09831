// What hands do on the map: wheel and two fingers zoom, dragging pans, a click opens, the lasso (or Shift) draws; keys
// move the map under its middle, of which the nearest point is told and opened.

export function listen(field, { lassoes, zoom, pan, all, begin, hover, leave, click, look, open, draw, close }) {
  const pointers = new Map(); // id to place
  let corners = null; // of the lasso that is being drawn
  let moved = 0; // pixels
  const at = (event) => {
    const box = field.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  field.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), at(event));
  }, { passive: false });
  field.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest("button")) return;
    field.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    moved = 0;
    if (corners) draw([]); // a second finger: it is no lasso
    corners = lassoes(event) && pointers.size === 1 ? [at(event)] : null;
    begin();
  });
  field.addEventListener("pointermove", (event) => {
    const now = at(event);
    const before = pointers.get(event.pointerId);
    if (!before) return hover(now);
    pointers.set(event.pointerId, now);
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (corners) {
      corners.push(now);
      draw(corners);
    } else if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const far = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
      zoom(far(now) / far(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    } else pan(now[0] - before[0], now[1] - before[1]);
  });
  const up = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    const drawn = corners;
    corners = null;
    if (drawn) close(event.type === "pointerup" ? drawn : []);
    else if (moved < 5 && event.type === "pointerup") click(at(event));
  };
  field.addEventListener("pointerup", up);
  field.addEventListener("pointercancel", up);
  field.addEventListener("pointerleave", leave);
  field.addEventListener("keydown", (event) => {
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in moves) pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") all();
    else if (event.key === "Enter") open();
    else return;
    event.preventDefault();
    if (event.key !== "Enter") look();
  });
  field.addEventListener("focus", () => field.matches(":focus-visible") && look());
  field.addEventListener("blur", leave);
}
