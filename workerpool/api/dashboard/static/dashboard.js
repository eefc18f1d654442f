// What the pages do beside htmx: the charts, the connection, and what was told. Everything it must know stands in #runtime.
"use strict";

const runtime = JSON.parse(document.getElementById("runtime").textContent);
const connection = document.getElementById("connection");
const told = document.getElementById("told");

function say(text, good) {
  const line = document.createElement("p");
  line.className = good ? "good" : "bad";
  line.textContent = text;
  told.replaceChildren(line);
}

// -- the connection ------------------------------------------------------------------------------------------------

let trouble = "";
let lost = false;

function show() {
  const text = lost ? "Not connected; trying again. What you see is as it was." : trouble;
  connection.textContent = text;
  connection.hidden = !text;
  document.body.classList.toggle("lost", lost);
}

document.body.addEventListener("htmx:sseOpen", (event) => {
  if (lost) document.body.querySelectorAll("[hx-trigger*='sse:']").forEach((part) => htmx.ajax("GET", part.getAttribute("hx-get"), part));
  lost = false;
  trouble = "";
  show();
  event.detail.source.addEventListener("trouble", (message) => {
    trouble = JSON.parse(message.data).detail + "; what you see is as it was.";
    show();
  });
  for (const part of ["pause", "queue", "workers", "running", "events", "ended"]) {
    event.detail.source.addEventListener(part, () => { if (trouble) { trouble = ""; show(); } });
  }
});

document.body.addEventListener("htmx:sseError", () => { lost = true; show(); });

document.body.addEventListener("htmx:responseError", (event) => {
  const request = event.detail.xhr;
  if (request.status === 401) {
    const link = document.createElement("a");
    link.href = runtime.login;
    link.textContent = "Logged out: log in again";
    connection.replaceChildren(link);
    connection.hidden = false;
    return;
  }
  let text = `the server answered ${request.status}`;
  try { text = JSON.parse(request.responseText).detail || text; } catch { /* no problem document */ }
  say(text, false);
});

// -- what was told goes away by itself; a form that was sent is empty again ----------------------------------------

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === told) {
    const line = told.firstElementChild;
    setTimeout(() => { if (told.firstElementChild === line) told.replaceChildren(); }, 6000);
  }
});
document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful && event.detail.elt.matches("form[action='/ui/pause']")) event.detail.elt.reset();
});

// -- what somebody opened or closed stays so when its part is renewed ----------------------------------------------

const opened = new Map();
const remember = (part) => opened.set(part.dataset.keep, part.open);
document.body.addEventListener("toggle", (event) => { if (event.target.dataset.keep) remember(event.target); }, true);
// The toggle event comes later than the click, and may come later than the swap.
document.body.addEventListener("htmx:beforeSwap", (event) => {
  event.detail.target.querySelectorAll("details[data-keep]").forEach(remember);
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  event.detail.target.querySelectorAll("details[data-keep]").forEach((part) => {
    if (opened.has(part.dataset.keep)) part.open = opened.get(part.dataset.keep);
  });
});

// -- the log stays at its end while one looks at its end -----------------------------------------------------------

const log = document.getElementById("log");
if (log) {
  let atEnd = true;
  const follow = () => { if (atEnd) log.scrollTop = log.scrollHeight; };
  log.addEventListener("scroll", () => { atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 20; });
  document.body.addEventListener("htmx:afterSwap", follow);
  follow();
}

// -- the charts ----------------------------------------------------------------------------------------------------

const rate = document.getElementById("chart-rate");
const depth = document.getElementById("chart-depth");
if (rate && depth) {
  const charts = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = () => ({ stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" });

  const draw = (points) => {
    document.getElementById("chart-empty").hidden = points.length > 1;
    const times = points.map((point) => point.at);
    const data = [
      [times, points.map((point) => point.rate)],
      [times, points.map((point) => point.waiting), points.map((point) => point.running)],
    ];
    if (!charts.length) {
      const options = (element, series) => ({
        width: element.clientWidth, height: 120, cursor: { drag: { x: false, y: false } }, legend: { show: false },
        axes: [axis(), { ...axis(), size: 46 }], series: [{}, ...series],
      });
      const line = (label, name) => ({ label, stroke: colour(name), width: 2, points: { show: false } });
      charts.push(new uPlot(options(rate, [line("ended a second", "--good")]), data[0], rate));
      charts.push(new uPlot(options(depth, [line("waiting", "--warn"), line("running", "--busy")]), data[1], depth));
    } else {
      charts.forEach((chart, place) => chart.setData(data[place]));
    }
  };

  const look = async () => {
    try {
      const answer = await fetch(runtime.points, { headers: { Accept: "application/json" } });
      if (answer.ok) draw(await answer.json());
    } catch { /* the stream says that the connection is lost */ }
  };
  const redraw = () => { charts.splice(0).forEach((chart) => chart.destroy()); look(); };
  new ResizeObserver(() => charts.forEach((chart, place) => chart.setSize({ width: [rate, depth][place].clientWidth, height: 120 }))).observe(rate);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  setInterval(look, runtime.chartSeconds * 1000);
  look();
}
