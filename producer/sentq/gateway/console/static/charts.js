// Draws the charts of the last hour with uPlot, in place of the drawings of the server.

"use strict";

(() => {
  const REFRESH_MS = 15000;
  const HEIGHT = 190;
  const charts = new Map();

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function rounded(value) {
    return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : String(+value.toPrecision(2));
  }

  function seconds(value) {
    if (value < 1) return `${rounded(value * 1000)} ms`;
    if (value < 60) return `${rounded(value)} s`;
    return value < 3600 ? `${rounded(value / 60)} min` : `${rounded(value / 3600)} h`;
  }

  function clock(time) {
    return new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }

  /** Return the places of values without neighbours: no line leads to them. */
  function isolated(plot, series) {
    const values = plot.data[series];
    const places = [...values.keys()];
    return places.filter((n) => values[n] != null && values[n - 1] == null && values[n + 1] == null);
  }

  const FORMATS = { s: seconds, per_s: (value) => `${rounded(value)}/s` };

  /** Show the values under the pointer. */
  function tooltip(format) {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    return {
      hooks: {
        init: (plot) => plot.over.append(tip),
        setCursor: (plot) => {
          const { idx, left } = plot.cursor;
          tip.hidden = idx == null || left < 0;
          if (tip.hidden) return;
          const values = plot.series.slice(1).map((series, n) => {
            const value = plot.data[n + 1][idx];
            return `${series.label} ${value == null ? "–" : format(value)}`;
          });
          const time = new Date(plot.data[0][idx] * 1000).toLocaleTimeString();
          tip.textContent = [time, ...values].join(" · ");
          const isRight = left > plot.over.clientWidth / 2;
          tip.style.left = isRight ? "auto" : `${left + 12}px`;
          tip.style.right = isRight ? `${plot.over.clientWidth - left + 12}px` : "auto";
        },
      },
    };
  }

  function draw(figure, at, series) {
    const names = Object.keys(series);
    const data = [at, ...names.map((name) => series[name])];
    const format = FORMATS[figure.dataset.unit];
    const shown = figure.closest("section").querySelectorAll(".legend b");
    names.forEach((name, n) => {
      const last = series[name].findLast((value) => value != null);
      if (last != null) shown[n].textContent = format(last);
    });
    if (!names.some((name) => series[name].some((value) => value > 0))) return;
    const known = charts.get(figure);
    if (known) {
      known.setData(data);
      return;
    }
    const axis = { stroke: colour("--dim"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    const title = figure.closest("section").querySelector("h2").textContent;
    const label = figure.querySelector("svg")?.getAttribute("aria-label");
    figure.replaceChildren();
    figure.setAttribute("role", "img");
    figure.setAttribute("aria-label", label ?? `${title} in the last hour`);
    const plot = new uPlot({
      width: figure.clientWidth,
      height: HEIGHT,
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      legend: { show: false },
      scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: 70, values: (_, times) => times.map(clock) },
        {
          ...axis,
          size: 58,
          space: 34,
          grid: { stroke: colour("--edge"), width: 1 },
          values: (_, values) => values.map(format),
        },
      ],
      series: [
        {},
        ...names.map((name, n) => ({
          label: name,
          stroke: colour(n ? "--second" : "--accent"),
          width: 1.5,
          points: { show: true, size: 4, filter: isolated },
          spanGaps: false,
        })),
      ],
      plugins: [tooltip(format)],
    }, data, figure);
    charts.set(figure, plot);
  }

  async function refresh() {
    const response = await fetch("/console/now/history", { headers: { Accept: "application/json" } });
    if (!response.ok || response.redirected) return;
    const history = await response.json();
    for (const figure of document.querySelectorAll("[data-chart]")) {
      draw(figure, history.at_s, history[figure.dataset.chart]);
    }
  }

  function redraw() {
    for (const plot of charts.values()) plot.destroy();
    charts.clear();
    refresh().catch(() => {});
  }

  new ResizeObserver(() => {
    for (const [figure, plot] of charts) plot.setSize({ width: figure.clientWidth, height: HEIGHT });
  }).observe(document.querySelector(".charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  setInterval(() => document.hidden || refresh().catch(() => {}), REFRESH_MS);
  refresh().catch(() => {});
})();
