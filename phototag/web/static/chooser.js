// A question in a dialog that is answered by choosing a class, or naming a new one, as in the terminal.
"use strict";

(() => {
  const SHOWN = 50;

  // The names that hold what was typed: that name itself, those that begin so, those whose last part does, the rest.
  function narrow(names, typed) {
    const wanted = phototag.spelled(typed);
    const fits = (name) => {
      const folded = phototag.spelled(name);
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
      this.input = dialog.querySelector("input");
      this.list = dialog.querySelector("ul");
      this.hint = dialog.querySelector(".hint");
      this.asked = dialog.querySelector(".asked");
      this.resolve = null;
      this.names = [];
      this.box = phototag.combobox(this.input, this.list, {
        stays: true,
        options: (typed) => this.fitting(typed.trim()),
        choose: (option) => this.take(option),
        empty: () => {
          if (this.optional && !this.input.value.trim()) this.done({ name: null, isNew: false });
        },
      });
      dialog.addEventListener("keydown", (event) => {
        if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
        if (!this.isNew || event.key !== "y") return;
        event.preventDefault();
        this.done({ name: this.isNew, isNew: true });
      });
      dialog.addEventListener("cancel", (event) => {
        event.preventDefault();
        this.goBack();
      });
      // Browsers do not always ask before they close a dialog; another question may have opened it again since.
      dialog.addEventListener("close", () => {
        if (this.open && !dialog.open) this.done(null);
      });
      const buttons = {
        back: () => this.goBack(),
        none: () => this.done({ name: null, isNew: false }),
        new: () => this.done({ name: this.isNew, isNew: true }),
      };
      for (const [name, act] of Object.entries(buttons)) this.button(name).addEventListener("click", act);
    }

    button(name) {
      return this.dialog.querySelector(`[data-do=${name}]`);
    }

    get open() {
      return this.resolve !== null;
    }

    // A promise of {name, isNew}; name null where none of them is wanted, null itself where the choice is given up.
    // `check(name)` gives words where a new name cannot be one.
    ask({ title, names, optional = "", check = () => "" }) {
      this.dialog.querySelector("h2").textContent = title;
      this.names = [...new Set(names)];
      this.optional = optional;
      this.check = check;
      this.input.value = "";
      this.button("none").hidden = !optional;
      this.button("none").textContent = optional;
      this.box.refresh();
      if (!this.dialog.open) this.dialog.showModal();
      this.input.focus();
      return new Promise((resolve) => { this.resolve = resolve; });
    }

    // A key that was pressed before the list was there.
    feed(key) {
      if (this.isNew) {
        if (key === "y") this.done({ name: this.isNew, isNew: true });
        else this.goBack();
      } else if (key === "Escape") {
        this.goBack();
      } else if (key === "Backspace" || key.length === 1) {
        this.input.value = key.length === 1 ? this.input.value + key : this.input.value.slice(0, -1);
        this.box.refresh();
      } else {
        this.box.press(key);
      }
    }

    fitting(typed) {
      this.isNew = "";
      this.asked.hidden = true;
      this.list.hidden = false;
      const fitting = narrow(this.names, typed);
      const left = fitting.length - SHOWN;
      this.hint.textContent = left > 0 ? `${left} more: type to narrow the list` : "";
      const options = fitting.slice(0, SHOWN).map((name) => ({ name, label: phototag.asWritten(name), isNew: false }));
      const known = fitting.some((name) => phototag.spelled(name) === phototag.spelled(typed));
      if (typed && !known) options.push({ name: typed, label: typed, note: "as a new name", isNew: true });
      return options;
    }

    take(option) {
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
      this.button("new").focus();
    }

    goBack() {
      if (this.isNew) {
        this.box.refresh();
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
