// The live monitor of one run. It draws what Python sends (trait `run`, messages of log lines) and sends wishes back.
// Text reaches the page as text nodes only: a name or a log line is never markup.

const ICONS = {
  Scheduled: "◷", Late: "◷", AwaitingRetry: "↻", Pending: "○", Submitting: "○", Running: "●", Retrying: "↻",
  Completed: "✔", Cached: "≡", Failed: "✖", TimedOut: "⏱", Crashed: "⚡", Cancelling: "⊘", Cancelled: "⊘",
  Paused: "‖", Suspended: "‖", NotRun: "–",
};
const ENDED = ["Completed", "Cached", "Failed", "TimedOut", "Crashed", "Cancelled"];
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const KEPT_LINES = 5000;

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function duration(seconds) {
  if (seconds === null || seconds < 0) return "";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function span(start, end, now) {
  if (!start) return null;
  return Math.max(0, ((end ? Date.parse(end) : now) - Date.parse(start)) / 1000);
}

function copyButton(text) {
  return element("button", { class: "millrace-button", type: "button", async onclick(event) {
    const button = event.currentTarget;
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } }, "Copy");
}

// What an artifact may be made of. Python sends trees; whatever else stands in one is shown as its text.
const TAGS = new Set(("div span p h1 h2 h3 h4 h5 h6 ul ol li strong em s code pre blockquote hr br a img "
  + "table thead tbody tr th td").split(" "));
const WEB = /^https?:\/\/\S+$/i;
const PICTURE = /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/i;

function build(tree) {
  if (!Array.isArray(tree)) return document.createTextNode(String(tree ?? ""));
  const [tag, attributes, ...children] = tree;
  const inner = children.map(build);
  if (!TAGS.has(tag)) return element("span", {}, ...inner);
  if (tag === "img") {
    const source = String(attributes.src || "");
    if (!WEB.test(source) && !PICTURE.test(source)) return document.createTextNode(String(attributes.alt || ""));
    return element("img", { src: source, alt: String(attributes.alt || ""), referrerpolicy: "no-referrer" });
  }
  if (tag === "a" && WEB.test(String(attributes.href || ""))) {
    return element("a", { href: attributes.href, target: "_blank", rel: "noopener noreferrer" }, ...inner);
  }
  return element(tag === "a" ? "span" : tag, {}, ...inner);
}

const clock = (text) => new Date(text).toLocaleTimeString([], { hour12: false });

function render({ model, el }) {
  const title = element("span", { class: "millrace-title" });
  const chip = element("span", { class: "millrace-chip" });
  const meta = element("span", { class: "millrace-dim" });
  const cancel = element("button", { class: "millrace-button", type: "button", onclick: askCancel }, "Cancel run");
  const cause = element("div", { class: "millrace-cause", role: "alert", hidden: "" });
  const waiting = element("div", { class: "millrace-waiting", hidden: "" });
  const pause = element("form", { class: "millrace-pause", hidden: "", onsubmit: askResume });
  const bar = element("div", { class: "millrace-bar", role: "progressbar", "aria-label": "finished" }, element("div"));
  const counts = element("div", { class: "millrace-dim millrace-counts" });
  const rows = element("div", { class: "millrace-rows", role: "list" });
  const rowsTitle = element("summary", {}, "Tasks");
  const artifacts = element("div", { class: "millrace-artifacts", role: "list" });
  const artifactsTitle = element("summary", {}, "Artifacts");
  const level = element("select", { class: "millrace-select", "aria-label": "Lowest level shown" },
    ...LEVELS.slice(0, 4).map((name) => element("option", { value: name }, name)));
  const log = element("div", { class: "millrace-log", role: "log", "aria-live": "off", "aria-label": "Log", tabindex: "0" });
  const note = element("div", { class: "millrace-dim millrace-note" });
  const spoken = element("span", { class: "millrace-spoken", role: "status", "aria-live": "polite" });
  const empty = element("div", { class: "millrace-dim" }, "No lines yet.");
  log.append(empty);
  level.value = "INFO";
  el.classList.add("millrace-monitor");
  el.append(
    element("div", { class: "millrace-head" }, title, chip, meta, element("span", { class: "millrace-grow" }), cancel),
    cause, waiting, pause, bar, counts,
    element("details", { open: "" }, rowsTitle, rows),
    element("details", { open: "", hidden: "" }, artifactsTitle, artifacts),
    element("div", { class: "millrace-loghead" }, element("b", {}, "Log"), level),
    log, note, spoken,
  );
  // Plain keys typed here must not reach the notebook, where "d d" deletes the cell.
  el.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && event.key !== "Escape" && event.key !== "Tab") event.stopPropagation();
  });

  let lastState = "";
  let seen = 0;
  let heard = Date.now();
  let skew = 0; // the clock here minus the kernel's

  const now = () => Date.now() - skew;

  function send(message) {
    try {
      model.send(message);
      return true;
    } catch {
      note.textContent = `The kernel of this view is gone. See the run again with:  %millrace watch ${model.get("run").id}`;
      return false;
    }
  }

  function askCancel() {
    if (send({ kind: "cancel" })) {
      cancel.disabled = true;
      cancel.textContent = "Cancelling…";
    }
  }

  // -- a pause: what it asks for, by kind of field, and the way on

  const HINTS = { integer: "a whole number", number: "a number", date: "2026-11-21", datetime: "2026-11-21T09:00:00+01:00",
    lines: "one a line", json: "JSON" };
  let inputs = new Map();

  function control(field) {
    if (field.kind === "boolean") {
      const box = element("input", { type: "checkbox" });
      box.checked = Boolean(field.value);
      return box;
    }
    if (field.kind === "choice") {
      const options = field.choices.map((text, place) => element("option", { value: String(place) }, text));
      const list = element("select", { class: "millrace-select" }, element("option", { value: "" }, "not set"), ...options);
      list.value = field.value;
      return list;
    }
    const long = field.kind === "lines" || field.kind === "json";
    const made = element(long ? "textarea" : "input", { placeholder: HINTS[field.kind] || "",
      ...(long ? { rows: "3" } : { type: field.kind === "password" ? "password" : "text", autocomplete: "off" }) });
    made.value = field.value ?? "";
    return made;
  }

  function drawPause(run) {
    const known = run.pause ? JSON.stringify([run.pause, run.state]) : "";
    pause.hidden = !run.pause;
    if (pause.dataset.known === known) return; // what is being typed stays
    pause.dataset.known = known;
    pause.replaceChildren();
    inputs = new Map();
    if (!run.pause) return;
    const said = element("div", { class: "millrace-odd" }, `‖ ${run.state}: waits until somebody resumes it. `,
      element("span", { class: "millrace-limit" }));
    pause.append(said);
    if (run.pause.about) pause.append(element("div", { class: "millrace-about" }, run.pause.about));
    run.pause.fields.forEach((field, place) => {
      const id = `millrace-${run.id}-${place}`;
      const input = control(field);
      const problem = element("span", { class: "millrace-problem", role: "alert", id: `${id}-problem` });
      input.id = id;
      input.setAttribute("aria-describedby", `${id}-problem`);
      if (field.required) input.setAttribute("aria-required", "true");
      inputs.set(field.name, [input, problem, field]);
      pause.append(element("div", { class: "millrace-field" },
        element("label", { for: id }, field.label + (field.required ? " *" : "")), input,
        element("span", { class: "millrace-dim" }, field.help), problem));
    });
    const button = element("button", { class: "millrace-button millrace-resume", type: "submit" }, "Resume");
    const refused = element("span", { class: "millrace-problem millrace-refused", role: "alert" });
    pause.append(element("div", { class: "millrace-turn" }, button, refused));
  }

  function drawLimit(run) {
    const place = pause.querySelector(".millrace-limit");
    if (!place || !run.pause) return;
    if (!run.pause.until) place.textContent = "It waits for ever.";
    else {
      const left = (Date.parse(run.pause.until) - now()) / 1000;
      place.textContent = left > 0 ? `It fails in ${duration(left)}, at ${clock(run.pause.until)}, if nobody does.` : "Its time is over.";
    }
  }

  function askResume(event) {
    event.preventDefault();
    const values = {};
    for (const [name, [input, problem]] of inputs) {
      values[name] = input.type === "checkbox" ? input.checked : input.value;
      problem.textContent = "";
      input.removeAttribute("aria-invalid");
    }
    pause.querySelector(".millrace-refused").textContent = "";
    if (send({ kind: "resume", values })) {
      const button = pause.querySelector(".millrace-resume");
      button.disabled = true;
      button.textContent = "Resuming…";
    }
  }

  function drawRefusal() {
    const refusal = model.get("refusal") || {};
    const button = pause.querySelector(".millrace-resume");
    if (!button || !refusal.number) return;
    button.disabled = false;
    button.textContent = "Resume";
    pause.querySelector(".millrace-refused").textContent = refusal.text || "";
    let first = null;
    for (const [name, text] of Object.entries(refusal.problems || {})) {
      const [input, problem] = inputs.get(name) || [];
      if (!input) continue;
      problem.textContent = `✖ ${text}`;
      input.setAttribute("aria-invalid", "true");
      first = first || input;
    }
    if (first) first.focus();
  }

  function drawRow(row, first, whole) {
    const seconds = span(row.start, row.end, now());
    const bar = element("span", { class: "millrace-track" });
    if (row.start) {
      const left = (100 * (Date.parse(row.start) - first)) / whole;
      const width = (100 * seconds * 1000) / whole;
      const part = element("span", { class: "millrace-part", "data-state": row.state });
      part.style.left = `${Math.min(99, Math.max(0, left))}%`;
      part.style.width = `max(3px, ${Math.min(100 - left, width)}%)`;
      bar.append(part);
    }
    const name = row.name + (row.tries > 1 ? ` (try ${row.tries})` : "");
    const time = seconds === null ? "" : duration(seconds);
    const icon = element("span", { class: "millrace-icon", "data-state": row.state, "aria-hidden": "true" },
      ICONS[row.state] || "?");
    const line = element("div", { class: "millrace-row", role: "listitem", "aria-label": `${name}, ${row.state}, ${time}` },
      element("span", { class: "millrace-name", title: name }, icon, ` ${name}`),
      bar, element("span", { class: "millrace-dim millrace-time" }, time));
    if (row.detail) line.append(element("span", { class: "millrace-detail" }, row.detail));
    return line;
  }

  function drawRows(run) {
    const first = run.start ? Date.parse(run.start) : now();
    const whole = Math.max(50, (run.end ? Date.parse(run.end) : now()) - first);
    rows.replaceChildren(...run.rows.map((row) => drawRow(row, first, whole)));
    if (run.hidden) rows.prepend(element("div", { class: "millrace-dim" }, `${run.hidden} older ones not shown`));
  }

  const bars = new Map();

  function drawArtifacts() {
    const found = model.get("artifacts") || [];
    artifacts.parentElement.hidden = found.length === 0;
    artifactsTitle.textContent = `Artifacts (${found.length})`;
    bars.clear();
    artifacts.replaceChildren(...found.map((one) => {
      const head = element("div", {}, element("b", {}, one.title), " ",
        element("span", { class: "millrace-dim" }, one.type));
      const part = element("div", { class: "millrace-artifact", role: "listitem" }, head);
      if (one.description) part.append(build(one.description));
      if (one.type === "progress") {
        const full = element("div");
        const track = element("div", { class: "millrace-bar", role: "progressbar", "aria-label": one.title,
          "aria-valuemin": "0", "aria-valuemax": "100" }, full);
        const label = element("span", { class: "millrace-dim" });
        part.append(element("div", { class: "millrace-progress" }, track, label));
        bars.set(one.id, [track, full, label]);
      } else part.append(build(one.body));
      return part;
    }));
    moveBars();
  }

  function moveBars() {
    for (const [id, [track, full, label]] of bars) {
      const value = Math.min(100, Math.max(0, Number(model.get("progress")[id]) || 0));
      track.setAttribute("aria-valuenow", String(value));
      full.style.width = `${value}%`;
      full.dataset.state = value >= 100 ? "Completed" : "Running";
      label.textContent = `${Number(value.toPrecision(4))} %`;
    }
  }

  function drawWaiting(run) {
    const text = `${run.waiting} ${run.command}`;
    waiting.hidden = !run.waiting;
    if (waiting.dataset.text === text) return; // a button that is redrawn loses the focus
    waiting.dataset.text = text;
    waiting.replaceChildren(`◷ ${run.waiting} `);
    if (run.command) waiting.append("In a terminal:  ", element("code", {}, run.command), " ", copyButton(run.command));
  }

  function draw() {
    const run = model.get("run");
    if (!run.id) return;
    title.textContent = `${run.flow} / ${run.name}`;
    chip.textContent = `${ICONS[run.state] || "?"} ${run.state}`;
    chip.dataset.state = run.state;
    cancel.hidden = run.done;
    cause.hidden = !(run.message && ((run.done && run.state !== "Completed") || run.state === "AwaitingRetry"));
    cause.textContent = run.message;
    const total = run.rows.length + run.hidden;
    const ended = ENDED.reduce((sum, name) => sum + (run.counts[name] || 0), 0);
    bar.hidden = total === 0;
    bar.setAttribute("aria-valuemax", String(total));
    bar.setAttribute("aria-valuenow", String(ended));
    bar.firstChild.style.width = `${(100 * ended) / Math.max(1, total)}%`;
    bar.firstChild.dataset.state = run.state;
    const parts = Object.entries(run.counts)
      .map(([name, count]) => `${ICONS[name] || "?"} ${count} ${name === "NotRun" ? "not run" : name.toLowerCase()}`);
    counts.textContent = total ? [`${ended} of ${total}`, ...parts].join("    ") : "";
    rowsTitle.textContent = run.kind === "cell" ? "Cells" : "Tasks";
    rows.parentElement.hidden = total === 0;
    drawRows(run);
    drawWaiting(run);
    drawPause(run);
    if (run.state !== lastState) {
      spoken.textContent = `Run ${run.name} is ${run.state}`;
      lastState = run.state;
    }
    tick();
  }

  function tick() {
    const run = model.get("run");
    if (!run.id) return;
    const parts = [];
    if (run.start) parts.push(duration(span(run.start, run.end, now())));
    else if (run.due && !run.done) parts.push(`due ${clock(run.due)}`);
    if (run.attempt > 1) parts.push(`attempt ${run.attempt}`);
    meta.textContent = parts.join(" · ");
    drawLimit(run);
    if (run.done || model.get("trouble")) note.textContent = model.get("trouble") || "";
    else if (Date.now() - heard > 15000) {
      note.textContent = `This view has heard nothing for ${Math.round((Date.now() - heard) / 1000)} s. `
        + `See the run again with:  %millrace watch ${run.id}`;
    } else note.textContent = "";
  }

  function addLines(lines) {
    const fresh = lines.filter((line) => line[0] > seen);
    if (!fresh.length) return;
    const missed = fresh[0][0] - seen - 1;
    seen = fresh[fresh.length - 1][0];
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    const page = document.createDocumentFragment();
    // More came than can be shown: say so rather than pretend.
    if (missed > 0) page.append(element("div", { class: "millrace-dim" }, `… ${missed.toLocaleString()} lines not shown here`));
    for (const [, time, name, text] of fresh) {
      const shown = LEVELS.includes(name) ? name : "INFO";
      page.append(element("div", { class: "millrace-line", "data-level": shown }, `${clock(time)}  ${shown.padEnd(8)} ${text}`));
    }
    empty.remove();
    log.append(page);
    while (log.childElementCount > KEPT_LINES) log.firstElementChild.remove();
    if (follows) log.scrollTop = log.scrollHeight;
  }

  function hear(message) {
    heard = Date.now();
    if (message.kind === "lines") addLines(message.lines);
    if (message.kind === "again" && message.lines[message.lines.length - 1][0] > seen) {
      log.replaceChildren();
      seen = 0;
      addLines(message.lines);
    }
  }

  function drawHeard() {
    heard = Date.now();
    const told = Date.parse(model.get("run").now);
    // Small differences are the way of the message; large ones are another clock.
    if (told) skew = Math.abs(heard - told) > 2000 ? heard - told : 0;
    draw();
  }

  const filter = () => { el.dataset.level = level.value; };
  level.addEventListener("change", filter);
  filter();
  model.on("change:run", drawHeard);
  model.on("change:artifacts", drawArtifacts);
  model.on("change:progress", moveBars);
  model.on("change:refusal", drawRefusal);
  model.on("change:trouble", tick);
  model.on("change:beat", () => { heard = Date.now(); });
  model.on("msg:custom", hear);
  drawHeard();
  drawArtifacts();
  send({ kind: "open" });
  const timer = setInterval(() => {
    const run = model.get("run");
    if (run.done) return;
    if (run.rows.some((row) => row.start && !row.end)) drawRows(run);
    tick();
  }, 250);
  return () => {
    clearInterval(timer);
    model.off("change:run", drawHeard);
    model.off("change:artifacts", drawArtifacts);
    model.off("change:progress", moveBars);
    model.off("change:refusal", drawRefusal);
    model.off("msg:custom", hear);
    try { model.send({ kind: "close" }); } catch { /* the kernel is gone: nobody to tell */ }
  };
}

export default { render };
