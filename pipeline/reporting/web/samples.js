"use strict";
{
  const { make, fill } = report;
  const controls = document.getElementById("sample-controls");
  const view = document.getElementById("sample");
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
    const position = controls.elements.position;
    const text = (index) => make("pre", {}, samples.texts[index]);
    const chosenTask = () => samples.tasks[task.selectedIndex];

    // The responses of a model: those of the chosen decoding seed, or of all.
    const responses = (item, model) => {
      const { seeds, measures } = chosenTask();
      const chosen = seed.selectedIndex ? [seed.selectedIndex - 1] : seeds.keys();
      const shown = [...chosen].filter((index) => item.responses[model][index] !== null);
      return shown.flatMap((index) => {
        const scores = item.scores[model]?.[index] ?? [];
        const about = [
          ...(seeds.length > 1 ? [`seed ${seeds[index]}`] : []),
          ...measures.flatMap((title, place) => (scores[place] ? [`${title} ${scores[place]}`] : [])),
        ];
        const note = make("p", { class: "note" }, about.join("; "));
        return [...(about.length ? [note] : []), text(item.responses[model][index])];
      });
    };

    const draw = () => {
      const { items } = chosenTask();
      const item = items[example.selectedIndex];
      const prompt = make("section", { class: "prompt" }, make("h3", {}, item.id));
      prompt.append(make("h4", {}, "Prompt"), text(item.prompt));
      const cards = item.references.map((index, number) => {
        const name = item.references.length > 1 ? `Reference ${number + 1}` : "Reference";
        return card(name, "", [text(index)]);
      });
      samples.models.forEach((model, index) => {
        if (model.pair !== pair.selectedIndex) return;
        const body = responses(item, index);
        if (body.length) cards.push(card(model.label, model.colour || "currentColor", body));
      });
      view.replaceChildren(prompt, make("div", { class: "answers" }, ...cards));
      position.textContent = `${example.selectedIndex + 1} of ${items.length}`;
      previous.disabled = example.selectedIndex === 0;
      next.disabled = example.selectedIndex === items.length - 1;
    };

    const drawTask = () => {
      const { items, seeds } = chosenTask();
      fill(example, items.map((item) => item.id));
      fill(seed, [ALL, ...seeds]);
      seed.selectedIndex = Math.min(1, seeds.length - 1);
      seed.closest("label").hidden = seeds.length < 2;
      draw();
    };

    const step = (by) => () => {
      example.selectedIndex += by;
      draw();
    };

    fill(task, samples.tasks.map((task) => task.name));
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
