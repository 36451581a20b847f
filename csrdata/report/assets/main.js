// The page: its views, its keys, its address, and what happens when it opens.

const VIEWS = { pairs: "Pairs", overview: "Overview", compare: "Compare", figures: "Figures", origin: "Made from" };
const built = new Set(["pairs"]);
const BUILD = { overview: overviewView, compare: compareView, figures: figuresView, origin: originView };

function openView(name) {
  if (!built.has(name)) {
    built.add(name);
    BUILD[name]();
  }
  for (const view of Object.keys(VIEWS)) {
    byId(`view-${view}`).hidden = view !== name;
    byId(`tab-${view}`).setAttribute("aria-selected", String(view === name));
    byId(`tab-${view}`).tabIndex = view === name ? 0 : -1;
  }
  if (name === "pairs") gallery.render();
  scrollTo({ top: 0, behavior: "instant" });
}

function viewTabs() {
  const names = Object.keys(VIEWS);
  byId("views").append(...names.map((name) => el("button", { id: `tab-${name}`, type: "button", role: "tab", "aria-controls": `view-${name}`, onclick: () => openView(name) }, VIEWS[name])));
  byId("views").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const now = names.findIndex((name) => byId(`tab-${name}`) === document.activeElement);
    const next = names[(now + by + names.length) % names.length];
    openView(next);
    byId(`tab-${next}`).focus();
  });
}

const KEYS = { j: "next pair", k: "previous pair", 1: "label good", 2: "label bad", 3: "label unsure", t: "search tree of the pair", "/": "search", "?": "this help", Escape: "close a window, leave the search" };

function openHelp() {
  const dialog = byId("help");
  dialog.replaceChildren(el("header", null, el("h2", { id: "help-title" }, "Keys"), el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close")), el("dl", null, Object.entries(KEYS).map(([key, what]) => el("div", null, el("dt", null, el("kbd", null, key)), el("dd", null, what)))), el("p", null, "A shaded sentence had a high (green) or low (amber) reward at its depth. Words that the other side lacks are underlined; a wavy red line marks an object that is not in the image, where the truth is known. Labels are kept in this browser; save them as CSV for csrdata curate."));
  if (!dialog.open) dialog.showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const inField = event.target.closest("input, select, textarea");
  if (inField) {
    if (event.key === "Escape") inField.blur();
    return;
  }
  const isPairs = !byId("view-pairs").hidden;
  const item = gallery.selected;
  const actions = {
    j: () => gallery.step(1),
    k: () => gallery.step(-1),
    t: () => item >= 0 && openTree(item),
    "/": () => byId("search").focus(),
    1: () => item >= 0 && columns.reason[item] < 0 && setLabel(item, LABELS[0]),
    2: () => item >= 0 && columns.reason[item] < 0 && setLabel(item, LABELS[1]),
    3: () => item >= 0 && columns.reason[item] < 0 && setLabel(item, LABELS[2]),
  };
  if (event.key === "?") openHelp();
  else if (isPairs && actions[event.key]) actions[event.key]();
  else return;
  event.preventDefault();
}

// Show the prompt that the address names, whatever the filters.
function followHash() {
  const item = itemOfHash(location.hash);
  if (item < 0) return;
  openView("pairs");
  if (!passing.includes(item)) {
    byId("search").value = "";
    clearFilters();
    if (columns.reason[item] >= 0) change({ kind: "all" });
  }
  gallery.select(item);
}

async function open() {
  if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old for the page: it needs DecompressionStream (Chrome 80, Firefox 113, Safari 16.4).");
  await loadColumns();
  loadLabels();
  const pairs = facts.series.reduce((sum, series) => sum + series.funnel.pairs, 0);
  byId("about").textContent = visible(`${facts.source}: ${plural(pairs, "pair")} of ${plural(facts.prompts, "prompt")}, ${facts.series.map((series) => series.label).join(", ")}`);
  document.title = visible(`${plural(pairs, "pair")} · csrdata report`);
  viewTabs();
  pairsView();
  openView("pairs");
  refilter();
  addEventListener("keydown", onKey);
  addEventListener("hashchange", followHash);
  followHash();
  document.documentElement.dataset.open = "";
  if (!facts.folder) (window.requestIdleCallback || setTimeout)(() => searchable());
}

open().catch((error) => {
  byId("about").textContent = "";
  byId("view-pairs").replaceChildren(el("p", { class: "wall" }, error.message));
  console.error(error);
});
