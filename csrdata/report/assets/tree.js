// The search tree of a prompt: a column per depth, a box per candidate, and the paths that became the pair.

const FATES = { b: "kept as best", w: "kept as worst", p: "pruned", f: "finished", c: "cut", r: "refused" };
const SHORT_FATES = { ...FATES, b: "best", w: "worst" };
const BOX = 216, COLUMN = 264, TALL = 70, SHORT = 26;

async function openTree(item) {
  const dialog = byId("tree"), prompt = columns.prompt[item];
  const detail = await detailsOf(prompt);
  const show = (series) => fillTree(dialog, item, prompt, detail, series);
  show(String(columns.series[item]));
  if (!dialog.open) dialog.showModal();
}

function fillTree(dialog, item, prompt, detail, series) {
  const own = detail.series[series], numbers = Object.keys(detail.series);
  const tabs = numbers.length > 1 ? el("span", { class: "choice", role: "group", "aria-label": "Series" }, numbers.map((number) => el("button", { type: "button", "aria-pressed": String(number === series), onclick: () => fillTree(dialog, item, prompt, detail, number) }, facts.series[number].label))) : facts.series[series].label;
  const close = el("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => dialog.close() }, "Close");
  const about = el("div", { class: "tree-about" }, imageNode(prompt, detail), el("p", null, el("bdi", null, detail.text.slice(0, 2000)), detail.truth ? el("small", null, "shows ", detail.truth.join(", ")) : null, own.dropped ? el("small", null, "no pair: ", own.dropped) : null), el("div", { id: "tree-detail", role: "status" }, el("p", { class: "none" }, "Choose a candidate to read it.")));
  const key = el("p", { class: "key" }, el("i", { class: "swatch chosen" }), "path of chosen", el("i", { class: "swatch rejected" }), "path of rejected", el("span", null, "boxes are shaded by reward; pruned candidates are one line; a ring marks the end of a whole answer"));
  dialog.replaceChildren(el("header", null, el("h2", { id: "tree-title" }, `Search tree of ${prompts.ids[prompt]}`), tabs, close), about, key, own.tree ? treeNode(own, facts.series[series]) : el("p", { class: "wall" }, "This source has no search tree."));
}

// Return the places of a tree's nodes on the paths to the leaves of its pairs: node -> chosen, rejected or both.
function pathsOf(own) {
  const { tree } = own, found = new Map(), parent = new Map(tree.node.map((node, at) => [node, tree.parent[at]]));
  for (const pair of own.pairs) {
    for (const kind of ["chosen", "rejected"]) {
      for (let node = pair[kind].leaf; node !== null && parent.has(node); node = parent.get(node)) found.set(node, found.has(node) && found.get(node) !== kind ? "both" : kind);
    }
  }
  return found;
}

// Lay the candidates out: a column per depth, those that live on first, then in their parents' order, the best reward first.
function layoutOf(tree, paths) {
  const place = new Map(), byNode = new Map(tree.node.map((node, at) => [node, at])), depths = [];
  tree.node.forEach((node, at) => {
    const depth = byNode.has(tree.parent[at]) ? place.get(tree.parent[at]).depth + 1 : 0;
    place.set(node, { at, node, depth });
    (depths[depth] = depths[depth] || []).push(place.get(node));
  });
  let height = 0;
  depths.forEach((some, depth) => {
    const rank = (one) => (depth ? place.get(tree.parent[one.at]).y : 0);
    for (const one of some) one.tall = tree.fate[one.at] !== "p" || paths.has(one.node);
    some.sort((a, b) => Number(b.tall) - Number(a.tall) || rank(a) - rank(b) || (tree.reward[b.at] ?? -Infinity) - (tree.reward[a.at] ?? -Infinity) || a.at - b.at);
    let y = 4;
    for (const one of some) {
      one.height = !tree.text[one.at] ? SHORT : one.tall ? TALL : SHORT;
      one.x = depth * COLUMN + 4;
      one.y = y;
      y += one.height + 6;
    }
    height = Math.max(height, y);
  });
  return { places: [...place.values()], place, width: depths.length * COLUMN, height };
}

function treeNode(own, series) {
  const { tree, answers } = own, paths = pathsOf(own), { places, place, width, height } = layoutOf(tree, paths);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  const edges = places.filter((one) => place.has(tree.parent[one.at])).sort((a, b) => Number(paths.has(a.node)) - Number(paths.has(b.node)));
  for (const one of edges) {
    const above = place.get(tree.parent[one.at]), x = above.x + BOX, from = above.y + above.height / 2, to = one.y + one.height / 2, bend = (COLUMN - BOX) * 0.6;
    drawing.append(svg("path", { class: `edge ${paths.get(one.node) || ""}`, d: `M${x} ${from}C${x + bend} ${from} ${one.x - bend} ${to} ${one.x} ${to}` }));
  }
  const boxes = places.map((one) => candidateNode(one, tree, answers, paths, series));
  const stage = el("div", { class: "tree-stage", role: "list", "aria-label": `${plural(places.length, "candidate")}` }, drawing, boxes);
  stage.style.width = `${width}px`;
  stage.style.height = `${height}px`;
  return el("div", { class: "tree-scroll", tabindex: 0 }, stage);
}

function candidateNode(one, tree, answers, paths, series) {
  const { at } = one, text = tree.text[at], fate = FATES[tree.fate[at]];
  const scale = onScale(tree.reward[at], series.shade.reward);
  const answer = answers.leaf.indexOf(one.node);
  const kind = ["candidate", paths.get(one.node) || "", `fate-${tree.fate[at]}`, answer >= 0 ? "leaf" : "", scale === null ? "" : scale < 0 ? "low" : "high", tree.absent[at] ? "has-made-up" : ""].join(" ");
  const box = el("button", { type: "button", class: kind, "--shade": scale === null ? 0 : `${Math.abs(scale) * 100}%`, "data-node": one.node, onclick: () => tellCandidate(one, tree, answers, answer), "aria-label": `${text ? visible(text.slice(0, 300)) : "the end"}: ${fate}, reward ${shown(tree.reward[at])}` },
    el("bdi", { class: "candidate-text" }, text ? text.slice(0, 400) : "end of the answer"),
    one.height === TALL ? el("span", { class: "candidate-facts" }, el("b", null, shown(tree.reward[at])), meter("R_I", tree.relevance[at], Math.max(series.shade.relevance ? series.shade.relevance[2] : 100, 1), 0), meter("R_T", Math.exp(tree.logprob[at] / tree.tokens[at]), 1, 2), el("span", null, SHORT_FATES[tree.fate[at]])) : null);
  Object.assign(box.style, { left: `${one.x}px`, top: `${one.y}px`, width: `${BOX}px`, height: `${one.height}px` });
  return el("div", { role: "listitem" }, box);
}

// Tell everything that is known of a candidate.
function tellCandidate(one, tree, answers, answer) {
  const { at } = one;
  const rows = [["fate", FATES[tree.fate[at]]], ["stop", spaced(tree.stop[at])], ["reward at its depth", shown(tree.reward[at])], ["R_I", shown(tree.relevance[at], 1)], ["R_I, held out", shown(tree.held_out[at], 1)], ["R_T per token", shown(Math.exp(tree.logprob[at] / tree.tokens[at]), 3)], ["tokens", shown(tree.tokens[at])], ["repetition", shown(tree.repetition[at])], ["made-up objects", shown(tree.absent[at])]];
  if (answer >= 0) rows.push(["answer's reward", shown(answers.reward[answer])], ["answer's R_I", shown(answers.relevance[answer], 1)], ["answer", answers.finished[answer] ? "finished" : "cut"]);
  byId("tree-detail").replaceChildren(el("p", null, el("bdi", null, tree.text[at] ? tree.text[at].slice(0, 20000) : "end of the answer")), el("dl", null, rows.map(([name, text]) => el("div", null, el("dt", null, name), el("dd", null, text)))));
  document.querySelectorAll("#tree .candidate[aria-pressed]").forEach((box) => box.removeAttribute("aria-pressed"));
  document.querySelector(`#tree .candidate[data-node="${one.node}"]`).setAttribute("aria-pressed", "true");
}
