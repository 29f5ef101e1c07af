"use strict";
{
  const { make } = report;
  const jobs = report.data("jobs-data");
  const SHOWN = ["settings", "versions", "inputs", "code", "finished"];
  const MOST = 100; // users of an artifact that are listed

  const facts = (pairs) =>
    make("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [
      make("dt", {}, name),
      make("dd", {}, value),
    ]));

  // Nested settings as dotted names.
  const flat = (value, name = "") => {
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
    }
    const inner = Object.entries(value).map(([key, one]) => flat(one, name ? `${name}.${key}` : key));
    return inner.flat();
  };

  const link = (path) => {
    const code = make("code", {}, path);
    return path in jobs().artifacts ? make("a", { href: `#job/${encodeURI(path)}` }, code) : code;
  };

  const section = (title, ...content) => [make("h3", {}, title), ...content];
  const nothing = () => make("p", {}, "Nothing.");
  const listed = (pairs) => (pairs.length ? facts(pairs) : nothing());

  const usersOf = (path) => {
    const all = Object.entries(jobs().artifacts);
    const users = all.filter(([, one]) => Object.values(one.inputs ?? {}).includes(path));
    if (!users.length) return make("p", {}, "Nothing but this report.");
    const items = users.slice(0, MOST).map(([at]) => make("li", {}, link(at)));
    if (users.length > MOST) items.push(make("li", {}, `and ${users.length - MOST} more`));
    return make("ul", {}, ...items);
  };

  // The page of the job that made an artifact; null for one that is not known.
  report.jobPage = (path) => {
    const { artifacts, settings, versions, command } = jobs();
    if (!Object.hasOwn(artifacts, path)) return null;
    const made = artifacts[path];
    const others = Object.entries(made).filter(([key]) => !SHOWN.includes(key));
    const inputs = Object.entries(made.inputs ?? {}).map(([role, at]) => [role, link(at)]);
    return make(
      "section",
      { class: "page" },
      make("p", { class: "trail" }, make("a", { href: "#provenance" }, "Provenance")),
      make("h2", { class: "id" }, path),
      facts([["Finished", made.finished ?? "not said"], ["Digest of the code", made.code ?? "not said"]]),
      ...section("Command", make("pre", { class: "commands" }, make("code", {}, command.replace("PATH", () => path)))),
      ...section("Made from", listed(inputs)),
      ...section("Settings", listed(flat(settings[made.settings]))),
      ...section("Versions", listed(Object.entries(versions[made.versions]))),
      ...(others.length ? section("What it says of itself", facts(flat(Object.fromEntries(others)))) : []),
      ...section("Used by", usersOf(path)),
    );
  };
}
