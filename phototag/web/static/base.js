// What all pages share, as window.phototag: say(text), getJson(path), postJson(path, value), HttpError, editing(event),
// identity(), asWritten(name), spelled(name), fullName(superclass, subclass).
"use strict";

(() => {
  class HttpError extends Error {
    // `status` is 0 when the server could not be reached; `value` is the answer's JSON, if it was any.
    constructor(status, text, value) {
      super(text);
      this.name = "HttpError";
      this.status = status;
      this.value = value;
    }
  }

  let silence = 0;

  // Say something in passing: shown for a while, and read out by screen readers.
  function say(text, { seconds = 4 } = {}) {
    const place = document.getElementById("said");
    clearTimeout(silence);
    place.textContent = text;
    place.classList.toggle("shown", text !== "");
    silence = setTimeout(() => place.classList.remove("shown"), seconds * 1000);
  }

  async function ask(path, options) {
    let response;
    try {
      response = await fetch(path, {
        credentials: "same-origin", redirect: "error", ...options,
        headers: { Accept: "application/json", ...options.headers },
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new HttpError(0, "phototag does not answer: is it still running?", null);
    }
    let value = null;
    try {
      value = await response.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (response.ok) throw new HttpError(0, "the answer of phototag was cut short", null);
    }
    if (!response.ok) throw new HttpError(response.status, value?.error ?? `phototag answered ${response.status}`, value);
    return value;
  }

  // The JSON that the server answers; an HttpError for everything that is no success.
  const getJson = (path, options = {}) => ask(path, options);
  const postJson = (path, value, options = {}) =>
    ask(path, {
      method: "POST", body: JSON.stringify(value), ...options, headers: { "Content-Type": "application/json" },
    });

  // Whether a key is meant for a field or a control and not for the page.
  function editing(event) {
    const place = event.target;
    return place instanceof Element && place.closest("input, select, textarea, [contenteditable]") !== null;
  }

  // A unique name. Not crypto.randomUUID: browsers have that on encrypted pages and this computer only.
  function identity() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // A class as people write it, and what names have in common that differ only in spelling: as taxonomy.py has it.
  const asWritten = (name) => name.replaceAll("_", " ");
  const spelled = (name) => asWritten(name.normalize("NFC")).toLowerCase();
  const fullName = (superclass, subclass) =>
    superclass === null ? "no label" : asWritten(subclass === null ? `${superclass} (superclass only)` : `${superclass}/${subclass}`);

  // Thumbnails that cannot be had say so; the event does not bubble, but it can be caught on its way down.
  addEventListener("error", (event) => {
    const image = event.target;
    if (!(image instanceof HTMLImageElement) || !image.closest(".tile")) return;
    const words = document.createElement("span");
    words.className = "broken";
    words.textContent = "no preview";
    image.replaceWith(words);
  }, true);

  window.phototag = { say, getJson, postJson, HttpError, editing, identity, asWritten, spelled, fullName };
})();
