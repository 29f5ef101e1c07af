"use strict";
{
  const { make } = report;
  const FILTERED = 8; // rows from which a table can be filtered
  const WIDE = 10; // columns above which those that only describe are hidden at first

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
      const button = make("button", { type: "button" }, ...heading.childNodes);
      button.addEventListener("click", () => sortBy(table, heading, column));
      heading.append(button);
    });
  };

  const title = (heading) => {
    const detail = heading.querySelector("small");
    const [name, small] = [heading.querySelector("button").firstChild, detail];
    return small ? `${name.textContent} (${small.textContent})` : name.textContent;
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
    return { matches, select, element: make("label", {}, `${facet.heading} `, select) };
  };

  const showColumn = (table, column, shown) => {
    for (const row of table.rows) {
      if (!row.classList.contains("group")) row.cells[column].hidden = !shown;
    }
  };

  // Boxes that hide and show columns; a wide table first shows only measures with a better end.
  const columnBoxes = (table, changed) => {
    const headings = [...table.tHead.rows[0].cells].slice(1);
    const wide = headings.length > WIDE && headings.some((heading) => /[↑↓]/.test(title(heading)));
    const boxes = headings.map((heading, place) => {
      const shown = !wide || /[↑↓]/.test(title(heading));
      const box = make("input", { type: "checkbox", checked: shown });
      const show = () => showColumn(table, place + 1, box.checked);
      box.addEventListener("change", () => (show(), changed()));
      if (!shown) show();
      return { box, show, element: make("label", {}, box, ` ${title(heading)}`) };
    });
    const set = (on) => () => {
      for (const { box, show } of boxes) {
        box.checked = on;
        show();
      }
      changed();
    };
    const element = make(
      "details",
      { class: "columns" },
      make("summary", {}, "Columns"),
      make("button", { type: "button", click: set(true) }, "all"),
      make("button", { type: "button", click: set(false) }, "none"),
      ...boxes.map((box) => box.element),
    );
    return { element, count: () => boxes.filter(({ box }) => box.checked).length, of: boxes.length };
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

  const makeFilterable = (table) => {
    const count = make("output", {});
    const search = make("input", { type: "search", placeholder: "text in a row" });
    let columns;
    const apply = () => {
      const rows = filter(table, search.value, choosers);
      count.textContent = `${rows}, ${columns.count()} of ${columns.of} columns`;
    };
    search.addEventListener("input", apply);
    const choosers = facets(table)
      .filter((facet) => facet.values.size > 1)
      .map((facet) => chooser(facet, apply));
    columns = columnBoxes(table, apply);
    const clear = () => {
      search.value = "";
      for (const { select } of choosers) select.selectedIndex = 0;
      apply();
    };
    const controls = make("div", { class: "controls", role: "group", "aria-label": "Filter" });
    controls.append(make("label", {}, "Filter ", search), ...choosers.map(({ element }) => element));
    controls.append(columns.element, make("button", { type: "button", click: clear }, "Clear"));
    controls.append(count);
    table.closest(".scroll").before(controls);
    apply();
  };

  // A click on a number follows the link of its row.
  const follow = (event) => {
    const isText = event.target.closest("td") && getSelection().isCollapsed;
    const link = isText && event.target.closest("tr").querySelector("th a");
    if (link) location.hash = link.hash;
  };

  report.enliven = (root) => {
    for (const table of root.querySelectorAll("table.sortable")) {
      makeSortable(table);
      table.addEventListener("click", follow);
      if (table.querySelectorAll("tbody.rows tr").length >= FILTERED) makeFilterable(table);
    }
  };
  report.enliven(document);
}
