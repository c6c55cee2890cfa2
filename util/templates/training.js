// The page of a training: samples over time, reloading while the training runs.
"use strict";
{
  const run = document.getElementById("run"), time = document.getElementById("time");
  const written = Number(run.dataset.written) * 1000, refresh = Number(run.dataset.refresh);

  // The samples at the chosen time. A picture that is missing there is the one before.
  const steps = time ? time.dataset.steps.split(" ").map(Number) : [];
  const frames = [...document.querySelectorAll("[data-frames]")].map(figure => ({
    figure, link: figure.querySelector("a"), image: figure.querySelector("img"), start: figure.dataset.start,
    steps: figure.dataset.frames.split(" ").map(Number)}));
  const file = (of, step) => `${of.start}${String(step).padStart(8, "0")}.png`;
  const at = (of, step) => file(of, of.steps.filter(each => each <= step).pop() ?? of.steps[0]);

  const decimal = number => number.toLocaleString("en", {maximumFractionDigits: 2});
  const seenAt = step => `${decimal(step)} images seen` +
    (Number(time.dataset.epoch) ? `, ${decimal(step / Number(time.dataset.epoch))} epochs` : "");

  function show() {
    const place = Number(time.value), step = steps[place];
    for (const of of frames) {
      const wanted = at(of, step);
      if (of.image.getAttribute("src") !== wanted) of.image.src = of.link.href = wanted;
      for (const near of [steps[place - 1], steps[place + 1]]) if (near !== undefined) new Image().src = at(of, near);
    }
    const text = seenAt(step);
    document.getElementById("time-text").textContent = text;
    time.setAttribute("aria-valuetext", text);
    for (const button of document.querySelectorAll("[data-step]"))
      button.setAttribute("aria-pressed", Number(button.dataset.step) === step);
    for (const button of document.querySelectorAll("[data-move]"))
      button.disabled = steps[place + Number(button.dataset.move)] === undefined;
  }

  function goTo(place) {
    time.value = place;
    show();
  }

  time?.addEventListener("input", show);
  document.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button?.dataset.move) goTo(Number(time.value) + Number(button.dataset.move));
    if (button?.dataset.step) goTo(steps.indexOf(Number(button.dataset.step)));
  });

  // A reload keeps the chosen time and what is open.
  const key = `training ${location.pathname}`, folds = [...document.querySelectorAll("details[id]")];
  const store = () => sessionStorage.setItem(key, JSON.stringify({
    step: time && Number(time.value) < steps.length - 1 ? steps[Number(time.value)] : null,
    open: folds.filter(fold => fold.open).map(fold => fold.id)}));
  const kept = performance.getEntriesByType("navigation")[0]?.type === "reload" && sessionStorage.getItem(key);
  if (kept) {
    const state = JSON.parse(kept);
    for (const fold of folds) fold.open = state.open.includes(fold.id);
    if (time && steps.includes(state.step)) time.value = steps.indexOf(state.step);
  }
  if (time) show();
  addEventListener("pagehide", store);

  if (refresh) {
    const minutes = Math.floor((Date.now() - written) / 60000);
    if (minutes) document.getElementById("written").textContent += `, ${ago(minutes)} ago`;
    if (minutes > 60) document.querySelector(".status").textContent += "; perhaps its process has been killed";
    setInterval(() => {
      if (!document.hidden && !document.querySelector("dialog[open]")) location.reload();
    }, refresh * 1000);
  }

  function ago(minutes) {
    return minutes < 120 ? `${minutes} min` : minutes < 2880 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
  }
}
