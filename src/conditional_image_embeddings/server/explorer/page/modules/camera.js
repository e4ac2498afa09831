// Which part of the map is looked at, and how large: places on the map (x, y) to pixels of the screen, and back.

export class Camera {
  width = 0; // pixels
  height = 0;
  unit = 1; // pixels, of the map when all of it is shown

  constructor() {
    this.fit();
  }

  fit() {
    this.zoom = 1;
    this.centre = [0, 0];
  }

  resize(width, height) {
    Object.assign(this, { width, height, unit: (Math.min(width, height) / 2) * 0.94 });
  }

  // Of the screen, in pixels.
  get middle() {
    return [this.width / 2, this.height / 2];
  }

  // Pixels per unit of the map.
  get scale() {
    return this.unit * this.zoom;
  }

  toScreen(x, y) {
    return [this.width / 2 + (x - this.centre[0]) * this.scale, this.height / 2 - (y - this.centre[1]) * this.scale];
  }

  toMap([left, top]) {
    return [(left - this.width / 2) / this.scale + this.centre[0], (this.height / 2 - top) / this.scale + this.centre[1]];
  }

  // What lies at a place of the screen stays there.
  zoomBy(factor, at = this.middle) {
    const fixed = this.toMap(at);
    this.zoom = Math.max(0.5, Math.min(2000, this.zoom * factor));
    const moved = this.toMap(at);
    this.centre = [this.centre[0] + fixed[0] - moved[0], this.centre[1] + fixed[1] - moved[1]];
  }

  pan(x, y) {
    this.centre = [this.centre[0] - x / this.scale, this.centre[1] + y / this.scale];
  }
}
