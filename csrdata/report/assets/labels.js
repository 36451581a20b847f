// Labels that a reader gives: kept in the browser, and saved as CSV for `csrdata curate`.

const LABELS = ["good", "bad", "unsure"];
const labels = new Map();

function labelKey(item) {
  return JSON.stringify([prompts.ids[columns.prompt[item]], columns.number[item], facts.series[columns.series[item]].label]);
}

function labelOf(item) {
  return labels.get(labelKey(item)) || "";
}

function storeName() {
  return `csrdata-labels-${JSON.stringify([facts.source, facts.hashes, facts.prompts])}`;
}

// Give an item a label, or take it away if it has this one.
function setLabel(item, label) {
  const key = labelKey(item);
  if (labels.get(key) === label) labels.delete(key);
  else labels.set(key, label);
  keepLabels();
  say(`${prompts.ids[columns.prompt[item]]}: ${labels.get(key) || "no label"}`);
  document.dispatchEvent(new CustomEvent("labelled", { detail: item }));
}

function keepLabels() {
  try {
    localStorage.setItem(storeName(), JSON.stringify([...labels]));
  } catch {
    // A browser may refuse storage to a local file: labels then last as long as the page.
  }
}

function loadLabels() {
  try {
    for (const [key, label] of JSON.parse(localStorage.getItem(storeName()) || "[]")) if (LABELS.includes(label)) labels.set(key, label);
  } catch {
    labels.clear();
  }
}

// Return the labels as CSV: prompt_id,number,iteration,label, in the order of the items.
function labelsCsv() {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = ["prompt_id,number,iteration,label"];
  for (let item = 0; item < items; item += 1) {
    const label = columns.reason[item] < 0 ? labelOf(item) : "";
    if (!label) continue;
    const series = facts.series[columns.series[item]];
    rows.push([prompts.ids[columns.prompt[item]], String(columns.number[item]), series.iteration, label].map(quoted).join(","));
  }
  return `${rows.join("\n")}\n`;
}

function saveLabels() {
  const link = el("a", { href: URL.createObjectURL(new Blob([labelsCsv()], { type: "text/csv" })), download: "labels.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
