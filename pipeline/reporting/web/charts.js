"use strict";
// Small charts as SVG, in the page's own colours.
{
  const { make } = report;
  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [340, 230, 52, 12, 26, 40];
  const LONGEST = 52; // letters of a title in its own width
  const SQUEEZED = { textLength: WIDTH - 8, lengthAdjust: "spacingAndGlyphs" };
  const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const DASHES = ["none", "7 3", "2 2", "7 2 2 2"];
  const SHAPES = {
    o: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0",
    s: "M-4-4h8v8h-8z",
    D: "M0-5.5L5.5 0L0 5.5L-5.5 0z",
    "^": "M0-5L5 4H-5z",
    v: "M0 5L5-4H-5z",
    "<": "M-5 0L4-5V5z",
    ">": "M5 0L-4-5V5z",
    P: "M-1.8-5h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
    X: "M-5-2.5L-2.5-5L0-2.5L2.5-5L5-2.5L2.5 0L5 2.5L2.5 5L0 2.5L-2.5 5L-5 2.5L-2.5 0z",
    "*": "M0 -5.8L1.4 -1.9L5.5 -1.8L2.2 0.7L3.4 4.7L0 2.3L-3.4 4.7L-2.2 0.7L-5.5 -1.8L-1.4 -1.9z",
    d: "M0-5.5L3.3 0L0 5.5L-3.3 0z",
    h: "M0-5L4.3-2.5V2.5L0 5L-4.3 2.5V-2.5z",
  };

  const draw = (tag, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const text = (x, y, content, more = {}) => draw("text", { x, y, ...more }, content);

  // A number in few letters: 0.25, 3×10¹¹.
  const number = (value) => {
    if (!value || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5)) return String(+value.toPrecision(4));
    const [mantissa, exponent] = value.toExponential().split("e");
    const raised = [...String(+exponent)].map((digit) => SUPERSCRIPTS[digit] ?? "⁻").join("");
    return `${mantissa === "1" ? "" : `${+(+mantissa).toPrecision(3)}×`}10${raised}`;
  };

  const linearTicks = (low, high) => {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const first = Math.ceil(low / step);
    const count = Math.floor(high / step + 1e-9) - first + 1;
    return Array.from({ length: count }, (_, index) => +((first + index) * step).toPrecision(12));
  };
  const logTicks = (low, high) => {
    const decades = Math.log10(high / low);
    if (decades < 0.7) return linearTicks(low, high);
    const [first, last] = [Math.floor(Math.log10(low)), Math.floor(Math.log10(high))];
    const stride = Math.ceil(decades / 4);
    const ticks = [];
    for (let power = first; power <= last; power += stride) {
      ticks.push(...(decades > 2 ? [1] : [1, 3]).map((factor) => factor * 10 ** power));
    }
    return ticks.filter((tick) => tick >= low && tick <= high);
  };

  // A scale from values to pixels, with some room on both sides.
  const scale = (values, begin, end, logarithmic) => {
    const forth = logarithmic ? Math.log : (value) => value;
    const back = logarithmic ? Math.exp : (value) => value;
    const [least, most] = [forth(Math.min(...values)), forth(Math.max(...values))];
    const room = 0.07 * (most - least) || 0.05 * Math.abs(most) || 1;
    const [low, high] = [least - room, most + room];
    const place = (value) => begin + ((forth(value) - low) / (high - low)) * (end - begin);
    place.ticks = (logarithmic ? logTicks : linearTicks)(back(low), back(high));
    return place;
  };

  // An empty chart around values: its element, and where values are in it.
  const frame = ({ title, xs, ys, xLabel, logarithmic = false }) => {
    const x = scale(xs, LEFT, WIDTH - RIGHT, logarithmic);
    const y = scale(ys, HEIGHT - BOTTOM, TOP, false);
    const [bottom, right] = [HEIGHT - BOTTOM, WIDTH - RIGHT];
    const grid = [
      ...x.ticks.map((tick) => `M${x(tick)} ${TOP}V${bottom}`),
      ...y.ticks.map((tick) => `M${LEFT} ${y(tick)}H${right}`),
    ];
    const element = draw(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": title },
      text(4, 15, title, { class: "title", ...(title.length > LONGEST && SQUEEZED) }),
      draw("path", { d: grid.join(""), class: "grid" }),
      draw("path", { d: `M${LEFT} ${TOP}V${bottom}H${right}`, class: "axis" }),
      ...x.ticks.map((tick) => text(x(tick), bottom + 14, number(tick), { "text-anchor": "middle" })),
      ...y.ticks.map((tick) => text(LEFT - 5, y(tick) + 4, number(tick), { "text-anchor": "end" })),
      text((LEFT + right) / 2, HEIGHT - 6, xLabel, { "text-anchor": "middle" }),
    );
    return { element, x, y, right, bottom, left: LEFT, top: TOP };
  };

  const marker = (shape, colour, attributes = {}) => draw("path", { d: SHAPES[shape], fill: colour, ...attributes });

  const look = (colour, index) => ({ class: "line", stroke: colour, "stroke-dasharray": DASHES[index % DASHES.length] });

  // Lines over the optimizer steps; the axis fits what they show after the first tenth.
  const lines = ({ title, colour, lines: series }) => {
    const last = Math.max(...series.flatMap(({ x }) => x));
    const settled = series.flatMap(({ x, y }) => y.filter((_, index) => x[index] >= last / 10));
    const { element, x, y, top, bottom } = frame({ title, xs: [0, last], ys: settled, xLabel: "step" });
    const within = (value) => Math.min(Math.max(value, top - 4), bottom + 4);
    series.forEach((line, index) => {
      const points = line.x.map((step, place) => `${x(step).toFixed(1)} ${within(y(line.y[place])).toFixed(1)}`);
      element.append(draw("path", { d: `M${points.join("L")}`, ...look(colour, index) }, draw("title", {}, line.label)));
    });
    return element;
  };

  const legend = ({ colour, lines: series }) =>
    series.map(({ label }, index) => {
      const dash = draw("path", { d: "M0 5H28", ...look(colour, index) });
      const sample = draw("svg", { viewBox: "0 0 28 10", class: "sample" }, dash);
      return make("span", {}, sample, label);
    });

  // Draws the charts of a cell's or method's page.
  report.drawCharts = (view) => {
    for (const place of view.querySelectorAll("[data-charts]")) {
      const charts = JSON.parse(place.dataset.charts);
      place.append(make("div", { class: "panels" }, ...charts.map(lines)));
      const most = charts.reduce((one, other) => (other.lines.length > one.lines.length ? other : one));
      if (most.lines.length > 1) place.append(make("div", { class: "legend" }, ...legend(most)));
    }
  };
  report.charts = { draw, text, number, frame, marker };
}
