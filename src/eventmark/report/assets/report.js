// Draws every chart of the page with the library above, interpreting its expressions: nothing is evaluated.
const specs = JSON.parse(document.getElementById("charts").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const drawn = [];

function look() {
  const ink = getComputedStyle(document.body).getPropertyValue("--ink-soft").trim();
  const line = getComputedStyle(document.body).getPropertyValue("--line").trim();
  return {
    font: "system-ui, sans-serif",
    axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500 },
    legend: { labelColor: ink, titleColor: ink, symbolType: "circle" },
    view: { stroke: null },
  };
}

async function draw() {
  drawn.splice(0).forEach((one) => one.finalize());
  for (const [id, spec] of Object.entries(specs)) {
    const place = document.getElementById("chart-" + id);
    if (place) {
      drawn.push(await vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: true, config: look() }));
    }
  }
  document.documentElement.dataset.charts = drawn.length;
}

dark.addEventListener("change", draw);
draw().catch((error) => {
  document.documentElement.dataset.chartError = String(error);
});
