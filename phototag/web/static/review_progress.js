// How far the review of a sample is: counted here at once, and by the server once nothing is on its way.
"use strict";

(() => {
  const SETTLED_MS = 400;

  class Progress {
    // `quiet()`: whether no answer is on its way; `show(numbers)` puts them on the page.
    constructor(path, size, { quiet, show }) {
      this.path = path;
      this.numbers = { size, reviewed: 0, right: 0, skipped: 0, changed: 0, pending: 0 };
      this.quiet = quiet;
      this.show = show;
      this.syncing = 0;
    }

    // An answer was given, or taken back with `by` -1.
    count(step, by) {
      const { numbers } = this;
      if (step.kind === "skip") numbers.skipped += by;
      else {
        numbers.reviewed += by;
        numbers.right += step.right ? by : 0;
      }
      numbers.pending -= by;
      this.show(numbers);
    }

    // What the server counts; wrong by what is still on its way.
    take(numbers) {
      if (this.quiet()) Object.assign(this.numbers, numbers);
      this.show(this.numbers);
    }

    resync() {
      clearTimeout(this.syncing);
      this.syncing = setTimeout(async () => {
        if (!this.quiet()) return;
        const value = await phototag.getJson(this.path).catch(() => null);
        this.take(value?.progress ?? {});
      }, SETTLED_MS);
    }
  }

  window.phototag.Progress = Progress;
})();
