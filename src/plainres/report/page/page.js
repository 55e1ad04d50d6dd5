"use strict";
const WIDE = 680; // width from which two panels fit side by side, in pixels
const MARGIN = 66; // of the first panel of a row, for its axis
const GAP = 22; // between two panels
const ERRORS_ONLY = 1; // log level of Vega; its warnings would report empty panels, for example when no net is chosen
const specifications = unpack(document.getElementById("specifications").textContent);
const drawings = new WeakMap(); // the width at which each chart is drawn, and the promise that it is

// The data of all charts are compressed, so that the page stays small enough to be sent.
async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// Vega-Lite fits single views to their container, but not facets, so that the page sets widths and columns.
function fit(node, columns) {
  if (node.facet) node.columns = columns;
  for (const child of [node.spec, ...(node.vconcat ?? [])]) if (child) fit(child, columns);
}

function draw(element) {
  const width = element.clientWidth;
  if (!width) return;
  if (drawings.get(element)?.width !== width) drawings.set(element, { width, done: drawAt(element, width) });
  return drawings.get(element).done;
}

async function drawAt(element, width) {
  const spec = structuredClone((await specifications)[element.dataset.chart]);
  const facets = Boolean(spec.facet || spec.vconcat);
  const columns = facets && width >= WIDE ? 2 : 1;
  fit(spec, columns);
  const panel = facets ? Math.floor((width - MARGIN - (columns - 1) * GAP) / columns) : width - 12;
  Object.assign(spec.config.view, { continuousWidth: panel, discreteWidth: panel });
  await vegaEmbed(element, spec, {
    renderer: "svg",
    actions: false,
    tooltip: { disableDefaultStyle: true },
    logLevel: ERRORS_ONLY,
  });
}

function drawVisible() {
  const charts = [...document.querySelectorAll(".chart")];
  return Promise.all(charts.map(draw)).then(() => {
    document.documentElement.dataset.drawn = document.querySelectorAll(".chart svg").length;
  });
}

function chooseStudy(name) {
  const list = document.getElementById("study");
  list.value = name;
  for (const block of document.querySelectorAll("[data-study]")) block.hidden = block.dataset.study !== name;
  return drawVisible();
}

function sortKey(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim().replace(/[,±]/g, "");
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

function sortTable(button) {
  const head = button.closest("th");
  const body = head.closest("table").tBodies[0];
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const sorted = [...body.rows].sort((a, b) => {
    const [x, y] = [a, b].map((row) => sortKey(row, head.cellIndex));
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // rows without a number stay last
    const order = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
    return descending ? -order : order;
  });
  body.append(...sorted);
}

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
}

document.addEventListener("click", (event) => {
  const sorting = event.target.closest("thead button");
  if (sorting) sortTable(sorting);
  const link = event.target.closest("a[data-select]");
  if (link) chooseStudy(link.dataset.select);
});
document.getElementById("study")?.addEventListener("change", (event) => chooseStudy(event.target.value));
addEventListener("hashchange", openTarget);
let waiting;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(drawVisible, 200);
});
openTarget();
drawVisible();
