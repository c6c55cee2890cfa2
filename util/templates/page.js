// The large view of pictures, search and order of a table of pictures, copying. No library, no network.
"use strict";

// A row is a <tr>, or an element with data-name, below an element of the class "pictures". Its pictures are links to the
// files around thumbnails; a label is the link's data-label, or the head of its column.
const rowOf = link => link.closest("tr, [data-name]");
const rowName = row => row.dataset.name ?? row.querySelector("th").textContent;
const linksOf = row => [...row.querySelectorAll("a")].filter(link => link.querySelector("img"));
const rows = () => [...document.querySelectorAll(".pictures tr, .pictures [data-name], .pictures[data-name]")]
  .filter(row => !row.hidden && linksOf(row).length);
const headOf = cell => cell.closest("table").tHead.rows[0].cells[cell.cellIndex].firstChild.textContent;
const labelOf = link => link.dataset.label ?? headOf(link.closest("td"));
// The text below a picture, and the scores in cells of their own.
const linesOf = link => [...link.parentElement.querySelectorAll("small")].map(line => line.textContent);
const scoresOf = row => [...row.cells ?? []].slice(1).filter(cell => /\d/.test(cell.textContent) && !cell.querySelector("a"))
  .map(cell => `${headOf(cell)} ${cell.textContent.trim()}`);

function largeView() {
  const dialog = document.getElementById("viewer"), part = name => document.getElementById(`viewer-${name}`);
  const stage = part("stage"), cut = part("cut"), other = part("other");
  const views = ["one", "slider", "all"];
  const state = {row: null, label: "", compared: "", held: "", view: "one", scale: 1, x: 0, y: 0};
  let pictures = new Map();  // label to the link around the thumbnail

  function open(link) {
    state.label = labelOf(link);
    goTo(rowOf(link));
    dialog.showModal();
    zoom(1);
  }

  function goTo(row) {
    state.row = row;
    pictures = new Map(linksOf(row).map(link => [labelOf(link), link]));
    const labels = [...pictures.keys()];
    if (!pictures.has(state.label)) state.label = labels[0];
    if (!pictures.has(state.compared)) state.compared = labels[0];
    state.held = "";
    other.replaceChildren(...labels.map(label => new Option(label, label, false, label === state.compared)));
    part("pictures").replaceChildren(...labels.map((label, number) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = button.dataset.label = label;
      button.title = number < 9 ? `Show ${label}: ${number + 1}` : `Show ${label}`;
      return button;
    }));
    part("name").textContent = rowName(row);
    const all = rows(), number = all.indexOf(row);
    part("place").textContent = `${number + 1} of ${all.length}`;
    part("scores").textContent = scoresOf(row).join(", ");
    dialog.querySelector("[data-do=previous]").disabled = !all[number - 1];
    dialog.querySelector("[data-do=next]").disabled = !all[number + 1];
    for (const near of [row, all[number + 1], all[number - 1]])
      if (near) for (const link of linksOf(near).slice(0, 9)) new Image().src = link.href;
    draw();
  }

  function draw() {
    const shown = state.held || state.label;
    // With the slider, the chosen picture is on the right.
    const panes = state.view === "all" ? [...pictures.keys()].map(label => [label])
      : state.view === "slider" ? [[state.compared, state.held || (state.label === state.compared ? lastOther() : state.label)]]
      : [[shown]];
    stage.replaceChildren(...panes.map(pane));
    stage.classList.toggle("many", panes.length > 1);
    stage.style.setProperty("--across", across(panes.length));
    cut.hidden = state.view !== "slider";
    for (const button of dialog.querySelectorAll("[data-label]"))
      button.setAttribute("aria-pressed", button.dataset.label === shown);
    for (const button of dialog.querySelectorAll("[data-view]"))
      button.setAttribute("aria-pressed", button.dataset.view === state.view);
    part("file").href = pictures.get(shown).href;
    place();
  }

  const lastOther = () => [...pictures.keys()].filter(label => label !== state.compared).pop() ?? state.compared;

  function pane(labels) {
    const figure = document.createElement("figure");
    labels.forEach((label, number) => {
      const image = new Image(), layer = document.createElement("div"), caption = document.createElement("figcaption");
      image.alt = `${label} of ${rowName(state.row)}`;
      image.onload = place;
      image.src = pictures.get(label).href;
      layer.append(image);
      if (number) layer.style.clipPath = "inset(0 0 0 var(--cut))";
      caption.textContent = [label, ...linesOf(pictures.get(label))].join(", ");
      figure.append(layer, caption);
    });
    return figure;
  }

  function across(count) {  // panes in a row of the stage, so that they are as large as can be
    const image = linksOf(state.row)[0].querySelector("img"), ratio = image.height / image.width || 1;
    const side = n => Math.min(stage.clientWidth / n, stage.clientHeight / Math.ceil(count / n) / ratio);
    return Array.from({length: count}, (_, n) => n + 1).reduce((best, n) => side(n) > side(best) ? n : best, 1);
  }

  // Zoom and place are those of all panes. x and y are fractions of a pane.
  function place() {
    state.x = Math.min(0, Math.max(1 - state.scale, state.x));
    state.y = Math.min(0, Math.max(1 - state.scale, state.y));
    for (const [name, value] of [["--x", state.x], ["--y", state.y], ["--scale", state.scale], ["--cut", `${cut.value}%`]])
      stage.style.setProperty(name, value);
    for (const image of stage.querySelectorAll("img"))
      image.classList.toggle("pixels", image.naturalWidth > 0 && state.scale * Math.min(
        image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight) >= 3);
    dialog.querySelector("[data-do=fit]").textContent = `${Math.round(state.scale * 100)}%`;
  }

  function zoom(scale, x = 0.5, y = 0.5) {
    const to = Math.min(32, Math.max(1, scale)), ratio = to / state.scale;
    state.x = x - (x - state.x) * ratio;
    state.y = y - (y - state.y) * ratio;
    state.scale = to;
    place();
  }

  const hold = label => { if (state.held !== label) { state.held = label; draw(); } };
  // The picture to flip to: that of "Compare with", or another where it is shown already.
  const opposite = () => state.label === state.compared ? lastOther() : state.compared;

  function step(distance) {
    const all = rows(), to = all[all.indexOf(state.row) + distance];
    if (to) goTo(to);
  }

  function change(distance) {
    const labels = [...pictures.keys()];
    state.label = labels[(labels.indexOf(state.label) + distance + labels.length) % labels.length];
    draw();
  }

  function view(name) {
    state.view = name;
    draw();
  }

  const actions = {
    previous: () => step(-1), next: () => step(1), close: () => dialog.close(), fit: () => zoom(1),
    in: () => zoom(state.scale * 1.5), out: () => zoom(state.scale / 1.5),
  };
  const keys = {
    ArrowLeft: actions.previous, ArrowRight: actions.next, ArrowUp: () => change(-1), ArrowDown: () => change(1),
    "+": actions.in, "=": actions.in, "-": actions.out, "0": actions.fit, f: () => hold(opposite()),
    v: () => view(views[(views.indexOf(state.view) + 1) % views.length]),
  };

  document.addEventListener("click", event => {
    const link = event.target.closest?.(".pictures a");
    if (!link?.querySelector("img") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link);
  });
  dialog.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button?.dataset.do) actions[button.dataset.do]();
    if (button?.dataset.view) view(button.dataset.view);
    if (button?.dataset.label) {
      state.label = button.dataset.label;
      draw();
    }
  });
  document.addEventListener("keydown", event => {
    if (!dialog.open || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input")) return;
    const label = [...pictures.keys()][event.key - 1];
    if (label && event.key !== "0") hold(label);
    else if (event.key in keys) keys[event.key]();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", event => { if (dialog.open && (event.key === "f" || event.key > 0)) hold(""); });
  dialog.addEventListener("close", () => {
    const link = linksOf(state.row).find(each => labelOf(each) === state.label);
    link.scrollIntoView({block: "nearest"});
    link.focus();
  });
  other.addEventListener("change", () => {
    state.compared = other.value;
    draw();
  });
  cut.addEventListener("input", place);
  window.addEventListener("resize", () => { if (dialog.open) draw(); });

  // The mouse: hold to flip, drag to move, wheel to zoom.
  stage.addEventListener("wheel", event => {
    event.preventDefault();
    const box = (event.target.closest("figure") ?? stage).getBoundingClientRect();
    zoom(state.scale * Math.exp(-event.deltaY / 400), (event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height);
  }, {passive: false});
  stage.addEventListener("pointerdown", event => {
    if (event.button) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    const box = (event.target.closest("figure") ?? stage).getBoundingClientRect();
    const start = {x: event.clientX, y: event.clientY}, from = {x: state.x, y: state.y};
    const move = at => {
      const x = at.clientX - start.x, y = at.clientY - start.y;
      if (state.scale === 1 || Math.hypot(x, y) < 4) return;
      hold("");
      state.x = from.x + x / box.width;
      state.y = from.y + y / box.height;
      place();
    };
    const end = () => {
      stage.removeEventListener("pointermove", move);
      hold("");
    };
    stage.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, end, {once: true});
    if (state.view === "one") hold(opposite());
  });
}

function searchAndOrder() {
  const input = name => document.getElementById(`grid-${name}`);
  if (!input("name")) return;
  const form = input("name").form, body = document.querySelector(".grid tbody"), all = [...body.rows];
  const kinds = [...input("score")?.options ?? []];
  const scores = all[0]?.cells.length - kinds.length;  // index of the first column of scores
  const name = row => row.cells[0].textContent.toLowerCase();
  const value = (row, score) => parseFloat(row.cells[scores + Number(score)].textContent);

  // Rows by a key, the least first; rows without it come last.
  const sorted = keyOf => {
    const keys = new Map(all.map(row => [row, keyOf(row)])), key = row => keys.get(row);
    return [...all].sort((a, b) => Number.isNaN(key(a)) - Number.isNaN(key(b)) || key(a) - key(b));
  };
  const ranks = (score, sign) => {
    const found = sorted(row => sign * value(row, score)).filter(row => !Number.isNaN(value(row, score)));
    return new Map(found.map((row, place) => [row, place / found.length]));
  };

  function worstFirst() {
    const of = kinds.map(kind => ranks(kind.value, kind.dataset.sign));
    const mean = numbers => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
    return sorted(row => mean(of.filter(rank => rank.has(row)).map(rank => rank.get(row))));
  }

  function order() {
    const chosen = input("order").selectedOptions[0], sign = Number(chosen.dataset.sign);
    body.append(...chosen.value === "name"
      ? [...all].sort((a, b) => name(a).localeCompare(name(b), undefined, {numeric: true}))
      : chosen.value === "all" ? worstFirst() : sign ? sorted(row => sign * value(row, chosen.value)) : all);
    filter();
  }

  function filter() {
    const part = input("name").value.trim().toLowerCase().replace(/\.(png|jpe?g|webp|tiff?|bmp)$/, "");
    const [least, most] = ["least", "most"].map(name => parseFloat(input(name)?.value));
    let count = 0;
    for (const row of all) {
      const of = kinds.length ? value(row, input("score").value) : NaN;
      row.hidden = !name(row).includes(part) || (!Number.isNaN(least) && !(of >= least)) || (!Number.isNaN(most) && !(of <= most));
      count += !row.hidden;
    }
    input("count").textContent = `${count} of ${all.length}`;
    input("none").hidden = count > 0 || !all.length;
    input("reset").disabled = ![part, input("order").value, ...["least", "most"].map(name => input(name)?.value)].some(Boolean);
  }

  input("order").addEventListener("change", order);
  for (const part of ["name", "score", "least", "most"]) input(part)?.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(order));  // when the fields are empty
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
  } catch {  // the browser refuses that here
    getSelection().selectAllChildren(text);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

document.addEventListener("click", event => {
  const button = event.target.closest?.("[data-copy]");
  if (button) copy(button);
});
largeView();
searchAndOrder();
