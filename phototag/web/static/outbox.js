// Answers on their way: kept in the browser until the server has acknowledged them, and sent in order, one at a time.
"use strict";

(() => {
  // Another library may be served at the same address: what waits for it is not for this one.
  const PREFIX = `phototag-outbox-${document.querySelector("[data-library]").dataset.library}-`;
  const TAB = "phototag-tab";
  const LONGEST_PAUSE = 8000;
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  // Hold a name for as long as this page is open; false if another page does.
  function held(name, patience) {
    return new Promise((resolve) => {
      const options = patience ? { signal: AbortSignal.timeout(patience) } : { ifAvailable: true };
      navigator.locks
        .request(name, options, (lock) => {
          resolve(lock !== null);
          return lock === null ? null : new Promise(() => {});
        })
        .catch(() => resolve(false));
    });
  }

  // What this tab is called: the same after a reload, another one in a duplicate of it.
  async function claimTab() {
    const known = sessionStorage.getItem(TAB);
    const [visit] = performance.getEntriesByType("navigation");
    const same = navigator.locks
      ? known !== null && (await held(TAB + known, 1500))
      : known !== null && visit?.type === "reload";
    if (same) return { tab: known, fresh: false };
    const tab = phototag.identity();
    if (navigator.locks) await held(TAB + tab, 0);
    sessionStorage.setItem(TAB, tab);
    return { tab, fresh: true };
  }

  function read(key) {
    try {
      const value = JSON.parse(localStorage.getItem(key) ?? "[]");
      return Array.isArray(value) ? value.filter((letter) => letter?.path?.startsWith("/api/samples/")) : [];
    } catch {
      return [];
    }
  }

  const keys = () => Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));

  // All letters that wait in this browser, of whatever tab.
  const everywhere = () => keys().flatMap(read);

  class Outbox extends EventTarget {
    // Events: "change", "sent" (detail: letter, value), "refused" (detail: letter, theirs, text), "recovered".
    // `settle(letter, theirs)` is asked whose answer stays where someone else was faster: true keeps the own one.
    constructor(tab, settle) {
      super();
      this.key = PREFIX + tab;
      this.letters = read(this.key);
      this.trouble = "";
      this.kept = true; // whether the letters outlast the page
      this.settle = settle;
      this.running = false;
      this.wake = () => {};
    }

    // Take over what closed tabs left. Sending a letter twice does no harm, so this need not be exact.
    async adopt() {
      for (const key of keys().filter((each) => each !== this.key)) {
        const tab = key.slice(PREFIX.length);
        if (navigator.locks && !(await held(TAB + tab, 0))) continue;
        const found = read(key).filter((letter) => !this.letters.some((mine) => mine.id === letter.id));
        if (this.keep([...found, ...this.letters])) localStorage.removeItem(key);
      }
      this.changed();
      this.run();
    }

    // Whether the letters are safe in the browser.
    keep(letters) {
      this.letters = letters;
      try {
        if (letters.length) localStorage.setItem(this.key, JSON.stringify(letters));
        else localStorage.removeItem(this.key);
        this.kept = true;
      } catch {
        // A full or forbidden storage: they still go out from memory, while the page is open.
        this.kept = letters.length === 0;
      }
      return this.kept;
    }

    add(letter) {
      this.keep([...this.letters, { id: phototag.identity(), ...letter }]);
      this.changed();
      this.run();
    }

    changed() {
      this.dispatchEvent(new Event("change"));
    }

    tell(name, detail) {
      this.dispatchEvent(new CustomEvent(name, { detail }));
    }

    // Try again now.
    hurry() {
      this.wake();
      this.run();
    }

    async run() {
      if (this.running) return;
      this.running = true;
      let failures = 0;
      while (this.letters.length) {
        const letter = this.letters[0];
        try {
          const value = await phototag.postJson(letter.path, letter.body, { signal: AbortSignal.timeout(30000) });
          failures = 0;
          if (this.trouble) this.tell("recovered", null);
          this.trouble = "";
          this.drop(letter);
          this.tell("sent", { letter, value });
        } catch (error) {
          failures += 1;
          if (await this.failed(letter, error)) continue;
          const wait = Math.min(500 * 2 ** Math.min(failures, 6), LONGEST_PAUSE);
          await Promise.race([pause(wait), new Promise((resolve) => { this.wake = resolve; })]);
        }
      }
      this.running = false;
      this.changed();
    }

    drop(letter) {
      this.keep(this.letters.filter((each) => each.id !== letter.id));
      this.changed();
    }

    // Whether to go on at once.
    async failed(letter, error) {
      const status = error.status ?? 0;
      const theirs = error.value?.theirs;
      if (status === 409 && theirs) {
        if (letter.kind === "review" && !theirs.agrees && (await this.settle(letter, theirs))) {
          letter.body.replace = true;
          this.keep([...this.letters]);
        } else {
          this.drop(letter);
          this.tell("refused", { letter, theirs, text: "" });
        }
        return true;
      }
      if ([400, 404, 409, 413, 415].includes(status)) {
        this.drop(letter);
        this.tell("refused", { letter, theirs: null, text: error.message });
        return true;
      }
      this.trouble = status === 0 || error.name === "AbortError" ? "gone" : status === 401 || status === 403 ? "out" : error.message;
      this.changed();
      return false;
    }
  }

  window.phototag.outbox = { Outbox, claimTab, everywhere };
})();
