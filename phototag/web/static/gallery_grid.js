// A grid over all photos of a result, of which only those in view and a little around them are in the page.
//
// The whole grid has the height that all photos need, so that the scrollbar spans the library. Photos come from the
// server in blocks, asked for by place. When the server says that the library changed, shown photos stay until the new
// ones have come.
"use strict";

(() => {
  const SPARE_ROWS = 3;
  const KEPT_BLOCKS = 60;
  const SETTLED_MS = 70;
  const RETRY_MS = 3000;
  const LOOK_AGAIN_MS = 20_000;
  // Browsers cut boxes off at about 17 million pixels.
  const MOST_PIXELS = 15_000_000;

  // Pictures that were scrolled away before they came are not waited for: those in view come first.
  function hold(tile) {
    const image = tile.querySelector("img");
    if (!image || image.complete) return;
    image.dataset.address = image.getAttribute("src");
    image.removeAttribute("src");
  }

  function release(tile) {
    const image = tile.querySelector("img[data-address]");
    if (!image) return;
    image.src = image.dataset.address;
    delete image.dataset.address;
  }

  class Grid {
    // `photos` is the element around the list. `notify` is called with the words of a mistake, or "" when it is over;
    // `changed` with the new number of photos and whether there are more to come, and `passing` with the place of the first photo in view while photos
    // are scrolled past too fast to be shown.
    constructor(photos, { notify, changed, passing }) {
      this.photos = photos;
      this.list = photos.querySelector("ol");
      this.notify = notify;
      this.changed = changed;
      this.passing = passing;
      this.total = Number(photos.dataset.total);
      this.version = photos.dataset.version;
      this.soFar = this.list.dataset.soFar !== undefined;
      this.blockSize = Number(photos.dataset.block);
      this.tiles = new Map();
      this.fresh = new Set();
      this.loading = new Map();
      this.shown = new Map();
      this.first = this.last = 0;
      this.current = 0;
      this.retryAt = 0;
      this.wanting = 0;
      this.lastTop = 0;
      this.lastMoved = 0;
      this.closing = new AbortController();
      this.take(Number(photos.dataset.start), [...this.list.children]);
      this.current = Number(photos.dataset.start);
      for (const [place, tile] of this.tiles) this.shown.set(place, tile);
      [this.first, this.last] = [this.current, this.current + this.shown.size];
      this.measure();
      photos.classList.add("placed");
      this.listen();
    }

    // Take the tiles of a block.
    take(start, tiles) {
      tiles.forEach((tile, offset) => {
        const place = start + offset;
        tile.firstElementChild.tabIndex = place === this.current ? 0 : -1;
        tile.dataset.place = place;
        this.tiles.set(place, tile);
      });
      this.fresh.add(Math.floor(start / this.blockSize));
    }

    listen() {
      const { signal } = this.closing;
      addEventListener("scroll", () => this.soon(), { passive: true, signal });
      document.addEventListener("visibilitychange", () => this.lookAgain(), { signal });
      this.looking = setInterval(() => this.lookAgain(), LOOK_AGAIN_MS);
      this.observer = new ResizeObserver(() => {
        if (this.photos.clientWidth !== this.width) {
          this.resize();
          return;
        }
        // Something above the photos, as the filters on a phone, may have grown.
        this.offset = this.photos.getBoundingClientRect().top + scrollY;
        this.soon();
      });
      this.observer.observe(this.photos);
      this.observer.observe(document.body);
      this.list.addEventListener("keydown", (event) => this.key(event), { signal });
      this.list.addEventListener("focusin", (event) => {
        const tile = event.target.closest("li");
        if (tile) this.mark(Number(tile.dataset.place));
      }, { signal });
    }

    close() {
      this.closing.abort();
      this.observer.disconnect();
      clearTimeout(this.wanting);
      clearInterval(this.looking);
      for (const loading of this.loading.values()) loading.abort();
    }

    // ---- sizes

    measure() {
      const tile = this.list.querySelector("li");
      if (!tile) return;
      const style = getComputedStyle(this.list);
      this.width = this.photos.clientWidth;
      this.columns = Math.max(1, style.gridTemplateColumns.split(" ").length);
      this.pitch = tile.getBoundingClientRect().height + parseFloat(style.rowGap);
      this.gap = parseFloat(style.rowGap);
      this.rows = Math.min(Math.ceil(this.total / this.columns), Math.floor(MOST_PIXELS / this.pitch));
      this.reachable = Math.min(this.total, this.rows * this.columns);
      const rest = document.getElementById("rest");
      rest.hidden = this.reachable === this.total;
      rest.textContent = `A page can be no longer: these are the first ${this.reachable.toLocaleString("en")} photos. `
        + "For the others, narrow the filters or turn the order around.";
      this.photos.style.height = `${this.rows * this.pitch - this.gap}px`;
      this.offset = this.photos.getBoundingClientRect().top + scrollY;
    }

    // Lay out again and keep the photo at the top where it is.
    resize() {
      const anchor = this.firstInView();
      const wasAbove = scrollY < this.offset;
      this.measure();
      if (!wasAbove) scrollTo(0, this.offset + Math.floor(anchor / this.columns) * this.pitch - this.headroom());
      this.render();
    }

    headroom() {
      return parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
    }

    firstInView() {
      const row = Math.ceil(Math.max(0, scrollY + this.headroom() - this.offset - this.pitch / 3) / this.pitch);
      return Math.min(row * this.columns, Math.max(0, this.reachable - 1));
    }

    // ---- what is in the page

    soon() {
      if (this.frame) return;
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        if (!this.closing.signal.aborted) this.render();
      });
    }

    render() {
      const top = scrollY - this.offset;
      const from = Math.max(0, Math.floor(top / this.pitch) - SPARE_ROWS);
      // One row at least, also while the grid is below what is seen: rows are measured by it.
      const to = Math.min(this.rows, Math.max(1, Math.ceil((top + innerHeight) / this.pitch) + SPARE_ROWS));
      const first = Math.min(from, Math.max(0, this.rows - 1)) * this.columns;
      const last = Math.max(first, Math.min(this.reachable, to * this.columns));
      this.show(first, last);
      const now = performance.now();
      const speed = Math.abs(top - this.lastTop) / Math.max(1, now - this.lastMoved);
      [this.lastTop, this.lastMoved] = [top, now];
      clearTimeout(this.wanting);
      // Photos that the scrollbar is only dragged past are not waited for.
      if (speed > innerHeight / 150) {
        this.passing(this.firstInView());
        this.wanting = setTimeout(() => this.want(), SETTLED_MS);
      } else {
        this.want();
      }
    }

    show(first, last) {
      const focused = document.activeElement?.closest?.("li");
      for (const [place, node] of this.shown) {
        if (place >= first && place < last) continue;
        // The keyboard stays in the list when its photo is scrolled away.
        if (node === focused) this.list.focus({ preventScroll: true });
        node.remove();
        hold(node);
        this.shown.delete(place);
      }
      let next = null;
      for (let place = last - 1; place >= first; place -= 1) {
        const tile = this.tiles.get(place) ?? this.shown.get(place) ?? this.placeholder(place);
        const before = this.shown.get(place);
        if (before !== tile) {
          release(tile);
          const hadFocus = before !== undefined && before.contains(document.activeElement);
          if (before) before.replaceWith(tile);
          else this.list.insertBefore(tile, next);
          this.shown.set(place, tile);
          if (hadFocus) tile.firstElementChild.focus({ preventScroll: true });
        }
        next = tile;
      }
      [this.first, this.last] = [first, last];
      this.list.style.top = `${Math.floor(first / this.columns) * this.pitch}px`;
    }

    placeholder(place) {
      const tile = document.createElement("li");
      tile.dataset.place = place;
      tile.dataset.waiting = "";
      tile.setAttribute("aria-posinset", place + 1);
      tile.setAttribute("aria-setsize", this.total);
      const link = document.createElement("a");
      link.className = "tile wait";
      link.tabIndex = place === this.current ? 0 : -1;
      link.setAttribute("aria-label", "Loading");
      for (const name of ["frame", "line"]) {
        const part = document.createElement("span");
        part.className = name;
        link.append(part);
      }
      tile.append(link);
      return tile;
    }

    // ---- blocks from the server

    want() {
      if (performance.now() < this.retryAt) return;
      const from = Math.floor(this.first / this.blockSize);
      const to = Math.floor(Math.max(0, this.last - 1) / this.blockSize);
      for (const [block, loading] of this.loading) {
        if (block < from || block > to) loading.abort();
      }
      for (let block = from; block <= to; block += 1) {
        if (!this.fresh.has(block) && !this.loading.has(block)) this.load(block);
      }
    }

    // Ask for a block in view again: its answer says whether the library changed.
    lookAgain() {
      if (document.hidden || this.loading.size || !this.total) return;
      this.load(Math.floor(this.firstInView() / this.blockSize));
    }

    async load(block) {
      const loading = new AbortController();
      this.loading.set(block, loading);
      try {
        const url = new URL(this.photos.dataset.more, location.href);
        url.searchParams.set("start", block * this.blockSize);
        const response = await fetch(url, {
          signal: loading.signal, headers: { Accept: "text/html" }, redirect: "error", priority: "high",
        });
        const text = await response.text();
        if (this.closing.signal.aborted) return;
        if (!response.ok) throw new phototag.HttpError(response.status, "", null);
        this.receive(block, text);
        this.notify("");
      } catch (error) {
        if (error.name !== "AbortError" && !this.closing.signal.aborted) this.failed(error);
      } finally {
        if (this.loading.get(block) === loading) this.loading.delete(block);
      }
      if (!this.closing.signal.aborted) this.want();
    }

    receive(block, text) {
      const holder = document.createElement("template");
      holder.innerHTML = text;
      const list = holder.content.querySelector("ol");
      if (list.dataset.version !== this.version) {
        this.version = list.dataset.version;
        this.fresh.clear();
      }
      const start = block * this.blockSize;
      const tiles = [...list.children].map((tile) => document.importNode(tile, true));
      // What the block held before and no longer does.
      for (let place = start + tiles.length; place < start + this.blockSize; place += 1) this.tiles.delete(place);
      this.take(start, tiles);
      const soFar = list.dataset.soFar !== undefined;
      if (Number(list.dataset.total) !== this.total) this.grow(Number(list.dataset.total), soFar);
      else if (soFar !== this.soFar) this.changed(this.total, soFar);
      this.soFar = soFar;
      this.forget(block);
      this.show(this.first, Math.min(this.last, this.reachable));
    }

    grow(total, soFar) {
      this.total = total;
      for (const place of this.tiles.keys()) if (place >= total) this.tiles.delete(place);
      this.measure();
      this.changed(total, soFar);
      this.soon();
    }

    // Keep only blocks near this one when there are many.
    forget(block) {
      const held = new Set([...this.tiles.keys()].map((place) => Math.floor(place / this.blockSize)));
      if (held.size <= KEPT_BLOCKS) return;
      const farthest = [...held].sort((a, b) => Math.abs(b - block) - Math.abs(a - block));
      for (const each of farthest.slice(0, held.size - KEPT_BLOCKS / 2)) {
        this.fresh.delete(each);
        for (let place = each * this.blockSize; place < (each + 1) * this.blockSize; place += 1) {
          if (!this.shown.has(place)) this.tiles.delete(place);
        }
      }
    }

    failed(error) {
      this.retryAt = performance.now() + RETRY_MS;
      this.notify(
        error.status === 401 ? "This page was signed out: open the link that phototag shows in its terminal."
          : error.status ? `phototag could not list these photos (${error.status}).`
            : "phototag does not answer: is it still running?",
      );
      if (error.status !== 401) setTimeout(() => !this.closing.signal.aborted && this.want(), RETRY_MS + 10);
    }

    // ---- the keyboard

    // Make a photo the one that Tab reaches.
    mark(place) {
      const before = this.shown.get(this.current)?.firstElementChild ?? this.tiles.get(this.current)?.firstElementChild;
      if (before) before.tabIndex = -1;
      this.current = place;
      const now = this.shown.get(place)?.firstElementChild;
      if (now) now.tabIndex = 0;
    }

    isInView(place) {
      const top = this.offset + Math.floor(place / this.columns) * this.pitch;
      return top + this.pitch > scrollY + this.headroom() && top < scrollY + innerHeight;
    }

    // Go to a photo and scroll as little as that needs.
    go(place) {
      const to = Math.max(0, Math.min(this.reachable - 1, place));
      const top = this.offset + Math.floor(to / this.columns) * this.pitch;
      const high = scrollY + this.headroom();
      if (top < high) scrollTo(0, top - this.headroom());
      else if (top + this.pitch > scrollY + innerHeight) scrollTo(0, top + this.pitch - innerHeight + this.gap);
      this.mark(to);
      this.render();
      this.shown.get(to)?.firstElementChild.focus({ preventScroll: true });
    }

    key(event) {
      if (event.altKey || event.metaKey || (event.ctrlKey && !["Home", "End"].includes(event.key))) return;
      const screen = Math.max(1, Math.floor((innerHeight - this.headroom()) / this.pitch) - 1) * this.columns;
      const steps = {
        ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns,
        PageUp: -screen, PageDown: screen,
        Home: -this.total, End: this.total,
      };
      const step = steps[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const from = this.isInView(this.current) ? this.current : this.firstInView();
      const to = from + step;
      // In the last row but one the key goes down although nothing lies right below.
      if (event.key === "ArrowUp" && to < 0) return;
      this.go(to);
    }
  }

  window.phototag.Grid = Grid;
})();
