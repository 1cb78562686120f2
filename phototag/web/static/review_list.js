// Says where answers of closed pages still wait in this browser.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
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
});
