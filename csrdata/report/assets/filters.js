// The view of pairs: the bar of search and order, the column of filters with linked distributions, and the gallery.

let gallery = null;
let searchTicket = 0;

function pairsView() {
  const list = el("div", { id: "gallery", role: "list", "aria-label": "Pairs" });
  gallery = new Gallery(list);
  const histograms = MEASURES.map((measure) => histogramBlock(measure));
  const side = el("details", { id: "filters", open: innerWidth > 900 }, el("summary", null, "Filters and distributions"),
    facts.series.length > 1 ? seriesChoice() : null, kindChoice(), labelChoice(),
    el("p", { class: "key" }, el("i", { class: "swatch chosen" }), "chosen", el("i", { class: "swatch rejected" }), "rejected", el("span", null, "drag across a chart to filter")), histograms.map((one) => one.node));
  const empty = el("p", { id: "empty", class: "wall", hidden: true });
  byId("view-pairs").append(toolbar(), el("div", { class: "columns" }, side, el("div", null, empty, list)));
  listeners.push(() => {
    gallery.update();
    counted(empty);
    scrollTo({ top: Math.min(scrollY, byId("view-pairs").offsetTop), behavior: "instant" });
  });
  listeners.push(framed(() => histograms.forEach((one) => one.update())));
  document.addEventListener("labelled", (event) => relabel(event.detail));
}

// Say how many items pass.
function counted(empty) {
  const what = state.kind === "pairs" ? ["pair"] : state.kind === "dropped" ? ["prompt without a pair", "prompts without a pair"] : ["item"];
  byId("count").replaceChildren(plural(passing.length, ...what), passing.length > MOST_ITEMS ? `, the first ${MOST_ITEMS.toLocaleString("en")} are shown` : "");
  byId("clear").hidden = !isFiltered();
  empty.hidden = passing.length > 0;
  empty.replaceChildren(items ? "Nothing passes these filters." : "There is no pair.", items && isFiltered() ? el("button", { type: "button", onclick: reset }, "Clear the filters") : "");
  byId("only").replaceChildren(...(state.only ? [el("button", { type: "button", class: "chip moved", onclick: () => change({ only: null }) }, `${state.only.title} ×`)] : []));
  say(byId("count").textContent);
}

function toolbar() {
  const search = el("input", { id: "search", type: "search", placeholder: "Search prompts and answers", "aria-label": "Search prompts and answers", oninput: (event) => searchFor(event.target.value) });
  const sort = el("select", { id: "sort", "aria-label": "Order", onchange: (event) => change({ sort: event.target.value }) }, Object.entries(SORTS).map(([name, [title]]) => el("option", { value: name }, title)));
  const down = el("button", { id: "down", type: "button", class: "quiet", "aria-pressed": "false", title: "largest first", onclick: () => { change({ down: !state.down }); down.setAttribute("aria-pressed", String(state.down)); down.textContent = state.down ? "↓" : "↑"; } }, "↑");
  return el("div", { id: "bar" }, search, el("label", { class: "inline" }, el("span", null, "order "), sort), down, el("span", { id: "only" }), el("span", { id: "count", role: "status" }), el("button", { id: "clear", type: "button", class: "quiet", hidden: true, onclick: reset }, "Clear filters"), el("span", { class: "space" }),
    el("button", { id: "save", type: "button", class: "quiet", disabled: labels.size === 0, onclick: saveLabels }, saveText()), el("button", { type: "button", class: "quiet", "aria-label": "Keys", title: "keys (?)", onclick: openHelp }, "?"));
}

function saveText() {
  return labels.size ? `Save ${plural(labels.size, "label")}` : "Labels: 1 2 3";
}

function relabel(item) {
  const card = gallery.cards.get(item), label = labelOf(item);
  if (card) {
    card.dataset.mark = label;
    card.querySelectorAll("[data-label]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.label === label)));
  }
  byId("save").textContent = saveText();
  byId("save").disabled = labels.size === 0;
}

// Filter by a text; the first search reads the texts.
async function searchFor(query) {
  const ticket = ++searchTicket;
  if (query.trim() && !haystack) {
    byId("count").textContent = "reading the texts…";
    await searchable((done, of) => { if (facts.folder && done % 20 === 0) byId("count").textContent = `reading the texts, ${done} of ${of}…`; });
  }
  if (ticket === searchTicket) change({ query: query.trim() });
}

function reset() {
  byId("search").value = "";
  clearFilters();
}

function choice(name, title, options, current, onchange) {
  const group = el("div", { class: "choice", role: "group", "aria-label": title }, options.map(([value, text]) => el("button", { type: "button", "data-value": value, onclick: () => onchange(value) }, text)));
  listeners.push(() => group.querySelectorAll("button").forEach((button, at) => button.setAttribute("aria-pressed", String(options[at][0] === current()))));
  return el("div", { class: "filter", id: `filter-${name}` }, el("h3", null, title), group);
}

function seriesChoice() {
  const options = [[null, "all"], ...facts.series.map((series, number) => [number, series.label.replace(/^iteration /, "")])];
  return choice("series", facts.series.every((one) => one.label.startsWith("iteration ")) ? "Iteration" : "Source", options, () => state.series, (series) => change({ series }));
}

function kindChoice() {
  const reason = el("select", { "aria-label": "Reason", onchange: (event) => change({ reason: Number(event.target.value) }) }, el("option", { value: -1 }, "any reason"), facts.reasons.map((name, number) => el("option", { value: number }, spaced(name))));
  listeners.push(() => { reason.value = state.reason; reason.hidden = state.kind !== "dropped"; });
  const node = choice("kind", "Show", [["pairs", "pairs"], ["dropped", "without a pair"], ["all", "both"]], () => state.kind, (kind) => change({ kind, reason: -1 }));
  if (facts.reasons.length) node.append(reason);
  return node;
}

function labelChoice() {
  return choice("label", "Label", [["", "any"], ["none", "none"], ...LABELS.map((label) => [label, label])], () => state.label, (label) => change({ label }));
}

// A distribution with its range as two numbers, for those who do not drag.
function histogramBlock(measure) {
  const chart = new Histogram(measure, (range) => setRange(measure.name, range));
  if (!chart.extent) return { node: el("div", { class: "filter", hidden: true }), update() {} };
  const ends = [0, 1].map((end) => el("input", { type: "number", step: "any", "aria-label": `${measure.title}, ${end ? "at most" : "at least"}`, placeholder: end ? "max" : "min", onchange: (event) => {
    const range = [...(state.ranges.get(measure.name) ?? [-Infinity, Infinity])];
    range[end] = event.target.value === "" ? (end ? Infinity : -Infinity) : Number(event.target.value);
    setRange(measure.name, range.every((one) => !Number.isFinite(one)) ? null : range);
  } }));
  const node = el("div", { class: "filter", "data-measure": measure.name }, el("h3", { title: measure.about }, measure.title, el("span", { class: "range" }, ends[0], "–", ends[1])), chart.node);
  return { node, update() {
    chart.update();
    const range = state.ranges.get(measure.name);
    ends.forEach((input, end) => { if (document.activeElement !== input) input.value = range && Number.isFinite(range[end]) ? Number(range[end].toPrecision(3)) : ""; });
  } };
}
