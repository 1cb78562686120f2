// The classes that an answer can name: what is known of them, and the questions that choose one.
"use strict";

(() => {
  const full = (superclass, subclass) => (subclass === null ? superclass : `${superclass}/${subclass}`);

  function parted(name) {
    const [parent, ...rest] = name.split("/").map((part) => part.trim());
    return [parent, rest.length ? rest.join("/") : null];
  }

  class Names {
    // `ask(question)` puts a question to the reviewer, as Chooser.ask does.
    constructor(ask) {
      this.ask = ask;
      this.known = [];
      this.also = []; // classes of other models, in full: in no list, but they can be said
    }

    async load(sample) {
      try {
        const { names, also } = await phototag.getJson(`/api/names?sample=${sample}`);
        this.known = names;
        this.also = also;
      } catch {
        // Answers need no list; it is asked for again while the first ones are given.
        setTimeout(() => this.load(sample), 3000);
      }
    }

    subclasses(superclass) {
      return this.known.find((each) => each.superclass === superclass)?.subclasses ?? [];
    }

    // A name that was given is in the lists from then on.
    learn(superclass, subclass) {
      if (superclass === null) return;
      let found = this.known.find((each) => each.superclass === superclass);
      if (!found) this.known.push((found = { superclass, subclasses: [] }));
      if (subclass !== null && !found.subclasses.includes(subclass)) found.subclasses = [...found.subclasses, subclass].sort();
    }

    // Words where training would refuse a name.
    unfit(superclass, subclass) {
      for (const name of [superclass, subclass]) {
        if (name !== null && (!name || name !== name.trim() || /[\/\p{C}]/u.test(name))) return `"${name}" cannot be a name: no slashes`;
      }
      if (subclass === null) return "";
      const alike = (one, other) => phototag.spelled(one) === phototag.spelled(other);
      const all = [...this.known.flatMap((each) => each.subclasses.map((child) => full(each.superclass, child))), ...this.also];
      const under = all.map(parted).filter(([, child]) => alike(child, subclass)).map(([parent]) => parent);
      if (!under.length || under.some((parent) => alike(parent, superclass))) return "";
      return `"${subclass}" lies under "${under[0]}": choose that superclass, or another name`;
    }

    // Another subclass of the tag's superclass, of all where the tag names none: [superclass, subclass] or null.
    async otherSubclass(photo) {
      const { superclass } = photo.tag;
      if (superclass !== null) return this.subclassUnder(photo, superclass, "");
      const first = photo.candidates.map((each) => full(each.superclass, each.subclass));
      const all = this.known.flatMap((each) => each.subclasses.map((subclass) => full(each.superclass, subclass)));
      const chosen = await this.ask({
        title: "Superclass/subclass", names: [...first, ...all], check: (name) => this.unfit(...parted(name)),
      });
      return chosen === null ? null : parted(chosen.name);
    }

    // Another superclass, and its subclass if it has a name.
    async otherSuperclass(photo) {
      const wrong = photo.tag.superclass;
      const first = photo.candidates.map((each) => each.superclass);
      const listed = [...first, ...this.known.map((each) => each.superclass).sort()].filter((name) => name !== wrong);
      const chosen = await this.ask({ title: "Superclass", names: listed, check: (name) => this.unfit(name, null) });
      return chosen === null ? null : this.subclassUnder(photo, chosen.name, "None of these");
    }

    async subclassUnder(photo, superclass, optional) {
      const { tag, candidates } = photo;
      const first = candidates.filter((each) => each.superclass === superclass).map((each) => each.subclass);
      const listed = [...first, ...this.subclasses(superclass)];
      const chosen = await this.ask({
        title: `Subclass of ${phototag.asWritten(superclass)}`, optional, check: (name) => this.unfit(superclass, name),
        names: listed.filter((name) => name !== tag.subclass || superclass !== tag.superclass),
      });
      return chosen === null ? null : [superclass, chosen.name];
    }
  }

  window.phototag.Names = Names;
})();
