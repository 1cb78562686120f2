// Asks whose answer stays where someone else was faster.
"use strict";

(() => {
  const place = (id) => document.getElementById(id);

  function fill(dialog, letter, theirs) {
    const said = {
      position: letter.body.position,
      theirs: phototag.fullName(theirs.superclass, theirs.subclass),
      mine: phototag.fullName(letter.body.superclass, letter.body.subclass),
    };
    for (const [name, text] of Object.entries(said)) dialog.querySelector(`[data-say=${name}]`).textContent = text;
    dialog.querySelector("img").src = `/photos/${letter.body.photo_id}/thumbnail?v=${letter.body.version}`;
  }

  // A promise of true for this page's answer.
  function ask(letter, theirs) {
    const dialog = place("conflict");
    fill(dialog, letter, theirs);
    return new Promise((resolve) => {
      const decide = (mine) => {
        dialog.onkeydown = dialog.onclick = dialog.oncancel = dialog.onclose = null;
        dialog.close();
        resolve(mine);
      };
      dialog.oncancel = (event) => {
        event.preventDefault();
        decide(false);
      };
      // Browsers do not always ask before they close a dialog; it may have been opened again since.
      dialog.onclose = () => { if (!dialog.open) decide(false); };
      dialog.onclick = (event) => {
        const button = event.target.closest("button");
        if (button) decide(button.value === "mine");
      };
      dialog.onkeydown = (event) => {
        if (event.repeat || (event.key !== "m" && event.key !== "t")) return;
        event.preventDefault();
        decide(event.key === "m");
      };
      dialog.showModal();
    });
  }

  window.phototag.askWhoseStays = ask;
})();
