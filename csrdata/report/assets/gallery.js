// The gallery: a list of pairs of which only those in sight are in the document, whatever their heights.

const MOST_ITEMS = 40000;
const GAP = 14;

class Gallery {
  constructor(list) {
    this.list = list;
    this.cards = new Map();
    this.heights = new Map();
    this.offsets = new Float64Array(1);
    this.selected = -1;
    this.render = framed(() => this.place());
    this.watch = new ResizeObserver((entries) => this.measured(entries));
    addEventListener("scroll", this.render, { passive: true });
    addEventListener("resize", () => { this.heights.clear(); this.layout(); this.render(); });
  }

  // Show the items that pass from their beginning.
  update() {
    this.clear();
    this.length = Math.min(passing.length, MOST_ITEMS);
    if (!passing.includes(this.selected)) this.selected = -1;
    this.layout();
    this.render();
  }

  clear() {
    for (const card of this.cards.values()) this.drop(card);
    this.cards.clear();
  }

  drop(card) {
    this.watch.unobserve(card);
    card.remove();
  }

  estimate(item) {
    if (columns.reason[item] >= 0) return 120;
    const words = Math.max(columns.chosen_words[item], columns.rejected_words[item]) || 20;
    const narrow = this.list.clientWidth < 640;
    return Math.max(200, 96 + Math.min(words, 2000) * (narrow ? 9 : 3.6));
  }

  // Compute where each item begins, from measured heights and estimates.
  layout() {
    const offsets = new Float64Array(this.length + 1);
    for (let at = 0; at < this.length; at += 1) offsets[at + 1] = offsets[at] + (this.heights.get(passing[at]) ?? this.estimate(passing[at])) + GAP;
    this.offsets = offsets;
    this.list.style.height = `${offsets[this.length]}px`;
  }

  // Return the place of the item at a height of the list.
  at(y) {
    let low = 0, high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.offsets[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  top() {
    return this.list.getBoundingClientRect().top;
  }

  place() {
    if (this.list.offsetParent === null) return;
    const top = -this.top(), first = Math.max(this.at(Math.max(top, 0)) - 2, 0), last = Math.min(this.at(top + innerHeight) + 3, this.length);
    const wanted = new Set(passing.subarray(first, last));
    for (const [item, card] of this.cards) {
      if (!wanted.has(item)) {
        this.drop(card);
        this.cards.delete(item);
      }
    }
    for (let at = first; at < last; at += 1) {
      const item = passing[at];
      let card = this.cards.get(item);
      if (!card) {
        card = cardNode(item, this);
        this.cards.set(item, card);
        this.list.append(card);
        this.watch.observe(card);
      }
      card.style.transform = `translateY(${this.offsets[at]}px)`;
      card.setAttribute("aria-posinset", at + 1);
      card.setAttribute("aria-setsize", passing.length);
    }
  }

  // Take over measured heights; what is in sight stays where it is.
  measured(entries) {
    const anchor = this.at(Math.max(-this.top(), 0)), before = this.offsets[anchor];
    let changed = false;
    for (const { target, borderBoxSize } of entries) {
      const item = Number(target.dataset.item), height = borderBoxSize[0].blockSize;
      if (!target.isConnected || !height || target.dataset.ready === undefined || Math.abs((this.heights.get(item) ?? -1) - height) < 1) continue;
      this.heights.set(item, height);
      changed = true;
    }
    if (!changed) return;
    this.layout();
    const moved = this.offsets[anchor] - before;
    if (moved && this.top() < 0) scrollBy(0, moved);
    this.place();
  }

  // Select an item and bring it into sight.
  select(item) {
    const at = passing.indexOf(item);
    if (at < 0 || at >= this.length) return false;
    this.cards.get(this.selected)?.removeAttribute("aria-current");
    this.selected = item;
    scrollTo({ top: scrollY + this.top() + this.offsets[at] - headRoom() - 8, behavior: "instant" });
    this.place();
    const card = this.cards.get(item);
    card?.setAttribute("aria-current", "true");
    card?.focus({ preventScroll: true });
    return true;
  }

  step(by) {
    if (!this.length) return;
    const now = passing.indexOf(this.selected);
    const next = now < 0 ? this.at(Math.max(headRoom() - this.top(), 0)) : Math.min(Math.max(now + by, 0), this.length - 1);
    this.select(passing[next]);
  }
}

function headRoom() {
  return byId("bar")?.getBoundingClientRect().height ?? 0;
}

// The address of an item within the page.
function hashOf(item) {
  return `#p=${encodeURIComponent(prompts.ids[columns.prompt[item]])}&s=${columns.series[item]}&n=${columns.number[item]}`;
}

function itemOfHash(hash) {
  const found = new URLSearchParams(hash.slice(1));
  if (!found.has("p")) return -1;
  const prompt = prompts.ids.indexOf(found.get("p"));
  for (let item = 0; item < items; item += 1) {
    if (columns.prompt[item] === prompt && columns.series[item] === Number(found.get("s") ?? 0) && columns.number[item] === Number(found.get("n") ?? 0)) return item;
  }
  return -1;
}

function labelButtons(item) {
  const buttons = LABELS.map((label, number) => el("button", { type: "button", class: `label ${label}`, "data-label": label, "aria-pressed": String(labelOf(item) === label), title: `label ${label} (key ${number + 1})`, onclick: () => setLabel(item, label) }, label));
  return el("span", { class: "labels", role: "group", "aria-label": "Label" }, buttons);
}

// A card whose details may still be on their way.
function cardNode(item, gallery) {
  const prompt = columns.prompt[item], series = facts.series[columns.series[item]], isPair = columns.reason[item] < 0;
  const chips = [
    facts.series.length > 1 ? el("span", { class: "chip" }, series.label) : null,
    isPair && facts.origins.length > 1 ? el("span", { class: "chip" }, spaced(facts.origins[columns.origin[item]])) : null,
    state.only?.badge(item) ? el("span", { class: "chip moved" }, state.only.badge(item)) : null,
  ];
  const numbers = isPair
    ? [["margin", shown(columns.margin[item])], ["length gap", signed(columns.chosen_words[item] - columns.rejected_words[item], 0)], ["disagreement", signed(disagreement(item))]].filter(([, text]) => text !== "–")
    : [["no pair", spaced(facts.reasons[columns.reason[item]])]];
  const head = el("header", null, el("h3", null, el("a", { href: hashOf(item), title: "a link to this prompt" }, prompts.ids[prompt]), columns.number[item] ? ` · pair ${columns.number[item]}` : ""), chips,
    el("span", { class: "facts" }, numbers.map(([name, text]) => el("span", null, `${name} `, el("b", null, text)))), isPair ? labelButtons(item) : null, el("button", { type: "button", class: "quiet", "data-tree": true, onclick: () => openTree(item) }, "Tree"));
  const body = el("div", { class: "body" }, el("p", { class: "none" }, "…"));
  const card = el("article", { class: isPair ? "card" : "card dropped", tabindex: -1, role: "listitem", "data-item": item, "data-mark": labelOf(item), "aria-current": gallery.selected === item ? "true" : null, "aria-label": `${prompts.ids[prompt]}, ${series.label}`, onfocusin: () => gallery.selected !== item && markSelected(gallery, item) }, head, body);
  detailsOf(prompt).then((detail) => {
    body.replaceChildren(...cardBody(item, detail, series));
    card.dataset.ready = "";
  }, (error) => body.replaceChildren(el("p", { class: "none" }, error.message)));
  return card;
}

function markSelected(gallery, item) {
  gallery.cards.get(gallery.selected)?.removeAttribute("aria-current");
  gallery.selected = item;
  gallery.cards.get(item)?.setAttribute("aria-current", "true");
}

function imageNode(prompt, detail) {
  const image = el("img", { alt: `image of ${prompts.ids[prompt]}${detail.truth ? `: ${detail.truth.join(", ")}` : ""}`, decoding: "async", draggable: "false" });
  const there = prompts.images[prompt] >= 0 && picture(image, prompts.images[prompt]);
  return there ? image : el("div", { class: "no-image", title: detail.image }, el("span", null, "no image"), el("small", null, detail.image));
}

function cardBody(item, detail, series) {
  const prompt = columns.prompt[item], own = detail.series[columns.series[item]];
  const picture_ = el("figure", { class: "picture" }, imageNode(prompt, detail), el("figcaption", null, el("bdi", null, detail.text.length > 400 ? `${detail.text.slice(0, 400)}…` : detail.text), detail.truth ? el("small", null, "shows ", detail.truth.join(", ")) : null));
  if (columns.reason[item] >= 0) return [picture_, el("div", { class: "why" }, el("p", null, el("b", null, `No pair: ${spaced(facts.reasons[columns.reason[item]])}`)), el("p", null, el("bdi", null, own.dropped || "")))];
  const pair = own.pairs[pairPlace(item, detail)];
  const diff = differing(pair.chosen.text, pair.rejected.text) || [[], []];
  const context = pair.context ? el("p", { class: "context" }, el("span", null, "after "), el("bdi", null, pair.context.slice(-1000))) : null;
  return [picture_, el("div", { class: "sides" }, context, sideNode("chosen", pair.chosen, item, own.tree, series, diff[0]), sideNode("rejected", pair.rejected, item, own.tree, series, diff[1]))];
}
