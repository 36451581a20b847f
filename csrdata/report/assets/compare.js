// Two series side by side: the pairs that stayed, flipped, changed, were lost or added. `csrdata diff` counts by the same rules.

const HOW = { same: "same", flipped: "flipped", changed: "changed", lost: "only in A", added: "only in B" };

// Return, for each of `HOW`, the items: of a pair in both, [item of a, item of b].
function compared(a, b) {
  const sides = [a, b].map(() => new Map());
  for (let item = 0; item < items; item += 1) {
    const side = columns.series[item] === a ? 0 : columns.series[item] === b ? 1 : -1;
    if (side < 0 || columns.reason[item] >= 0) continue;
    const own = sides[side].get(columns.prompt[item]) || [];
    own.push(item);
    sides[side].set(columns.prompt[item], own);
  }
  const found = { same: [], flipped: [], changed: [], lost: [], added: [] };
  const equal = (x, y) => columns.chosen_key[x] === columns.chosen_key[y] && columns.rejected_key[x] === columns.rejected_key[y];
  const swapped = (x, y) => columns.chosen_key[x] === columns.rejected_key[y] && columns.rejected_key[x] === columns.chosen_key[y];
  for (const prompt of new Set([...sides[0].keys(), ...sides[1].keys()])) {
    let left = sides[0].get(prompt) || [], right = sides[1].get(prompt) || [];
    for (const [how, match] of [["same", equal], ["flipped", swapped], ["changed", () => true]]) {
      for (const one of [...left]) {
        const other = right.find((candidate) => match(one, candidate));
        if (other === undefined) continue;
        found[how].push([one, other]);
        left = left.filter((item) => item !== one);
        right = right.filter((item) => item !== other);
      }
    }
    left.forEach((item) => found.lost.push([item]));
    right.forEach((item) => found.added.push([item]));
  }
  return found;
}

function compareView() {
  const view = byId("view-compare");
  if (facts.series.length < 2) {
    view.append(el("p", { class: "wall" }, "There is one set of pairs. To compare it with another one: csrdata report --against SOURCE"));
    return;
  }
  const pick = (id, text, value) => {
    const select = el("select", { id, "aria-label": text, onchange: draw }, facts.series.map((series, number) => el("option", { value: number }, series.label)));
    select.value = value;
    return select;
  };
  const a = pick("compare-a", "A", Math.max(facts.series.length - 2, 0)), b = pick("compare-b", "B", facts.series.length - 1), result = el("div", { id: "compared" });
  function draw() {
    result.replaceChildren(...comparison(Number(a.value), Number(b.value)));
  }
  view.append(el("div", { class: "panel" }, el("h2", null, "What changed between two sets of pairs"), el("p", { class: "pickers" }, el("label", null, "A ", a), el("label", null, "B ", b))), result);
  draw();
}

function comparison(a, b) {
  const found = compared(a, b), names = [facts.series[a].label, facts.series[b].label];
  const all = Math.max(Object.values(found).reduce((sum, some) => sum + some.length, 0), 1);
  const words = { same: "same two sides, same order", flipped: "chosen and rejected are swapped", changed: "the same prompt, with another answer on a side", lost: `only in ${names[0]}`, added: `only in ${names[1]}` };
  const rows = Object.entries(found).map(([how, some]) => bar({ name: `${how}: ${words[how]}`, count: some.length, most: all, kind: how, hint: "show these pairs", onclick: () => showMoved(how, some, names) }));
  const both = [...found.same, ...found.flipped, ...found.changed];
  const mean = (of) => {
    const values = both.map(([x, y]) => of(y) - of(x)).filter((value) => Number.isFinite(value));
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN;
  };
  const changes = [["margin", mean((i) => columns.margin[i])], ["reward of chosen", mean((i) => columns.chosen_reward[i])], ["reward of rejected", mean((i) => columns.rejected_reward[i])], ["words of chosen", mean((i) => columns.chosen_words[i])], ["words of rejected", mean((i) => columns.rejected_words[i])], ["made-up objects in chosen", mean((i) => columns.chosen_absent[i])], ["made-up objects in rejected", mean((i) => columns.rejected_absent[i])]].filter(([, value]) => Number.isFinite(value));
  return [el("div", { class: "panel" }, el("h3", null, "Pairs"), el("ul", { class: "bars wide" }, rows)), el("div", { class: "panel" }, el("h3", null, `Mean change from A to B over ${plural(both.length, "pair")} that both have`), el("dl", { class: "figures" }, changes.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, signed(value))))))];
}

// Show the pairs that moved in one way; of a pair in both series, both are shown, one after the other.
function showMoved(how, some, names) {
  clearFilters();
  change({ sort: "prompt", only: { title: `${how}, ${names.join(" → ")}`, items: new Set(some.flat()), badge: () => how } });
  byId("sort").value = "prompt";
  openView("pairs");
}
