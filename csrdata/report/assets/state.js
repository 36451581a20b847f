// What is shown: filters, order, and the items that pass. A change tells every listener.

const state = {
  series: null,
  query: "",
  kind: "pairs",
  reason: -1,
  label: "",
  ranges: new Map(),
  only: null,
  sort: "prompt",
  down: false,
};
let passing = new Uint32Array(0);
const listeners = [];

// Measures of an item. `two` has a value for each side, and a range asks that one of them is inside.
const MEASURES = [
  { name: "margin", title: "Margin", about: "what ordered the pair, chosen above rejected", of: (i) => [columns.margin[i]] },
  { name: "reward", title: "Reward", about: "R(y) of the whole side", two: true, of: (i) => [columns.chosen_reward[i], columns.rejected_reward[i]] },
  { name: "relevance", title: "R_I, image relevance", about: "0 to 100, by the search's scorer", two: true, of: (i) => [columns.chosen_relevance[i], columns.rejected_relevance[i]] },
  { name: "likelihood", title: "R_T, likelihood per token", about: "geometric mean of the token probabilities, 0 to 1", two: true, of: (i) => [Math.exp(columns.chosen_likelihood[i]), Math.exp(columns.rejected_likelihood[i])] },
  { name: "gap", title: "Length gap", about: "words of chosen minus words of rejected", of: (i) => [columns.chosen_words[i] - columns.rejected_words[i]] },
];

const SORTS = {
  prompt: ["Prompt", (i) => i],
  margin: ["Margin", (i) => columns.margin[i]],
  gap: ["Length gap", (i) => Math.abs(columns.chosen_words[i] - columns.rejected_words[i])],
  disagreement: ["Scorers' disagreement", (i) => Math.abs(disagreement(i))],
  reward: ["Reward of chosen", (i) => columns.chosen_reward[i]],
  absent: ["Made-up objects in chosen", (i) => columns.chosen_absent[i]],
  reason: ["Reason", (i) => (columns.reason[i] < 0 ? NaN : columns.reason[i])],
};

// The margin by the search's scorer minus the margin by the held-out one, on one scale.
function disagreement(item) {
  return columns.chosen_reward[item] - columns.rejected_reward[item] - (columns.chosen_held_out[item] - columns.rejected_held_out[item]);
}

function change(values) {
  Object.assign(state, values);
  if ("reason" in values && values.reason >= 0) state.kind = "dropped";
  refilter();
}

function setRange(name, range) {
  if (range) state.ranges.set(name, range);
  else state.ranges.delete(name);
  refilter();
}

function clearFilters() {
  state.ranges.clear();
  change({ series: null, query: "", kind: "pairs", reason: -1, label: "", only: null });
}

function isFiltered() {
  return state.series !== null || state.query !== "" || state.reason >= 0 || state.label !== "" || state.ranges.size > 0 || state.only !== null || state.kind !== "pairs";
}

// Compute the items that pass, in order, and tell the listeners.
function refilter() {
  const found = new Uint32Array(items);
  let count = 0;
  const ranges = MEASURES.filter((one) => state.ranges.has(one.name)).map((one) => [one, ...state.ranges.get(one.name)]);
  const query = state.query.toLowerCase();
  for (let item = 0; item < items; item += 1) {
    const isPair = columns.reason[item] < 0;
    if (state.kind === "pairs" ? !isPair : state.kind === "dropped" && isPair) continue;
    if (state.series !== null && columns.series[item] !== state.series) continue;
    if (state.reason >= 0 && columns.reason[item] !== state.reason) continue;
    if (state.only && !state.only.items.has(item)) continue;
    if (state.label && labelOf(item) !== state.label && !(state.label === "none" && !labelOf(item))) continue;
    if (!ranges.every(([one, low, high]) => one.of(item).some((value) => value >= low && value <= high))) continue;
    if (query && !haystack?.[item].includes(query)) continue;
    found[count++] = item;
  }
  passing = found.subarray(0, count);
  order();
  listeners.forEach((listener) => listener());
}

// Sort the items that pass; unknown values come last, equal ones by prompt.
function order() {
  if (state.sort === "prompt") {
    if (state.down) passing.reverse();
    return;
  }
  const of = SORTS[state.sort][1];
  const keys = new Float64Array(items);
  for (const item of passing) {
    const value = of(item);
    keys[item] = Number.isNaN(value) ? Infinity : state.down ? -value : value;
  }
  passing.sort((a, b) => keys[a] - keys[b] || a - b);
}
