// Keeps what is shown up to date where it stands: nothing moves, nothing that is typed or selected is lost.
"use strict";
{
  const EVERY = 3000;
  const box = document.getElementById("live");
  const words = document.getElementById("live-words");
  const say = (text) => {
    // Said once: a screen reader repeats what changes.
    if (words.textContent !== text) words.textContent = text;
  };

  box.closest("[hidden]").hidden = false;
  box.checked = sessionStorage.getItem("live") !== "no";
  box.addEventListener("change", () => sessionStorage.setItem("live", box.checked ? "yes" : "no"));

  async function refresh() {
    if (!box.checked || document.hidden || !getSelection().isCollapsed) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const part = fresh.getElementById(old.id);
      // Who stands in it with the keyboard keeps their place.
      if (part && !old.contains(document.activeElement)) old.replaceChildren(...part.childNodes);
    }
    document.documentElement.dataset.refreshed = String(Number(document.documentElement.dataset.refreshed ?? 0) + 1);
  }

  const again = () =>
    setTimeout(() => {
      refresh()
        .then(
          () => say(""),
          () => say("not reached; trying again"),
        )
        .finally(again);
    }, EVERY);
  again();
}
