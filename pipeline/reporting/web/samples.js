"use strict";
{
  const { make, fill } = report;
  const controls = document.getElementById("sample-controls");
  const place = document.getElementById("sample");
  const ALL = "all";

  const card = (label, colour, body, note) => {
    const heading = make("h4", {}, label);
    if (colour) heading.style.borderColor = colour;
    if (note) heading.append(make("small", {}, note));
    return make("section", { class: colour ? "answer" : "answer reference" }, heading, ...body);
  };

  const start = () => {
    const samples = report.data("samples-data")();
    const { task, pair, seed, example, previous, next } = controls.elements;
    const said = controls.elements.place;
    const text = (index) => make("pre", {}, samples.texts[index]);
    const chosenTask = () => samples.tasks[task.selectedIndex];

    // The answers of one model: those of the chosen decoding seed, or of all.
    const answers = (one, speaker) => {
      const { seeds, measure } = chosenTask();
      const chosen = seed.selectedIndex ? [seed.selectedIndex - 1] : seeds.keys();
      const shown = [...chosen].filter((at) => one.answers[speaker][at] !== null);
      return shown.flatMap((at) => {
        const score = one.scores[speaker]?.[at];
        const about = [
          ...(seeds.length > 1 ? [`seed ${seeds[at]}`] : []),
          ...(score == null ? [] : [`${measure} ${score}`]),
        ];
        const note = make("p", { class: "note" }, about.join(", "));
        return [...(about.length ? [note] : []), text(one.answers[speaker][at])];
      });
    };

    const draw = () => {
      const { items } = chosenTask();
      const one = items[example.selectedIndex];
      const asked = make("section", { class: "asked" }, make("h3", {}, one.id));
      asked.append(make("h4", {}, "Prompt"), text(one.prompt));
      const cards = one.references.map((index, at) => {
        const name = one.references.length > 1 ? `Reference ${at + 1}` : "Reference";
        return card(name, "", [text(index)]);
      });
      samples.speakers.forEach((speaker, at) => {
        if (speaker.pair !== pair.selectedIndex) return;
        const body = answers(one, at);
        if (body.length) cards.push(card(speaker.label, speaker.colour || "currentColor", body));
      });
      place.replaceChildren(asked, make("div", { class: "answers" }, ...cards));
      said.textContent = `${example.selectedIndex + 1} of ${items.length}`;
      previous.disabled = example.selectedIndex === 0;
      next.disabled = example.selectedIndex === items.length - 1;
    };

    const drawTask = () => {
      const { items, seeds } = chosenTask();
      fill(example, items.map((one) => one.id));
      fill(seed, [ALL, ...seeds]);
      seed.selectedIndex = Math.min(1, seeds.length - 1);
      seed.closest("label").hidden = seeds.length < 2;
      draw();
    };

    const step = (by) => () => {
      example.selectedIndex += by;
      draw();
    };

    fill(task, samples.tasks.map((one) => one.name));
    fill(pair, samples.pairs);
    for (const [select, many] of [[task, samples.tasks], [pair, samples.pairs]]) {
      select.closest("label").hidden = many.length < 2;
    }
    task.addEventListener("change", drawTask);
    for (const select of [pair, seed, example]) select.addEventListener("change", draw);
    previous.addEventListener("click", step(-1));
    next.addEventListener("click", step(1));
    controls.addEventListener("submit", (event) => event.preventDefault());
    controls.hidden = false;
    drawTask();
  };
  if (controls) start();
}
