// Review mode: shows one photo after another, takes keys and buttons, and puts answers into the outbox.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const { Outbox, claimTab } = phototag.outbox;
  const { identity } = phototag;
  const AHEAD = 8; // photos asked for, shown one included
  const PRELOADED = 3;
  const KEYS = new Set(["y", "c", "s", "u", "n", "k", "b", "?", "1", "2", "3", "4", "5"]);
  const place = (id) => document.getElementById(id);
  const desk = place("desk");
  const sample = Number(desk.dataset.sample);
  const api = `/api/samples/${sample}`;
  const stage = place("stage");
  const help = place("help");
  const chooser = new phototag.Chooser(place("chooser"));
  const names = new phototag.Names(choose);
  const view = phototag.reviewView;
  const remembered = `phototag-review-${desk.dataset.library}-${sample}`;

  let current = null; // the photo that is shown
  let ready = false; // whether keys may answer it
  let busy = false; // while something is asked of the server that answers depend on
  let ended = false;
  let fetching = null;
  let anyone = false; // take photos that are open elsewhere too
  let queue = [];
  let elsewhere = 0;
  const pressed = []; // keys that came before the photo, as in a terminal
  const done = new Set(); // positions answered here
  const passed = new Map();
  const dropped = new Set(); // reviews of earlier sessions that cannot be taken back
  const memory = { steps: [], since: "" };
  let tab = "";
  let outbox = null;
  const remember = () => sessionStorage.setItem(remembered, JSON.stringify({ steps: memory.steps.slice(-500), since: memory.since }));

  const named = phototag.fullName;
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  // The server forgets what is open here when it is stopped, and after a while.
  function hold() {
    if (current) phototag.postJson(`${api}/hold`, { tab, have: open().map((photo) => photo.position) }).catch(() => {});
  }

  // ---- answers on their way

  const mine = () => outbox.letters.filter((letter) => letter.path.startsWith(`${api}/`));

  function refused({ letter, theirs, text }) {
    const of = `Photo ${letter.body.position}`;
    if (theirs) phototag.say(`${of}: someone else said ${named(theirs.superclass, theirs.subclass)} meanwhile; it stays so.`);
    else if (letter.kind === "undo") phototag.say(`${of} could not be taken back: ${text}`, { seconds: 12 });
    else phototag.say(`${of} is not stored: ${text}`, { seconds: 12 });
    if (letter.kind !== "undo") {
      memory.steps = memory.steps.filter((step) => step.token !== letter.token);
      remember();
      if (!theirs) {
        // It still waits: without the photos that are hard to name the sample would say too much good of the tags.
        done.delete(letter.body.position);
        if (ended) advance();
      }
    }
    progress.resync();
  }

  // Whose answer stays: true for this page's.
  async function settle(letter, theirs) {
    const mine = await phototag.askWhoseStays(letter, theirs);
    setTimeout(drain);
    return mine;
  }

  const showSaving = () => view.showSaving(outbox);

  function failedToAsk(error) {
    const status = error.status ?? 0;
    outbox.trouble = status === 0 ? "gone" : status === 401 || status === 403 ? "out" : error.message;
    showSaving();
  }

  place("retry").addEventListener("click", () => {
    outbox?.hurry();
    if (outbox && !current && !fetching) advance();
  });

  const progress = new phototag.Progress(`${api}/progress`, Number(desk.dataset.size), {
    quiet: () => outbox.letters.length === 0, show: view.showProgress,
  });

  // ---- photos

  function load(photo) {
    photo.image = new Image();
    photo.image.alt = `Photo ${photo.position}: ${photo.name}`;
    photo.image.decoding = "async";
    photo.image.src = `/photos/${photo.photo_id}/picture?v=${photo.version}`;
    photo.loaded = photo.image.decode().then(() => true, () => photo.image.naturalWidth > 0);
  }

  function preload() {
    for (const photo of queue.slice(0, PRELOADED)) if (!photo.image) load(photo);
  }

  const open = () => [...(current ? [current] : []), ...queue];

  function fill() {
    if (!fetching && open().length < AHEAD / 2 + 1) {
      fetching = ask().catch((error) => {
        failedToAsk(error);
        return false;
      }).finally(() => { fetching = null; });
    }
    return fetching;
  }

  async function ask() {
    const sent = mine().map((letter) => letter.body.position);
    const value = await phototag.postJson(`${api}/next`, {
      tab, want: AHEAD - open().length, have: [...open().map((photo) => photo.position), ...sent],
      passed: [...passed.keys()], any: anyone,
    });
    if (!outbox.letters.length && outbox.trouble) {
      outbox.trouble = "";
      showSaving();
    }
    if (!memory.since) {
      memory.since = value.now;
      remember();
    }
    for (const photo of value.passed) passed.set(photo.position, photo);
    const known = new Set([...open().map((photo) => photo.position), ...done]);
    queue.push(...value.photos.filter((photo) => !known.has(photo.position)));
    elsewhere = value.elsewhere;
    anyone = false;
    if (!sent.length) progress.take(value.progress);
    preload();
    return true;
  }

  // Show the next photo, wait for one, or say that there is none.
  async function advance() {
    current = null;
    ready = false;
    if (!queue.length) {
      stage.replaceChildren(view.words("Loading…"));
      if (!(await fill())) {
        await pause(2000);
        if (!current) advance();
        return;
      }
      if (current) return;
    }
    const photo = queue.shift();
    if (photo) await show(photo);
    else finish();
  }

  async function show(photo) {
    current = photo;
    ready = false;
    ended = false;
    place("ended").hidden = true;
    desk.hidden = false;
    if (!photo.image) load(photo);
    preload();
    fill();
    stage.setAttribute("aria-busy", "true");
    if (!(await photo.loaded)) {
      if (current !== photo) return;
      view.describe(photo, progress.numbers.size);
      stage.replaceChildren(view.words("The picture could not be loaded; trying again. k skips the photo."));
      await pause(2500);
      if (current !== photo) return;
      load(photo);
      show(photo);
      return;
    }
    if (current !== photo) return;
    stage.replaceChildren(photo.image);
    stage.removeAttribute("aria-busy");
    view.describe(photo, progress.numbers.size);
    // On the screen before it can be answered; a tab in the background paints nothing.
    await Promise.race([new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))), pause(120)]);
    if (current !== photo) return;
    ready = true;
    document.body.dataset.position = photo.position;
    drain();
  }

  function finish() {
    ended = true;
    desk.hidden = true;
    const { name, estimates } = desk.dataset;
    view.showEnd({ left: elsewhere, passed: [...passed.values()], name, estimates }, {
      takeAll: () => {
        anyone = true;
        advance();
      },
      back: () => press("b"),
    });
    drain();
    // What is open elsewhere may come free, or be answered there.
    if (elsewhere) pause(4000).then(() => { if (ended && !busy) advance(); });
  }

  // ---- answers

  const bare = ({ image, loaded, ...photo }) => photo;

  function settled(kind, superclass, subclass) {
    const photo = current;
    const token = identity();
    const right = kind === "review" && superclass === photo.tag.superclass && subclass === photo.tag.subclass;
    const body = { kind, tab, token, position: photo.position, photo_id: photo.photo_id, newest: photo.newest, version: photo.version };
    if (kind === "review") Object.assign(body, { superclass, subclass });
    const step = { kind, token, right, photo: bare(photo) };
    memory.steps.push(step);
    remember();
    done.add(photo.position);
    outbox.add({ kind, token, path: `${api}/answers`, body, name: photo.name });
    progress.count(step, 1);
    advance();
  }

  async function back() {
    const step = memory.steps.pop();
    if (!step) {
      await backFurther();
      return;
    }
    remember();
    const { photo } = step;
    done.delete(photo.position);
    const body = { tab, position: photo.position };
    if (step.kind === "review") body.token = step.token;
    outbox.add({ kind: "undo", token: identity(), path: `${api}/undo`, body, name: photo.name });
    progress.count(step, -1);
    phototag.say(`Taken back: photo ${photo.position}.`);
    again(photo);
  }

  // Which review of a photo counts again once one was taken back, the server says; what is shown and what waits to be
  // sent goes by it.
  function refresh({ letter, value }) {
    if (letter.kind !== "undo" || !value.photo) return;
    const { position, newest } = value.photo;
    const steps = memory.steps.map((step) => step.photo);
    for (const photo of [...open(), ...steps]) if (photo.position === position) photo.newest = newest;
    const waiting = mine().filter(({ kind, body }) => kind !== "undo" && body.position === position);
    for (const { body } of waiting) body.newest = newest;
    if (waiting.length) outbox.keep([...outbox.letters]);
  }

  function again(photo) {
    queue = queue.filter((other) => other.position !== photo.position);
    if (current && current.position !== photo.position) queue.unshift(current);
    show(photo);
  }

  // Take back what was done before this page was opened.
  async function backFurther() {
    busy = true;
    try {
      while (outbox.letters.length && !outbox.trouble) await pause(50);
      if (outbox.letters.length) throw new phototag.HttpError(0, "", null);
      const query = new URLSearchParams({ before: memory.since || new Date().toISOString(), without: [...dropped].join(",") });
      const { step } = await phototag.getJson(`${api}/last?${query}`);
      if (!step) {
        phototag.say("There is nothing to take back.");
        return;
      }
      const body = { tab, position: step.position, ...(step.review_id === null ? {} : { review_id: step.review_id }) };
      const value = await phototag.postJson(`${api}/undo`, body).catch((error) => {
        if (error.status === 400 && step.review_id !== null) dropped.add(step.review_id);
        throw error;
      });
      phototag.say(`Taken back: photo ${step.position}.`);
      done.delete(step.position);
      progress.resync();
      if (value.photo) again(value.photo);
    } catch (error) {
      if (error.status === 400) phototag.say(`It cannot be taken back: ${error.message}`, { seconds: 12 });
      else failedToAsk(error);
    } finally {
      busy = false;
      drain();
    }
  }

  // Keys that were pressed before go to the list.
  function choose(question) {
    const answer = chooser.ask(question);
    while (pressed.length && chooser.open) chooser.feed(pressed.shift());
    return answer;
  }

  async function chosen(answer) {
    const photo = current;
    // Keys that follow are for the list, or for the next photo.
    busy = true;
    const labels = await answer;
    busy = false;
    if (labels !== null && current === photo) {
      names.learn(...labels);
      settled("review", ...labels);
    }
    drain();
  }

  // ---- keys and buttons

  function act(key) {
    const { tag, candidates } = current;
    if (key === "y") settled("review", tag.superclass, tag.subclass);
    else if (key === "n") settled("review", null, null);
    else if (key === "k") settled("skip");
    else if (key === "c") chosen(names.otherSubclass(current));
    else if (key === "s") chosen(names.otherSuperclass(current));
    else if (key === "u" && tag.superclass !== null) settled("review", tag.superclass, null);
    else if (key === "u") phototag.say("The tag has no label: s chooses a superclass, n says that none fits.");
    else if (candidates[Number(key) - 1]) settled("review", candidates[Number(key) - 1].superclass, candidates[Number(key) - 1].subclass);
  }

  const talking = () => document.querySelector("dialog[open]") !== null;

  function drain() {
    while (pressed.length && !busy && !talking()) {
      if (pressed[0] === "b" && (ready || ended)) {
        pressed.shift();
        back();
      } else if (ended) pressed.shift();
      else if (ready && current) {
        const key = pressed.shift();
        if (KEYS.has(key)) act(key);
      } else if (pressed[0] === "k" && current && !stage.querySelector("img")) {
        pressed.shift();
        settled("skip");
      } else return;
    }
  }

  function press(key) {
    if (key === "?") {
      if (!talking()) help.showModal();
      return;
    }
    if (pressed.length < 100) pressed.push(key);
    drain();
  }

  document.addEventListener("keydown", (event) => {
    // A key that is held down answers once, on a button too.
    if (event.repeat && event.target.closest?.("[data-key]")) event.preventDefault();
    // The key that closed a dialog has been used.
    if (event.defaultPrevented || event.repeat || event.isComposing || event.altKey || event.metaKey || talking()) return;
    // For a moment the field of a dialog that was just closed still has the focus.
    if (phototag.editing(event) && !event.target.closest("dialog:not([open])")) return;
    const key = event.ctrlKey ? (event.key === "z" ? "b" : "") : event.key === "Backspace" ? "b" : event.key;
    if (event.ctrlKey && !key) return;
    // Not for the buttons and links that have the focus.
    if ((key === "Enter" || key === " ") && event.target.closest("button, a, summary")) return;
    // Before the photo is there, also what a list would be told.
    const inList = !ready && pressed.length > 0 && (key.length === 1 || ["Enter", "Escape", "ArrowUp", "ArrowDown"].includes(key));
    if (!KEYS.has(key) && !inList) return;
    event.preventDefault();
    press(key);
  });
  document.addEventListener("click", (event) => {
    const key = event.target.closest?.("[data-key]")?.dataset.key;
    if (key) press(key);
  });
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => setTimeout(drain));
  addEventListener("online", () => outbox?.hurry());
  // Another tab may have been let in.
  document.addEventListener("visibilitychange", () => { if (!document.hidden) outbox?.hurry(); });
  // Back from another page, this one may be as it was left.
  addEventListener("pageshow", (event) => { if (event.persisted) hold(); });
  addEventListener("beforeunload", (event) => { if (outbox && !outbox.kept) event.preventDefault(); });
  addEventListener("pagehide", () => {
    const init = { method: "POST", body: JSON.stringify({ tab, have: [] }), headers: { "Content-Type": "application/json" }, keepalive: true };
    fetch(`${api}/hold`, init).catch(() => {});
  });

  // ---- begin; keys are heard already

  async function begin() {
    const claimed = await claimTab();
    tab = claimed.tab;
    if (!claimed.fresh) Object.assign(memory, JSON.parse(sessionStorage.getItem(remembered) ?? "{}"));
    remember();
    outbox = new Outbox(tab, settle);
    outbox.addEventListener("change", showSaving);
    outbox.addEventListener("sent", (event) => {
      refresh(event.detail);
      progress.resync();
    });
    outbox.addEventListener("recovered", hold);
    setInterval(hold, 45000);
    outbox.addEventListener("refused", (event) => refused(event.detail));
    await outbox.adopt();
    for (const letter of mine()) if (letter.kind !== "undo") done.add(letter.body.position);
    await names.load(sample);
    await advance();
  }

  begin();
});
