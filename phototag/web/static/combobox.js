// A field with a list that typing narrows: the editable combobox of the ARIA authoring practices, version 1.2.
"use strict";

(() => {
  // `input` gets the focus, `list` (an element with an id) shows the options.
  // `options(typed)` returns or promises [{ label, note, ... }], best first; `choose(option)` takes the chosen one,
  // `empty()` is called for Enter with nothing chosen, and `cancel()` for Escape with the list closed.
  // A list that `stays` is always open, and Escape is for what is around it, as a dialog.
  function combobox(input, list, { options, choose, empty = () => {}, cancel = () => {}, stays = false }) {
    let shown = [];
    let active = -1;
    let asked = 0;

    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    input.setAttribute("aria-expanded", String(stays));
    input.autocomplete = "off";
    input.autocapitalize = "none";
    input.spellcheck = false;
    list.setAttribute("role", "listbox");
    list.hidden = !stays;

    function close() {
      if (stays) return;
      list.hidden = true;
      active = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    }

    function mark(place) {
      active = place;
      [...list.children].forEach((entry, index) => entry.setAttribute("aria-selected", String(index === active)));
      const entry = list.children[active];
      if (entry) {
        input.setAttribute("aria-activedescendant", entry.id);
        entry.scrollIntoView({ block: "nearest" });
      } else {
        input.removeAttribute("aria-activedescendant");
      }
    }

    function entryOf(option, index) {
      const entry = document.createElement("li");
      entry.id = `${list.id}-${index}`;
      entry.setAttribute("role", "option");
      const label = document.createElement("bdi");
      label.textContent = option.label;
      entry.append(label);
      if (option.note) {
        const note = document.createElement("span");
        note.className = "note";
        note.textContent = option.note;
        entry.append(" ", note);
      }
      return entry;
    }

    function draw(found) {
      shown = found;
      list.replaceChildren(...found.map(entryOf));
      if (!stays) {
        list.hidden = found.length === 0;
        input.setAttribute("aria-expanded", String(found.length > 0));
      }
      // Nothing is chosen before something was typed or an arrow was used: an Enter too many must not answer.
      mark(input.value.trim() && found.length ? 0 : -1);
    }

    // At once where the options are there at once; a promise otherwise.
    function refresh() {
      asked += 1;
      const mine = asked;
      const take = (found) => {
        // Answers may overtake each other.
        if (mine === asked && (stays || document.activeElement === input)) draw(found);
      };
      const found = options(input.value);
      return found instanceof Promise ? found.then(take) : take(found);
    }

    function take(option) {
      asked += 1;
      close();
      choose(option);
    }

    async function step(by) {
      if (list.hidden) await refresh();
      const from = active < 0 && by < 0 ? 0 : active;
      if (shown.length) mark((from + by + shown.length) % shown.length);
    }

    function settle(place) {
      if (shown[place]) take(shown[place]);
      else empty();
    }

    async function enter() {
      const before = active;
      // What was typed fast is looked up before it is taken.
      if (before <= 0 && !stays) await refresh();
      settle(Math.max(before, active));
    }

    // Whether the key, as events name it, was one for the list.
    function press(key) {
      const by = { ArrowDown: 1, ArrowUp: -1 }[key];
      if (by) step(by);
      else if (key === "Enter") enter();
      else return false;
      return true;
    }

    input.addEventListener("input", refresh);
    if (!stays) {
      input.addEventListener("focus", refresh);
      input.addEventListener("blur", () => setTimeout(close, 150));
    }
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Escape" && !stays) {
        event.preventDefault();
        event.stopPropagation();
        if (list.hidden) cancel();
        else close();
      } else if (event.key === "Enter" && event.repeat) {
        event.preventDefault();
      } else if (press(event.key)) {
        event.preventDefault();
      }
    });
    // The press would take the focus away before the click.
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const place = [...list.children].indexOf(event.target.closest("li"));
      if (place >= 0) take(shown[place]);
    });
    return { close, refresh, press };
  }

  window.phototag.combobox = combobox;
})();
