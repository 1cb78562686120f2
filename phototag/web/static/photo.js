// One photo: the keyboard, corrections, and what is fetched when the page stands.
"use strict";

(() => {
  const one = (id) => document.getElementById(id);
  const photo = one("photo");
  const about = `/api/photos/${photo.dataset.id}/review`;
  let busy = false;
  // Whether what was asked for last is saved; the page is not left before that is known.
  let saved = Promise.resolve(true);

  // ---- the picture

  const picture = one("picture");

  function sized() {
    // Small pictures fill more of the stage than their pixels.
    const most = Math.max(picture.naturalWidth, picture.naturalHeight);
    one("stage").classList.toggle("small", most > 0 && most < 400);
  }

  function broken() {
    const words = document.createElement("span");
    words.className = "failed";
    words.textContent = "The picture cannot be shown: its file is gone, has changed, or cannot be read.";
    picture.replaceWith(words);
    one("zoom").disabled = true;
  }

  if (picture.complete && picture.naturalWidth === 0) broken();
  else if (picture.complete) sized();
  picture.addEventListener("load", sized);
  picture.addEventListener("error", broken);

  function zoom() {
    const zoomed = one("stage").classList.toggle("zoomed");
    one("zoom").setAttribute("aria-pressed", String(zoomed));
    if (!zoomed) return;
    const frame = one("zoom");
    frame.scrollTo((frame.scrollWidth - frame.clientWidth) / 2, (frame.scrollHeight - frame.clientHeight) / 2);
  }
  one("zoom").addEventListener("click", zoom);

  // ---- from photo to photo: Back leads to the gallery, not through all of them

  async function step(id) {
    const link = one(id);
    if (link && (await saved)) location.replace(link.href);
  }

  async function leave() {
    if (await saved) location.assign(one("back").href);
  }

  for (const id of ["previous", "next"]) {
    one(id)?.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button !== 0) return;
      event.preventDefault();
      step(id);
    });
  }

  function preload() {
    const next = one("next")?.dataset.picture;
    if (next) new Image().src = next;
  }

  // ---- corrections

  function trouble(text) {
    const place = one("trouble");
    if (!place) return;
    place.textContent = text;
    place.hidden = text === "";
  }

  // Take over what the server now says of the photo.
  async function redraw() {
    const response = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!response.ok) throw new phototag.HttpError(response.status, `phototag answered ${response.status}`, null);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const panel = document.adoptNode(page.getElementById("panel"));
    const held = one("panel").contains(document.activeElement);
    one("panel").replaceWith(panel);
    dress();
    if (held) {
      // Its button may be gone. Not the next one: a key pressed twice would do something else.
      one("tag-title").tabIndex = -1;
      one("tag-title").focus({ preventScroll: true });
    }
  }

  function change(work, words) {
    if (!busy) saved = save(work, words);
  }

  async function save(work, words) {
    busy = true;
    trouble("");
    one("panel").setAttribute("aria-busy", "true");
    // Another process may keep the database for a while.
    phototag.say("Saving…", { seconds: 120 });
    try {
      await work();
    } catch (error) {
      phototag.say("");
      trouble(
        error.status === 0 ? "Not saved: phototag does not answer. Is it still running?"
          : error.status === 401 ? "Not saved: this page was signed out. Open the link in phototag's terminal."
            : `Not saved: ${error.message}`,
      );
      free();
      return false;
    }
    phototag.say(words);
    try {
      await redraw();
    } catch {
      trouble("It is saved, but what is shown here is not up to date: load the page again.");
    }
    free();
    return true;
  }

  function free() {
    busy = false;
    one("panel").removeAttribute("aria-busy");
  }

  function review(superclass, subclass) {
    const said = phototag.fullName(superclass, subclass);
    // One token for all tries, so that what is sent twice counts once.
    const token = phototag.identity();
    const body = { superclass, subclass, version: photo.dataset.version, token };
    change(() => phototag.postJson(about, body, { keepalive: true }), `Saved: ${said}.`);
  }

  function undo(button) {
    const path = `/api/reviews/${button.dataset.review}/undo`;
    change(() => phototag.postJson(path, {}, { keepalive: true }), "The review was taken back.");
  }

  function burst() {
    const path = `/api/photos/${photo.dataset.id}/burst`;
    change(() => phototag.postJson(path, { token: phototag.identity() }, { keepalive: true }), "Saved for the whole burst.");
  }

  function fix(button, open) {
    one("fix").hidden = !open;
    one("asked").hidden = true;
    button.setAttribute("aria-expanded", String(open));
    if (open) {
      one("name").value = "";
      one("name").focus();
    } else {
      button.focus();
    }
  }

  const actions = {
    right: () => review(one("panel").dataset.superclass || null, one("panel").dataset.subclass || null),
    general: () => review(one("panel").dataset.superclass, null),
    nothing: () => review(null, null),
    undo,
    burst,
    fix: (button) => fix(button, one("fix").hidden),
  };

  function act(name) {
    const button = one("panel").querySelector(`[data-do="${name}"]`);
    if (button) actions[name](button);
  }

  // What can be chosen: known names that hold what was typed, and what was typed as a new name.
  async function named(typed) {
    const wanted = typed.trim();
    let names = [];
    try {
      names = (await phototag.getJson(`/api/names?typed=${encodeURIComponent(wanted)}`)).names;
      trouble("");
    } catch (error) {
      trouble(`The names could not be loaded: ${error.message}`);
    }
    const options = names.map(split);
    const fresh = split(wanted);
    const known = names.some((name) => phototag.spelled(name) === phototag.spelled(wanted));
    if (wanted && !known && fresh.superclass && (fresh.subclass === null || fresh.subclass)) {
      options.push({ ...fresh, note: fresh.subclass === null ? "as a superclass" : "as a new name", isNew: true });
    }
    return options;
  }

  function split(name) {
    const at = name.indexOf("/");
    const superclass = (at < 0 ? name : name.slice(0, at)).trim();
    const subclass = at < 0 ? null : name.slice(at + 1).trim();
    return { superclass, subclass, label: phototag.fullName(superclass, subclass) };
  }

  // A new name is asked back: a slip of the keys must not become a class.
  function askBack(option, { take, leave }) {
    const asked = one("asked");
    asked.querySelector("bdi").textContent = option.label;
    asked.querySelector("span").textContent = option.subclass === null ? "superclass" : "name";
    asked.hidden = false;
    one("take-new").onclick = take;
    one("leave-new").onclick = leave;
    // The Enter that chose the name may still be held down.
    asked.onkeydown = (event) => { if (event.repeat) event.preventDefault(); };
    one("take-new").focus();
  }

  // Make a new panel work.
  function dress() {
    const buttons = one("buttons");
    if (buttons) {
      buttons.hidden = false;
      buttons.addEventListener("click", (event) => {
        const button = event.target.closest("[data-do]");
        if (button) actions[button.dataset.do](button);
      });
      one("name").addEventListener("input", () => { one("asked").hidden = true; });
      const opener = buttons.querySelector('[data-do="fix"]');
      phototag.combobox(one("name"), one("names"), {
        options: named,
        choose: (option) => {
          const take = () => {
            fix(opener, false);
            review(option.superclass, option.subclass);
          };
          const leave = () => {
            one("asked").hidden = true;
            one("name").focus();
          };
          if (option.isNew) askBack(option, { take, leave });
          else take();
        },
        cancel: () => fix(opener, false),
      });
    }
    for (const take of one("panel").querySelectorAll(".take")) {
      take.hidden = false;
      take.addEventListener("click", () => review(take.dataset.superclass, take.dataset.subclass));
    }
    const copy = one("copy");
    if (copy) {
      copy.hidden = false;
      copy.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(copy.dataset.text);
          phototag.say("The path was copied.");
        } catch {
          getSelection().selectAllChildren(one("path"));
          phototag.say("The path is selected: copy it with Ctrl+C.");
        }
      });
    }
  }

  // ---- keys

  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (phototag.editing(event) || one("keys").open) return;
    const zoomed = one("stage").classList.contains("zoomed");
    const names = { y: "right", c: "fix", u: "general", n: "nothing", b: "undo", a: "burst" };
    const asked = one("asked");
    if (asked && !asked.hidden && (event.key === "y" || event.key === "Escape")) {
      event.preventDefault();
      one(event.key === "y" ? "take-new" : "leave-new").click();
    } else if (names[event.key]) {
      event.preventDefault();
      act(names[event.key]);
    } else if (/^[1-5]$/.test(event.key)) {
      one("panel").querySelector(`.take[data-key="${event.key}"]`)?.click();
    } else if (event.key === "ArrowLeft" && !zoomed) {
      step("previous");
    } else if (event.key === "ArrowRight" && !zoomed) {
      step("next");
    } else if (event.key === "z" && !one("zoom").disabled) {
      zoom();
    } else if (event.key === "?") {
      one("keys").showModal();
    } else if (event.key === "Escape") {
      if (zoomed) zoom();
      else leave();
    }
  });
  one("help").hidden = false;
  one("help").addEventListener("click", () => one("keys").showModal());

  // ---- photos that look like it

  async function similar() {
    const place = one("similar");
    one("similar-note").textContent = "Looking…";
    try {
      const response = await fetch(place.dataset.url, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!response.ok) throw new phototag.HttpError(response.status, "", null);
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      one("similar-note").replaceWith(document.adoptNode(page.getElementById("similar-list")));
    } catch {
      one("similar-note").textContent = "They could not be looked up.";
    }
  }

  dress();
  if (picture.complete) preload();
  else picture.addEventListener("load", preload);
  similar();
})();
