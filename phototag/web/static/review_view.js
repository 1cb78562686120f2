// What the review page shows: a photo with its tag, progress, and the end of a sample. It decides nothing.
"use strict";

(() => {
  const place = (id) => document.getElementById(id);
  const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

  // An element with text in it and properties set.
  function made(name, text, properties = {}) {
    const element = Object.assign(document.createElement(name), properties);
    if (text !== "") element.textContent = text;
    return element;
  }

  function words(text) {
    return made("p", text, { className: "waiting" });
  }

  function describe(photo, size) {
    const { tag } = photo;
    const scores = [];
    if (tag.superclass !== null) scores.push(`superclass ${percent(tag.superclass_score)}`);
    if (tag.subclass !== null) scores.push(`subclass ${percent(tag.subclass_score)}`);
    scores.push(`novelty ${percent(tag.novelty)}`);
    place("tagged").replaceChildren(made("bdi", phototag.fullName(tag.superclass, tag.subclass)));
    place("scores").textContent = `Photo ${photo.position} of ${size}: ${scores.join(", ")}`;
    place("file").replaceChildren(made("bdi", photo.name));
    place("others").replaceChildren(...photo.candidates.map(candidate));
  }

  function candidate(one, number) {
    const entry = made("li", "");
    const button = made("button", "", { type: "button" });
    button.dataset.key = String(number + 1);
    button.setAttribute("aria-keyshortcuts", button.dataset.key);
    button.append(made("kbd", button.dataset.key), made("bdi", phototag.fullName(one.superclass, one.subclass)), made("span", percent(one.score), { className: "share" }));
    entry.append(button);
    return entry;
  }

  function showProgress(progress) {
    const parts = [`${progress.reviewed} of ${progress.size} reviewed`];
    if (progress.reviewed) parts.push(`${progress.right} right`);
    if (progress.skipped) parts.push(`${progress.skipped} skipped`);
    place("progress-text").textContent = parts.join(", ");
    place("progress").value = progress.size - progress.pending;
  }

  function showTrouble(text) {
    const box = place("trouble");
    const said = box.querySelector("p");
    if (said.textContent !== text) said.textContent = text;
    box.hidden = text === "";
  }

  // How many answers wait for the server, and why.
  function showSaving({ letters: { length: count }, trouble, kept }) {
    const saving = place("saving");
    saving.textContent = count ? `${count} waiting` : "all saved";
    saving.dataset.state = count ? (trouble ? "trouble" : "waiting") : "saved";
    const port = location.port ? ` --port ${location.port}` : "";
    const yours = count === 1 ? "Your answer" : `Your ${count} answers`;
    const waiting = !count ? ""
      : !kept ? `${yours} cannot be kept by this browser: leave this page open.`
        : `${yours} ${count === 1 ? "is" : "are"} kept in this browser and will be saved then.`;
    const texts = {
      "": "",
      gone: `phototag does not answer. If it was stopped, start it again: phototag serve${port}. ${waiting}`,
      out: `phototag was restarted and does not know this browser yet: open the link that it printed, in this browser. ${waiting}`,
    };
    showTrouble(texts[trouble] ?? `${trouble} ${waiting}`);
  }

  // `left` photos are open elsewhere; `passed` ones could not be reviewed. `actions`: takeAll, back.
  function showEnd({ left, passed, name, estimates }, actions) {
    const button = (text, act) => made("button", text, { type: "button", onclick: act });
    const link = (text, path) => made("a", text, { className: "button", href: path });
    const title = left ? "The last photos are open elsewhere"
      : passed.length === 1 ? "The last photo cannot be reviewed now"
        : passed.length ? "The last photos cannot be reviewed now" : "No more photos wait";
    const parts = [made("h2", title)];
    if (left) parts.push(words(`${left} ${left === 1 ? "photo is" : "photos are"} open in another tab, or were a moment ago.`));
    const ways = made("div", "", { className: "ways" });
    if (left) ways.append(button("Take them here", actions.takeAll));
    if (estimates) ways.append(link("What they say", `/audit?sample=${encodeURIComponent(name)}`));
    ways.append(button("Take the last answer back", actions.back), link("All samples", "/review"));
    parts.push(ways);
    if (passed.length) {
      const list = made("ul", "");
      list.append(...passed.map((photo) => made("li", `Photo ${photo.position}, ${photo.name}: ${photo.reason}`)));
      if (left) parts.push(made("h3", "Passed by, as they cannot be reviewed now"));
      parts.push(list);
    }
    const section = place("ended");
    section.replaceChildren(...parts);
    section.hidden = false;
    section.focus();
  }

  window.phototag.reviewView = { words, describe, showProgress, showSaving, showEnd };
})();
