// Charts in SVG: histograms of chosen and rejected with a brush, lines with intervals, and bars.

const WIDTH = 292;
const RIDGE = 30;
const BINS = 40;

// Return round numbers that span a range: at most `count` of them.
function ticks(low, high, count = 4) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(10)));
  return found;
}

function tick(value) {
  return String(value).replace("-", "−");
}

// Return the ends of a measure, without its outermost values if they are far out.
function extent(measure) {
  const values = [];
  for (let item = 0; item < items; item += 1) if (columns.reason[item] < 0) for (const value of measure.of(item)) if (Number.isFinite(value)) values.push(value);
  if (!values.length) return null;
  values.sort((a, b) => a - b);
  const low = values[Math.floor(values.length * 0.002)], high = values[Math.ceil(values.length * 0.998) - 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

// A measure's distribution: a ridge per series, chosen above its line and rejected below; all items pale, those that pass strong.
class Histogram {
  constructor(measure, onrange) {
    this.measure = measure;
    this.extent = extent(measure);
    this.onrange = onrange;
    this.count = facts.series.length;
    this.up = measure.two ? RIDGE * 0.6 : RIDGE - 5;
    this.height = this.count * RIDGE + 18;
    if (this.extent) this.all = this.counts((visit) => { for (let item = 0; item < items; item += 1) visit(item); });
    this.node = this.extent ? this.build() : el("p", { class: "none" }, "not measured");
  }

  x(value) {
    return ((value - this.extent[0]) / (this.extent[1] - this.extent[0])) * WIDTH;
  }

  value(x) {
    return this.extent[0] + (Math.min(Math.max(x, 0), WIDTH) / WIDTH) * (this.extent[1] - this.extent[0]);
  }

  // Count the pairs that `visit` is called with: by series and side, a count per bin.
  counts(each) {
    const sides = this.measure.two ? 2 : 1;
    const found = Array.from({ length: this.count * sides }, () => new Uint32Array(BINS));
    const scale = BINS / (this.extent[1] - this.extent[0]);
    each((item) => {
      if (columns.reason[item] >= 0) return;
      const values = this.measure.of(item);
      for (let side = 0; side < sides; side += 1) {
        const bin = Math.min(Math.floor((values[side] - this.extent[0]) * scale), BINS - 1);
        if (bin >= 0) found[columns.series[item] * sides + side][bin] += 1;
      }
    });
    return found;
  }

  build() {
    const { title, two } = this.measure;
    this.shapes = [];
    const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${this.height}`, class: "histogram", role: "img", "aria-label": `Distribution of ${title} by iteration` });
    facts.series.forEach((series, number) => {
      const base = number * RIDGE + this.up + 2;
      for (const kind of ["pale", "strong"]) {
        for (let side = 0; side < (two ? 2 : 1); side += 1) {
          const shape = svg("path", { class: `${kind} ${two ? ["chosen", "rejected"][side] : "plain"}` });
          this.shapes.push({ kind, at: number * (two ? 2 : 1) + side, base, down: side === 1, shape });
          root.append(shape);
        }
      }
      root.append(svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: base, y2: base }), svg("text", { class: "ridge", x: 2, y: base - this.up + 8 }, facts.series.length > 1 ? series.label.replace(/^iteration /, "") : ""));
    });
    if (this.extent[0] < 0 && this.extent[1] > 0) root.append(svg("line", { class: "zero", x1: this.x(0), x2: this.x(0), y1: 0, y2: this.height - 16 }));
    for (const value of ticks(...this.extent)) root.append(svg("text", { class: "tick", x: Math.min(Math.max(this.x(value), 8), WIDTH - 8), y: this.height - 4 }, tick(value)));
    this.brush = svg("rect", { class: "brush", y: 0, height: this.height - 14, hidden: true });
    root.append(this.brush);
    this.listen(root);
    for (const one of this.shapes) if (one.kind === "pale") one.shape.setAttribute("d", this.path(this.all, one));
    return root;
  }

  // Return the outline of one side of one series, scaled by the highest bin of all items of that series.
  path(counts, { at, base, down }) {
    const most = Math.max(1, ...this.all[at]);
    const room = down ? RIDGE - this.up - 4 : this.up;
    const step = WIDTH / BINS;
    let text = `M0 ${base}`;
    counts[at].forEach((count, bin) => {
      const y = base + ((down ? 1 : -1) * room * count) / most;
      text += `L${(bin * step).toFixed(1)} ${y.toFixed(1)}L${((bin + 1) * step).toFixed(1)} ${y.toFixed(1)}`;
    });
    return `${text}L${WIDTH} ${base}Z`;
  }

  update() {
    if (!this.extent) return;
    const counts = this.counts((visit) => passing.forEach(visit));
    for (const one of this.shapes) if (one.kind === "strong") one.shape.setAttribute("d", this.path(counts, one));
    const range = state.ranges.get(this.measure.name);
    this.brush.toggleAttribute("hidden", !range);
    if (range) {
      const [from, to] = range.map((value) => Math.min(Math.max(this.x(value), 0), WIDTH));
      this.brush.setAttribute("x", from);
      this.brush.setAttribute("width", Math.max(to - from, 1));
    }
  }

  // A drag sets the range; a click without a drag clears it.
  listen(root) {
    let begin = null;
    const place = (event) => ((event.clientX - root.getBoundingClientRect().left) / root.getBoundingClientRect().width) * WIDTH;
    const setTo = (x) => {
      const ends = [this.value(begin), this.value(x)].sort((a, b) => a - b);
      if (Math.min(begin, x) <= 0) ends[0] = -Infinity;
      if (Math.max(begin, x) >= WIDTH) ends[1] = Infinity;
      this.onrange(ends);
    };
    root.addEventListener("pointerdown", (event) => {
      begin = place(event);
      root.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    root.addEventListener("pointermove", (event) => {
      if (begin !== null && Math.abs(place(event) - begin) > 3) setTo(place(event));
    });
    root.addEventListener("pointerup", (event) => {
      if (begin !== null && Math.abs(place(event) - begin) <= 3) this.onrange(null);
      begin = null;
    });
  }
}

// Return a chart of lines with intervals. `lines` have a name and, for each place of the axis, [value, low, high] or null.
function lineChart({ title, unit, places, lines, digits = 1, height = 132 }) {
  const left = 40, right = 12, top = 8, bottom = 22, width = 300;
  const known = lines.flatMap((line) => line.values).filter((value) => value && Number.isFinite(value[0]));
  if (!known.length) return el("figure", { class: "chart" }, el("figcaption", null, el("b", null, title)), el("p", { class: "none" }, "not measured"));
  let low = Math.min(...known.map((one) => (Number.isFinite(one[1]) ? one[1] : one[0]))), high = Math.max(...known.map((one) => (Number.isFinite(one[2]) ? one[2] : one[0])));
  const room = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  [low, high] = [low - room, high + room];
  const x = (at) => left + (places.length === 1 ? 0.5 : at / (places.length - 1)) * (width - left - right);
  const y = (value) => top + (1 - (value - low) / (high - low)) * (height - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${lines.map((line) => `${line.name} ${line.values.map((one) => (one ? shown(one[0], digits) : "unknown")).join(", ")}`).join("; ")}` });
  for (const value of ticks(low, high, 3)) root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), svg("text", { class: "tick end", x: left - 5, y: y(value) + 3 }, tick(value)));
  places.forEach((place, at) => root.append(svg("text", { class: "tick", x: x(at), y: height - 6 }, place)));
  lines.forEach((line, number) => {
    const points = line.values.map((one, at) => (one && Number.isFinite(one[0]) ? [x(at), y(one[0]), one, at] : null)).filter(Boolean);
    const color = `line c${number % 6}`;
    root.append(svg("path", { class: color, d: points.map(([px, py], at) => `${at ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("") }));
    for (const [px, py, one, at] of points) {
      if (Number.isFinite(one[1]) && Number.isFinite(one[2])) root.append(svg("line", { class: color, x1: px, x2: px, y1: y(one[1]), y2: y(one[2]) }));
      root.append(svg("circle", { class: `dot c${number % 6}`, cx: px, cy: py, r: 2.6 }, svg("title", null, `${line.name}, ${places[at]}: ${shown(one[0], digits)}${Number.isFinite(one[1]) ? ` [${shown(one[1], digits)}, ${shown(one[2], digits)}]` : ""}`)));
    }
  });
  const legend = lines.length > 1 ? el("ul", { class: "legend" }, lines.map((line, number) => el("li", null, el("i", { class: `swatch c${number % 6}` }), line.name))) : null;
  return el("figure", { class: "chart" }, el("figcaption", null, el("b", null, title), el("span", null, unit)), root, legend);
}

// Return a chart of curves. `curves` have a name and points [x, y].
function curveChart({ title, unit, xUnit, curves }) {
  const left = 40, right = 12, top = 8, bottom = 34, width = 300, height = 180;
  const points = curves.flatMap((curve) => curve.points);
  const span = (at) => [Math.min(...points.map((one) => one[at])), Math.max(...points.map((one) => one[at]))];
  const [x0, x1] = span(0), [y0, y1] = span(1);
  const x = (value) => left + ((value - x0) / (x1 - x0 || 1)) * (width - left - right);
  const y = (value) => top + (1 - (value - y0) / (y1 - y0 || 1)) * (height - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, ${plural(curves.length, "curve")}` });
  for (const value of ticks(y0, y1, 4)) root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), svg("text", { class: "tick end", x: left - 5, y: y(value) + 3 }, tick(value)));
  for (const value of ticks(x0, x1, 5)) root.append(svg("text", { class: "tick", x: x(value), y: height - 19 }, tick(value)));
  root.append(svg("text", { class: "tick", x: (left + width - right) / 2, y: height - 4 }, xUnit));
  curves.forEach((curve, number) => root.append(svg("path", { class: `line c${number % 6}`, d: curve.points.map(([px, py], at) => `${at ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("") })));
  const legend = el("ul", { class: "legend" }, curves.map((curve, number) => el("li", null, el("i", { class: `swatch c${number % 6}` }), curve.name)));
  return el("figure", { class: "chart" }, el("figcaption", null, el("b", null, title), el("span", null, unit)), root, legend);
}

// Return a row of a bar chart, a button if it does something.
function bar({ name, count, most, kind = "", onclick = null, hint = "" }) {
  const share = most ? (100 * count) / most : 0;
  const parts = [el("span", { class: "bar-name" }, name), el("span", { class: "bar-track" }, el("span", { class: `bar-fill ${kind}`, "--share": `${share}%` })), el("span", { class: "bar-count" }, count.toLocaleString("en"), el("small", null, most ? ` ${shown(share, share < 10 ? 1 : 0)}%` : ""))];
  return el("li", null, onclick && count ? el("button", { class: "bar", type: "button", onclick, title: hint }, parts) : el("div", { class: "bar" }, parts));
}
