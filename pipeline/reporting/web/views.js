"use strict";
// Pages of cells and methods stand in the document as text that a reader without scripts sees as
// sections; here one of them at a time is shown in place of the overview.
{
  const overview = document.getElementById("overview");
  const view = document.getElementById("view");
  const title = document.title;
  const pages = new Map(
    [...document.querySelectorAll("noscript[data-view]")].map((page) => [page.dataset.view, page]),
  );
  const left = { hash: "", section: "", top: 0 }; // where the overview was left
  const path = []; // the pages that led here, each with its address and title

  const titleOf = (page) => {
    const parts = [...page.querySelector("h2").childNodes].map(({ textContent }) => textContent.trim());
    return parts.filter(Boolean).join(", ");
  };

  const pageOf = (address) => {
    if (address.startsWith("job/")) return report.jobPage(decodeURIComponent(address.slice(4)));
    if (!pages.has(address)) return null;
    const parsed = new DOMParser().parseFromString(pages.get(address).textContent, "text/html");
    return parsed.querySelector("section");
  };

  // The trail of a page leads to where its reader came from; at first to where it belongs.
  const leaveTrail = (page) => {
    const known = path.findIndex(({ hash }) => hash === location.hash);
    if (known >= 0) path.length = known;
    const from = path.at(-1);
    path.push({ hash: location.hash, title: titleOf(page) });
    if (!from) return;
    const link = page.querySelector(".trail a");
    link.setAttribute("href", from.hash);
    link.textContent = from.title;
  };

  const showPage = (page) => {
    if (!overview.hidden) left.top = window.scrollY;
    leaveTrail(page);
    overview.hidden = true;
    view.replaceChildren(page);
    report.enliven(view);
    report.drawCharts(view);
    view.hidden = false;
    document.title = `${titleOf(page)} · ${title}`;
    window.scrollTo(0, 0);
    view.focus({ preventScroll: true });
  };

  const showOverview = (hash) => {
    const target = document.getElementById(report.nameOf(hash));
    for (let fold = target?.closest("details"); fold; fold = fold.parentElement.closest("details")) {
      fold.open = true;
    }
    const isBack = !view.hidden && [left.hash, left.section].includes(hash);
    view.hidden = true;
    view.replaceChildren();
    overview.hidden = false;
    document.title = title;
    if (isBack || !target) window.scrollTo(0, isBack ? left.top : window.scrollY);
    else target.scrollIntoView();
  };

  const route = () => {
    const page = pageOf(location.hash.slice(1));
    if (page) return showPage(page);
    showOverview(location.hash);
    left.hash = location.hash;
  };

  // A link from the overview is remembered as one from its section.
  overview.addEventListener("click", ({ target }) => {
    const section = target.closest("details.section, section");
    if (!section || !target.closest("a, td")) return;
    path.splice(0, path.length, { hash: `#${section.id}`, title: section.querySelector("h2").textContent });
    left.section = `#${section.id}`;
  });
  window.addEventListener("hashchange", route);
  route();
}
