// Keeps the edits of a page as they are, and the preview. Without it everything works, and is read again by hand.
"use strict";
const live = document.getElementById("live");
const preview = document.getElementById("preview");
const unread = document.getElementById("unread");
let known = "", shown = live.firstElementChild.dataset.version;

async function look() {
  try {
    const answer = await fetch(live.dataset.from, { headers: known ? { "If-None-Match": known } : {} });
    if (answer.status === 200 && !live.querySelector(":active")) {
      show(await answer.text());
      known = answer.headers.get("ETag");
    }
    live.classList.remove("lost");
  } catch {
    live.classList.add("lost"); // the service is away; it is asked again
  }
  const busy = live.firstElementChild.dataset.busy !== "0";
  setTimeout(look, document.hidden ? 5000 : busy ? 500 : 2000);
}

function show(html) {
  const held = live.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  live.innerHTML = html;
  if (held) live.querySelector(`[aria-label="${CSS.escape(held)}"]`)?.focus();
  const now = live.firstElementChild.dataset;
  unread.textContent = now.unread;
  if (now.version !== shown) {
    shown = now.version;
    preview.src = `${preview.dataset.address}?version=${shown}`;
  }
}

look();
