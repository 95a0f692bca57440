// Search fields: / leads to the first, hits appear as one types, arrows choose one.
"use strict";
for (const form of document.querySelectorAll("form.search, form.add")) {
  const WAIT_MS = 120;
  // The form of a graph adds the field that is chosen.
  const add = form.dataset.add, id = add ? "found" : "hits", only = add ? "&kind=field" : "";
  const input = form.querySelector("input[type=search]"), list = document.createElement("ul");
  list.id = id;
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Hits");
  form.append(list);
  const set = (names) => { for (const [k, v] of Object.entries(names)) input.setAttribute(k, v); };
  set({ role: "combobox", "aria-controls": id, "aria-expanded": "false", "aria-autocomplete": "list" });

  let chosen = -1, waiting = 0, asked = null;
  const close = () => {
    clearTimeout(waiting);
    if (asked) asked.abort();
    list.hidden = true;
    chosen = -1;
    set({ "aria-expanded": "false" });
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (n) => {
    const options = list.querySelectorAll("[role=option]");
    if (!options.length) return;
    chosen = (n + options.length) % options.length;
    options.forEach((o, i) => o.setAttribute("aria-selected", String(i === chosen)));
    set({ "aria-activedescendant": options[chosen].id });
    options[chosen].scrollIntoView({ block: "nearest" });
  };
  // Names come from nodes: everything is set as text.
  const part = (kind, name, text) => {
    const e = document.createElement(kind);
    e.className = name;
    e.textContent = text;
    return e;
  };
  const show = (found) => {
    list.replaceChildren(...found.hits.map((hit, i) => {
      const item = document.createElement("li"), link = part("a", "", "");
      item.id = id + i;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      link.href = add ? `${add}${add.includes("?") ? "&" : "?"}f=${encodeURIComponent(hit.graph)}` : hit.link;
      link.tabIndex = -1;
      link.append(part("span", "badge kind", hit.kind), " " + hit.title + " ", part("span", "soft", hit.place));
      item.append(link);
      return item;
    }));
    const more = found.total - found.hits.length;
    if (!found.total) list.append(part("li", "soft", "nothing found"));
    if (more > 0) list.append(part("li", "soft", `and ${more} more: Enter shows them`));
    list.hidden = false;
    chosen = -1;
    set({ "aria-expanded": "true" });
  };
  const ask = async () => {
    if (asked) asked.abort();
    asked = new AbortController();
    const address = `/api/v1/search?limit=12${only}&q=` + encodeURIComponent(input.value);
    const answer = await fetch(address, { signal: asked.signal });
    const found = await answer.json();
    show(answer.ok ? found : { total: 0, hits: [] });
  };
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    if (!input.value.trim()) return close();
    waiting = setTimeout(() => ask().catch(() => {}), WAIT_MS);
  });
  input.addEventListener("keydown", (e) => {
    if (e.key === "Escape") { close(); input.blur(); }
    if (list.hidden) return;
    if (e.key === "ArrowDown") { e.preventDefault(); choose(chosen + 1); }
    if (e.key === "ArrowUp") { e.preventDefault(); choose(chosen < 0 ? -1 : chosen - 1); }
    if (e.key === "Enter" && chosen >= 0) {
      e.preventDefault();
      list.querySelectorAll("[role=option] a")[chosen].click();
    }
  });
  form.addEventListener("focusout", (e) => { if (!form.contains(e.relatedTarget)) close(); });
  // A press on a hit must not take the focus first: the list would be gone.
  list.addEventListener("pointerdown", (e) => e.preventDefault());
  document.addEventListener("keydown", (e) => {
    if (add || e.key !== "/" || e.ctrlKey || e.altKey || e.metaKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) return;
    e.preventDefault();
    input.focus();
    input.select();
  });
}
