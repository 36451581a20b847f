// The views other than the pairs: funnel and drift, the figures of the analyses, and what the data was made from.

const FATE_NAMES = { kept_best: "kept as best", kept_worst: "kept as worst", pruned: "pruned", finished: "finished", cut: "cut at a limit", refused: "refused" };

function overviewView() {
  const view = byId("view-overview");
  view.append(...driftPanel(), el("div", { class: "panel" }, el("h2", null, "What became of every prompt"), el("p", { class: "lead" }, "Each drop has its reason. A bar opens its prompts."), el("div", { class: "funnels" }, facts.series.map(funnelNode))));
}

function funnelNode(series, number) {
  const { prompts: all, with_pairs: having, pairs, reasons, fates, finished, unfinished } = series.funnel;
  const candidates = Object.values(fates).reduce((sum, count) => sum + count, 0), answers = finished + unfinished;
  const open = (values) => () => { clearFilters(); change({ series: facts.series.length > 1 ? number : null, ...values }); openView("pairs"); };
  const rows = [bar({ name: "prompts", count: all, most: all, kind: "total", onclick: open({ kind: "all" }) }), bar({ name: "with a pair", count: having, most: all, kind: "kept", onclick: open({ kind: "pairs" }) }),
    ...Object.entries(reasons).sort((a, b) => b[1] - a[1]).map(([reason, count]) => bar({ name: spaced(reason), count, most: all, kind: "lost", hint: "show these prompts", onclick: open({ reason: facts.reasons.indexOf(reason) }) }))];
  const search = candidates ? [el("h4", null, `${plural(candidates, "candidate sentence")}`), el("ul", { class: "bars" }, Object.entries(fates).sort((a, b) => b[1] - a[1]).map(([fate, count]) => bar({ name: FATE_NAMES[fate] || spaced(fate), count, most: candidates, kind: fate.startsWith("kept") ? "kept" : "total" })))] : [];
  const whole = answers ? [el("h4", null, `${plural(answers, "answer")}`), el("ul", { class: "bars" }, bar({ name: "finished", count: finished, most: answers, kind: "kept" }), bar({ name: "cut", count: unfinished, most: answers, kind: "lost" }))] : [];
  return el("section", { class: "funnel" }, el("h3", null, series.label), search, whole, el("h4", null, `${plural(all, "prompt")}, ${plural(pairs, "pair")}`), el("ul", { class: "bars" }, rows));
}

function driftPanel() {
  const { drift } = facts;
  if (!drift) return [];
  const stopped = drift.stopped.map((words) => el("p", { class: "findings finding stopped", role: "note" }, words));
  if (!drift.split) return stopped;
  const charts = el("div", { class: "charts" });
  const draw = (split) => charts.replaceChildren(...Object.entries(drift.splits[split]).map(([name, values]) => {
    const [title, unit, digits] = drift.labels[name];
    return lineChart({ title, unit, digits, places: drift.policies, lines: [{ name: spaced(split), values }] });
  }));
  const select = el("select", { "aria-label": "Split", onchange: (event) => draw(event.target.value) }, Object.keys(drift.splits).map((split) => el("option", { value: split }, spaced(split))));
  select.value = drift.split;
  draw(drift.split);
  const found = drift.findings.map((one) => el("li", { class: `finding ${one.rule.replace(" ", "-")}` }, el("b", null, `${one.rule}, ${policyName(one.begin)} to ${policyName(one.end)}. `), one.words));
  const verdict = found.length ? el("ul", { class: "findings", id: "findings" }, found) : el("p", { class: "findings calm", id: "findings" }, "No rule fires: relevance does not rise against the held-out scorer or CHAIR, and hallucination does not fall by saying less.");
  return [...stopped, el("div", { class: "panel" }, el("h2", null, "How the policies drift"), el("p", { class: "lead" }, `The rules read the split ${spaced(drift.split)}. Bars are confidence intervals.`), verdict, el("details", { class: "rules" }, el("summary", null, "The rules"), el("ul", null, drift.rules.map((words) => el("li", null, words)))), el("p", { class: "pickers" }, el("label", null, "split ", select)), charts)];
}

function policyName(name) {
  return name === "base" ? "base" : `iteration ${name}`;
}

function figuresView() {
  const view = byId("view-figures");
  if (!facts.figures.length) {
    view.append(el("p", { class: "wall" }, "No figure was computed. In a project, `dvc repro summarize` writes them."));
    return;
  }
  const drawn = facts.figures.map(figureNode);
  view.append(el("div", { class: "panel" }, el("h2", null, "Figures of the analyses"), el("p", { class: "lead" }, "As plots/ has them; whiskers are intervals, or quartiles where a distribution is drawn."), el("div", { class: "charts" }, drawn.filter((one) => !one.wide).map((one) => one.node))), ...drawn.filter((one) => one.wide).map((one) => el("div", { class: "panel" }, one.node)));
}

// Return a table of plots/ as a chart, if its columns say how, and as a table.
function figureNode(figure) {
  const rows = figure.rows.map((row) => Object.fromEntries(figure.columns.map((name, at) => [name, row[at]])));
  const table = el("details", { class: "table" }, el("summary", null, "Table"), tableNode(figure));
  const y = ["value", "reward", "mean"].find((name) => figure.columns.includes(name));
  if (figure.name === "recall_curve") {
    const splits = [...new Set(rows.map((row) => row.split))];
    const charts = splits.map((split) => curveChart({ title: `${figure.title}, ${spaced(split)}`, unit: figure.unit, xUnit: "recall, percent of objects", curves: [...new Set(rows.map((row) => row.iteration))].map((name) => ({ name: policyName(name), points: rows.filter((row) => row.split === split && row.iteration === name).map((row) => [Number(row.recall), Number(row.chair_s)]) })) }));
    return { node: el("div", { class: charts.length > 1 ? "facets many" : "facets" }, charts, table), wide: false };
  }
  if (y && figure.columns.includes("token")) {
    const kinds = [...new Set(rows.map((row) => row.answers))];
    const charts = kinds.map((kind) => curveChart({ title: kinds.length > 1 ? `${figure.title}, ${spaced(kind)} answers` : figure.title, unit: figure.unit, xUnit: "token of the answer", curves: [...new Set(rows.map((row) => row.iteration))].map((name) => ({ name: policyName(name), points: rows.filter((row) => row.answers === kind && row.iteration === name).map((row) => [Number(row.token), Number(row[y])]) })) }));
    return { node: el("div", { class: charts.length > 1 ? "facets many" : "facets" }, charts, table), wide: false };
  }
  if (!y || !figure.columns.includes("iteration")) return { node: el("div", null, el("h3", null, figure.title), tableNode(figure)), wide: true };
  const ends = figure.columns.includes("low") ? ["low", "high"] : ["p25", "p75"];
  const places = [...new Set(rows.map((row) => row.iteration))];
  const names = ["measure", "origin", "split", "answer", "answers", "scorer"].filter((name) => figure.columns.includes(name) && new Set(rows.map((row) => row[name])).size > 1);
  const facet = names.includes("measure") ? "measure" : null;
  const number = (row, name) => (row[name] === "" || row[name] === undefined ? NaN : Number(row[name]));
  const charts = (facet ? [...new Set(rows.map((row) => row[facet]))] : [null]).map((part) => {
    const own = part === null ? rows : rows.filter((row) => row[facet] === part);
    const keyOf = (row) => names.filter((name) => name !== facet).map((name) => spaced(row[name])).join(", ") || figure.title;
    const lines = [...new Set(own.map(keyOf))].map((name) => ({ name, values: places.map((place) => own.find((row) => row.iteration === place && keyOf(row) === name)).map((row) => (row && row[y] !== "" ? [number(row, y), number(row, ends[0]), number(row, ends[1])] : null)) }));
    return lineChart({ title: part === null ? figure.title : `${figure.title}: ${spaced(part)}`, unit: figure.unit, places, lines, digits: 2 });
  });
  return { node: el("div", { class: charts.length > 1 ? "facets many" : "facets" }, charts, table), wide: false };
}

function tableNode(figure) {
  const rest = figure.left_out ? el("p", { class: "none" }, `${plural(figure.left_out, "more row")} in plots/${figure.name}.csv`) : null;
  return el("div", { class: "scroll", tabindex: 0 }, el("table", null, el("thead", null, el("tr", null, figure.columns.map((name) => el("th", { scope: "col" }, spaced(name))))), el("tbody", null, figure.rows.map((row) => el("tr", null, row.map((value) => el("td", null, el("bdi", null, value))))))), rest);
}

function originView() {
  const hashes = Object.entries(facts.hashes);
  byId("view-origin").append(
    el("div", { class: "panel" }, el("h2", null, "What the data was made from"), el("dl", { class: "figures" }, [["source", facts.source], ["csrdata", facts.version], ["git revision", facts.revision], ["prompts", shown(facts.prompts)], ["images", `${shown(facts.pictures.length)} shown${facts.missing ? `, ${shown(facts.missing)} missing` : ""}`]].filter(([, value]) => value).map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))))),
    el("div", { class: "panel" }, el("h3", null, "Content hashes"), hashes.length ? el("div", { class: "scroll", tabindex: 0 }, el("table", null, el("thead", null, el("tr", null, el("th", { scope: "col" }, "table"), el("th", { scope: "col" }, "SHA-256"))), el("tbody", null, hashes.map(([path, sha]) => el("tr", null, el("td", null, path), el("td", null, el("code", null, sha))))))) : el("p", { class: "none" }, "none")),
    el("div", { class: "panel" }, el("h3", null, "Parameters"), facts.parameters ? el("pre", { tabindex: 0 }, facts.parameters) : el("p", { class: "none" }, "none")));
}
