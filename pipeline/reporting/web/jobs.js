"use strict";
{
  const { make } = report;
  const jobs = report.data("jobs-data");
  const SHOWN = ["stage", "settings", "versions", "machine", "checkout", "inputs", "code", "finished"];
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
    const inner = Object.entries(value).map(([key, entry]) => flat(entry, name ? `${name}.${key}` : key));
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
    const users = all.filter(([, artifact]) => Object.values(artifact.inputs ?? {}).includes(path));
    if (!users.length) return make("p", {}, "Only this report.");
    const items = users.slice(0, MOST).map(([user]) => make("li", {}, link(user)));
    if (users.length > MOST) items.push(make("li", {}, `and ${users.length - MOST} more`));
    return make("ul", {}, ...items);
  };

  // The file that made an artifact: a link where its commit has the file as it was run.
  const source = (stage, number) => {
    const { folders, checkout } = jobs();
    const file = `pipeline/stages/${stage}.py`;
    const code = make("code", {}, file);
    const isCommitted = folders[number] && !checkout[number].changed.includes(file);
    return isCommitted ? make("a", { href: folders[number] + file }, code) : code;
  };

  // The page of the job that made an artifact; null for an unknown one.
  report.jobPage = (path) => {
    const { artifacts, settings, versions, machine, checkout, command } = jobs();
    if (!Object.hasOwn(artifacts, path)) return null;
    const manifest = artifacts[path];
    const others = Object.entries(manifest).filter(([key]) => !SHOWN.includes(key));
    const inputs = Object.entries(manifest.inputs ?? {}).map(([role, input]) => [role, link(input)]);
    return make(
      "section",
      { class: "page" },
      make("p", { class: "trail" }, make("a", { href: "#provenance" }, "Provenance")),
      make("h2", { class: "id" }, path),
      facts([
        ["Finished", manifest.finished ?? "unknown"],
        ["Made by", source(manifest.stage, manifest.checkout)],
        ["Code digest", manifest.code ?? "unknown"],
      ]),
      ...section("The command that makes it again", make("pre", { class: "commands" }, make("code", {}, command.replace("PATH", () => path)))),
      ...section("Made from", listed(inputs)),
      ...section("Settings", listed(flat(settings[manifest.settings]))),
      ...section("Versions", listed(Object.entries(versions[manifest.versions]))),
      ...section("Machine", listed(flat(machine[manifest.machine]))),
      ...section("Commit", listed(flat(checkout[manifest.checkout]))),
      ...(others.length ? section("Recorded facts", facts(flat(Object.fromEntries(others)))) : []),
      ...section("Used by", usersOf(path)),
    );
  };
}
