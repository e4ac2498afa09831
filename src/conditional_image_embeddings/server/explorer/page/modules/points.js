// A hundred thousand points on a plane, on the graphics card; where there is none, pixel by pixel.

import { Pixels } from "./pixels.js";

const VERTEX = `#version 300 es
in vec2 begun; in vec2 ended; in float number;
uniform float t; uniform vec2 scale; uniform vec2 offset; uniform float size; uniform vec4 colours[13];
out vec4 colour;
void main() {
  vec2 at = mix(begun, ended, t) * scale + offset;
  colour = colours[int(number)];
  gl_Position = vec4(at, colour.a < 0.5 ? 0.5 : 0.0, 1.0);
  gl_PointSize = size;
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
uniform vec3 edge;
in vec4 colour; out vec4 drawn;
void main() {
  float far = length(gl_PointCoord - 0.5) * 2.0;
  float inside = 1.0 - smoothstep(0.8, 1.0, far);
  vec3 edged = mix(colour.rgb, edge, 0.45 * smoothstep(0.6, 0.85, far));
  drawn = vec4(edged * colour.a, colour.a) * inside;
}`;

export class Points {
  constructor(canvas) {
    this.canvas = canvas;
    this.count = 0;
    this.gl = hasGraphicsCard() ? canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true }) : null;
    if (this.gl) {
      this.#build();
      canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      canvas.addEventListener("webglcontextrestored", () => {
        this.#build();
        if (this.count) this.set(this.begun, this.ended, this.numbers);
        this.restored?.();
      });
    } else this.pixels = new Pixels(canvas);
  }

  // Places (x, y) to begin and to end at, and the colour's number of each.
  set(begun, ended, numbers) {
    Object.assign(this, { begun, ended, numbers, count: numbers.length });
    const { gl } = this;
    if (!gl) return;
    for (const [name, values, size] of [["begun", begun, 2], ["ended", ended, 2], ["number", Float32Array.from(numbers), 1]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      const place = gl.getAttribLocation(this.program, name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0);
    }
  }

  // `t` of the way from begin to end; a place (x, y) is drawn at (x, y) * scale + offset, in -1 to 1.
  draw({ t, scale, offset, size, colours, edge }) {
    const { gl, canvas } = this;
    if (!gl) return this.pixels.draw(this, { t, scale, offset, size, colours, edge });
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(this.program);
    gl.uniform1f(this.places.t, t);
    gl.uniform2f(this.places.scale, ...scale);
    gl.uniform2f(this.places.offset, ...offset);
    gl.uniform1f(this.places.size, size);
    gl.uniform3f(this.places.edge, ...edge);
    gl.uniform4fv(this.places.colours, new Float32Array(colours.flat()));
    gl.drawArrays(gl.POINTS, 0, this.count);
  }

  #build() {
    const { gl } = this;
    const compiled = (kind, source) => {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      return shader;
    };
    this.program = gl.createProgram();
    gl.attachShader(this.program, compiled(gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(this.program, compiled(gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(this.program);
    this.places = Object.fromEntries(["t", "scale", "offset", "size", "colours", "edge"].map((name) => [name, gl.getUniformLocation(this.program, name)]));
    this.buffers = Object.fromEntries(["begun", "ended", "number"].map((name) => [name, gl.createBuffer()]));
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }
}

// A browser without one computes WebGL on the processor: pixels are faster then.
function hasGraphicsCard() {
  const gl = document.createElement("canvas").getContext("webgl2");
  const about = gl?.getExtension("WEBGL_debug_renderer_info");
  const renderer = about ? gl.getParameter(about.UNMASKED_RENDERER_WEBGL) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return Boolean(gl) && !/swiftshader|llvmpipe|software|basic render/i.test(renderer);
}
