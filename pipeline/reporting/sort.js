"use strict";
// A heading sorts the rows of each group by its column; references stay where they are.
const compare = (a, b, sign) => {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  const numbers = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
  return sign * (numbers ? a - b : a.localeCompare(b));
};
const sortBy = (table, heading, column) => {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.value;
  table.querySelectorAll("tbody.rows").forEach((body) => {
    const rows = [...body.rows].sort((a, b) => compare(value(a), value(b), descending ? -1 : 1));
    body.append(...rows);
  });
};
document.querySelectorAll("table.sortable").forEach((table) => {
  table.querySelectorAll("thead th").forEach((heading, column) => {
    heading.querySelector("button").onclick = () => sortBy(table, heading, column);
  });
});
