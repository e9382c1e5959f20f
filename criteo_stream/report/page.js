"use strict";
(async () => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const warning = document.getElementById("no-plots");
  warning.hidden = true;

  // plotly.js, compressed: a script of its own, which the page's policy knows by its hash.
  async function load(id) {
    const packed = atob(document.getElementById(id).textContent);
    const bytes = Uint8Array.from(packed, (c) => c.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.text = await new Response(plain).text();
    document.head.append(script);
  }

  // The names of colours become those of the scheme that is shown.
  function colored(value, key, style) {
    if (Array.isArray(value)) return value.map((part) => colored(part, key, style));
    if (value !== null && typeof value === "object")
      return Object.fromEntries(
        Object.entries(value).map(([name, part]) => [name, colored(part, name, style)]),
      );
    return /color$/.test(key) ? style.getPropertyValue(value).trim() : value;
  }

  function layoutOf(figure, width) {
    const axis = {
      automargin: true, zeroline: false, showline: true, ticks: "outside", ticklen: 4,
      gridcolor: "--faint", linecolor: "--faint", tickcolor: "--faint", tickfont: { size: 11 },
    };
    const { xaxis, yaxis, ...own } = figure.layout;
    const titled = (given) => ({
      ...axis, ...given, title: { ...given.title, font: { size: 12 }, standoff: 8 },
    });
    return {
      paper_bgcolor: "--panel", plot_bgcolor: "--panel", showlegend: false, width,
      font: { color: "--ink", family: getComputedStyle(document.body).fontFamily, size: 12 },
      hoverlabel: {
        bgcolor: "--page", bordercolor: "--muted", namelength: -1, align: "left",
        font: { color: "--ink", size: 12 },
      },
      modebar: { bgcolor: "--panel", color: "--muted", activecolor: "--ink" },
      margin: { l: 50, r: 14, t: 24, b: 40 },
      // A finger scrolls the page and does not zoom.
      hovermode: "closest", dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: titled(xaxis), yaxis: titled(yaxis), ...own,
    };
  }

  function draw(plot) {
    const figure = figures[plot.id];
    const style = getComputedStyle(document.documentElement);
    const wanted = colored(
      { data: figure.data, layout: layoutOf(figure, plot.clientWidth) }, "", style,
    );
    return Plotly.react(plot, wanted.data, wanted.layout, {
      displaylogo: false, displayModeBar: "hover",
      modeBarButtons: [["toImage", "resetScale2d"]],
      toImageButtonOptions: { filename: plot.id, scale: 2 },
    });
  }

  try {
    await load("library");
    for (const plot of plots) await draw(plot);
  } catch (error) {
    warning.hidden = false;
    throw error;
  }
  const again = () => plots.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  matchMedia("print").addEventListener("change", again);
  const resized = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target)));
  plots.forEach((plot) => resized.observe(plot));
  document.documentElement.dataset.drawn = plots.length;
})();
