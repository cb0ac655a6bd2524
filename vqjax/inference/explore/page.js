"use strict";
const PAGE = JSON.parse(document.getElementById("data").textContent);
const VIEWS = Object.keys(PAGE.views || {}), ASKED = new URLSearchParams(location.search).get("codes");
const VIEW = VIEWS.includes(ASKED) ? ASKED : VIEWS[0]; // of several levels, or codes per position, one at a time
const DATA = VIEW === undefined ? PAGE : PAGE.views[VIEW];
const CODES = DATA.codes, [ROWS, COLUMNS] = DATA.grid, TOTAL = CODES.uses.reduce((a, b) => a + b, 0);
const K = CODES.uses.length, MOST = Math.max(...CODES.uses);
const FIRST_PATCH = CODES.patch_counts.map((sum => count => (sum += count) - count)(0));
const TILES = []; // in the order of the codes
const RANKED = [...CODES.uses.keys()].sort((a, b) => CODES.uses[b] - CODES.uses[a]);
const RANK = []; RANKED.forEach((code, rank) => { RANK[code] = rank + 1; });
const $ = id => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) element[name] = value; else element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const number = x => x.toLocaleString("en-US");
const percent = x => x === 0 ? "0 %" : x < 0.001 ? "< 0.1 %" : `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)} %`;
const className = label => label < 0 ? "no label" : DATA.class_names[label];

// Pictures: a sheet is one image with many in it, row by row.

function load(sheet) {
  sheet.image = new Image();
  sheet.image.src = sheet.url;
  return sheet.image.decode();
}
function paint(context, sheet, index, x, y, width, height, part = [0, 0, 1, 1]) {
  const w = sheet.image.naturalWidth / sheet.columns, h = sheet.image.naturalHeight / sheet.rows;
  const left = index % sheet.columns * w, top = Math.floor(index / sheet.columns) * h;
  context.imageSmoothingEnabled = false;
  context.drawImage(sheet.image, left + part[0] * w, top + part[1] * h, part[2] * w, part[3] * h, x, y, width, height);
}
function picture(sheet, index, alt) {
  const [height, width] = sheet.size;
  const canvas = make("canvas", {width, height, role: "img", "aria-label": alt});
  paint(canvas.getContext("2d"), sheet, index, 0, 0, width, height);
  return canvas;
}
function patchPicture(index, alt) { // the code's own position is the middle one
  const [height, width] = CODES.patches.size, scale = Math.ceil(96 / width);
  const canvas = make("canvas", {width: width * scale, height: height * scale, role: "img", "aria-label": alt});
  const context = canvas.getContext("2d");
  paint(context, CODES.patches, index, 0, 0, canvas.width, canvas.height);
  outline(context, canvas.width / 3, canvas.height / 3, canvas.width / 3, canvas.height / 3, 1.5);
  return canvas;
}
function outline(context, x, y, width, height, line) {
  for (const [color, thickness] of [["#000c", 2 * line], ["#ffcf33", line]]) {
    context.strokeStyle = color;
    context.lineWidth = thickness;
    context.strokeRect(x, y, width, height);
  }
}

// Views: what is drawn of an item, side by side, each (context, item, x, width, height).

const SIDE = 168, GAP = 8;
const fromSheet = name => (context, item, x, width, height) =>
  paint(context, item.from[name], item.index, x, 0, width, height);
function cells(context, x, width, height, color) {
  for (let i = 0; i < ROWS * COLUMNS; i++) {
    const [left, top, w, h] = cell(i, x, width, height);
    context.fillStyle = color(i);
    context.fillRect(left, top, w, h);
  }
}
function cell(i, x, width, height) { // whole pixels, without seams
  const row = Math.floor(i / COLUMNS), column = i % COLUMNS;
  const left = Math.round(column * width / COLUMNS), top = Math.round(row * height / ROWS);
  const right = Math.round((column + 1) * width / COLUMNS), bottom = Math.round((row + 1) * height / ROWS);
  return [x + left, top, right - left, bottom - top];
}
const codeMap = (context, item, x, width, height) =>
  cells(context, x, width, height, i => CODES.colors[item.codes[i]]);
const heat = p => { // from 0.1 % to 100 %, on a log scale
  const t = Math.min(1, Math.max(0, 1 + Math.log10(Math.max(p, 1e-9)) / 3));
  return `oklch(${0.25 + 0.65 * t} ${0.08 + 0.09 * t} ${290 - 200 * t})`;
};
const probabilityMap = (context, item, x, width, height) =>
  cells(context, x, width, height, i => heat(item.probabilities[i]));

function drawPlain(item) { // once
  item.plain = make("canvas", {width: item.canvas.width, height: item.canvas.height});
  const context = item.plain.getContext("2d");
  item.views.forEach((view, v) => view(context, item, v * (item.width + GAP), item.width, item.height));
}
function draw(item) { // with what is looked at
  const {canvas, width, height} = item, context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(item.plain, 0, 0);
  item.views.forEach((_, v) => {
    const x = v * (width + GAP);
    item.codes.forEach((code, i) => {
      const here = state.item === item && state.position === i;
      if (here || code === state.code) outline(context, ...cell(i, x, width, height), here ? 4 : 2);
    });
  });
  item.figure.classList.toggle("has", item.codes.includes(state.code));
}

// What is looked at: a code, and the position where it was met, if any.

const state = {code: RANKED[0], item: null, position: null, held: false}, items = [];

function look(code, item = null, position = null, force = false) {
  if (state.held && !force) return;
  if (code === state.code && item === state.item && position === state.position) return;
  TILES[state.code].setAttribute("aria-selected", false);
  TILES[code].setAttribute("aria-selected", true);
  const changed = items.filter(each => each === item || each === state.item || each.marked);
  Object.assign(state, {code, item, position});
  for (const each of items) each.marked = each.codes.includes(code);
  for (const each of new Set([...changed, ...items.filter(each => each.marked)])) draw(each);
  show();
}
function hold(held) {
  state.held = held;
  document.body.classList.toggle("held", held);
  $("pin").setAttribute("aria-pressed", held);
  $("pin").textContent = held ? "held" : "hold";
}

// Beside or below: all there is to say of the code.

function bars(rows) { // [name, share of the bar, figure, whether it is the one that is met]
  const list = make("div", {class: "shares"});
  for (const [name, share, figure, here] of rows)
    list.append(
      make("span", {class: here ? "name here" : "name"}, ...[name].flat()),
      make("span", {class: "share"}, make("i", {style: `width:${100 * share}%`})),
      make("span", {class: "figure"}, figure));
  return list;
}
function nameOf(code) { // with its color and what it decodes to
  const mini = picture(CODES.alone, code, "");
  mini.className = "mini";
  return [swatch(code), mini, `${code}`];
}
const swatch = code => make("span", {class: "swatch", style: `background:${CODES.colors[code]}`});

function show() {
  const {code, item, position} = state, uses = CODES.uses[code];
  $("code-title").replaceChildren(swatch(code), `Code ${code}`);
  $("place").textContent =
    item ? `row ${Math.floor(position / COLUMNS) + 1}, column ${position % COLUMNS + 1}` : "";
  const times = `${number(uses)} ${uses === 1 ? "time" : "times"}`;
  $("use").textContent = uses
    ? `used ${times}, ${percent(uses / TOTAL)} of all positions, rank ${RANK[code]} of ${K}`
    : "not used in this split";
  const parts = [];
  const tiles = [make("figure", {class: "tile"}, picture(CODES.alone, code, `Code ${code} decoded`), "decodes to")];
  if (item) tiles.push(...crops(item, position));
  parts.push(make("div", {class: "row"}, ...tiles));
  if (item && item.probabilities) parts.push(...probabilities(item, position));
  const count = CODES.patch_counts[code];
  if (count) {
    parts.push(make("h3", {}, "Patches of images nearest to it"));
    const patches = Array.from({length: count}, (_, i) => patchPicture(FIRST_PATCH[code] + i, `patch ${i + 1}`));
    parts.push(make("div", {class: "row patches"}, ...patches));
  }
  if (CODES.classes && uses) {
    parts.push(make("h3", {}, "Classes that use it"));
    const most = CODES.classes[code][0][1];
    const here = item && item.label;
    parts.push(bars(CODES.classes[code].map(([label, n]) =>
      [className(label), n / most, percent(n / uses), label === here])));
  }
  $("inspector").replaceChildren(...parts);
}
function crops(item, position) { // what is at the position, in each view that is a picture
  const row = Math.floor(position / COLUMNS), column = position % COLUMNS;
  return Object.entries(item.crops).map(([name, sheet]) => {
    const x = Math.min(Math.max(column - 1, 0), Math.max(COLUMNS - 3, 0));
    const y = Math.min(Math.max(row - 1, 0), Math.max(ROWS - 3, 0));
    const w = Math.min(3, COLUMNS), h = Math.min(3, ROWS);
    const canvas = make("canvas", {width: 32 * w, height: 32 * h, role: "img", "aria-label": name});
    const context = canvas.getContext("2d");
    paint(context, sheet, item.index, 0, 0, 32 * w, 32 * h, [x / COLUMNS, y / ROWS, w / COLUMNS, h / ROWS]);
    outline(context, 32 * (column - x), 32 * (row - y), 32, 32, 2);
    return make("figure", {class: "tile"}, canvas, name);
  });
}
function probabilities(item, position) {
  const p = item.probabilities[position], codes = item.likely[position], found = item.likelyProbabilities[position];
  const row = (code, share) => [nameOf(code), share, percent(share), code === state.code];
  const rows = codes.map((code, i) => row(code, found[i]));
  if (!codes.includes(state.code)) rows.push(row(state.code, p));
  return [make("h3", {}, `Here the prior gave it ${percent(p)}, and most to`), bars(rows)];
}

// Galleries of items.

function natsOf(item) {
  return item.from.nats ? `${(item.from.nats[item.index] / (ROWS * COLUMNS)).toFixed(2)} nats per code` : "";
}
function gallery(section, group, views, crops, caption, grouped) {
  const likelihood = Boolean(group.probabilities); // of a prior
  for (const part of section.querySelectorAll(".probability")) part.hidden = !likelihood;
  if (likelihood) views = [...views, probabilityMap];
  const box = section.querySelector(".gallery"), own = [];
  const [h, w] = group.sheet.size, scale = Math.max(1, Math.round(SIDE / Math.max(h, w)));
  let last = null;
  group.codes.forEach((codes, index) => {
    const label = group.labels && DATA.class_names.length ? group.labels[index] : null;
    const item = {from: group, crops, codes, index, views, label};
    if (likelihood) Object.assign(item, {probabilities: group.probabilities[index], likely: group.likely[index],
      likelyProbabilities: group.likely_probabilities[index]});
    Object.assign(item, {width: w * scale, height: h * scale});
    const width = views.length * (item.width + GAP) - GAP;
    item.canvas = make("canvas", {width, height: item.height, role: "img", tabindex: index ? -1 : 0});
    const [left, right] = caption(item);
    item.canvas.setAttribute("aria-label", `${left}, ${right}: arrows move over the codes`);
    const below = make("figcaption", {}, make("span", {}, left), make("span", {}, right));
    item.figure = make("figure", {}, item.canvas, below);
    if (grouped && label !== null && label !== last)
      box.append(make("h3", {"data-label": label}, className(last = label)));
    box.append(item.figure);
    own.push(item);
    items.push(item);
    listen(item, own);
    drawPlain(item);
    draw(item);
  });
  classFilter(section, box, own);
}
function at(item, event) {
  const box = item.canvas.getBoundingClientRect(), scale = item.canvas.width / box.width;
  const x = (event.clientX - box.left) * scale % (item.width + GAP), y = (event.clientY - box.top) * scale;
  const column = Math.floor(x / item.width * COLUMNS), row = Math.floor(y / item.height * ROWS);
  return column >= 0 && column < COLUMNS && row >= 0 && row < ROWS ? row * COLUMNS + column : null;
}
function listen(item, own) {
  const {canvas, codes} = item;
  const visit = (position, force) => look(codes[position], item, position, force);
  canvas.onpointermove = event => {
    const position = at(item, event);
    if (position !== null) visit(position);
  };
  canvas.onclick = event => {
    const position = at(item, event), same = state.item === item && state.position === position;
    if (position === null) return;
    focusOn(own.map(each => each.canvas), canvas);
    visit(position, true);
    hold(!(state.held && same));
  };
  canvas.onfocus = () => canvas.matches(":focus-visible") && visit(state.item === item ? state.position : 0);
  canvas.onkeydown = event => {
    const position = state.item === item ? state.position : 0, column = position % COLUMNS;
    const moves = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
    if (event.key in moves) {
      event.preventDefault();
      const [down, right] = moves[event.key];
      const row = Math.floor(position / COLUMNS) + down, next = column + right;
      if (row >= 0 && row < ROWS && next >= 0 && next < COLUMNS) return visit(row * COLUMNS + next, true);
      const there = neighbor(own.filter(each => !each.figure.hidden), item, event.key, each => each.figure);
      if (!there) return;
      focusOn(own.map(each => each.canvas), there.canvas);
      const entered = (row + ROWS) % ROWS * COLUMNS + (next + COLUMNS) % COLUMNS;
      look(there.codes[entered], there, entered, true);
    }
  };
}
function neighbor(list, item, key, element) { // the next one in the direction of the arrow, as they are laid out
  const i = list.indexOf(item), box = element(item).getBoundingClientRect();
  if (key === "ArrowLeft") return list[i - 1];
  if (key === "ArrowRight") return list[i + 1];
  const before = key === "ArrowUp", others = before ? list.slice(0, Math.max(i, 0)).reverse() : list.slice(i + 1);
  return others.find(each => {
    const other = element(each).getBoundingClientRect();
    return Math.abs(other.left - box.left) < box.width / 2 && other.top !== box.top;
  });
}
function focusOn(elements, chosen) { // one stop of the Tab key for all of them
  for (const each of elements) each.tabIndex = each === chosen ? 0 : -1;
  chosen.focus({preventScroll: false});
}
function classFilter(section, box, own) {
  const select = section.querySelector("select"), labels = [...new Set(own.map(item => item.label))];
  if (labels.length < 2) return select.parentElement.remove();
  select.append(make("option", {value: ""}, "all"));
  for (const label of labels.sort((a, b) => a - b)) select.append(make("option", {value: label}, className(label)));
  select.onchange = () => {
    const wanted = select.value;
    for (const item of own) item.figure.hidden = wanted !== "" && String(item.label) !== wanted;
    for (const title of box.querySelectorAll("h3")) title.hidden = wanted !== "" && title.dataset.label !== wanted;
    const shown = own.filter(item => !item.figure.hidden);
    for (const item of own) item.canvas.tabIndex = item === shown[0] ? 0 : -1;
  };
}

// All codes.

function codebook() {
  const box = document.querySelector(".codebook");
  const tiles = [...CODES.uses.keys()].map(code => {
    const bar = make("i", {style: `width:${100 * CODES.uses[code] / MOST}%`});
    const name = `Code ${code}, used ${number(CODES.uses[code])} times`;
    const about = {role: "option", tabindex: -1, title: name, "aria-label": name, "aria-selected": false};
    const tile = make("div", {class: CODES.uses[code] ? "code" : "code unused", ...about},
      picture(CODES.alone, code, ""), make("div", {class: "use"}, bar), `${code}`);
    tile.code = code;
    TILES.push(tile);
    tile.onpointermove = () => look(code);
    tile.onclick = () => {
      const same = state.held && state.code === code;
      focusOn(tiles, tile);
      look(code, null, null, true);
      hold(!same);
    };
    tile.onfocus = () => tile.matches(":focus-visible") && look(code);
    tile.onkeydown = event => {
      const ends = {Home: tiles[0], End: tiles[tiles.length - 1]};
      if (!event.key.startsWith("Arrow") && !(event.key in ends)) return;
      event.preventDefault();
      const next = ends[event.key] || neighbor(tiles, tile, event.key, each => each);
      if (next) { focusOn(tiles, next); look(next.code, null, null, true); }
    };
    return tile;
  });
  const orders = {
    "most used": code => -CODES.uses[code],
    "least used": code => CODES.uses[code],
    "by number": code => code,
    "by lightness of color": code => parseFloat(CODES.colors[code].slice(6)),
  };
  const uses = (code, label) => (CODES.classes[code].find(([each]) => each === label) || [label, 0])[1];
  if (CODES.classes) DATA.class_names.forEach((name, label) => {
    orders[`most of ${name}`] = code => -uses(code, label) / (CODES.uses[code] || 1);
  });
  $("sort").append(...Object.keys(orders).map(name => make("option", {}, name)));
  $("sort").onchange = () => {
    const order = orders[$("sort").value];
    tiles.sort((a, b) => order(a.code) - order(b.code) || a.code - b.code);
    box.replaceChildren(...tiles);
    tiles.forEach((tile, i) => { tile.tabIndex = i ? -1 : 0; });
  };
  $("sort").onchange();
}

function show_part(id) {
  $(id).hidden = document.querySelector(`nav a[href="#${id}"]`).hidden = false;
}

async function start() {
  const {images, samples, completions} = DATA;
  const sheets = [CODES.alone, CODES.patches, images.originals, images.reconstructions];
  if (samples) sheets.push(samples.images);
  if (completions) sheets.push(completions.originals, completions.kept, completions.images);
  await Promise.all(sheets.map(load));
  $("title").textContent = document.title = `${PAGE.name}: codes of ${DATA.dataset}`;
  $("views").hidden = !VIEWS.length;
  $("views").append(...VIEWS.map(name =>
    make("a", {href: `?codes=${encodeURIComponent(name)}`, ...(name === VIEW ? {"aria-current": "page"} : {})}, name)));
  const used = CODES.uses.filter(n => n).length;
  $("summary").textContent = `${number(used)} of ${number(K)} codes used, perplexity ${number(DATA.perplexity)}, ` +
    `${ROWS} × ${COLUMNS} per image · ${number(DATA.count)} images of ${DATA.split} · ` +
    `autoencoder at step ${number(DATA.step)}`;
  for (const scale of document.querySelectorAll(".scale i"))
    scale.style.background = `linear-gradient(90deg, ${[0.001, 0.01, 0.1, 1].map(heat).join(", ")})`;
  if (samples) {
    show_part("samples");
    gallery($("samples"), {...samples, sheet: samples.images}, [fromSheet("sheet"), codeMap],
      {"in the sample": samples.images},
      each => [each.label === null ? `sample ${each.index + 1}` : className(each.label), natsOf(each)], true);
  }
  if (completions) {
    show_part("completions");
    gallery($("completions"), {...completions, sheet: completions.images},
      [fromSheet("originals"), fromSheet("kept"), fromSheet("images"), codeMap],
      {"in the completion": completions.images},
      each => [each.label === null ? `image ${completions.rows[each.index]}` : className(each.label), natsOf(each)],
      false);
  }
  gallery($("images"), {...images, sheet: images.originals},
    [fromSheet("originals"), codeMap, fromSheet("reconstructions")],
    {"in the image": images.originals, "comes back as": images.reconstructions},
    each => [each.label === null ? `image ${images.rows[each.index]}` : className(each.label),
      [`PSNR ${images.psnr[each.index].toFixed(1)} dB`, natsOf(each)].filter(text => text).join(", ")], false);
  codebook();
  for (const item of items) item.marked = item.codes.includes(state.code);
  TILES[state.code].setAttribute("aria-selected", true);
  show();
  $("pin").onclick = () => hold(!state.held);
  document.onkeydown = event => {
    if (event.key === "Escape") hold(false);
    if ([" ", "Enter"].includes(event.key) && event.target.matches("canvas, .code")) {
      event.preventDefault();
      hold(!state.held);
    }
  };
  document.body.dataset.ready = "true";
}
start();
