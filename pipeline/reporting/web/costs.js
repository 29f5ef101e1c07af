"use strict";
// Scores against costs, by choice of measure, unit and accounting, in place of the figure.
{
  const { make, fill } = report;
  const TOGETHER = 6; // pairs that are shown at once
  const LABELLED = 8; // methods whose points have a name beside them
  const LETTER = 5.6; // pixels of a letter, about
  const figure = document.getElementById("plot-quality_by_cost");
  const source = document.getElementById("cost-data");

  const start = () => {
    const { draw, text, number, frame, marker } = report.charts;
    const { measures, units, accounts, methods, pairs } = JSON.parse(source.textContent);
    const hidden = new Set();
    const tip = make("output", { class: "tip", hidden: true });
    const chosen = make("p", { class: "note" });
    const panels = make("div", { class: "panels" });
    const chooser = (name, choices) => {
      const select = make("select", { change: () => drawAll() });
      fill(select, choices);
      const label = make("label", { hidden: choices.length < 2 }, `${name} `, select);
      return { select, label };
    };
    const measure = chooser("Measure", measures.map(({ title, detail }) => `${title} (${detail})`));
    const unit = chooser("Cost", units);
    const account = chooser("Accounting", accounts);
    const titles = pairs.map(({ title }) => title);
    const pair = chooser("Pair", pairs.length > TOGETHER ? titles : ["all", ...titles]);
    unit.select.selectedIndex = units.length - 1;
    account.select.selectedIndex = 1;
    const shownMeasure = () => measures[measure.select.selectedIndex];
    const shownCost = (between) =>
      [units[unit.select.selectedIndex], accounts[account.select.selectedIndex]].join(between);

    const buttons = methods.map(({ label, colour, marker: shape }, index) => {
      const sample = draw("svg", { viewBox: "-6 -6 12 12", class: "sample" }, marker(shape, colour));
      const toggle = () => {
        if (!hidden.delete(index)) hidden.add(index);
        button.setAttribute("aria-pressed", !hidden.has(index));
        drawAll();
      };
      const button = make("button", { type: "button", "aria-pressed": "true", click: toggle }, sample, label);
      return button;
    });

    const said = (point, score, cost) => {
      const { title, decimals } = shownMeasure();
      const [value, low, high] = score.map((end) => end.toFixed(decimals));
      const costs = `${number(cost)} ${shownCost(" ")}`;
      return `${methods[point.method].label}: ${title} ${value} (${low} to ${high}), ${costs}`;
    };

    const show = (event) => {
      tip.textContent = event.currentTarget.dataset.said;
      const [box, around] = [event.currentTarget.getBoundingClientRect(), panels.getBoundingClientRect()];
      tip.hidden = false;
      const left = Math.min(box.left - around.left + 14, around.width - tip.offsetWidth);
      tip.style.left = `${Math.max(0, left)}px`;
      tip.style.top = `${box.top - around.top - tip.offsetHeight - 4}px`;
    };

    // Methods that no other beats in both: as steps.
    const front = (points, higher) => {
      const sign = higher ? 1 : -1;
      const ordered = [...points].sort((a, b) => a.cost - b.cost || sign * (b.score[0] - a.score[0]));
      const best = [];
      for (const point of ordered) {
        if (!best.length || sign * (point.score[0] - best.at(-1).score[0]) > 0) best.push(point);
      }
      return best;
    };

    // A name beside a point, at the first place where it is in nobody's way.
    const name = (label, px, py, taken, { left, right, top, bottom }) => {
      const width = label.length * LETTER;
      const places = [[8, 4], [-8 - width, 4], [-width / 2, -9], [-width / 2, 17]];
      for (const [dx, dy] of places) {
        const box = [px + dx, py + dy - 10, px + dx + width, py + dy + 2];
        const free = taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
        if (free && box[0] > left && box[2] < right && box[1] > top && box[3] < bottom) {
          taken.push(box);
          return [text(px + dx, py + dy, label)];
        }
      }
      return [];
    };

    const panel = ({ title, points }) => {
      const known = points
        .filter(({ method }) => !hidden.has(method))
        .map((point) => ({
          ...point,
          score: point.scores[measure.select.selectedIndex],
          cost: point.costs[unit.select.selectedIndex][account.select.selectedIndex],
        }))
        .filter(({ score, cost }) => score && cost);
      if (!known.length) return make("p", { class: "note" }, `${title}: not measured`);
      const chart = frame({
        title,
        xs: known.map(({ cost }) => cost),
        ys: known.flatMap(({ score }) => score),
        xLabel: shownCost(", "),
        logarithmic: true,
      });
      const { element, x, y } = chart;
      const [first, ...rest] = front(known, shownMeasure().higher);
      const steps = rest.map(({ cost, score }) => `H${x(cost)}V${y(score[0])}`);
      element.append(draw("path", { d: `M${x(first.cost)} ${y(first.score[0])}${steps.join("")}`, class: "front" }));
      const taken = known.map(({ cost, score }) => [x(cost) - 5, y(score[0]) - 5, x(cost) + 5, y(score[0]) + 5]);
      for (const point of known) {
        const { score, cost } = point;
        const { colour, marker: shape, label } = methods[point.method];
        const [px, py] = [x(cost), y(score[0])];
        const bar = draw("path", { d: `M${px} ${y(score[1])}V${y(score[2])}`, class: "line", stroke: colour });
        const spot = draw("circle", { cx: px, cy: py, r: 10, fill: "transparent" });
        const group = draw("g", {}, bar, marker(shape, colour, { transform: `translate(${px} ${py})` }), spot);
        group.dataset.said = said(point, score, cost);
        group.addEventListener("pointerenter", show);
        group.addEventListener("pointerleave", () => (tip.hidden = true));
        element.append(group);
        if (known.length <= LABELLED) element.append(...name(label, px, py, taken, chart));
      }
      return element;
    };

    const drawAll = () => {
      const place = pair.select.selectedIndex - (pairs.length > TOGETHER ? 0 : 1);
      const shown = place < 0 ? pairs : [pairs[place]];
      tip.hidden = true;
      panels.replaceChildren(...shown.map(panel), tip);
      // the caption is that of the figure in the files
      const { title, detail } = shownMeasure();
      chosen.textContent = `Shown: ${title} (${detail}) against ${shownCost(", ")}.`;
    };

    if (pairs.length < 2) pair.label.hidden = true;
    const controls = [measure, unit, account, pair].map(({ label }) => label);
    figure.querySelector(".scroll").replaceWith(
      make("div", { class: "controls" }, ...controls),
      panels,
      chosen,
      make("div", { class: "controls legend", role: "group", "aria-label": "Methods shown" }, ...buttons),
    );
    drawAll();
  };
  if (figure && source) start();
}
