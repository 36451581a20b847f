// One side of a pair: its sentences, shaded by reward, with bars for R_I and R_T; differing words and made-up objects marked.

const MOST_SHOWN = 6000;

// Return the place of a value on a series' scale: -1 at its 5th percentile, 0 at the median, 1 at the 95th.
function onScale(value, scale) {
  if (!scale || value === null || value === undefined) return null;
  const [low, middle, high] = scale;
  const room = value < middle ? middle - low : high - middle;
  return Math.max(-1, Math.min(1, room ? (value - middle) / room : 0));
}

// Return a part of a text as nodes: cut wherever a mark begins or ends.
function marked(text, begin, end, diff, absent) {
  const cuts = new Set([begin, end]);
  for (const [from, to] of [...diff, ...absent]) for (const at of [from, to]) if (at > begin && at < end) cuts.add(at);
  const places = [...cuts].sort((a, b) => a - b);
  return places.slice(0, -1).map((from, number) => {
    const to = places[number + 1];
    const inside = ([a, b]) => from >= a && to <= b;
    const made = absent.find(inside), differs = diff.some(inside);
    const part = text.slice(from, to);
    if (!made && !differs) return part;
    const kind = [differs ? "differs" : "", made ? "made-up" : ""].join(" ").trim();
    return el("span", { class: kind, title: made ? `not in the image: ${visible(made[2])}${made[3] ? ` (${visible(made[3])})` : ""}` : null }, part, made ? el("span", { class: "unseen" }, " (made up)") : null);
  });
}

// A small bar with its value, for R_I (0 to 100) or R_T (0 to 1).
function meter(name, value, most, digits) {
  return el("span", { class: "meter", title: `${name} ${shown(value, digits)}` },
    el("span", { class: "meter-name" }, name), el("span", { class: "meter-track" }, el("span", { class: "meter-fill", "--share": `${Math.max(0, Math.min(100, (100 * value) / most))}%` })), el("span", { class: "meter-value" }, shown(value, digits)));
}

// Return the node of a sentence in a tree; -1 if the search did not store it.
function nodePlace(tree, node) {
  return tree && node >= 0 ? tree.node.indexOf(node) : -1;
}

function sentenceNode(side, [from, end, node], tree, series, diff) {
  const begin = from + (side.text.slice(from, end).match(/^\s*/)[0].length % (end - from));
  const at = nodePlace(tree, node);
  const reward = at < 0 ? null : tree.reward[at];
  const place = onScale(reward, series.shade.reward);
  const relevanceTop = Math.max(series.shade.relevance ? series.shade.relevance[2] : 100, 1);
  const meters = at < 0 || tree.relevance[at] === null ? null : el("span", { class: "meters" }, meter("R_I", tree.relevance[at], relevanceTop, 1), meter("R_T", Math.exp(tree.logprob[at] / tree.tokens[at]), 1, 2));
  return el("li", { class: place === null ? "sentence" : place < 0 ? "sentence low" : "sentence high", "--shade": place === null ? 0 : `${Math.abs(place) * 100}%`, title: reward === null ? null : `reward ${shown(reward)}` },
    el("bdi", { class: "said" }, marked(side.text, begin, Math.min(end, begin + MOST_SHOWN), diff, side.absent || []), end - begin > MOST_SHOWN ? more(side.text, begin + MOST_SHOWN, end) : null), reward === null ? null : el("span", { class: "unseen" }, ` reward ${shown(reward)}`), meters);
}

// A button that shows the rest of a long text.
function more(text, begin, end) {
  return el("button", { type: "button", class: "more", onclick: (event) => event.currentTarget.replaceWith(text.slice(begin, Math.min(end, begin + 200000))) }, ` … ${plural(end - begin, "more character")}`);
}

// Return one side of a pair as a section.
function sideNode(kind, side, item, tree, series, diff) {
  const value = (name) => columns[`${kind}_${name}`][item];
  const absent = value("absent");
  const facts_ = [["reward", shown(value("reward"))], ["R_I", shown(value("relevance"), 1)], ["words", shown(value("words"))]].filter(([, text]) => text !== "–");
  const empty = side.text === "" ? el("p", { class: "none" }, "the answer ends here") : null;
  return el("section", { class: `side ${kind}`, "aria-label": kind },
    el("h4", null, kind === "chosen" ? "Chosen" : "Rejected", el("span", { class: "facts" }, facts_.map(([name, text]) => el("span", null, `${name} `, el("b", null, text)))), absent > 0 ? el("span", { class: "made-count", title: "mentions of objects that are not in the image" }, `${absent} made up`) : null),
    empty || el("ol", { class: "sentences" }, side.spans.map((span) => sentenceNode(side, span, tree, series, diff))), side.complete || side.text === "" ? null : el("p", { class: "none" }, "the answer goes on"));
}
