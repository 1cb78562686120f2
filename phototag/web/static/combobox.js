// A field with a list that typing narrows: the editable combobox of the ARIA authoring practices, version 1.2.
"use strict";

(() => {
  // `input` gets the focus, `list` (an element with an id) shows the options.
  // `options(typed)` returns or promises [{ label, note, ... }], best first; `choose(option)` takes the chosen one, and
  // `cancel()` is called for Escape with the list closed.
  function combobox(input, list, { options, choose, cancel = () => {} }) {
    let shown = [];
    let active = -1;
    let asked = 0;

    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    input.setAttribute("aria-expanded", "false");
    input.autocomplete = "off";
    input.spellcheck = false;
    list.setAttribute("role", "listbox");
    list.hidden = true;

    function close() {
      list.hidden = true;
      active = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    }

    function mark(place) {
      active = place;
      [...list.children].forEach((entry, index) => entry.setAttribute("aria-selected", String(index === active)));
      if (active < 0) {
        input.removeAttribute("aria-activedescendant");
        return;
      }
      const entry = list.children[active];
      input.setAttribute("aria-activedescendant", entry.id);
      entry.scrollIntoView({ block: "nearest" });
    }

    function draw(found) {
      shown = found;
      list.replaceChildren(...found.map((option, index) => {
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
      }));
      list.hidden = found.length === 0;
      input.setAttribute("aria-expanded", String(found.length > 0));
      mark(input.value.trim() && found.length ? 0 : -1);
    }

    async function refresh() {
      asked += 1;
      const mine = asked;
      const found = await options(input.value);
      // Answers may overtake each other.
      if (mine === asked && document.activeElement === input) draw(found);
    }

    function take(option) {
      asked += 1;
      close();
      choose(option);
    }

    input.addEventListener("input", refresh);
    input.addEventListener("focus", refresh);
    input.addEventListener("blur", () => setTimeout(close, 150));
    input.addEventListener("keydown", async (event) => {
      if (event.isComposing) return;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        if (list.hidden) await refresh();
        const from = active < 0 && step < 0 ? 0 : active;
        if (shown.length) mark((from + step + shown.length) % shown.length);
      } else if (event.key === "Enter") {
        event.preventDefault();
        // What was typed fast is looked up before it is taken.
        const before = active;
        if (before <= 0) await refresh();
        const option = shown[Math.max(before, active)];
        if (option && (input.value.trim() || active >= 0)) take(option);
      } else if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        if (list.hidden) cancel();
        else close();
      }
    });
    // The press would take the focus away before the click.
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const place = [...list.children].indexOf(event.target.closest("li"));
      if (place >= 0) take(shown[place]);
    });
    return { close, refresh };
  }

  window.phototag.combobox = combobox;
})();
