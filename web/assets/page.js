// Live graphs, keys, and dragging to zoom. Every page works without this.
"use strict";
(() => {
  const LIVE_MS = 10000;

  // Pictures that end now are asked for again; the old one stays until the new is there.
  const renew = (address, at) => {
    const url = new URL(address, location.href);
    url.searchParams.set("t", at);
    return url.pathname + url.search;
  };
  const refresh = () => {
    if (document.hidden) return;
    for (const picture of document.querySelectorAll("picture")) {
      const img = picture.querySelector("img");
      if (!img.complete || !/[?&]to=now/.test(img.src)) continue;
      const box = img.getBoundingClientRect();
      if (box.bottom < 0 || box.top > innerHeight) continue;
      // The one that is seen (light or dark, wide or narrow) is fetched; of the others
      // only the addresses change.
      const next = new Image(), at = Date.now();
      next.onload = () => {
        for (const source of picture.querySelectorAll("source")) source.srcset = renew(source.srcset, at);
        img.src = renew(img.src, at);
      };
      next.src = renew(img.currentSrc || img.src, at);
    }
  };
  setInterval(refresh, LIVE_MS);

  // A wall's screen is renewed as a whole; without an answer what was seen stays, and
  // says since when.
  const wall = document.querySelector("main[data-renew]");
  let answered = new Date();
  const redraw = async () => {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = page.querySelector("main");
      if (main) wall.replaceChildren(...main.childNodes);
      answered = new Date();
    } catch {
      const head = wall.querySelector("header");
      head.className = "old";
      head.querySelector("time").textContent = "no answer since " + answered.toLocaleTimeString("sv-SE");
    }
  };
  if (wall) setInterval(redraw, wall.dataset.renew * 1000);

  // The reader's own zone is one key press away.
  for (const input of document.querySelectorAll("input[data-zone]")) {
    input.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
  }

  // A link with data-key is followed by that key.
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.altKey || e.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) return;
    const link = document.querySelector(`a[data-key="${CSS.escape(e.key)}"]`);
    if (link) { e.preventDefault(); link.click(); }
  });

  // A click on the legend mutes a field; the reader stays where they are.
  const KEPT = "rookery-scroll";
  for (const link of document.querySelectorAll("a[data-mute]")) {
    link.addEventListener("click", () => sessionStorage.setItem(KEPT, String(scrollY)));
  }
  const kept = sessionStorage.getItem(KEPT);
  if (kept !== null) {
    sessionStorage.removeItem(KEPT);
    addEventListener("load", () => scrollTo(0, Number(kept)));
  }

  // Drag over the plot: that span. Double click: back.
  for (const zoom of document.querySelectorAll(".zoom")) {
    const from = Number(zoom.dataset.from), to = Number(zoom.dataset.to);
    // The picture itself says where its plot begins and ends.
    let left = 0, right = 1;
    const img = zoom.querySelector("img");
    const measure = async () => {
      const svg = await (await fetch(img.currentSrc || img.src)).text();
      const found = /<svg[^>]* width="(\d+)"[^>]* data-plot="([\d.]+) ([\d.]+)"/.exec(svg);
      if (found) [left, right] = [found[2] / found[1], found[3] / found[1]];
    };
    measure().catch(() => {});
    const time = (x) => {
      const box = zoom.getBoundingClientRect();
      const part = ((x - box.left) / box.width - left) / (right - left);
      return Math.round(from + Math.min(1, Math.max(0, part)) * (to - from));
    };
    let start = null, mark = null;
    zoom.addEventListener("dragstart", (e) => e.preventDefault());
    zoom.addEventListener("pointerdown", (e) => {
      if (e.button !== 0) return;
      start = e.clientX;
      mark = document.createElement("div");
      mark.className = "mark";
      zoom.append(mark);
    });
    addEventListener("pointermove", (e) => {
      if (start === null) return;
      const box = zoom.getBoundingClientRect();
      mark.style.left = Math.min(start, e.clientX) - box.left + "px";
      mark.style.width = Math.abs(e.clientX - start) + "px";
    });
    addEventListener("pointerup", (e) => {
      if (start === null) return;
      const [a, b] = [time(Math.min(start, e.clientX)), time(Math.max(start, e.clientX))];
      const far = Math.abs(e.clientX - start) > 5;
      mark.remove();
      start = null;
      if (far && b - a >= 1000) location.href = `${zoom.dataset.path}${zoom.dataset.path.includes("?") ? "&" : "?"}from=${a}&to=${b}${zoom.dataset.more || ""}`;
    });
    // What was there at the pointer's time, in numbers.
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    zoom.append(tip);
    let data = null;
    const load = async () => {
      const step = Math.max(1, Math.round((to - from) / 600)) / 1000;
      if (!zoom.dataset.query) return;
      const part = `${zoom.dataset.query}&from=${from}&to=${to}&step=${step}&drawn=1`;
      data = await (await fetch("/api/v1/rollup?" + part)).json();
    };
    const short = (v) => (typeof v === "number" ? Number(v.toPrecision(6)).toString() : String(v));
    zoom.addEventListener("pointermove", (e) => {
      if (data === null) { data = false; load().catch(() => {}); }
      if (!data || !data.fields) return;
      const here = Math.floor((time(e.clientX) - data.from_ms) / data.step_ms);
      // The nearest step with a sample: steps may be narrower than the sampling.
      const has = (k) => data.fields.some((f) => f.count[k] > 0);
      let i = here;
      for (let d = 0; d <= 12; d++) {
        if (has(here - d)) { i = here - d; break; }
        if (has(here + d)) { i = here + d; break; }
      }
      const rows = data.fields.filter((f) => f.count[i] > 0).map((f) => f.count[i] === 1
        ? `${f.field} ${short(f.last[i])}`
        : `${f.field} ${short(f.mean[i])} (${short(f.min[i])} to ${short(f.max[i])}, ${f.count[i]} values)`);
      const zone = zoom.dataset.zone;
      const at = new Date(data.from_ms + i * data.step_ms);
      const text = at.toLocaleString("sv-SE", zone ? { timeZone: zone } : {});
      // As text: names come from plugins.
      tip.textContent = [text, ...(rows.length ? rows : ["no data"])].join("\n");
      const box = zoom.getBoundingClientRect();
      const x = e.clientX - box.left;
      tip.style.left = x > box.width / 2 ? "" : x + 14 + "px";
      tip.style.right = x > box.width / 2 ? box.width - x + 14 + "px" : "";
      tip.hidden = false;
    });
    zoom.addEventListener("pointerleave", () => { tip.hidden = true; });
    zoom.addEventListener("dblclick", () => history.back());
  }
})();
