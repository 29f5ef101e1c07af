"use strict";
{
  const { make } = report;
  const FILTERED = 8; // rows from which a table can be filtered
  const JUDGED = /[↑↓]/; // in the heading of a measure with a better end

  const compare = (a, b, sign) => {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    const numbers = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
    return sign * (numbers ? a - b : a.localeCompare(b));
  };

  // Sorts the rows of each group by a column: references stay on top, missing values go last.
  const sortBy = (table, heading, column) => {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    for (const body of table.querySelectorAll("tbody.rows")) {
      const sign = descending ? -1 : 1;
      body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), sign)));
    }
  };

  const makeSortable = (table) => {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const shown = [...heading.childNodes].filter((node) => !node.classList?.contains("term"));
      const button = make("button", { type: "button", class: "sort" }, ...shown);
      button.addEventListener("click", () => sortBy(table, heading, column));
      heading.prepend(button);
    });
  };

  const title = (heading) => {
    const small = heading.querySelector("small");
    const name = heading.querySelector(".sort").firstChild.textContent.replace(/\s/g, " ");
    return small ? `${name} (${small.textContent})` : name;
  };

  const names = (body) => JSON.parse(body.dataset.names ?? "[]");
  const label = (row) => row.cells[0].dataset.value ?? row.cells[0].textContent;

  // The choices: each level of grouping, then the names of rows.
  const facets = (table) => {
    const bodies = [...table.tBodies];
    const levels = JSON.parse(table.dataset.groups).map((heading, level) => ({
      heading,
      of: (body) => names(body)[level],
      values: new Set(bodies.map((body) => names(body)[level])),
    }));
    const rows = [...table.querySelectorAll("tbody.rows tr")];
    const own = { heading: title(table.tHead.rows[0].cells[0]), values: new Set(rows.map(label)) };
    return [...levels, { ...own, of: (body, row) => label(row) }];
  };

  const chooser = (facet, changed) => {
    const select = make("select", { change: changed });
    report.fill(select, ["all", ...facet.values]);
    const chosen = () => [undefined, ...facet.values][select.selectedIndex];
    const matches = (body, row) => chosen() === undefined || facet.of(body, row) === chosen();
    const element = make("label", {}, `${facet.heading} `, select);
    return { matches, chosen, select, element, name: facet.heading };
  };

  const showColumn = (table, column, shown) => {
    for (const row of table.rows) {
      if (!row.classList.contains("group")) row.cells[column].hidden = !shown;
    }
  };

  // Boxes that hide and show columns. First only the judged measures are shown, where there are any.
  const columnBoxes = (table, changed) => {
    const headings = [...table.tHead.rows[0].cells].slice(1);
    const isJudged = headings.map((heading) => JUDGED.test(title(heading)));
    const descriptive = isJudged.some(Boolean) ? isJudged.flatMap((is, at) => (is ? [] : [at])) : [];
    const boxes = headings.map((heading, place) => {
      const box = make("input", { type: "checkbox", checked: true });
      const set = (on) => {
        box.checked = on;
        showColumn(table, place + 1, on);
      };
      box.addEventListener("change", () => (set(box.checked), changed()));
      return { box, set, element: make("label", {}, box, ` ${title(heading)}`) };
    });
    const show = (places) => boxes.forEach(({ set }, place) => set(places.includes(place)));
    const all = [...boxes.keys()];
    const judged = all.filter((place) => !descriptive.includes(place));
    const button = (text, places) =>
      make("button", { type: "button", click: () => (show(places), changed()) }, text);
    const more = make("input", { type: "checkbox" });
    more.addEventListener("change", () => {
      for (const place of descriptive) boxes[place].set(more.checked);
      changed();
    });
    const list = make("details", { class: "columns" }, make("summary", {}, "Columns"));
    list.append(button("all", all), button("none", []), ...boxes.map(({ element }) => element));
    if (descriptive.length) show(judged);
    const toggle = descriptive.length ? [make("label", {}, more, " Descriptive")] : [];
    const chosen = () => all.filter((place) => boxes[place].box.checked);
    return { elements: [...toggle, list], chosen, judged, show, of: boxes.length };
  };

  // References are shown while any row of their group is.
  const filter = (table, text, choosers) => {
    const sought = text.toLowerCase().split(/\s+/);
    let [shown, all] = [0, 0];
    for (const body of table.querySelectorAll("tbody.rows")) {
      const group = names(body).join(" ");
      let inGroup = 0;
      for (const row of body.rows) {
        const words = `${group} ${row.textContent}`.toLowerCase();
        const fits = sought.every((word) => words.includes(word));
        row.hidden = !(fits && choosers.every((chooser) => chooser.matches(body, row)));
        inGroup += !row.hidden;
      }
      const references = body.previousElementSibling;
      if (references?.classList.contains("references")) references.hidden = !inGroup;
      [shown, all] = [shown + inGroup, all + body.rows.length];
    }
    return `${shown} of ${all} rows`;
  };

  // What a table shows, as rows of texts; a row of a group begins with the group's names.
  const shownRows = (table) => {
    const cells = (row) => [...row.cells].filter((cell) => !cell.hidden);
    const text = (node) => node.textContent.replace(/\s+/g, " ").trim();
    const parts = (cell) => [...cell.childNodes].filter((node) => !node.classList?.contains("term"));
    const texts = (row) => cells(row).map((cell) => parts(cell).map(text).filter(Boolean).join(" "));
    const head = [...JSON.parse(table.dataset.groups), ...cells(table.tHead.rows[0]).map(title)];
    const rows = [...table.tBodies].filter((body) => !body.hidden).flatMap((body) =>
      [...body.rows]
        .filter((row) => !row.hidden && !row.classList.contains("group"))
        .map((row) => [...names(body), ...texts(row)]));
    return [head, ...rows];
  };

  const SIGNS = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "↑": "$\\uparrow$", "↓": "$\\downarrow$", "±": "$\\pm$", "−": "$-$", "→": "$\\to$", "—": "---" };
  const inLatex = (text) => text.replace(/[\\~^↑↓±−→—&%$#_{}]/g, (sign) => SIGNS[sign] ?? `\\${sign}`);
  // A spreadsheet runs a text that begins so, unless it is a number.
  const FORMULA = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;
  const guarded = (text) => (FORMULA.test(text) && isNaN(text) ? `'${text}` : text);
  const quoted = (text) => `"${guarded(text).replaceAll('"', '""')}"`;
  const FORMATS = {
    CSV: (rows) => rows.map((row) => row.map(quoted).join(",")),
    LaTeX: ([head, ...rows]) => {
      const line = (row) => `${row.map(inLatex).join(" & ")} \\\\`;
      const columns = "l".repeat(head.length);
      return [`\\begin{tabular}{${columns}}`, "\\toprule", line(head), "\\midrule",
        ...rows.map(line), "\\bottomrule", "\\end{tabular}"];
    },
  };
  const copiers = (table) =>
    Object.entries(FORMATS).map(([name, lines]) => {
      const copy = async () => {
        await navigator.clipboard.writeText(`${lines(shownRows(table)).join("\n")}\n`);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = `Copy ${name}`), 1500);
      };
      const button = make("button", { type: "button", click: copy }, `Copy ${name}`);
      return button;
    });

  const makeFilterable = (table) => {
    const figure = table.closest("figure");
    const count = make("output", {});
    const search = make("input", { type: "search", placeholder: "text in a row" });
    const apply = () => {
      const rows = filter(table, search.value, choosers);
      count.textContent = `${rows}, ${columns.chosen().length} of ${columns.of} columns`;
    };
    // The view is a part of the page's address: a link shows the same rows and columns.
    const changed = () => {
      apply();
      const view = new URLSearchParams();
      if (search.value) view.set("text", search.value);
      for (const { name, chosen } of choosers) if (chosen() !== undefined) view.set(name, chosen());
      if (`${columns.chosen()}` !== `${columns.judged}`) view.set("columns", columns.chosen());
      if (figure.id) report.replaceAddress(`${figure.id}${view.size ? `?${view}` : ""}`);
    };
    const restore = (view) => {
      search.value = view.get("text") ?? "";
      for (const { name, select } of choosers) {
        const texts = [...select.options].map((option) => option.textContent);
        select.selectedIndex = Math.max(0, texts.indexOf(view.get(name) ?? "all"));
      }
      if (view.has("columns")) columns.show(view.get("columns").split(",").map(Number));
      apply();
    };
    search.addEventListener("input", changed);
    const choosers = facets(table)
      .filter((facet) => facet.values.size > 1)
      .map((facet) => chooser(facet, changed));
    const columns = columnBoxes(table, changed);
    const clear = () => {
      columns.show(columns.judged);
      restore(new URLSearchParams());
      changed();
    };
    const controls = make("div", { class: "controls", role: "group", "aria-label": "Filter" });
    if (table.querySelectorAll("tbody.rows tr").length >= FILTERED) {
      controls.append(make("label", {}, "Filter ", search), ...choosers.map(({ element }) => element));
    }
    controls.append(...columns.elements, make("button", { type: "button", click: clear }, "Clear"));
    controls.append(...copiers(table), count);
    table.closest(".scroll").before(controls);
    restore(report.viewOf(figure.id));
  };

  // A click on a number follows the link of its row.
  const follow = (event) => {
    const isText = event.target.closest("td") && getSelection().isCollapsed;
    const link = isText && event.target.closest("tr").querySelector("th a");
    if (link) location.hash = link.hash;
  };

  const enlivenTable = (table) => {
    makeSortable(table);
    table.addEventListener("click", follow);
    makeFilterable(table);
  };

  report.enliven = (root) => root.querySelectorAll("table.sortable").forEach(enlivenTable);

  // Large tables and figures stand in the document as text until they are to be seen.
  const build = (details) => {
    for (const text of details.querySelectorAll("noscript[data-later]")) {
      if (text.parentElement.closest("details:not([open])")) continue;
      const figure = text.parentElement;
      const parsed = new DOMParser().parseFromString(text.textContent, "text/html");
      text.replaceWith(...parsed.body.childNodes);
      report.enliven(figure);
    }
  };
  document.addEventListener("toggle", ({ target }) => target.open && build(target), true);
  report.enliven(document);
}
