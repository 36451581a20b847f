// Which words of two texts differ: the longest common subsequence of their words.

const MOST_WORDS = 600;

// Return the words of a text with their places.
function wordsOf(text) {
  return Array.from(text.matchAll(/[\p{L}\p{N}'’-]+/gu), (found) => [found[0].toLowerCase(), found.index, found.index + found[0].length]);
}

// Return the places of the words of each text that the other one does not have; null if the texts are too long to compare.
function differing(one, other) {
  const a = wordsOf(one.slice(0, 20000)), b = wordsOf(other.slice(0, 20000));
  if (a.length > MOST_WORDS || b.length > MOST_WORDS) return null;
  const width = b.length + 1;
  const best = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      best[i * width + j] = a[i][0] === b[j][0]
        ? best[(i + 1) * width + j + 1] + 1
        : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const left = [], right = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i][0] === b[j][0]) [i, j] = [i + 1, j + 1];
    else if (j >= b.length || (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1])) left.push(a[i++].slice(1));
    else right.push(b[j++].slice(1));
  }
  return [left, right];
}
