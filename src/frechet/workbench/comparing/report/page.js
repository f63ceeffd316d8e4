"use strict";
// Draws the report from the JSON beside it. One state, one `render`; every chart is an SVG made by `chart`.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = 7;
  const DASHES = ["", "7 4", "1.5 4", "10 4 1.5 4", "3.5 3"];
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const finite = (v) => v !== null && Number.isFinite(v);

  const state = {
    up: data.heights.find((h) => hasData(h.key)).key,
    across: data.measures[0].key,
    scale: "log",
    goal: 0,
    measure: 0,
    hidden: new Set(),
    focus: null,
  };

  function drawn(problem, key) {
    return data.curves[problem].some((s) => s.some((run) => (run[key] || []).some(finite)));
  }
  function hasData(key) {
    return data.problems.some((_, p) => drawn(p, key)) || key === "objective" || key === "own";
  }
  // What a problem's panel shows: what was asked for, or what the problem is judged by if it has none of that.
  const heightOf = (problem) => (drawn(problem, state.up) ? state.up : data.problems[problem].height);

  // ---- words -------------------------------------------------------------------------------------------
  const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const power = (k) => (k === 0 ? "1" : k === 1 ? "10" : "10" + [...String(k)].map((c) => SUPERSCRIPT[c]).join(""));

  function number(v) {
    if (!finite(v)) return "–";
    if (v === 0) return "0";
    const size = Math.abs(v);
    if (size >= 1e5 || size < 1e-3) {
      const [mantissa, exponent] = v.toExponential(1).split("e");
      return `${mantissa}·10${[...String(Number(exponent))].map((c) => SUPERSCRIPT[c]).join("")}`;
    }
    return Number.isInteger(v) ? v.toLocaleString("en") : String(Number(v.toPrecision(4)));
  }

  function seconds(v) {
    if (!finite(v)) return "–";
    for (const [unit, factor] of [["s", 1], ["ms", 1e3], ["µs", 1e6]]) {
      const value = v * factor;
      if (value >= 1 || unit === "µs") return `${value >= 100 ? Math.round(value) : Number(value.toPrecision(2))} ${unit}`;
    }
  }

  const capital = (text) => text[0].toUpperCase() + text.slice(1);
  const spent = (key, v) => (key === "seconds" ? seconds(v) : finite(v) ? Math.round(v).toLocaleString("en") : "–");
  const measureLabel = (key) => data.measures.find((m) => m.key === key).label;
  const axisLabel = (key) => (key === "seconds" ? "run time (s)" : measureLabel(key));
  const heightLabel = (problem) => {
    const height = data.heights.find((h) => h.key === heightOf(problem));
    if (height.key !== "gap") return height.label;
    return !data.problems[problem].feasible ? "gap or violation, as a fraction of the start’s" : "gap, as a fraction of the start’s";
  };

  // ---- a solver's mark: colour by place, dash by round of colours ----------------------------------------
  const colour = (s) => `var(--s${data.solvers[s].place % COLOURS})`;
  const dash = (s) => DASHES[Math.floor(data.solvers[s].place / COLOURS) % DASHES.length];

  function svg(tag, attributes, parent) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) if (value !== "") node.setAttribute(key, value);
    if (parent) parent.append(node);
    return node;
  }

  function html(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function swatch(s, node = html("i", { class: "swatch" })) {
    const box = svg("svg", { width: 22, height: 8, "aria-hidden": "true" });
    const line = svg("line", { x1: 1, x2: 21, y1: 4, y2: 4, "stroke-width": 2.6, "stroke-linecap": "round", "stroke-dasharray": dash(s) }, box);
    line.style.stroke = colour(s);
    node.replaceChildren(box);
    return node;
  }

  // ---- curves: median and spread over seeds ----------------------------------------------------------------
  function interpolate(xs, ys, x, bend) {
    if (x <= xs[0]) return ys[0];
    const last = xs.length - 1;
    if (x >= xs[last]) return ys[last];
    let low = 0, high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] <= x) low = middle; else high = middle;
    }
    if (xs[high] === xs[low]) return ys[high];
    const t = (x - xs[low]) / (xs[high] - xs[low]);
    return bend.back(bend.to(ys[low]) + t * (bend.to(ys[high]) - bend.to(ys[low])));
  }

  const LINEAR = { to: (v) => v, back: (v) => v };
  const LOG = { to: Math.log10, back: (v) => 10 ** v };
  const quantile = (sorted) => (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;

  function series(problem, s, key, logUp) {
    const runs = data.curves[problem][s]
      .map((run) => {
        const points = (run[state.across] || []).map((x, i) => [x, (run[key] || [])[i]]);
        const kept = points.filter(([x, y]) => finite(x) && finite(y) && (!logUp || y > 0));
        return { xs: kept.map((p) => p[0]), ys: kept.map((p) => p[1]) };
      })
      .filter((run) => run.xs.length);
    if (!runs.length) return null;
    let xs = [...new Set(runs.flatMap((run) => run.xs))].sort((a, b) => a - b);
    const stride = Math.ceil(xs.length / 300);
    xs = xs.filter((_, i) => i % stride === 0 || i === xs.length - 1);
    const points = [], band = [];
    for (const x of xs) {
      const values = runs.map((run) => interpolate(run.xs, run.ys, x, logUp ? LOG : LINEAR)).sort((a, b) => a - b);
      points.push([x, quantile(values)]);
      band.push([x, values[0], values[values.length - 1]]);
    }
    const end = data.ends[problem][s];
    return { s, points, band: runs.length > 1 ? band : null, met: end !== null && end.met };
  }

  // ---- one chart ---------------------------------------------------------------------------------------
  function ticks(low, high, log, count) {
    if (log) {
      const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
      const stride = Math.max(1, Math.ceil((last - first + 1) / count));
      const out = [];
      for (let k = last; k >= first; k -= stride) out.push(10 ** k);
      if (out.length >= 2) return out;
      const fine = [];
      for (let k = first - 1; k <= last; k++) for (const m of [1, 2, 5]) fine.push(m * 10 ** k);
      return fine.filter((v) => v >= low * 0.999 && v <= high * 1.001);
    }
    const raw = (high - low) / count, unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * unit).find((v) => v >= raw);
    const out = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) out.push(Math.abs(v) < step * 1e-9 ? 0 : v);
    return out;
  }

  function tickLabel(v, log) {
    const k = Math.log10(v);
    if (log && Math.abs(k - Math.round(k)) < 1e-9 && (v >= 1e4 || v <= 1e-2)) return power(Math.round(k));
    return number(v);
  }

  function span(values, log, pad) {
    let low = Math.min(...values), high = Math.max(...values);
    if (log) {
      if (high / low < 1.5) { low /= 2; high *= 2; }
      const extra = (high / low) ** pad;
      return [low / extra, high * extra];
    }
    if (high === low) { low -= Math.abs(low) / 2 || 1; high += Math.abs(high) / 2 || 1; }
    return [low - (high - low) * pad, high + (high - low) * pad];
  }

  function chart(plot, lines, options) {
    plot.replaceChildren();
    if (!lines.length) {
      plot.append(html("div", { class: "empty" }, options.empty));
      return;
    }
    const width = plot.clientWidth, height = plot.clientHeight;
    const margin = { left: 48, right: options.names && width > 420 ? 60 : 12, top: 14, bottom: 40 };
    const xs = lines.flatMap((l) => l.points.map((p) => p[0]));
    const ys = lines.flatMap((l) => (l.band ? l.band.flatMap((b) => [b[1], b[2]]) : l.points.map((p) => p[1])));
    if (options.rule) ys.push(options.rule.y);
    const logX = options.logX && xs.some((x) => x > 0);
    const positive = xs.filter((x) => x > 0);
    const [x0, x1] = options.xSpan || (logX ? span(positive, true, 0.03) : [Math.min(...xs), Math.max(...xs) || 1]);
    // One solver's excursion far above the start would flatten all the others.
    const ceiling = options.logY ? 100 * Math.max(...lines.map((l) => l.points[0][1])) : Infinity;
    const [y0, y1] = options.ySpan || span(ys.map((y) => Math.min(y, ceiling)), options.logY, 0.05);
    const bendX = logX ? LOG : LINEAR, bendY = options.logY ? LOG : LINEAR;
    const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
    const scale = (bend, a, b, from, to) => (v) => from + ((bend.to(clamp(v, a, b)) - bend.to(a)) / (bend.to(b) - bend.to(a))) * (to - from);
    const X = scale(bendX, x0, x1, margin.left, width - margin.right);
    const Y = scale(bendY, y0, y1, height - margin.bottom, margin.top);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.title }, plot);

    for (const v of ticks(y0, y1, options.logY, 6)) {
      svg("line", { class: "gridline", x1: margin.left, x2: width - margin.right, y1: Y(v), y2: Y(v) }, root);
      svg("text", { x: margin.left - 8, y: Y(v) + 4, "text-anchor": "end" }, root).textContent = options.yText ? options.yText(v) : tickLabel(v, options.logY);
    }
    svg("line", { class: "base", x1: margin.left, x2: width - margin.right, y1: height - margin.bottom, y2: height - margin.bottom }, root);
    for (const v of ticks(x0, x1, logX, Math.max(3, Math.floor(width / 95)))) {
      svg("text", { x: X(v), y: height - margin.bottom + 16, "text-anchor": "middle" }, root).textContent = options.xText ? options.xText(v) : tickLabel(v, logX);
    }
    svg("text", { x: margin.left, y: height - 5 }, root).textContent = options.xLabel;
    svg("text", { x: margin.left, y: margin.top - 5, class: "ylabel" }, root).textContent = options.yLabel;

    if (options.rule) {
      svg("line", { class: "rule", x1: margin.left, x2: width - margin.right, y1: Y(options.rule.y), y2: Y(options.rule.y) }, root);
      svg("text", { class: "ruled", x: margin.left + 4, y: Y(options.rule.y) + (Y(options.rule.y) < margin.top + 24 ? 13 : -5) }, root).textContent = options.rule.label;
    }

    const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("");
    const faded = (s) => (state.focus !== null && state.focus !== s ? " faded" : "");
    for (const line of lines) {
      if (!line.band) continue;
      const up = line.band.map(([x, , b]) => [x, b]), down = line.band.map(([x, a]) => [x, a]).reverse();
      svg("path", { class: "band" + faded(line.s), d: path([...up, ...down]) + "Z", "data-solver": line.s }, root).style.fill = colour(line.s);
    }
    // The best ranked is drawn last, on top.
    for (const line of [...lines].sort((a, b) => data.solvers[b.s].place - data.solvers[a.s].place)) {
      const points = options.steps ? line.points.flatMap(([x, y], i) => (i ? [[x, line.points[i - 1][1]], [x, y]] : [[x, y]])) : line.points;
      const drawn = svg("path", { class: "line" + faded(line.s), d: path(points), "stroke-dasharray": dash(line.s), "data-solver": line.s }, root);
      drawn.style.stroke = colour(line.s);
      if (options.steps) continue;
      const [x, y] = line.points[line.points.length - 1];
      const dot = svg("circle", { cx: X(x), cy: Y(y), r: 3, "stroke-width": 1.6, class: faded(line.s).trim() }, root);
      dot.style.stroke = colour(line.s);
      dot.style.fill = line.met ? colour(line.s) : "var(--surface)";
    }
    if (options.names && width > 420) names(root, lines, X, Y, width, height, margin);
    hover(plot, root, lines, { X, Y, x0, x1, bendX, margin, width, height }, options);
  }

  // Names beside curves, where they cover neither a curve nor another name; the chips name them all.
  function names(root, lines, X, Y, width, height, margin) {
    const drawn = new Map(lines.map((line) => [line.s, along(line.points.map(([x, y]) => [X(x), Y(y)]))]));
    const dots = [...drawn.values()].flat();
    const taken = [];
    const overlap = (a, b) => a.left < b.right && a.right > b.left && a.top < b.bottom && a.bottom > b.top;
    for (const line of [...lines].sort((a, b) => data.solvers[a.s].place - data.solvers[b.s].place)) {
      const text = data.solvers[line.s].name, long = text.length * 6.9 + 4, path = drawn.get(line.s);
      const boxes = [1, 0.85, 0.7, 0.55, 0.4, 0.25].flatMap((part) => {
        const [x, y] = path[Math.floor(part * (path.length - 1))];
        return [x + 7, x - 7 - long].map((left) => ({ left, right: left + long, top: y - 8, bottom: y + 8 }));
      });
      const box = boxes.find((b) =>
        b.left > margin.left + 2 && b.right < width && b.top > margin.top && b.bottom < height - margin.bottom + 8 &&
        !taken.some((t) => overlap(t, b)) &&
        !dots.some(([x, y]) => x > b.left - 3 && x < b.right + 3 && y > b.top - 1 && y < b.bottom + 1));
      if (!box) continue;
      taken.push(box);
      const faded = state.focus !== null && state.focus !== line.s ? " faded" : "";
      const label = svg("text", { class: "name" + faded, x: box.left + 2, y: box.top + 12 }, root);
      label.textContent = text;
      label.style.fill = colour(line.s);
    }
  }

  // Points every few pixels along a path.
  function along(path) {
    const out = [path[0]];
    for (let i = 1; i < path.length; i++) {
      const [[x0, y0], [x1, y1]] = [path[i - 1], path[i]];
      const pieces = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / 5));
      for (let k = 1; k <= pieces; k++) out.push([x0 + ((x1 - x0) * k) / pieces, y0 + ((y1 - y0) * k) / pieces]);
    }
    return out;
  }

  function hover(plot, root, lines, frame, options) {
    const cross = svg("line", { class: "cross", y1: frame.margin.top, y2: frame.height - frame.margin.bottom, visibility: "hidden" }, root);
    const tip = html("div", { class: "tip", hidden: "" });
    plot.append(tip);
    const leave = () => { tip.hidden = true; cross.setAttribute("visibility", "hidden"); };
    root.onpointerleave = leave;
    root.onpointermove = (event) => {
      const box = root.getBoundingClientRect();
      const at = (event.clientX - box.left) * (frame.width / box.width);
      if (at < frame.margin.left || at > frame.width - frame.margin.right) return leave();
      const part = (at - frame.margin.left) / (frame.width - frame.margin.right - frame.margin.left);
      const x = frame.bendX.back(frame.bendX.to(frame.x0) + part * (frame.bendX.to(frame.x1) - frame.bendX.to(frame.x0)));
      const rows = lines
        .map((line) => ({ s: line.s, y: options.steps ? stepAt(line.points, x) : interpolate(line.points.map((p) => p[0]), line.points.map((p) => p[1]), x, options.logY ? LOG : LINEAR) }))
        .sort((a, b) => (options.steps ? b.y - a.y : a.y - b.y));
      const shown = rows.slice(0, 9).map((row) => html("div", {}, swatch(row.s), html("span", {}, data.solvers[row.s].name), html("span", {}, options.value(row.y))));
      tip.replaceChildren(html("b", {}, options.at(x)), ...shown);
      if (rows.length > 9) tip.append(html("div", {}, html("span", {}, `and ${rows.length - 9} more`)));
      tip.hidden = false;
      cross.setAttribute("visibility", "visible");
      cross.setAttribute("x1", at);
      cross.setAttribute("x2", at);
      const right = at + 14 + tip.offsetWidth > plot.clientWidth;
      tip.style.left = `${Math.max(0, right ? at - 14 - tip.offsetWidth : at + 14)}px`;
      tip.style.top = "6px";
    };
  }

  function stepAt(points, x) {
    let y = points[0][1];
    for (const [px, py] of points) if (px <= x) y = py;
    return y;
  }

  // ---- the parts of the page -----------------------------------------------------------------------------
  const visible = () => data.solvers.map((_, s) => s).filter((s) => !state.hidden.has(s));

  function drawPanel(figure) {
    const problem = Number(figure.dataset.panel), key = heightOf(problem), { target } = data.problems[problem];
    let logY = data.heights.find((h) => h.key === key).log;
    if (!logY) {
      const values = visible().flatMap((s) => data.curves[problem][s].flatMap((run) => (run[key] || []).filter(finite)));
      logY = values.length > 0 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 50;
    }
    const lines = visible().map((s) => series(problem, s, key, logY)).filter((l) => l !== null);
    chart(find(".plot", figure), lines, {
      title: `${data.problems[problem].name}: ${heightLabel(problem)} against ${axisLabel(state.across)}`,
      logX: state.scale === "log", logY, names: true,
      xLabel: axisLabel(state.across), yLabel: heightLabel(problem),
      rule: target && target.key === key && finite(target.value) ? { y: target.value, label: "target" } : null,
      at: (x) => (state.across === "seconds" ? `after ${seconds(x)}` : `after ${spent("", x)} ${measureLabel(state.across)}`),
      value: number, empty: "Nothing to draw on these axes.",
    });
  }

  function drawProfile() {
    const score = data.scores[state.goal][state.measure], problems = data.problems.length;
    const best = data.problems.map((_, p) => Math.min(...score.costs.map((row) => (row[p] === null ? Infinity : row[p]))));
    const lines = [];
    let most = 2;
    for (const s of visible()) {
      const ratio = score.costs[s].map((c, p) => (c === null ? Infinity : c === best[p] ? 1 : c / Math.max(best[p], 1e-300))).filter(Number.isFinite).sort((a, b) => a - b);
      if (!ratio.length) continue;
      most = Math.max(most, Math.min(ratio[ratio.length - 1], 1e9));
      lines.push({ s, points: [[1, ratio.filter((r) => r <= 1).length / problems], ...ratio.map((r, i) => [r, (i + 1) / problems])] });
    }
    for (const line of lines) line.points.push([most * 1.25, line.points[line.points.length - 1][1]]);
    chart(find("#profile .plot"), lines, {
      title: "Performance profile", steps: true, logX: true, logY: false, xSpan: [1, most * 1.25], ySpan: [0, 1.03],
      xLabel: `times the best solver’s ${measureLabel(data.measures[state.measure].key)}`, yLabel: "fraction of problems",
      yText: (v) => `${Math.round(v * 100)} %`, xText: (v) => `${number(v)}×`,
      at: (x) => `within ${number(Number(x.toPrecision(2)))}× of the best`, value: (y) => `${Math.round(y * 100)} %`,
      empty: `No solver got to a ${data.goals[state.goal]}.`,
    });
  }

  function cell(text, key, classes = "number", extra = null) {
    const node = html("td", { class: classes, "data-key": key === null || Number.isNaN(key) ? "" : key }, text);
    if (extra) node.append(html("small", {}, extra));
    return node;
  }

  function nameCell(s) {
    const node = html("td", { "data-key": data.solvers[s].name.toLowerCase(), "data-text": "" }, swatch(s), data.solvers[s].name);
    return node;
  }

  function fill(table, heads, rows) {
    const sorted = table.dataset.sort, direction = table.dataset.direction;
    const head = html("tr", {}, ...heads.map(([text, classes], i) => {
      const th = html("th", { class: classes, tabindex: "0", scope: "col" }, text);
      const sort = () => sortBy(table, i, th.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
      th.onclick = sort;
      th.onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); } };
      return th;
    }));
    table.replaceChildren(html("thead", {}, head), html("tbody", {}, ...rows.map((cells) => html("tr", {}, ...cells))));
    if (sorted !== undefined && Number(sorted) < heads.length) sortBy(table, Number(sorted), direction);
  }

  function sortBy(table, column, direction) {
    table.dataset.sort = column;
    table.dataset.direction = direction;
    all("th", table).forEach((th, i) => { if (i === column) th.setAttribute("aria-sort", direction); else th.removeAttribute("aria-sort"); });
    const body = find("tbody", table), sign = direction === "ascending" ? 1 : -1;
    const key = (row) => row.children[column].dataset;
    const compare = (a, b) => {
      const [ka, kb] = [key(a), key(b)];
      if (ka.key === "" || kb.key === "") return (ka.key === "") - (kb.key === "");
      return sign * ("text" in ka ? ka.key.localeCompare(kb.key) : Number(ka.key) - Number(kb.key));
    };
    body.append(...[...body.children].sort(compare));
  }

  function fillOverall() {
    const score = data.scores[state.goal][state.measure], key = data.measures[state.measure].key;
    const total = data.problems.length, each = total <= 6;
    const best = data.problems.map((_, p) => Math.min(...score.costs.map((row) => (row[p] === null ? Infinity : row[p]))));
    const heads = [["", "number"], ["Solver", ""], ["Solved", "number"], ["Slowdown", "number"]];
    if (each) heads.push(...data.problems.map((p) => [p.name, "number"]));
    fill(find("#overall"), heads, score.ranking.map((rank, i) => {
      const costs = score.costs[rank.solver];
      return [
        cell(String(i + 1), i), nameCell(rank.solver), cell(`${rank.solved}/${data.solvers[rank.solver].tried}`, rank.solved),
        cell(rank.slowdown === null ? "–" : `${number(Number(rank.slowdown.toPrecision(3)))}×`, rank.slowdown),
        ...(each ? costs.map((c, p) => cell(spent(key, c), c, c !== null && c === best[p] ? "number best" : "number")) : []),
      ];
    }));
  }

  // The order of a problem's table: by what the first goal took, then by what the run came to.
  function ranOn(p) {
    const sign = data.problems[p].more ? -1 : 1;
    const time = (s) => { const c = data.scores[state.goal][state.measure].costs[s][p]; return c === null ? 1e300 : c; };
    const final = (s) => { const { trained } = data.ends[p][s]; return trained && finite(trained.final[0]) ? sign * trained.final[0] : 1e300; };
    return data.solvers.map((_, s) => s).filter((s) => data.ends[p][s] !== null)
      .sort((a, b) => time(a) - time(b) || final(a) - final(b) || data.solvers[a].place - data.solvers[b].place);
  }

  function spread(least, most, show) {
    return finite(least) && finite(most) && show(least) !== show(most) ? `${show(least)}–${show(most)}` : null;
  }

  function trainedCells(end) {
    const { final, settings, edge, tried, diverged, state: kept, step, step_seconds } = end.trained;
    const times = (v) => (finite(v) ? `${number(Number(v.toPrecision(2)))}×` : "–");
    return {
      first: [cell(number(final[0]), final[0], "number", spread(final[1], final[2], number))],
      rest: [
        cell(times(kept), kept), cell(seconds(step_seconds), step_seconds, "number", times(step)),
        cell(tried ? `${diverged}/${tried}` : "–", tried ? diverged : null),
      ],
      last: html("td", { "data-key": settings, "data-text": "", class: "settings" }, settings || "not tuned", ...(edge ? [html("small", {}, edge)] : [])),
    };
  }

  function fillResult(table) {
    const p = Number(table.dataset.result);
    if (data.problems[p].trained) return fillTrained(table, p);
    const columns = data.measures
      .map((m, i) => ({ ...m, score: data.scores[state.goal][i] }))
      .filter((c, i) => i < 2 || c.score.costs.some((row) => row[p] > 0));
    const heads = [["Solver", ""], ...columns.slice(0, 2).map((c) => [capital(c.label), "number"]), ["Final gap", "number"],
      ["Final residual", "number"], ["Status", ""], ...columns.slice(2).map((c) => [capital(c.label), "number"]),
      ["Ran", "number"], ["Compile", "number"]];
    fill(table, heads, ranOn(p).map((s) => {
      const end = data.ends[p][s];
      const counted = columns.map((c) => countedCell(c, s, p));
      const status = html("td", { "data-key": end.status, "data-text": "", title: end.reason }, end.status);
      return [
        nameCell(s), ...counted.slice(0, 2), cell(number(end.gap), end.gap), cell(number(end.residual), end.residual),
        status, ...counted.slice(2), cell(seconds(end.seconds), end.seconds), cell(seconds(end.compile), end.compile),
      ];
    }));
  }

  function countedCell({ key, score }, s, p) {
    const [middle, least, most] = [score.costs[s][p], score.least[s][p], score.most[s][p]];
    const wide = finite(middle) && finite(most) && most > least * 1.05;
    return cell(spent(key, middle), middle, "number", wide ? `${spent(key, least)}–${spent(key, most)}` : null);
  }

  function fillTrained(table, p) {
    const columns = data.measures.map((m, i) => ({ ...m, score: data.scores[state.goal][i] }))
      .filter((c, i) => i < 2 || c.score.costs.some((row) => row[p] > 0));
    const { key: height, label: watched } = data.heights.find((h) => h.key === data.problems[p].height);
    const loss = height !== "objective"; // else it is there already
    const heads = [["Solver", ""], ...columns.slice(0, 2).map((c) => [capital(c.label), "number"]), [`Final ${watched}`, "number"],
      ["State", "number"], ["A step", "number"], ["Diverged", "number"], ...(loss ? [[capital(data.problems[p].objective), "number"]] : []), ["Status", ""],
      ...columns.slice(2).map((c) => [capital(c.label), "number"]), ["Ran", "number"], ["Compile", "number"], ["Settings", ""]];
    fill(table, heads, ranOn(p).map((s) => {
      const end = data.ends[p][s], { first, rest, last } = trainedCells(end);
      const counted = columns.map((c) => countedCell(c, s, p));
      const status = html("td", { "data-key": end.status, "data-text": "", title: end.reason }, end.status);
      return [
        nameCell(s), ...counted.slice(0, 2), ...first, ...rest, ...(loss ? [cell(number(end.objective), end.objective)] : []), status,
        ...counted.slice(2), cell(seconds(end.seconds), end.seconds), cell(seconds(end.compile), end.compile), last,
      ];
    }));
  }

  // ---- what became of every learning rate that was tried: a small chart a solver, on the same axes -----------
  function drawSensitivity(box) {
    const p = Number(box.dataset.sensitivity), { more, target } = data.problems[p];
    const tried = data.solvers.map((_, s) => s).filter((s) => data.trials[p][s].length && !state.hidden.has(s))
      .sort((a, b) => data.solvers[a].place - data.solvers[b].place);
    const trials = tried.flatMap((s) => data.trials[p][s]), values = trials.map((t) => t.value).filter(finite);
    box.replaceChildren();
    if (!values.length) {
      box.append(html("p", { class: "muted" }, "No trial came to a number."));
      return;
    }
    // The frame holds the better three quarters of all trials: a few bad ones would flatten what matters.
    values.sort((a, b) => (more ? b - a : a - b));
    const framed = [values[0], values[Math.floor(0.75 * (values.length - 1))]];
    const logY = Math.min(...framed) > 0 && Math.max(...framed) / Math.min(...framed) > 50, bendY = logY ? LOG : LINEAR;
    const [x0, x1] = span(trials.map((t) => t.rate), true, 0.06), [y0, y1] = span(framed, logY, 0.12);
    for (const s of tried) {
      const plot = html("div", { class: "plot" });
      box.append(html("figure", { class: "small" }, html("figcaption", {}, swatch(s), data.solvers[s].name), plot));
      const width = plot.clientWidth, height = plot.clientHeight, margin = { left: 40, right: 8, top: 8, bottom: 20 };
      const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${data.solvers[s].name}: trials by learning rate` }, plot);
      const X = (v) => margin.left + ((Math.log10(v) - Math.log10(x0)) / (Math.log10(x1) - Math.log10(x0))) * (width - margin.left - margin.right);
      const Y = (v) => height - margin.bottom - ((bendY.to(v) - bendY.to(y0)) / (bendY.to(y1) - bendY.to(y0))) * (height - margin.bottom - margin.top);
      for (const v of ticks(y0, y1, logY, 3)) {
        svg("line", { class: "gridline", x1: margin.left, x2: width - margin.right, y1: Y(v), y2: Y(v) }, root);
        svg("text", { x: margin.left - 6, y: Y(v) + 4, "text-anchor": "end" }, root).textContent = tickLabel(v, logY);
      }
      svg("line", { class: "base", x1: margin.left, x2: width - margin.right, y1: height - margin.bottom, y2: height - margin.bottom }, root);
      for (const v of ticks(x0, x1, true, Math.max(2, Math.floor(width / 60)))) {
        svg("text", { x: X(v), y: height - 5, "text-anchor": "middle" }, root).textContent = tickLabel(v, true);
      }
      if (target && target.key === data.problems[p].height && target.value > y0 && target.value < y1) {
        svg("line", { class: "rule", x1: margin.left, x2: width - margin.right, y1: Y(target.value), y2: Y(target.value) }, root);
      }
      for (const t of data.trials[p][s]) {
        const title = `${t.settings}: ${finite(t.value) ? number(t.value) : "diverged"}${t.chosen ? ", chosen" : ""}`;
        const inside = finite(t.value) && t.value >= y0 && t.value <= y1;
        const x = X(t.rate), y = inside ? Y(t.value) : more ? height - margin.bottom - 5 : margin.top + 5;
        const mark = finite(t.value)
          ? svg("circle", { class: `trial${t.chosen ? " chosen" : ""}${inside ? "" : " beyond"}`, cx: x, cy: y, r: t.chosen ? 5.5 : 3.2 }, root)
          : svg("path", { class: "trial diverged", d: `M${x - 3.5} ${y - 3.5}l7 7m0 -7l-7 7` }, root);
        if (inside) mark.style.fill = colour(s); else mark.style.stroke = colour(s);
        svg("title", {}, mark).textContent = title;
      }
    }
  }

  function drawAll() {
    all("[data-sensitivity]").forEach(drawSensitivity);
    all("[data-panel]").forEach(drawPanel);
    drawProfile();
  }

  function render() {
    drawAll();
    fillOverall();
    all("[data-result]").forEach(fillResult);
  }

  function segments(id, options, get, set) {
    const group = document.getElementById(id);
    const mark = () => all("button", group).forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.value === get())));
    for (const { key, label } of options) {
      const button = html("button", { type: "button", "data-value": key }, label);
      button.onclick = () => { set(key); mark(); render(); };
      group.append(button);
    }
    mark();
    return mark;
  }

  function choices(id, options, set) {
    const select = document.getElementById(id);
    options.forEach((text, i) => select.append(html("option", { value: i }, text)));
    select.onchange = () => { set(Number(select.value)); render(); };
  }

  function chips() {
    const group = document.getElementById("chips");
    const order = data.solvers.map((_, s) => s).sort((a, b) => data.solvers[a].place - data.solvers[b].place);
    for (const s of order) {
      const button = html("button", { type: "button", "aria-pressed": "true", title: "Show or hide" }, swatch(s), data.solvers[s].name);
      button.onclick = () => {
        if (state.hidden.has(s)) state.hidden.delete(s); else state.hidden.add(s);
        button.setAttribute("aria-pressed", String(!state.hidden.has(s)));
        state.focus = null;
        drawAll();
      };
      button.onpointerenter = (event) => { if (event.pointerType === "mouse" && !state.hidden.has(s)) { state.focus = s; drawAll(); } };
      button.onpointerleave = () => { if (state.focus !== null) { state.focus = null; drawAll(); } };
      group.append(button);
    }
  }

  function theme() {
    const button = document.getElementById("theme"), order = ["auto", "light", "dark"];
    const apply = (name) => {
      if (name === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
      button.textContent = name[0].toUpperCase() + name.slice(1);
      button.dataset.theme = name;
    };
    let kept = "auto";
    try { kept = localStorage.getItem("frechet-theme") || "auto"; } catch { /* a file may have no storage */ }
    apply(order.includes(kept) ? kept : "auto");
    button.onclick = () => {
      const next = order[(order.indexOf(button.dataset.theme) + 1) % order.length];
      apply(next);
      try { localStorage.setItem("frechet-theme", next); } catch { /* as above */ }
    };
  }

  theme();
  segments("up", data.heights.filter((h) => hasData(h.key)), () => state.up, (v) => { state.up = v; });
  segments("across", data.measures, () => state.across, (v) => { state.across = v; });
  segments("scale", [{ key: "log", label: "log" }, { key: "linear", label: "linear" }], () => state.scale, (v) => { state.scale = v; });
  choices("goal", data.goals, (v) => { state.goal = v; });
  choices("measure", data.measures.map((m) => m.label), (v) => { state.measure = v; });
  chips();
  all("[data-swatch]").forEach((node) => swatch(Number(node.dataset.swatch), node));
  render();
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; drawAll(); } });
})();
