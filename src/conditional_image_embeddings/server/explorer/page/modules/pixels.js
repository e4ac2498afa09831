// Points without a graphics card: discs are written into the pixels of a picture, which takes a few milliseconds for a
// hundred thousand, where drawing each as a shape takes fifty.

const FAINT = 0.5; // what is less opaque lies under all else
const RIM = 0.45; // of the edge's colour at a disc's rim

export class Pixels {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  // As `Points.draw`, of what `Points.set` was given.
  draw({ begun, ended, numbers, count }, { t, scale, offset, size, colours, edge }) {
    const { width, height } = this.canvas;
    if (this.image?.width !== width || this.image?.height !== height) {
      this.image = this.context.createImageData(width, height);
      this.words = new Uint32Array(this.image.data.buffer); // one pixel each: alpha, blue, green, red
    }
    const { words } = this;
    words.fill(0);
    const { reach, inner, rim } = disc(size, width);
    const faint = colours.map((each) => each[3] < FAINT);
    const fills = colours.map((each) => packed(each, each[3]));
    const rims = colours.map((each) => packed(each.slice(0, 3).map((part, at) => part + (edge[at] - part) * RIM), each[3]));
    for (const below of [true, false]) {
      for (let i = 0; i < count; i++) {
        const number = numbers[i];
        if (faint[number] !== below) continue;
        const x = ((((begun[2 * i] + (ended[2 * i] - begun[2 * i]) * t) * scale[0] + offset[0] + 1) / 2) * width) | 0;
        const y = (((1 - (begun[2 * i + 1] + (ended[2 * i + 1] - begun[2 * i + 1]) * t) * scale[1] - offset[1]) / 2) * height) | 0;
        if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
        const at = y * width + x;
        for (const step of inner) words[at + step] = fills[number];
        for (const step of rim) words[at + step] = rims[number];
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

// Which pixels a disc has, as steps from its centre in the picture's order.
function disc(size, width) {
  const radius = size / 2;
  const reach = Math.ceil(radius);
  const inner = [];
  const rim = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const far = Math.hypot(x, y);
      if (far <= radius) (far > radius - 1 && size > 4 ? rim : inner).push(y * width + x);
    }
  }
  return { reach, inner: Int32Array.from(inner), rim: Int32Array.from(rim) };
}

const packed = ([red, green, blue], alpha) =>
  ((Math.round(alpha * 255) << 24) | (Math.round(blue * 255) << 16) | (Math.round(green * 255) << 8) | Math.round(red * 255)) >>> 0;
