// The gallery without full reloads: filters and searches change the page in place, and Back comes to the same spot.
"use strict";

(() => {
  const TYPING_MS = 220;
  const READING_MS = 2000;
  const SIZE_KEY = "phototag.size";
  const one = (id) => document.getElementById(id);
  const wide = matchMedia("(min-width: 56.01rem)");
  let grid = null;
  let asking = null;
  let typing = 0;

  document.documentElement.classList.add("scripted");
  history.scrollRestoration = "manual";

  // ---- the grid

  function say(text) {
    const notice = one("notice");
    if (notice.textContent === text) return;
    notice.textContent = text;
    notice.hidden = text === "";
  }

  function count(total, soFar) {
    const photos = total === 1 ? "1 photo" : `${total.toLocaleString("en")} photos`;
    one("count").textContent = photos + (soFar ? " so far" : "");
  }

  let fading = 0;

  function passing(place) {
    one("place").textContent = (place + 1).toLocaleString("en");
    one("place").classList.add("shown");
    clearTimeout(fading);
    fading = setTimeout(() => one("place").classList.remove("shown"), 900);
  }

  // On a phone the filters cover the photos.
  function dressFold() {
    one("fold").hidden = false;
    one("fold").addEventListener("click", () => {
      one("facets").open = false;
      scrollTo(0, 0);
      one("facets").querySelector("summary").focus({ preventScroll: true });
    });
  }

  function openGrid() {
    grid?.close();
    const photos = one("photos");
    grid = photos ? new phototag.Grid(photos, { notify: say, changed: count, passing }) : null;
    if (photos) photos.querySelector("ol").tabIndex = -1;
  }

  // Where the reader is, kept with the entry of the browser's history.
  function remember() {
    if (!grid) return;
    const anchor = grid.firstInView();
    const above = scrollY < 8;
    history.replaceState({ anchor: above ? -1 : anchor, current: grid.current }, "");
  }

  function comeBack() {
    const place = history.state;
    if (!grid) return;
    const named = /^#p(\d+)$/.exec(location.hash);
    if (place && Number.isInteger(place.anchor)) {
      grid.mark(Math.min(place.current, grid.reachable - 1));
      if (place.anchor >= 0) {
        scrollTo(0, grid.offset + Math.floor(place.anchor / grid.columns) * grid.pitch - grid.headroom());
      }
      grid.render();
      if (place.current > 0 && grid.isInView(grid.current)) {
        grid.shown.get(grid.current)?.firstElementChild.focus({ preventScroll: true });
      }
    } else if (named) {
      grid.go(Number(named[1]) - 1);
    } else {
      const start = Number(grid.photos.dataset.start);
      if (start > 0) scrollTo(0, grid.offset + Math.floor(start / grid.columns) * grid.pitch - grid.headroom());
      grid.render();
    }
  }

  // ---- changes in place

  const phone = () => one("facets").open && !wide.matches;

  async function swap(url, { push = true, replace = false, restore = false } = {}) {
    asking?.abort();
    asking = new AbortController();
    const mine = asking;
    mine.busy = true;
    const slow = setTimeout(() => document.body.classList.add("busy"), 250);
    try {
      const response = await fetch(url, { signal: mine.signal, headers: { Accept: "text/html" }, redirect: "error" });
      const text = await response.text();
      if (mine !== asking) return;
      if (!response.ok) {
        location.assign(url);
        return;
      }
      const page = new DOMParser().parseFromString(text, "text/html");
      const address = `/${page.getElementById("results").dataset.query}`;
      if (push) {
        remember();
        history.pushState(null, "", address);
      } else if (replace) {
        history.replaceState(null, "", address);
      }
      put(page, restore);
    } catch (error) {
      if (error.name === "AbortError") return;
      say("phototag does not answer: is it still running?");
    } finally {
      clearTimeout(slow);
      mine.busy = false;
      if (mine === asking) document.body.classList.remove("busy");
    }
  }

  function put(page, restore) {
    const focused = document.activeElement?.dataset?.key;
    const group = document.activeElement?.closest(".facet")?.id;
    const open = new Map([...document.querySelectorAll(".facet, .facets")].map((each) => [each.id, each.open]));
    for (const id of ["facets", "results", "carried"]) one(id).replaceWith(document.adoptNode(page.getElementById(id)));
    for (const [id, was] of open) if (one(id)) one(id).open = was;
    one("count").textContent = page.getElementById("count").textContent;
    if (document.activeElement !== one("text") || restore) one("text").value = page.getElementById("text").value;
    one("sort").value = page.getElementById("sort").value;
    document.title = page.title;
    say("");
    dressFold();
    openGrid();
    if (restore) comeBack();
    else if (!phone() && scrollY > one("gallery").offsetTop) scrollTo(0, 0);
    grid?.render();
    // The same filter keeps the focus, else the group that it was in.
    const key = focused && document.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    if (key) key.focus({ preventScroll: true });
    else if (group && one(group)) one(group).querySelector("summary").focus({ preventScroll: true });
    else if (focused) one("text").focus({ preventScroll: true });
  }

  // While the library is still being read: show more of it, or only say so to a reader who is among the photos.
  async function readOn() {
    if (!one("reading") || asking?.busy || document.hidden) return;
    const url = location.href;
    let page = null;
    try {
      const response = await fetch(url, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!response.ok) return;
      page = new DOMParser().parseFromString(await response.text(), "text/html");
    } catch {
      return;
    }
    if (url !== location.href || asking?.busy || !one("reading")) return;
    const free = [document.body, one("text")].includes(document.activeElement);
    if (free && scrollY < 8 && !phone() && !one("keys").open) {
      put(page, false);
    } else if (page.getElementById("reading")) {
      one("reading").textContent = page.getElementById("reading").textContent;
    } else {
      one("reading").textContent = "All photos have been read: load this page again to count all of them.";
      one("reading").id = "read";
    }
  }
  setInterval(readOn, READING_MS);

  function formUrl(form) {
    const usual = ([name, value]) => value === "" || (name === "sort" && value === "-date");
    const fields = [...new FormData(form)].filter((field) => !usual(field));
    const query = new URLSearchParams(fields).toString();
    return query ? `/?${query}` : "/";
  }

  addEventListener("click", (event) => {
    // With one of these keys, a click opens a tab or a window.
    const aside = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
    if (event.defaultPrevented || event.button !== 0 || aside) return;
    const link = event.target.closest?.("a[data-swap]");
    if (link) {
      event.preventDefault();
      swap(link.href);
    } else if (event.target.closest?.("a.tile")) {
      remember();
    }
  });
  addEventListener("pagehide", remember);
  addEventListener("popstate", () => swap(location.href, { push: false, restore: true }));

  const search = one("search");
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    swap(formUrl(search));
  });
  one("text").addEventListener("input", () => {
    clearTimeout(typing);
    // The first letter opens an entry in the history, further ones change it: Back then undoes the whole search.
    const fresh = !new URLSearchParams(location.search).has("text");
    typing = setTimeout(() => swap(formUrl(search), { push: fresh, replace: !fresh }), TYPING_MS);
  });
  one("sort").addEventListener("change", () => swap(formUrl(search)));
  one("sidebar").addEventListener("submit", (event) => {
    event.preventDefault();
    swap(formUrl(event.target));
  });

  // ---- sizes, keys, and facets on a phone

  function size(name) {
    const known = ["s", "m", "l"].includes(name) ? name : "m";
    document.body.classList.remove("size-s", "size-m", "size-l");
    document.body.classList.add(`size-${known}`);
    for (const button of one("sizes").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.size === known));
    }
    grid?.resize();
  }

  function kept(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  }

  one("sizes").hidden = one("help").hidden = false;
  one("sizes").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    size(button.dataset.size);
    try {
      localStorage.setItem(SIZE_KEY, button.dataset.size);
    } catch {
      // Without storage the size lasts as long as the page.
    }
  });
  one("help").addEventListener("click", () => one("keys").showModal());

  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === one("text")) {
      if (event.key === "Escape" && grid) {
        event.preventDefault();
        grid.go(grid.isInView(grid.current) ? grid.current : grid.firstInView());
      }
      return;
    }
    if (phototag.editing(event) || one("keys").open) return;
    if (event.key === "/") {
      event.preventDefault();
      one("text").focus();
      one("text").select();
    } else if (event.key === "?") {
      one("keys").showModal();
    } else if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && event.target === document.body && grid) {
      event.preventDefault();
      grid.go(grid.isInView(grid.current) ? grid.current : grid.firstInView());
    }
  });

  const unfold = () => (one("facets").open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  dressFold();
  openGrid();
  size(kept(SIZE_KEY));
  comeBack();
  grid?.render();
})();
