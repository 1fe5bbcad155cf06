// Swaps the page's content every two seconds. Without scripts the page reloads itself instead (see status.html).
"use strict";

const PERIOD = 2000;
const stale = document.getElementById("stale");
let lastAnswer = Date.now();

async function refresh() {
  try {
    const answer = await fetch(location.pathname, { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
    document.title = page.title;
    lastAnswer = Date.now();
    stale.hidden = true;
  } catch {
    const seconds = Math.round((Date.now() - lastAnswer) / 1000);
    stale.textContent = `nlb has not answered for ${seconds} s; what you see is that old`;
    stale.hidden = false;
  }
}

// One question at a time, and none while nobody looks.
(async function repeat() {
  for (;;) {
    await new Promise((done) => setTimeout(done, PERIOD));
    if (!document.hidden) await refresh();
  }
})();
