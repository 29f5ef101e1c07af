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
  const left = { hash: "", top: 0 }; // where the overview was left

  const pageOf = (address) => {
    if (address.startsWith("job/")) return report.jobPage(decodeURIComponent(address.slice(4)));
    if (!pages.has(address)) return null;
    const parsed = new DOMParser().parseFromString(pages.get(address).textContent, "text/html");
    return parsed.querySelector("section");
  };

  const showPage = (page) => {
    if (!overview.hidden) left.top = window.scrollY;
    overview.hidden = true;
    view.replaceChildren(page);
    report.enliven(view);
    report.drawCharts(view);
    view.hidden = false;
    document.title = `${page.querySelector("h2").innerText.replace("\n", ", ")} · ${title}`;
    window.scrollTo(0, 0);
    view.focus({ preventScroll: true });
  };

  const showOverview = (hash) => {
    if (!overview.hidden) return;
    view.hidden = true;
    view.replaceChildren();
    overview.hidden = false;
    document.title = title;
    const target = hash !== left.hash && document.getElementById(hash.slice(1));
    if (target) target.scrollIntoView();
    else window.scrollTo(0, left.top);
  };

  const route = () => {
    const page = pageOf(location.hash.slice(1));
    if (page) return showPage(page);
    showOverview(location.hash);
    left.hash = location.hash;
  };
  window.addEventListener("hashchange", route);
  route();
}
