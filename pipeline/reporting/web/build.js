"use strict";
// Shared by the other scripts. Text becomes text nodes, never markup: models may write anything.
const report = {};

// An element with attributes and children; a child is an element or a text.
report.make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

// Data that the page carries, parsed on first use: it may be large.
report.data = (id) => {
  let parsed;
  return () => (parsed ??= JSON.parse(document.getElementById(id).textContent));
};

// Choices of a select; their values are their indices.
report.fill = (select, choices) => {
  select.replaceChildren(
    ...choices.map((text, index) => report.make("option", { value: index }, text)),
  );
};

// An address is a name, and for a table the view of it: "table-main?Teacher=large".
report.nameOf = (hash) => hash.slice(1).split("?")[0];
report.viewOf = (name) => {
  const [shown, view] = location.hash.slice(1).split("?");
  return new URLSearchParams(shown === name ? view : "");
};
report.replaceAddress = (address) => history.replaceState(null, "", `#${address}`);
