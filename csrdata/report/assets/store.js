// The data: compressed payloads in the page or in files next to it, the columns of all items, details and images when asked for.

const arrived = new Map();
window.csrdata_chunk = (name, text) => arrived.get(name)?.(text);

let facts = null;
const columns = {};
let prompts = { ids: [], images: [] };
let items = 0;

// Return a payload's text: of an inert script of the page, or of a file that is loaded as a script.
function payload(name) {
  const inert = byId(`p-${name}`);
  if (inert) return Promise.resolve(inert.textContent);
  if (!facts?.folder) return Promise.resolve(null);
  return new Promise((resolve, reject) => {
    arrived.set(name, resolve);
    const script = el("script", { src: `data/${name}.js`, onerror: () => reject(new Error(`data/${name}.js is missing`)) });
    script.addEventListener("load", () => script.remove());
    document.head.append(script);
  });
}

// Return what a payload holds: JSON, compressed by gzip, in base64.
async function unpacked(name) {
  const text = atob(await payload(name));
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// Load the facts and the columns of every block. `prompt` counts over all blocks from here on; unknown values are NaN.
async function loadColumns() {
  facts = await unpacked("meta");
  const blocks = await Promise.all(Array.from({ length: facts.blocks }, (_, block) => unpacked(`index-${block}`)));
  items = blocks.reduce((sum, block) => sum + block.series.length, 0);
  for (const name of facts.columns) columns[name] = new Float64Array(items);
  let at = 0;
  blocks.forEach((block, number) => {
    const length = block.series.length;
    for (const name of facts.columns) {
      const target = columns[name], source = block[name];
      for (let row = 0; row < length; row += 1) target[at + row] = source[row] ?? NaN;
    }
    for (let row = 0; row < length; row += 1) columns.prompt[at + row] += number * facts.block;
    at += length;
    prompts.ids.push(...block.ids);
    prompts.images.push(...block.images);
  });
}

const HELD_BLOCKS = 400;
const held = new Map();

// Return a block's details; those of a folder's page are forgotten when many others were asked for.
function block(number) {
  if (!held.has(number)) held.set(number, unpacked(`details-${number}`).then((found) => found.prompts));
  const found = held.get(number);
  if (facts.folder && held.size > HELD_BLOCKS) held.delete(held.keys().next().value);
  return found;
}

// Return the details of a prompt: its image, text and truth, and per series its pairs and tree.
async function detailsOf(prompt) {
  return (await block(Math.floor(prompt / facts.block)))[prompt % facts.block];
}

const pictures = new Set();
const lines = new Map();

// Set an image's source to a prompt's thumbnail; return whether there is one.
function picture(image, number) {
  if (!pictures.size) facts.pictures.forEach((one) => pictures.add(one));
  if (!pictures.has(number)) return false;
  if (facts.folder) {
    image.src = `images/${number}.jpg`;
    return true;
  }
  const chunk = Math.floor(number / facts.images_per_payload);
  if (!lines.has(chunk)) lines.set(chunk, byId(`p-images-${chunk}`).textContent.split("\n"));
  image.src = `data:image/jpeg;base64,${lines.get(chunk)[number % facts.images_per_payload]}`;
  return true;
}

// The text of every prompt, for the search: id, prompt and answers in lower case. Blocks are read once, when first needed.
let haystack = null;

async function searchable(progress) {
  if (haystack) return haystack;
  const texts = new Array(items).fill("");
  const firsts = new Map();
  for (let item = 0; item < items; item += 1) {
    const key = Math.floor(columns.prompt[item] / facts.block);
    firsts.set(key, [...(firsts.get(key) || []), item]);
  }
  for (const [number, some] of firsts) {
    const details = await block(number);
    for (const item of some) texts[item] = searchText(item, details[columns.prompt[item] % facts.block]);
    progress?.(number + 1, facts.blocks);
  }
  haystack = texts;
  return texts;
}

function searchText(item, detail) {
  const pair = columns.reason[item] < 0 ? detail.series[columns.series[item]].pairs[pairPlace(item, detail)] : null;
  const answers = pair ? [pair.context, pair.chosen.text, pair.rejected.text] : [];
  return [prompts.ids[columns.prompt[item]], detail.text, ...answers].join("\n").toLowerCase();
}

// Return the place of an item's pair among those of its prompt: they are in the order of their numbers.
function pairPlace(item, detail) {
  let place = 0;
  for (let one = item - 1; one >= 0; one -= 1) {
    if (columns.prompt[one] !== columns.prompt[item] || columns.series[one] !== columns.series[item]) break;
    place += 1;
  }
  return Math.min(place, detail.series[columns.series[item]].pairs.length - 1);
}
