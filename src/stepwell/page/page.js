"use strict";
// Everything shown is set as text, never as HTML: ids and passages are anybody's.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let view = null, ran = null, chosen = null;

const number = (value, digits = 1) => value.toLocaleString(undefined, { maximumFractionDigits: digits });
const plural = (n, word) => `${number(n, 0)} ${word}${n === 1 ? "" : "s"}`;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function draw(parent, tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

// -- what was recorded, and what other settings make of it -----------------------------------

// A run is one column a stage: {name, out: [doc], score: [number], gone: Map doc -> {rank, reason}}.
function recorded() {
  return view.stages.map((stage) => ({
    name: stage.name, status: stage.status, out: stage.out, score: stage.score, unread: 0,
    gone: new Map(stage.dropped.flatMap((each) =>
      each.ids.map((doc, at) => [doc, { rank: each.ranks[at], reason: each.reason }]))),
  }));
}

const own = (stage) => {
  const scores = new Map(stage.out.map((doc, at) => [doc, stage.own[at]]));
  for (const each of stage.dropped) each.ids.forEach((doc, at) => scores.set(doc, each.own[at]));
  for (const [doc, score] of scores) if (score === null || score === undefined) scores.delete(doc);
  return scores;
};

const ended = (stage) => ["failed", "skipped", "idle"].includes(stage.status);
// It stopped where it was sure for the settings that it had, and orders by what it expected.
const adaptive = (stage) => stage.notes.read !== undefined;
const scores = (stage) => !ended(stage) && !adaptive(stage) && own(stage).size > 0 && stage.settings.blend !== undefined;
const cuts = (stage) => !ended(stage) && own(stage).size === 0 && stage.settings.k !== undefined
  && stage.dropped.every((each) => each.cut);

// The first stage after the recall that does more than score, blend and cut.
const obstacle = () => view.stages.slice(1).find((each) => !(ended(each) || scores(each) || cuts(each)));

function minMax(values) {
  const low = Math.min(...values), high = Math.max(...values);
  return values.map((value) => (high <= low ? 1 : (value - low) / (high - low)));
}

// As the cascade does it: Candidates.scored, then Candidates.top.
function rescore(line, stage, { blend, depth }) {
  const known = own(stage);
  const read = line.filter((each, at) => known.has(each.doc) && at < (depth ?? Infinity));
  const left = line.filter((each) => !read.includes(each));
  let fresh = read.map((each) => known.get(each.doc));
  if (blend < 1 && read.length) {
    const before = minMax(read.map((each) => each.score));
    fresh = minMax(fresh).map((value, at) => (1 - blend) * before[at] + blend * value);
  }
  const order = read.map((each, at) => ({ doc: each.doc, score: fresh[at] }))
    .sort((a, b) => b.score - a.score);
  const lowest = order.length ? order[order.length - 1].score : Infinity;
  const drop = left.length && order.length ? Math.max(left[0].score - lowest, 0) : 0;
  const tail = left.map((each) => ({ doc: each.doc, score: Math.min(each.score - drop, lowest) }));
  return { line: [...order, ...tail], unread: left.length };
}

function cut(line, k) {
  const gone = new Map();
  if (k === undefined || k === null) return { line, gone };
  line.slice(k).forEach((each, at) => gone.set(each.doc, { rank: k + at + 1, reason: `cut at k=${k}` }));
  return { line: line.slice(0, k), gone };
}

function replay(settings) {
  const first = view.stages[0];
  let line = first.out.map((doc, at) => ({ doc, score: first.score[at] }));
  for (const each of first.dropped.filter((dropped) => dropped.cut)) {
    line.push(...each.ids.map((doc, at) => ({ doc, score: each.score[at] })));
  }
  return view.stages.map((stage, at) => {
    let unread = 0;
    if (at > 0 && scores(stage)) ({ line, unread } = rescore(line, stage, settings[at]));
    const end = ended(stage) ? { line, gone: new Map() } : cut(line, settings[at].k);
    line = end.line;
    return {
      name: stage.name, status: stage.status, unread, gone: end.gone,
      out: line.map((each) => each.doc), score: line.map((each) => each.score),
    };
  });
}

const answerOf = (run) => run === null ? view.answered
  : run[run.length - 1].out.slice(0, Math.max(view.answered.length, 1));

// -- why -------------------------------------------------------------------------------------

function why(doc, run) {
  const id = view.ids[doc], answer = answerOf(run === ran0 ? null : run);
  if (answer.includes(doc)) return `${id} is in the answer, at rank ${answer.indexOf(doc) + 1}.`;
  if (view.rejected[doc] !== undefined) return `${id} was left out: ${view.rejected[doc]}.`;
  for (let at = run.length - 1; at >= 0; at -= 1) {
    const gone = run[at].gone.get(doc);
    if (gone) return `${id} was dropped by ${run[at].name}: rank ${number(gone.rank, 0)}, ${gone.reason}.`;
    const place = run[at].out.indexOf(doc);
    if (place >= 0) {
      const next = run[at + 1];
      return next ? `${id} was dropped by ${next.name}: it had rank ${number(place + 1, 0)} before and was not returned.`
        : `${id} has rank ${number(place + 1, 0)} at ${run[at].name}, beyond the ${answer.length} answered.`;
    }
  }
  return `${id} was not recalled by ${run[0]?.name ?? "any stage"}.`;
}

// Each id in a sentence keeps its own direction of writing, and the sentence its own.
const bidi = (id) => make("bdi", {}, id);
const begun = (id, words) => [bidi(id), words.slice(id.length)];
const listed = (docs) => docs.length
  ? docs.flatMap((doc, at) => [...(at ? [", "] : []), bidi(view.ids[doc])]) : ["none"];
const tip = () => $("tip").replaceChildren(...(chosen === null ? [] : begun(view.ids[chosen], why(chosen, ran))));

// -- drawing ---------------------------------------------------------------------------------

function showState() {
  $("asked").textContent = view.query || "(the question is not in this file)";
  const allowed = view.deadline_ms === null ? "" : ` of ${number(view.deadline_ms)} ms allowed`;
  $("state").replaceChildren(`${plural(view.answered.length, "answer")} in ${number(view.ms)} ms${allowed}. `);
  if (view.empty_because) $("state").append(`Nothing is answered: ${view.empty_because}. `);
  if (view.degraded) $("state").append(make("span", { class: "bad" }, "Degraded: a stage failed, was skipped or ran out of time."));
}

// Roles are named, since a phone shows rows as blocks, which for some readers are no table then.
function showStages() {
  const whole = Math.max(view.ms, view.deadline_ms ?? 0, 1e-9);
  const head = (name, kind) => make("th", { scope: "col", role: "columnheader", class: kind }, name);
  $("stages-hint").textContent = "The bars say when each stage ran."
    + (view.deadline_ms === null ? "" : ` The red line is the deadline, ${number(view.deadline_ms)} ms.`);
  const body = make("tbody", { role: "rowgroup" });
  let start = 0;
  const cell = (kind, name, ...children) => make("td", { role: "cell", class: kind, "data-name": name }, ...children);
  const row = (stage, child) => {
    const notes = Object.entries(stage.notes).map(([name, value]) => `${name}=${value}`);
    if (stage.budget_ms !== null && !child) notes.unshift(`budget ${number(stage.budget_ms)} ms`);
    const remarks = [stage.reason, ...notes].filter(Boolean).join(", ");
    body.append(make("tr", { role: "row", class: child ? "child" : null },
      make("th", { scope: "row", role: "rowheader" }, stage.name),
      cell(stage.status === "ok" || stage.status === "idle" ? null : "bad", null, stage.status),
      cell("n", "in", number(stage.n_in, 0)), cell("n", "out", number(stage.n_out, 0)),
      cell("n", "ms", number(stage.ms)), cell("when", null, bar(stage, start, whole)),
      cell("remarks", null, ...(remarks ? [remarks] : []))));
    for (const each of stage.children) row(each, true);
    if (!child) start += stage.ms;
  };
  for (const stage of view.stages) row(stage, false);
  $("stages").replaceChildren(make("thead", { role: "rowgroup" }, make("tr", { role: "row" },
    head("Stage"), head("State"), head("In", "n"), head("Out", "n"), head("ms", "n"), head("When"), head("Remarks"))), body);
}

function bar(stage, start, whole) {
  const made = make("div", { class: "bar" }), piece = make("i");
  piece.style.left = `${100 * start / whole}%`;
  piece.style.width = `max(${100 * stage.ms / whole}%, 2px)`;
  made.append(piece);
  if (view.deadline_ms !== null) {
    const line = make("b");
    line.style.left = `calc(${100 * view.deadline_ms / whole}% - 2px)`;
    made.append(line);
  }
  return made;
}

// In pixels of the screen, so that letters have their size on a phone too.
const TOP = 42, LEFT = 38, RIGHT = 12, LEAST = 72, LETTER = 7.5;
let lines = [], wide = 0, high = 0;

function columns(run) {
  const arms = view.stages[0]?.children.filter((each) => each.out.length) ?? [];
  const made = [];
  const share = high / Math.max(arms.length, 1);
  arms.forEach((arm, at) => made.push({
    name: arm.name, arm: true, place: 0, top: TOP + at * share + (at ? 20 : 0), high: share - (at ? 26 : 8),
    rank: new Map(arm.out.map((doc, rank) => [doc, rank + 1])), n: arm.out.length, gone: new Map(),
  }));
  run.forEach((stage, at) => {
    const rank = new Map(stage.out.map((doc, place) => [doc, place + 1]));
    for (const [doc, gone] of stage.gone) rank.set(doc, gone.rank);
    made.push({ name: stage.name, status: stage.status, arm: false, place: at + (arms.length ? 1 : 0),
      top: TOP, high, rank, gone: stage.gone, n: Math.max(rank.size, 1) });
  });
  return made;
}

function showFlow(run) {
  const svg = $("flow");
  svg.replaceChildren();
  const places = run.length - 1 + (view.stages[0]?.children.some((each) => each.out.length) ? 1 : 0);
  wide = Math.max(svg.parentElement.clientWidth || 640, LEFT + RIGHT + LEAST * places);
  high = wide < 600 ? 340 : 440;
  for (const [name, value] of [["width", wide], ["height", high + TOP + 8]]) svg.setAttribute(name, value);
  const made = columns(run), count = Math.max(...made.map((each) => each.place)) || 1;
  const most = Math.max(...made.map((each) => each.n), 2);
  const x = (column) => LEFT + column.place * (wide - LEFT - RIGHT) / count;
  // Logarithmic: of a thousand candidates the first ten matter most.
  const y = (column, rank) => column.top + column.high * Math.log(rank) / Math.log(most + 1);
  for (const column of made) {
    draw(svg, "line", { class: "axis", x1: x(column), x2: x(column), y1: column.top, y2: column.top + column.high });
  }
  showLines(svg, run, made, x, y);
  // Last, so that no line runs over them.
  for (const column of made) showLabels(svg, column, count, x(column), (rank) => y(column, rank));
}

function showLines(svg, run, made, x, y) {
  const answer = new Set(answerOf(run === ran0 ? null : run));
  const stages = made.filter((each) => !each.arm), arms = made.filter((each) => each.arm);
  lines = view.ids.map((_, doc) => {
    const at = (column) => [x(column), y(column, column.rank.get(doc))];
    const through = stages.filter((each) => each.rank.has(doc));
    const paths = arms.filter((each) => each.rank.has(doc) && through.length).map((arm) => [at(arm), at(through[0])]);
    if (through.length) paths.push(through.map(at));
    const end = through[through.length - 1];
    return { doc, paths, ends: end && end.gone.has(doc) ? at(end) : null };
  });
  const d = (each) => each.paths.map((path) => path.length > 1 ? `M${path.map((point) => point.map((v) => v.toFixed(1)).join(" ")).join("L")}` : "").join("");
  // Of many lines each is faint, or they would be one grey field.
  const faint = Math.min(.5, Math.max(.05, 40 / lines.length));
  draw(svg, "path", { class: "many", style: `opacity:${faint}`, d: lines.filter((each) => !answer.has(each.doc)).map(d).join("") });
  for (const each of lines) {
    if (answer.has(each.doc)) draw(svg, "path", { class: "hit", d: d(each) });
    else if (each.ends && each.paths.length) draw(svg, "circle", { class: "end", cx: each.ends[0], cy: each.ends[1], r: lines.length > 200 ? .8 : 2 });
  }
  if (chosen !== null && lines[chosen]) draw(svg, "path", { class: "shown", d: d(lines[chosen]) });
}

function showLabels(svg, column, count, x, y) {
  const room = (wide - LEFT - RIGHT) / count, tight = room < 130;
  const name = column.status && column.status !== "ok" ? `${column.name} (${column.status})` : column.name;
  // Side by side they need a column's room; where that is little, every second one is a row higher.
  const letters = Math.floor((tight ? 1.7 : .95) * room / LETTER);
  const short = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
  const above = tight && column.place % 2 === 1 ? 14 : 31;
  const anchor = column.place === 0 ? "start" : column.place === count ? "end" : "middle";
  const label = draw(svg, "text", { class: "name", x: column.place === count ? x + RIGHT - 2 : x,
    y: column.arm ? column.top - 7 : above, "text-anchor": anchor }, short);
  draw(label, "title", {}, name);
  for (const rank of [1, 3, 10, 30, 100, 300, 1000, 3000].filter((each) => each <= column.n)) {
    draw(svg, "text", { class: "tick", x: x - 5, y: y(rank) + 4, "text-anchor": "end" }, rank);
  }
}

function nearest(event) {
  const box = $("flow").getBoundingClientRect();
  const px = event.clientX - box.left, py = event.clientY - box.top;
  let best = null, least = 12;
  for (const each of lines) for (const path of each.paths) for (let at = 1; at < path.length; at += 1) {
    const [[x1, y1], [x2, y2]] = [path[at - 1], path[at]];
    if (px < x1 || px > x2 || x2 === x1) continue;
    const far = Math.abs(y1 + (y2 - y1) * (px - x1) / (x2 - x1) - py);
    if (far < least) [best, least] = [each.doc, far];
  }
  return best;
}

function choose(doc) {
  chosen = doc;
  tip();
  for (const each of $("answer").children) each.classList.toggle("chosen", Number(each.dataset.doc) === doc);
  showFlow(ran);
}

// -- the answer ------------------------------------------------------------------------------

// Roughly what a search does with endings: rotate, rotates, rotated and rotating are one word.
const stem = (word) => word.toLowerCase().replace(/(?<=\p{L}{3})(ing|ed|es|s|ly|e)$/u, "");
const STOP = new Set(("a about after all an and any are as at be been before but by can could did do does for from had has "
  + "have how i if in into is it its may me my no not of on or our out over shall should so some than that the their them "
  + "then there these they this to under up was we were what when where which who why will with would you your").split(" "));

function marked(text) {
  const words = (view.query.match(/[\p{L}\p{N}]+/gu) ?? []);
  // In capitals it is a name, whatever it means otherwise: IT, US.
  const terms = new Set(words.filter((word) => /^[\p{Lu}\p{N}]{2,}$/u.test(word) || !STOP.has(word.toLowerCase())).map(stem));
  return text.split(/([\p{L}\p{N}]+)/u).map((piece) => terms.has(stem(piece)) ? make("mark", {}, piece) : piece);
}

function showAnswer(run) {
  const answer = answerOf(run === ran0 ? null : run);
  $("answer").replaceChildren(...answer.map((doc, at) => {
    const before = view.answered.indexOf(doc), document_ = view.documents[doc];
    const ranks = run.map((stage) => [stage.name, stage.out.indexOf(doc) + 1]).filter(([, rank]) => rank > 0);
    const item = make("li", { "data-doc": doc, class: doc === chosen ? "chosen" : null },
      make("button", { type: "button", dir: "auto", onclick: () => { choose(doc); bring(); } }, view.ids[doc]));
    if (run !== ran0 && before !== at) {
      const moved = before < 0 ? "new" : before > at ? `up ${before - at}` : `down ${at - before}`;
      item.append(make("span", { class: `moved ${before < 0 || before > at ? "good" : "bad"}` }, moved));
    }
    item.append(make("span", { class: "ranks" }, ...ranks.flatMap(([name, rank], place) =>
      [place ? " → " : "", make("span", {}, `${name} ${number(rank, 0)}`)])));
    if (document_) item.append(...passage(document_.text));
    return item;
  }));
}

// Its first lines, and the whole where asked for.
function passage(text) {
  const shown = make("p", { dir: "auto" }, ...marked(text));
  if (text.length <= 160) return [shown];
  const button = make("button", { type: "button", class: "more", "aria-expanded": "false", onclick: () => {
    const whole = shown.classList.toggle("whole");
    button.textContent = whole ? "Less" : "More";
    button.setAttribute("aria-expanded", String(whole));
  } }, "More");
  return [shown, make("div", {}, button)];
}

// Where the screen does not show the drawing beside the answer, go there.
function bring() {
  const smooth = matchMedia("(prefers-reduced-motion: no-preference)").matches;
  $("flow-section").scrollIntoView({ block: "nearest", behavior: smooth ? "smooth" : "auto" });
}

// -- sliders ---------------------------------------------------------------------------------

let ran0 = null, settings = [];

function showTurn() {
  const stop = obstacle(), form = $("turn");
  form.replaceChildren();
  $("turned").textContent = "";
  $("turn-section").hidden = view.stages.length === 0;
  if (stop) {
    const why = adaptive(stop) ? "reads as much as each question needs" : "does more than score and cut";
    $("turn-hint").textContent = `${stop.name} ${why}, so what follows it cannot be computed from recorded scores.`;
    return;
  }
  settings = view.stages.map((stage) => ({ ...stage.settings }));
  view.stages.forEach((stage, at) => {
    if (ended(stage)) return;
    const knobs = [];
    if (at > 0 && scores(stage)) knobs.push(["blend", "weight of its score", 0, 1, .01]);
    if (stage.settings.depth !== undefined) knobs.push(["depth", "candidates read", 1, Math.max(stage.n_in, 1), 1]);
    const most = stage.out.length + stage.dropped.reduce((sum, each) => sum + each.ids.length, 0);
    if (stage.settings.k !== undefined) knobs.push(["k", "passes on", 1, Math.max(most, 1), 1]);
    if (!knobs.length) return;
    form.append(make("fieldset", {}, make("legend", {}, stage.name), ...knobs.map(([name, words, min, max, step]) => {
      const value = Math.min(settings[at][name], max), shown = make("output", {}, String(value));
      const slider = make("input", { type: "range", min, max, step, value, "aria-label": `${stage.name}: ${words}`,
        "data-stage": stage.name, "data-option": name,
        oninput: () => { settings[at][name] = Number(slider.value); shown.textContent = slider.value; turn(); } });
      return make("label", {}, make("span", {}, `${words} (${name})`), slider, shown);
    })));
  });
  form.append(make("button", { type: "button", onclick: () => { showTurn(); show(ran0); } }, "As it was"));
}

function turn() {
  const run = replay(settings);
  $("told").textContent = "";
  show(run);
  const now = answerOf(run), left = view.answered.filter((doc) => !now.includes(doc));
  const entered = now.filter((doc) => !view.answered.includes(doc));
  const words = entered.length || left.length
    ? ["In: ", ...listed(entered), ". Out: ", ...listed(left), "."]
    : [now.every((doc, at) => doc === view.answered[at]) ? "The same answer." : "The same documents in another order."];
  const unread = run.filter((stage) => stage.unread).map((stage) => ` ${plural(stage.unread, "candidate")} never read by ${stage.name} stay below.`);
  $("turned").replaceChildren(...words, ...unread);
}

// -- the page --------------------------------------------------------------------------------

function show(run) {
  ran = run;
  showFlow(run);
  showAnswer(run);
  if (chosen !== null) tip();
}

function open(found) {
  view = found;
  chosen = null;
  ran0 = recorded();
  $("main").hidden = false;
  $("tip").textContent = $("told").textContent = "";
  $("known").replaceChildren(...view.ids.slice(0, 2000).map((id) => make("option", { value: id })));
  showState();
  showStages();
  showTurn();
  show(ran0);
}

for (const moved of ["pointermove", "pointerdown"]) $("flow").addEventListener(moved, (event) => {
  const doc = nearest(event);
  $("flow").style.cursor = doc === null ? "" : "pointer";
  if (doc !== null && doc !== chosen) choose(doc);
});
new ResizeObserver(() => {
  const there = $("flow").parentElement.clientWidth;
  if (ran !== null && there && there !== wide) showFlow(ran);
}).observe($("flow").parentElement);
$("why").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = $("id").value.trim(), doc = view.ids.indexOf(id);
  $("told").replaceChildren(...begun(id, doc >= 0 ? why(doc, ran)
    : `${id} was not recalled by ${view.stages[0]?.name ?? "any stage"}, or there is no such document.`));
  if (doc >= 0) choose(doc);
});

async function ask(event) {
  event.preventDefault();
  const body = { query: $("query").value, k: Number($("wanted").value) || 10 };
  if ($("deadline").value) body.deadline = Number($("deadline").value) / 1000;
  $("state").textContent = "Searching…";
  try {
    const headers = { "content-type": "application/json" };
    if ($("key").value) headers.authorization = `Bearer ${$("key").value}`;
    const answer = await fetch("trace", { method: "POST", headers, body: JSON.stringify(body) });
    const found = await answer.json();
    if (answer.status === 401) {
      $("locked").hidden = false;
      $("key").focus();
    }
    if (!answer.ok) throw new Error(found.message ?? `the server answered ${answer.status}`);
    open(found);
  } catch (error) {
    $("main").hidden = true;
    $("state").replaceChildren(make("span", { class: "bad" }, `No answer: ${error.message}`));
  }
}

// A server without a corpus: what it takes instead of a search.
function tell({ locked }) {
  $("reranks").hidden = false;
  const body = JSON.stringify({ query: "how do I rotate the logs?",
    documents: ["The cat is fed at noon.", "Rotate them with logrotate -f."] });
  $("example").textContent = [`curl ${new URL("v2/rerank", location.href).href} \\`,
    ...(locked ? ['  -H "Authorization: Bearer $STEPWELL_SERVE_KEY" \\'] : []),
    "  -H 'Content-Type: application/json' \\", `  -d '${body}'`].join("\n");
}

const data = JSON.parse($("data").textContent);
if (data === null) {
  $("ask").hidden = false;
  $("ask").addEventListener("submit", ask);
  $("query").focus();
} else if (data.reranks !== undefined) tell(data.reranks);
else open(data);
