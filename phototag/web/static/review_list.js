// Says where answers of closed pages still wait in this browser, and removes samples that were made by mistake.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  function unsaved() {
    const letters = phototag.outbox.everywhere();
    const [first] = letters;
    const sample = first?.path.match(/^\/api\/samples\/(\d+)\//)?.[1];
    if (!sample) return;
    const notice = document.getElementById("waiting");
    const words = document.createElement("p");
    words.textContent = letters.length === 1
      ? "An answer in this browser is not saved yet." : `${letters.length} answers in this browser are not saved yet.`;
    const link = document.createElement("a");
    link.className = "button";
    link.href = `/review/${sample}`;
    link.textContent = "Go on there to save them";
    notice.append(words, link);
    notice.hidden = false;
  }

  async function remove(button) {
    if (!confirm(`Remove the sample ${button.dataset.name}? Nothing of it was reviewed.`)) return;
    button.disabled = true;
    phototag.say("Removing…", { seconds: 120 });
    try {
      await phototag.postJson(`/api/samples/${button.dataset.remove}/remove`, {});
      location.reload();
    } catch (error) {
      button.disabled = false;
      phototag.say(`It is not removed: ${error.message}`, { seconds: 12 });
    }
  }

  for (const button of document.querySelectorAll("[data-remove]")) {
    button.hidden = false;
    button.addEventListener("click", () => remove(button));
  }
  unsaved();
});
