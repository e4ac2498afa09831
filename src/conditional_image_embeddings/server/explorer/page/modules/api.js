// Asking the server. An error becomes a `Problem` with one line for the user, who sees it where they look.

import { state } from "./state.js";

export class Problem extends Error {}

const place = (path) => `api/${encodeURIComponent(state.in)}/${path}`;

async function answer(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer: is `cie explore` still running?");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  throw new Problem(said?.error?.message ?? `The server answered with status ${response.status}.`);
}

const posted = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

export const ask = async (path, body, signal) => (await answer(place(path), posted(body, signal))).json();
export const collections = async () => (await (await answer("api/collections")).json()).collections;
export const collection = async (signal) => (await answer(`api/${encodeURIComponent(state.in)}`, { signal })).json();
export const stateNow = async () => (await answer(place(`state?${new URLSearchParams({ space: state.space ?? "" })}`))).json();
export const modelState = async () => (await answer(place("model"))).json();
export const download = async (body) => (await answer(place("export"), posted(body))).blob();

export async function upload(file) {
  const options = { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file };
  return (await (await answer(place("uploads"), options)).json()).upload;
}

let seen = ""; // the state of the space that is looked at: its pictures are at hand there
export const see = (stateOfSpace) => (seen = stateOfSpace);

const pictured = (kind) => (image) => `${place(kind)}?${new URLSearchParams({ space: state.space, image, state: seen })}`;
export const thumbnail = pictured("thumbnail");
export const preview = pictured("preview");
export const original = pictured("original");
export const uploaded = (key) => place(`uploads/${encodeURIComponent(key)}`);

// Of several requests for one place of the page, the latest counts: the one before is given up.
export class Latest {
  #controller = null;

  async run(action) {
    this.#controller?.abort();
    const controller = (this.#controller = new AbortController());
    try {
      const found = await action(controller.signal);
      return controller.signal.aborted ? null : { found };
    } catch (error) {
      if (error.name === "AbortError" || controller.signal.aborted) return null;
      return { error: error instanceof Problem ? error.message : `${error.message ?? error}` };
    }
  }

  cancel() {
    this.#controller?.abort();
  }
}
