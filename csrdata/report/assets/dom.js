// Elements and numbers. Text enters the page here and nowhere else, always as a text node.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

// Return a text with its invisible and direction-changing characters written out.
function visible(text) {
  return String(text).replace(HIDDEN, (one) => `[U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
}

// Fill an element: attributes, listeners (`onclick`), CSS variables (`--x`), then children, of which texts become text nodes.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return node;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

// Tell a screen reader.
function say(text) {
  byId("said").textContent = text;
}

// Return a number for a reader: 1,234 or 0.123; a dash for what is unknown.
function shown(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const fixed = Number.isInteger(value) && digits !== null ? value.toLocaleString("en") : value.toFixed(digits ?? 2);
  return fixed.replace("-", "−");
}

function signed(value, digits = 2) {
  return Number.isNaN(value) ? "–" : (value > 0 ? "+" : "") + shown(value, digits);
}

function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function spaced(code) {
  return code.replaceAll("_", " ");
}

// Run a function once, in the next frame, however often it is asked for.
function framed(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}
