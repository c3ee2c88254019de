// Draws the page's charts with the library above. It interprets their expressions: nothing is evaluated as code,
// which the page's policy would not allow.
"use strict";
const specs = JSON.parse(document.getElementById("charts").textContent);
const STACK_MARGIN = 62; // of the axis beside each panel of a stack, with its padding
const RESIZE_PAUSE_MS = 200;
const STACKED_COLUMNS = 4;

const axis = {
  labelColor: "var(--ink-soft)", titleColor: "var(--ink-soft)", gridColor: "var(--line)", domainColor: "var(--line)",
  tickColor: "var(--line)", titleFontWeight: 500, labelFontSize: 11, titleFontSize: 11,
};
const config = {
  font: "Inter, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
  background: "transparent",
  axis,
  legend: { labelColor: "var(--ink-soft)", labelFontSize: 11, symbolType: "circle" },
  title: { color: "var(--ink)" },
  view: { stroke: null },
};

function fitted(place, spec) {
  if (!spec.vconcat) return spec;
  const width = Math.max(160, place.clientWidth - STACK_MARGIN);
  const columns = width < 420 ? 2 : 6;
  const sized = structuredClone(spec);
  for (const panel of sized.vconcat) {
    panel.width = width;
    for (const layer of panel.layer ?? []) {
      const legend = layer.encoding?.color?.legend;
      if (legend) legend.columns = columns;
    }
  }
  return sized;
}

async function draw(place, spec) {
  try {
    const options = { actions: false, renderer: "svg", ast: true, config };
    return await vegaEmbed(place, fitted(place, spec), options);
  } catch (error) {
    place.replaceChildren();
    place.classList.add("failed");
    document.documentElement.dataset.chartError = `${place.id}: ${error}`;
    return null;
  }
}

async function drawAll() {
  let drawn = 0;
  for (const [id, spec] of Object.entries(specs)) {
    const place = document.getElementById("chart-" + id);
    if (!place) continue;
    const chart = await draw(place, spec);
    drawn += chart ? 1 : 0;
    if (chart && spec.vconcat) redrawWhenResized(place, spec, chart);
  }
  document.documentElement.dataset.charts = drawn;
}

// Single views follow their place by themselves; a stack has fixed widths.
function redrawWhenResized(place, spec, chart) {
  let width = place.clientWidth;
  let timer = 0;
  window.addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      if (place.clientWidth === width) return;
      width = place.clientWidth;
      chart?.finalize();
      chart = await draw(place, spec);
    }, RESIZE_PAUSE_MS);
  });
}

// What the style sheet needs to set a table of many columns as a list where there is no room for it.
function labelCells() {
  for (const table of document.querySelectorAll(".scroll > table")) {
    const names = [...table.querySelectorAll("thead th")].map((one) => (one.querySelector(".term") ?? one).firstChild?.textContent ?? "");
    if (names.length < STACKED_COLUMNS) continue;
    table.classList.add("stack");
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, place) => {
        cell.dataset.label = names[place] ?? "";
        cell.classList.toggle("none", ["", "–"].includes(cell.textContent.trim()));
      });
    }
  }
}

labelCells();
drawAll();
