// Choosing a class by typing a part of its name: a list that typing narrows, as in the terminal.
"use strict";

(() => {
  const SHOWN = 50;

  // The names that hold what was typed: that name itself, those that begin so, those whose last part does, the rest.
  function narrow(names, typed) {
    const wanted = typed.trim().toLowerCase();
    const fits = (name) => {
      const folded = name.toLowerCase();
      if (!folded.includes(wanted)) return -1;
      const last = folded.slice(folded.lastIndexOf("/") + 1);
      return folded === wanted ? 0 : folded.startsWith(wanted) ? 1 : last.startsWith(wanted) ? 2 : 3;
    };
    return names
      .map((name) => [fits(name), name])
      .filter(([fit]) => fit >= 0)
      .sort((one, other) => one[0] - other[0])
      .map(([, name]) => name);
  }

  class Chooser {
    constructor(dialog) {
      this.dialog = dialog;
      this.title = dialog.querySelector("h2");
      this.input = dialog.querySelector("input");
      this.list = dialog.querySelector("[role=listbox]");
      this.hint = dialog.querySelector(".hint");
      this.asked = dialog.querySelector(".asked");
      this.resolve = null;
      this.input.addEventListener("input", () => this.typed());
      dialog.addEventListener("keydown", (event) => {
        if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
        if (this.isNew && event.key === "y" && !event.repeat) {
          event.preventDefault();
          this.done({ name: this.isNew, isNew: true });
        } else if (["ArrowDown", "ArrowUp", "Enter"].includes(event.key) && event.target === this.input) {
          event.preventDefault();
          if (!(event.repeat && event.key === "Enter")) this.feed(event.key);
        }
      });
      dialog.addEventListener("cancel", (event) => {
        event.preventDefault();
        this.goBack();
      });
      // Browsers do not always ask before they close a dialog; another question may have opened it again since.
      dialog.addEventListener("close", () => {
        if (this.open && !dialog.open) this.done(null);
      });
      this.list.addEventListener("click", (event) => {
        const option = event.target.closest("[role=option]");
        if (option) this.take(Number(option.dataset.place));
      });
      for (const button of dialog.querySelectorAll("button[data-do]")) {
        button.addEventListener("click", () => {
          const doing = button.dataset.do;
          if (doing === "back") this.goBack();
          else if (doing === "none") this.done({ name: null, isNew: false });
          else if (doing === "new") this.done({ name: this.isNew, isNew: true });
        });
      }
    }

    get open() {
      return this.resolve !== null;
    }

    // A promise of {name, isNew}; name null where none of them is wanted, null itself where the choice is given up.
    // `check(name)` gives words where a new name cannot be one.
    ask({ title, names, optional = "", check = () => "" }) {
      this.title.textContent = title;
      this.names = [...new Set(names)];
      this.optional = optional;
      this.check = check;
      this.input.value = "";
      this.isNew = "";
      const none = this.dialog.querySelector("[data-do=none]");
      none.hidden = !optional;
      none.textContent = optional;
      this.show();
      if (!this.dialog.open) this.dialog.showModal();
      this.input.focus();
      return new Promise((resolve) => { this.resolve = resolve; });
    }

    // A key that was pressed before the list was there.
    feed(key) {
      if (this.isNew) {
        if (key === "y") this.done({ name: this.isNew, isNew: true });
        else this.goBack();
      } else if (key === "ArrowDown" || key === "ArrowUp") {
        const count = this.options.length;
        if (count) {
          const by = key === "ArrowDown" ? 1 : -1;
          this.selected = this.selected < 0 ? (by > 0 ? 0 : count - 1) : (this.selected + by + count) % count;
          this.mark();
        }
      } else if (key === "Enter") {
        if (this.selected >= 0) this.take(this.selected);
        else if (this.optional && !this.input.value.trim()) this.done({ name: null, isNew: false });
      } else if (key === "Escape") {
        this.goBack();
      } else if (key === "Backspace" || key.length === 1) {
        this.input.value = key.length === 1 ? this.input.value + key : this.input.value.slice(0, -1);
        this.typed();
      }
    }

    typed() {
      this.isNew = "";
      this.show();
    }

    show() {
      const typed = this.input.value.trim();
      const fitting = narrow(this.names, typed);
      const known = fitting.some((name) => name.toLowerCase() === typed.toLowerCase());
      this.left = Math.max(0, fitting.length - SHOWN);
      this.options = fitting.slice(0, SHOWN).map((name) => ({ name, isNew: false }));
      if (typed && !known) this.options.push({ name: typed, isNew: true });
      // Nothing is chosen before something was typed or an arrow was used: an Enter too many must not answer.
      this.selected = typed && this.options.length ? 0 : -1;
      this.list.replaceChildren(
        ...this.options.map((option, place) => {
          const entry = document.createElement("li");
          entry.id = `${this.list.id}-${place}`;
          entry.setAttribute("role", "option");
          entry.dataset.place = place;
          const name = document.createElement("bdi");
          name.textContent = option.name;
          if (option.isNew) entry.append("new: ");
          entry.append(name);
          return entry;
        }),
      );
      this.hint.textContent = this.left ? `${this.left} more: type to narrow the list` : "";
      this.asked.hidden = true;
      this.list.hidden = false;
      this.mark();
    }

    mark() {
      for (const [place, entry] of [...this.list.children].entries()) {
        entry.setAttribute("aria-selected", place === this.selected ? "true" : "false");
      }
      const entry = this.list.children[this.selected];
      if (entry) {
        this.input.setAttribute("aria-activedescendant", entry.id);
        entry.scrollIntoView({ block: "nearest" });
      } else {
        this.input.removeAttribute("aria-activedescendant");
      }
    }

    take(place) {
      const option = this.options[place];
      if (!option) return;
      if (!option.isNew) {
        this.done(option);
        return;
      }
      const refused = this.check(option.name);
      if (refused) {
        this.hint.textContent = refused;
        return;
      }
      this.isNew = option.name;
      this.asked.hidden = false;
      this.list.hidden = true;
      this.asked.querySelector("bdi").textContent = option.name;
      this.asked.querySelector("[data-do=new]").focus();
    }

    goBack() {
      if (this.isNew) {
        this.typed();
        this.input.focus();
      } else {
        this.done(null);
      }
    }

    done(result) {
      const resolve = this.resolve;
      this.resolve = null;
      this.isNew = "";
      this.dialog.close();
      resolve?.(result);
    }
  }

  window.phototag.Chooser = Chooser;
})();
