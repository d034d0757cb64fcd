// The console's script: shows a conversation with Bernard and carries what the person says. No framework, no other origin.
//
// What is heard and said is typed in `src/channels/console.rs`. All of the view follows from `items` through `render()`.

/** @typedef {{label: string, action: string}} Button */
/** @typedef {'said'|'asking'|'closed'|{answered: string}|'sending'} MessageState  `sending` exists on the page alone */
/** @typedef {{kind: 'message', id: string, from: 'person'|'bernard', html: string, text: string, at: number, files?: File[], buttons: Button[], state: MessageState}} Message */
/** @typedef {'running'|'waiting'|'asking'|'done'|'failed'|'denied'|'cancelled'} ToolState */
/** @typedef {{kind: 'tool', id: string, tool: string, summary: string, state: ToolState, detail: string, at: number}} Tool */
/** @typedef {{kind: 'file', id: string, name: string, mime: string, size: number, href: string, at: number}} File */
/** @typedef {{kind: 'notice', id: string, text: string, at: number}} Notice */
/** @typedef {Message|Tool|File|Notice} Item */
/** @typedef {{id: string, name: string, state: 'connected'|'away'|'pending', words?: string[], seen: number|null}} Bridge */
/** @typedef {{key: string, name: string, mime: string, size: number, id: string|null, sent: number, request?: XMLHttpRequest}} Attached */
/** @typedef {{type: 'say', id: string, text: string, files?: string[], cards?: File[]}|{type: 'press', id: string, action: string, message: string}} Deed */

const TEXT_LIMIT = 32_000; // the Worker's own
const FILE_LIMIT = 50 * 1024 * 1024; // the Worker's own
const FILES_LIMIT = 10; // the Worker's own, for one message
const ACCEPT_TIMEOUT = 15_000; // an answer this late means that the socket is dead and nobody told us
const CONNECTING_IS_QUIET = 700; // most connections stand sooner, and a flashing banner is noise
const RETRY_LONGEST = 30; // seconds
const NEAR_END = 90; // pixels from the end that still count as reading the newest
const ITEMS_KEPT = 600; // more would make an old phone slow; the Worker keeps them all
const SESSION_ENDED = 4401; // the Worker's close code
const REFUSED = 1008; // the Worker's close code for a frame that it will never accept

const byId = (id) => document.getElementById(id);
const body = document.body;
const scroller = byId('scroller');
const log = byId('log');
const live = byId('live');
const say = byId('say');

/** @type {Map<string, Item>} what the conversation shows, in order */
let items = new Map();
/** @type {Map<string, {item: Item, locked: boolean, element: HTMLElement}>} what of it is drawn */
const drawn = new Map();
/** @type {Map<string, Text>} answers in the making, by ask */
const making = new Map();
/** @type {Deed[]} what the Worker has not accepted yet, in the order of saying */
let outbox = [];
/** @type {Map<string, string>} the action pressed under a message, until the message itself says so */
const pressed = new Map();
/** @type {Bridge[]} */
let bridges = [];
let working = false;
let unread = 0;

// ---- Making elements ----

/** A new element; `class`, attributes and children, nothing else. Text is text: no string here ever becomes markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children);
  return element;
}

function icon(name) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  const use = document.createElementNS(space, 'use');
  use.setAttribute('href', `#${name}-icon`);
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

function unseen(text) {
  return make('span', { class: 'unseen' }, text);
}

function button(attributes, onPress, ...children) {
  const element = make('button', { type: 'button', ...attributes }, ...children);
  element.addEventListener('click', onPress);
  return element;
}

// ---- Bernard's HTML ----
//
// The Worker's renderer makes safe HTML. It is not believed: the text is parsed into a document that is not shown, runs no
// script and loads nothing, and what is shown is built anew from the tags and attributes below. Nothing else can get through.

const PLAIN_TAGS = new Set(['P', 'BR', 'HR', 'STRONG', 'B', 'EM', 'I', 'U', 'S', 'DEL', 'SUP', 'SUB', 'CODE', 'PRE', 'BLOCKQUOTE', 'UL', 'OL', 'LI', 'TABLE', 'THEAD', 'TBODY', 'TR', 'TH', 'TD', 'DIV', 'SPAN']);
const HEADINGS = { H1: 'h3', H2: 'h4', H3: 'h5', H4: 'h6', H5: 'h6', H6: 'h6' }; // h1 and h2 are the page's own
const DROPPED = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'IFRAME', 'OBJECT', 'EMBED', 'NOSCRIPT', 'TITLE', 'TEXTAREA', 'SELECT', 'BUTTON']); // with all that is in them
const DEEPEST = 40;

function words(html) {
  const parsed = new DOMParser().parseFromString(html, 'text/html');
  const shown = make('div', { class: 'bubble words' });
  copyChildren(parsed.body, shown, 0);
  return shown;
}

function copyChildren(from, to, depth) {
  for (const node of from.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
    if (node.nodeType === Node.ELEMENT_NODE) copyElement(node, to, depth);
  }
}

function copyElement(node, to, depth) {
  if (node.namespaceURI !== document.documentElement.namespaceURI || DROPPED.has(node.tagName)) return;
  if (depth >= DEEPEST) return to.append(node.textContent);
  if (node.tagName === 'A') return copyLink(node, to, depth);
  if (node.tagName === 'IMG') return to.append(node.getAttribute('alt') ?? ''); // a picture elsewhere would tell its host who looks
  const tag = HEADINGS[node.tagName] ?? (PLAIN_TAGS.has(node.tagName) ? node.tagName : null);
  if (!tag) return copyChildren(node, to, depth + 1);
  const copy = make(tag);
  if (tag === 'OL' && /^\d{1,6}$/.test(node.getAttribute('start') ?? '')) copy.start = node.getAttribute('start');
  copyChildren(node, copy, depth + 1);
  to.append(framed(copy, tag));
}

/** A link to elsewhere, which says where it leads if its words do not; any other link is only its words. */
function copyLink(node, to, depth) {
  const url = parseUrl(node.getAttribute('href'));
  if (!url || !['https:', 'http:', 'mailto:'].includes(url.protocol)) return copyChildren(node, to, depth + 1);
  const link = make('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer', title: url.href });
  copyChildren(node, link, depth + 1);
  to.append(link);
  const place = url.host || url.pathname;
  if (!link.textContent.includes(place)) to.append(make('span', { class: 'host' }, ` (${place})`));
}

function parseUrl(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

/** Code and tables scroll inside themselves, and code can be copied. */
function framed(element, tag) {
  if (tag === 'TABLE') return make('div', { class: 'table', role: 'region', 'aria-label': 'Table', tabindex: '0' }, element);
  if (tag !== 'PRE') return element;
  element.tabIndex = 0;
  const copy = button({ class: 'plain', 'aria-label': 'Copy code', title: 'Copy code' }, () => copyText(element.textContent, copy), icon('copy'));
  return make('div', { class: 'code' }, element, copy);
}

/** Puts text on the clipboard and says so on the button for a moment. */
async function copyText(text, button) {
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  const before = [...button.childNodes];
  button.replaceChildren(icon(copied ? 'done' : 'failed'), before.length > 1 ? make('span', {}, copied ? 'Copied' : 'Select it by hand') : unseen(copied ? 'Copied' : 'Select it by hand'));
  setTimeout(() => button.replaceChildren(...before), 1800);
}

// ---- Times ----

const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const calendar = new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long' });
const calendarWithYear = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'long', year: 'numeric' });

function timeOf(at) {
  const date = new Date(at);
  return make('time', { datetime: date.toISOString(), title: date.toLocaleString() }, clock.format(date));
}

function dayOf(at) {
  return new Date(at).toDateString();
}

function dayName(at) {
  const date = new Date(at);
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (dayOf(at) === today.toDateString()) return 'Today';
  if (dayOf(at) === yesterday.toDateString()) return 'Yesterday';
  return (date.getFullYear() === today.getFullYear() ? calendar : calendarWithYear).format(date);
}

/** How long ago, in words; a machine's clock may be a little ahead of ours. */
function ago(at) {
  const seconds = Math.max(0, (Date.now() - at) / 1000);
  const words = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  if (seconds < 60) return 'just now';
  if (seconds < 3600) return words.format(-Math.floor(seconds / 60), 'minute');
  if (seconds < 86_400) return words.format(-Math.floor(seconds / 3600), 'hour');
  return words.format(-Math.floor(seconds / 86_400), 'day');
}

// ---- Drawing items ----

const keyOf = (item) => `${item.kind}:${item.id}`;

/** Makes the page show `items`; what has not changed is left alone, so that selection, focus and open lines stay. */
function render() {
  while (items.size > ITEMS_KEPT) items.delete(items.keys().next().value);
  const wanted = [];
  let day = '';
  for (const item of items.values()) {
    if (dayOf(item.at) !== day) wanted.push(separator((day = dayOf(item.at)), item.at));
    wanted.push(elementFor(item));
  }
  arrange(wanted);
  for (const key of drawn.keys()) if (!items.has(key) && !key.startsWith('day:')) drawn.delete(key);
  byId('welcome').hidden = items.size > 0 || making.size > 0 || !heardHistory;
  showWorking();
}

const separators = new Map();

/** The line above a day's first item; one element a day, whose words follow the calendar. */
function separator(day, at) {
  const element = separators.get(day) ?? make('div', { class: 'day' });
  if (element.textContent !== dayName(at)) element.textContent = dayName(at);
  separators.set(day, element);
  return element;
}

function elementFor(item) {
  const key = keyOf(item);
  const known = drawn.get(key);
  const locked = pressed.has(item.id);
  if (known?.item === item && known.locked === locked) return known.element;
  const element = DRAW[item.kind](item);
  if (known) takeOver(known.element, element);
  drawn.set(key, { item, locked, element });
  return element;
}

/** A replacement is not news: it is not announced again, stays open if it was, and keeps the focus near. */
function takeOver(before, after) {
  after.setAttribute('aria-live', 'off');
  const open = before.querySelector('details')?.open;
  if (open && after.querySelector('details')) after.querySelector('details').open = true;
  if (!before.contains(document.activeElement)) return;
  const target = after.querySelector('summary') ?? after;
  if (target === after) after.tabIndex = -1;
  queueMicrotask(() => target.focus({ preventScroll: true }));
}

function arrange(wanted) {
  let here = log.firstElementChild;
  for (const element of wanted) {
    if (element === here) here = here.nextElementSibling;
    else log.insertBefore(element, here);
  }
  while (here) {
    const next = here.nextElementSibling;
    here.remove();
    here = next;
  }
}

const DRAW = { message: drawMessage, tool: drawTool, file: drawFile, notice: drawNotice };

/** @param {Message} item */
function drawMessage(item) {
  const mine = item.from === 'person';
  const asks = item.state === 'asking' && !pressed.has(item.id);
  const element = make('div', { class: `message ${mine ? 'person' : 'bernard'}${item.state === 'sending' ? ' sending' : ''}${asks ? ' asking' : ''}`, 'aria-live': mine ? 'off' : undefined });
  element.append(unseen(mine ? 'You said:' : 'Bernard said:'));
  if (!mine && item.html) element.append(words(item.html));
  else if (item.text || !item.files?.length) element.append(make('div', { class: 'bubble' }, item.text));
  for (const file of item.files ?? []) element.append(drawFile(file));
  if (item.buttons.length > 0) element.append(drawButtons(item));
  element.append(drawMeta(item, mine));
  return element;
}

function drawMeta(item, mine) {
  if (item.state === 'sending') return make('div', { class: 'meta' }, 'sending…');
  const meta = make('div', { class: 'meta' }, timeOf(item.at));
  if (mine) meta.append(icon('sent'), unseen('sent'));
  return meta;
}

/** @param {Message} item */
function drawButtons(item) {
  const chosen = item.state?.answered ?? pressed.get(item.id);
  const over = chosen !== undefined || item.state === 'closed';
  const choices = make('div', { class: 'choices', role: 'group', 'aria-label': 'Your answer' });
  for (const { label, action } of item.buttons) {
    const isChosen = action === chosen;
    const choice = button({ class: `choice${isChosen ? ' chosen' : ''}`, disabled: over }, () => press(item.id, action));
    if (isChosen) choice.append(icon('sent'), unseen('chosen:'));
    choice.append(make('span', {}, label));
    choices.append(choice);
  }
  return choices;
}

const TOOL_WORDS = { running: 'at work…', waiting: 'waiting for the machine', asking: 'needs your yes', done: 'done', failed: 'did not work', denied: 'not allowed', cancelled: 'called off' };

/** @param {Tool} item */
function drawTool(item) {
  const state = TOOL_WORDS[item.state] ? item.state : 'running';
  const element = make('div', { class: `tool ${state}`, 'aria-live': 'off', 'data-tool': item.tool, 'data-state': state });
  const line = make(item.detail ? 'summary' : 'div', { class: 'tool-line' }, icon(state));
  line.append(make('span', { class: 'tool-what' }, item.summary || item.tool), make('span', { class: 'tool-state' }, TOOL_WORDS[state]));
  if (!item.detail) {
    element.append(line);
    return element;
  }
  const detail = make('pre', { class: 'detail', tabindex: '0', 'aria-label': 'What it did' }, item.detail);
  element.append(make('details', {}, line, make('p', { class: 'detail-name' }, item.tool), detail));
  return element;
}

const PICTURES = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);
const PICTURE_SHOWN_UP_TO = 4 * 1024 * 1024; // a bigger one is fetched when the person asks for it

/** @param {File} item */
function drawFile(item) {
  const ours = item.href.startsWith('/console/files/'); // a file comes from nowhere else
  const about = make('span', { class: 'file-words' }, make('b', {}, item.name), make('span', {}, `${kindOf(item)} · ${sizeOf(item.size)}`));
  const card = make('div', { class: 'file' });
  if (ours && PICTURES.has(item.mime) && item.size <= PICTURE_SHOWN_UP_TO) card.append(drawPicture(item));
  if (ours) card.append(make('a', { class: 'file-link', href: item.href, download: item.name }, icon('file'), unseen('Download'), about, icon('download')));
  else card.append(make('div', { class: 'file-link' }, icon('file'), about));
  return card;
}

function drawPicture(item) {
  const picture = make('img', { src: item.href, alt: '', loading: 'lazy', decoding: 'async' });
  picture.addEventListener('error', () => picture.remove());
  picture.addEventListener('load', () => following && toEnd());
  return picture;
}

function kindOf({ name, mime }) {
  const ending = /\.([A-Za-z0-9]{1,5})$/.exec(name)?.[1];
  return ending ? ending.toUpperCase() : mime;
}

function sizeOf(bytes) {
  const units = ['bytes', 'KB', 'MB', 'GB'];
  let unit = 0;
  let size = bytes;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** @param {Notice} item */
function drawNotice(item) {
  return make('p', { class: 'notice' }, item.text);
}

// ---- Following the conversation ----

let following = true; // whether the person reads the newest, and so goes along with what comes
let missed = 0;

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
  following = true;
  missed = 0;
  showNewest();
}

function showNewest() {
  byId('newest').hidden = following;
  byId('newest-text').textContent = missed === 0 ? 'Newest' : missed === 1 ? '1 new message' : `${missed} new messages`;
}

/** Shows what `change` changed; the reader stays where they are reading. */
function changing(change) {
  change();
  render();
  if (following) toEnd();
  else showNewest();
}

scroller.addEventListener('scroll', () => {
  following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
  if (following) missed = 0;
  showNewest();
}, { passive: true });

new ResizeObserver(() => following && toEnd()).observe(scroller);
byId('newest').addEventListener('click', () => {
  toEnd();
  scroller.focus({ preventScroll: true });
});

function news() {
  if (!following) missed += 1;
  if (document.hidden) document.title = `(${(unread += 1)}) Bernard`;
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  unread = 0;
  document.title = 'Bernard';
  render(); // "Today" may have become "Yesterday"
  if (connection === 'offline') connect();
});

// ---- What the Worker says ----

let heardHistory = false;

const HEAR = {
  history: hearHistory,
  item: ({ item }) => changing(() => hearItem(item)),
  delta: ({ ask, text }) => changing(() => hearDelta(ask, text)),
  settled: ({ ask }) => changing(() => settle(ask)),
  working: ({ on }) => changing(() => (working = on)),
  bridges: (said) => hearBridges(said.bridges),
  accepted: ({ id }) => changing(() => hearAccepted(id)),
};

function hear(frame) {
  const said = JSON.parse(frame);
  if (Object.hasOwn(HEAR, said.type)) HEAR[said.type](said);
}

/** The Worker's view replaces the page's; what it does not know yet is said again, under the same ids. */
function hearHistory({ items: heard, earlier }) {
  log.setAttribute('aria-live', 'off'); // a page of old messages is not news
  changing(() => {
    const before = items;
    items = new Map(heard.filter(({ kind }) => Object.hasOwn(DRAW, kind)).map((item) => [keyOf(item), sameOr(before.get(keyOf(item)), item)]));
    making.clear();
    live.replaceChildren();
    outbox = outbox.filter((deed) => deed.type !== 'say' || !items.has(`message:${deed.id}`));
    for (const deed of outbox) if (deed.type === 'say') showSending(deed);
    heardHistory = true;
  });
  byId('earlier').hidden = !earlier;
  requestAnimationFrame(() => log.setAttribute('aria-live', 'polite'));
  outbox.forEach(send);
  recoverUnsent();
}

function sameOr(before, item) {
  return before && JSON.stringify(before) === JSON.stringify(item) ? before : item;
}

function hearItem(item) {
  if (!Object.hasOwn(DRAW, item.kind)) return; // a newer Worker's: the next reload knows it
  const isNew = !items.has(keyOf(item));
  items.set(keyOf(item), item);
  if (item.kind !== 'message') return;
  pressed.delete(item.id); // the Worker has spoken last: answered, closed, or still open
  if (item.from === 'person') return;
  for (const ask of [...making.keys()]) settle(ask);
  if (isNew) news();
}

function hearDelta(ask, text) {
  if (!making.has(ask)) {
    const words = document.createTextNode('');
    making.set(ask, words);
    const element = make('div', { class: 'message bernard', 'data-ask': ask }, make('div', { class: 'bubble' }, words));
    live.append(element);
  }
  making.get(ask).appendData(text);
}

function settle(ask) {
  making.get(ask)?.parentElement.parentElement.remove();
  making.delete(ask);
}

function hearAccepted(id) {
  const deed = outbox.find((each) => each.id === id);
  outbox = outbox.filter((each) => each.id !== id);
  keepOutbox();
  const item = items.get(`message:${id}`);
  if (deed?.type === 'say' && item?.state === 'sending') items.set(keyOf(item), { ...item, state: 'said' });
}

function showWorking() {
  const shown = working && making.size === 0;
  byId('working').hidden = !shown;
  const text = working ? 'Bernard is at work' : '';
  if (byId('working-text').textContent !== text) byId('working-text').textContent = text;
}

// ---- What the person says ----

function newId() {
  return crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {Attached[]} files */
function speak(text, files = []) {
  if (connection === 'ended' || (text.trim() === '' && files.length === 0) || text.length > TEXT_LIMIT) return false;
  const deed = { type: 'say', id: newId(), text: text.toWellFormed?.() ?? text }; // half a character is no JSON to the Worker
  if (files.length > 0) Object.assign(deed, { files: files.map(({ id }) => id), cards: files.map(card) });
  following = true;
  changing(() => showSending(deed));
  carry(deed);
  return true;
}

function press(message, action) {
  if (connection === 'ended' || pressed.has(message)) return;
  changing(() => pressed.set(message, action));
  carry({ type: 'press', id: newId(), action, message });
}

/** @param {Attached} file */
function card({ id, name, mime, size }) {
  return { kind: 'file', id, name, mime, size, href: `/console/files/${id}`, at: Date.now() };
}

function showSending({ id, text, cards }) {
  const at = items.get(`message:${id}`)?.at ?? Date.now();
  items.set(`message:${id}`, { kind: 'message', id, from: 'person', html: '', text, at, files: cards, buttons: [], state: 'sending' });
}

function carry(deed) {
  outbox.push(deed);
  keepOutbox();
  if (connection === 'connected') send(deed);
}

function send(deed) {
  const through = socket;
  through.send(JSON.stringify({ ...deed, cards: undefined })); // what files look like is known there
  setTimeout(() => {
    if (outbox.includes(deed) && through === socket) lost();
  }, ACCEPT_TIMEOUT);
}

// What was not accepted survives a reload of this tab, as a draft: whoever is signed in by then decides whether to send it.

const kept = {
  get: (name) => {
    try {
      return sessionStorage.getItem(name) ?? '';
    } catch {
      return ''; // storage is switched off: nothing is kept, everything else works
    }
  },
  set: (name, text) => {
    try {
      if (text) sessionStorage.setItem(name, text);
      else sessionStorage.removeItem(name);
    } catch {
      // as above
    }
  },
};

let unsent = [];

function keepOutbox() {
  const says = outbox.filter((deed) => deed.type === 'say');
  kept.set('unsent', says.length > 0 ? JSON.stringify(says) : '');
}

function recoverUnsent() {
  const lostSays = unsent.filter(({ id }) => !items.has(`message:${id}`));
  const lostTexts = lostSays.map(({ text }) => text);
  unsent = [];
  keepOutbox();
  attachAgain(lostSays);
  if (lostTexts.length > 0) draft([...lostTexts, say.value].filter((text) => text.trim()).join('\n\n'));
}

/** Puts what was not accepted back into the box. */
function takeBack() {
  const says = outbox.filter((deed) => deed.type === 'say');
  outbox = [];
  keepOutbox();
  changing(() => {
    pressed.clear();
    for (const { id } of says) items.delete(`message:${id}`);
  });
  attachAgain(says);
  if (says.length > 0) draft([...says.map(({ text }) => text), say.value].filter((text) => text.trim()).join('\n\n'));
}

function draft(text) {
  say.value = text;
  typed();
}

function typed() {
  kept.set('draft', say.value);
  const over = say.value.length - TEXT_LIMIT;
  byId('length').textContent = over > 0 ? `${over.toLocaleString('en')} characters too long` : '';
  if (CSS.supports('field-sizing', 'content')) return;
  say.style.height = 'auto';
  say.style.height = `${say.scrollHeight}px`;
}

// ---- Files that go with the next message ----

/** @type {Attached[]} */
let attached = [];

/** Sends files ahead, each as soon as it is chosen; the message then names them. */
function attach(files) {
  complain('');
  for (const file of files) {
    const name = file.name || 'file';
    if (connection === 'ended') return;
    if (attached.length >= FILES_LIMIT) return complain(`A message takes ${FILES_LIMIT} files at the most.`);
    if (file.size > FILE_LIMIT) complain(`${name} is ${sizeOf(file.size)}; 50 MB is the most.`);
    else give(file, { key: newId(), name, mime: file.type, size: file.size, id: null, sent: 0 });
  }
}

/** @param {Attached} one */
function give(file, one) {
  attached.push(one);
  const request = (one.request = new XMLHttpRequest()); // it alone tells how far a body is
  request.open('POST', '/console/files');
  request.setRequestHeader('content-type', file.type || 'application/octet-stream');
  request.setRequestHeader('x-file-name', encodeURIComponent(one.name.toWellFormed?.() ?? one.name));
  request.upload.onprogress = ({ loaded }) => {
    one.sent = loaded;
    const bar = byId('attached').querySelector(`[data-key="${one.key}"] progress`);
    if (bar) bar.value = loaded;
  };
  request.onload = () => given(one, request);
  request.onerror = () => detach(one, `${one.name} could not be sent. Attach it again in a moment.`);
  request.send(file);
  drawAttached();
}

function given(one, request) {
  const said = parseJson(request.responseText);
  if (request.status === 401) return ended();
  if (request.status !== 200) return detach(one, `${one.name}: ${said?.error ?? `that did not work (${request.status})`}`);
  Object.assign(one, { id: said.id, name: said.name, mime: said.mime, size: said.size });
  drawAttached();
  byId('attached-said').textContent = `${one.name} is attached`;
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function detach(one, why = '') {
  one.request?.abort();
  attached = attached.filter((each) => each !== one);
  complain(why);
  drawAttached();
}

/** Files of messages that were not accepted go with the next one. */
function attachAgain(says) {
  const cards = says.flatMap((deed) => deed.cards ?? []);
  attached.push(...cards.map(({ id, name, mime, size }) => ({ key: newId(), name, mime, size, id, sent: size })));
  drawAttached();
}

function complain(text) {
  byId('attach-error').textContent = text;
  byId('attach-error').hidden = text === '';
}

function drawAttached() {
  byId('attached').replaceChildren(...attached.map((one) => {
    const remove = button({ class: 'plain', 'aria-label': `Remove ${one.name}`, title: 'Remove' }, () => detach(one), icon('close'));
    const row = make('li', { 'data-key': one.key, 'data-state': one.id ? 'there' : 'coming' }, make('b', { title: one.name }, one.name), make('span', {}, sizeOf(one.size)), remove);
    if (!one.id) row.append(make('progress', { max: String(one.size || 1), value: String(one.sent), 'aria-label': `Sending ${one.name}` }));
    return row;
  }));
}

/** A file that is dragged in from elsewhere may be let go anywhere on the page. */
function drag(event) {
  if (!event.dataTransfer?.types.includes('Files')) return;
  event.preventDefault();
  const inside = event.type !== 'drop' && !(event.type === 'dragleave' && event.relatedTarget === null);
  body.classList.toggle('dropping', inside);
  if (event.type === 'drop') attach(event.dataTransfer.files);
}

function paste(event) {
  if (!event.clipboardData?.files.length) return;
  event.preventDefault();
  attach(event.clipboardData.files);
}

// ---- The connection ----

/** @type {'connecting'|'connected'|'offline'|'ended'} */
let connection = 'connecting';
let socket = null;
let tries = 0;
let timer = 0;

/** Dials the page's own origin; nothing in the page's address can name another. */
function connect() {
  if (connection === 'ended') return;
  clearTimeout(timer);
  clearInterval(timer);
  abandon();
  connection = 'connecting';
  timer = setTimeout(() => showBanner('Connecting…'), tries === 0 ? CONNECTING_IS_QUIET : 0);
  socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/console/live`);
  socket.onmessage = ({ data }) => {
    if (connection !== 'connected') connected();
    hear(data);
  };
  socket.onclose = ({ code }) => lost(code);
}

/** Takes the socket out of use; nothing it still says is heard. */
function abandon() {
  if (!socket) return;
  socket.onmessage = socket.onclose = null;
  socket.close();
  socket = null;
}

function connected() {
  connection = 'connected';
  tries = 0;
  clearTimeout(timer);
  showBridgeBanner();
}

async function lost(code) {
  if (connection === 'ended' || connection === 'offline') return;
  const stood = connection === 'connected';
  abandon();
  if (code === SESSION_ENDED) return ended();
  connection = 'offline';
  if (code === REFUSED) takeBack(); // to send it again would end the same way, for ever
  if (!stood && (await isSignedOut())) return ended();
  if (connection === 'offline') waitToConnect();
}

/** A socket that was refused does not say why; the page's own address does. */
async function isSignedOut() {
  const answer = await fetch('/console/', { cache: 'no-store', redirect: 'manual' }).catch(() => null);
  return answer !== null && (answer.type === 'opaqueredirect' || answer.status === 401 || answer.status === 403);
}

function waitToConnect() {
  const longest = Math.min(RETRY_LONGEST, 2 ** tries);
  const until = Date.now() + longest * (0.6 + 0.4 * Math.random()) * 1000 + 400; // jitter: not all pages at once
  tries += 1;
  showBanner('Offline.', 'Try again', connect);
  const tick = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    byId('banner-count').textContent = seconds > 0 ? ` Trying again in ${seconds} s` : '';
    if (seconds <= 0) connect();
  };
  clearInterval(timer);
  timer = setInterval(tick, 250);
  tick();
}

addEventListener('online', () => connection === 'offline' && connect());
addEventListener('offline', () => lost());

/** The end of this page's session: what was not sent goes back into the box, so that it can be copied. */
function ended(text = 'Your session ended. Ask for a new link with /console in your chat.') {
  connection = 'ended';
  clearTimeout(timer);
  clearInterval(timer);
  abandon();
  working = false;
  takeBack();
  kept.set('draft', '');
  byId('machines').close();
  byId('menu-button').hidden = true;
  byId('chips').replaceChildren();
  say.readOnly = true;
  body.classList.add('ended');
  showBanner(text);
}

function showBanner(text, action, onPress) {
  const shown = byId('banner');
  const press = byId('banner-button');
  shown.hidden = !text;
  shown.classList.toggle('attention', action === 'Compare the words' || connection === 'ended');
  if (byId('banner-text').textContent !== text) byId('banner-text').textContent = text;
  byId('banner-count').textContent = '';
  press.hidden = !action;
  press.textContent = action ?? '';
  press.onclick = onPress ?? null;
}

// ---- Machines ----

const BRIDGE_WORDS = { connected: 'connected', away: 'away', pending: 'wants to pair' };
const URGENCY = ['pending', 'connected', 'away']; // what wants an answer comes first
let removing = ''; // the machine that the person is asked about
let offer = null; // the pairing link in view

function hearBridges(heard) {
  const known = new Set(bridges.map(({ id }) => id));
  const arrived = heard.some(({ id, state }) => state === 'pending' && !known.has(id));
  bridges = heard.toSorted((a, b) => URGENCY.indexOf(a.state) - URGENCY.indexOf(b.state));
  if (arrived) showOffer(null); // its link is used up
  drawChips();
  drawMachines();
  if (connection === 'connected') showBridgeBanner();
}

function showBridgeBanner() {
  const pending = bridges.find(({ state }) => state === 'pending');
  if (pending) showBanner(`${pending.name} wants to pair.`, 'Compare the words', openMachines);
  else showBanner('');
}

/** @param {Bridge} bridge */
function stateWords({ state, seen }) {
  if (state === 'away' && seen) return `away, last seen ${ago(seen)}`;
  return BRIDGE_WORDS[state] ?? state;
}

function drawChips() {
  const chips = bridges.map((bridge) => {
    const chip = button({ class: `chip ${bridge.state}` }, openMachines, make('i', { class: 'dot' }), make('b', {}, bridge.name), make('span', {}, BRIDGE_WORDS[bridge.state] ?? ''));
    chip.title = `${bridge.name}: ${stateWords(bridge)}`;
    return make('li', {}, chip);
  });
  if (chips.length === 0) chips.push(make('li', {}, button({ class: 'chip' }, openMachines, make('b', {}, 'Pair a machine'))));
  const had = byId('chips').contains(document.activeElement);
  byId('chips').replaceChildren(...chips);
  if (had) byId('chips').querySelector('button').focus();
}

function drawMachines() {
  const focused = document.activeElement?.dataset?.key;
  byId('machine-list').replaceChildren(...bridges.map(drawMachine));
  if (focused) (document.querySelector(`[data-key="${CSS.escape(focused)}"]`) ?? byId('pair')).focus();
}

/** @param {Bridge} bridge */
function drawMachine(bridge) {
  const row = make('li', { class: `machine ${bridge.state}` }, make('i', { class: 'dot' }));
  row.append(make('div', { class: 'machine-words' }, make('b', {}, bridge.name), make('span', {}, stateWords(bridge))));
  if (bridge.state === 'pending') row.append(...drawPending(bridge));
  else if (removing === bridge.id) row.append(...drawRemoving(bridge));
  else row.append(choice(bridge, 'remove', 'quiet', 'Remove', () => ask(bridge.id)));
  return row;
}

function drawPending(bridge) {
  const six = make('ol', { class: 'six', 'aria-label': 'Six words' }, ...(bridge.words ?? []).map((word) => make('li', {}, word)));
  return [
    make('p', {}, 'Does the machine show these six words, in this order?'),
    six,
    make('div', { class: 'machine-choices' },
      choice(bridge, 'match', 'filled', 'The words match', () => order(bridge, 'confirm')),
      choice(bridge, 'no', 'danger', 'No', () => order(bridge, 'revoke'))),
  ];
}

function drawRemoving(bridge) {
  return [
    make('p', {}, `Remove ${bridge.name}? Bernard can do nothing there any more, until it is paired again.`),
    make('div', { class: 'machine-choices' },
      choice(bridge, 'keep', '', 'Keep it', () => ask('')),
      choice(bridge, 'revoke', 'danger', 'Remove it', () => order(bridge, 'revoke'))),
  ];
}

function choice(bridge, name, look, label, onPress) {
  return button({ class: `action ${look}`, 'data-key': `${bridge.id}/${name}` }, onPress, label, unseen(` (${bridge.name})`));
}

function ask(id) {
  removing = id;
  drawMachines();
  document.querySelector(id ? `[data-key="${CSS.escape(id)}/keep"]` : '#pair').focus();
}

async function order(bridge, what) {
  await attempt(() => call(`bridges/${encodeURIComponent(bridge.id)}/${what}`));
  removing = '';
  drawMachines();
}

async function pair() {
  await attempt(async () => showOffer(await call('pair')));
}

/** Shows the one-time command and how long it is good for; `null` takes it away. */
function showOffer(offered) {
  clearInterval(offer?.timer);
  offer = offered;
  byId('offer').hidden = !offered;
  byId('pair').hidden = Boolean(offered);
  if (!offered) return;
  byId('offer-command').textContent = `local-bridge pair '${offered.link.replaceAll("'", "'\\''")}'`;
  const tick = () => {
    const left = Math.max(0, Math.round((offered.expires_at - Date.now()) / 1000));
    const over = left === 0;
    byId('offer').classList.toggle('over', over);
    byId('pair').hidden = !over;
    byId('offer-words').textContent = over
      ? 'That command has expired.'
      : `Run this on the machine within ${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}. It works once.`;
    if (over) clearInterval(offered.timer);
  };
  offered.timer = setInterval(tick, 1000);
  tick();
}

/** Runs an order and shows, in one sentence, why it could not be done. */
async function attempt(work) {
  const error = byId('machines-error');
  error.hidden = true;
  try {
    await work();
  } catch (reason) {
    error.textContent = reason.message;
    error.hidden = false;
  }
}

/** JSON over a plain POST: no other origin can send that without being asked first, and none is answered. */
async function call(path) {
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}', redirect: 'manual' };
  const answer = await fetch(`/console/api/${path}`, request).catch(() => null);
  if (!answer) throw new Error('Bernard could not be reached. Try again in a moment.');
  if (answer.type === 'opaqueredirect') return {}; // done, and the answer would be another page
  if (answer.status === 401) ended();
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ?? `That did not work (${answer.status}). Try again in a moment.`);
  return said;
}

function openMachines() {
  byId('menu').hidePopover?.();
  byId('machines-error').hidden = true;
  removing = '';
  drawMachines();
  if (!byId('machines').open) byId('machines').showModal();
}

async function signOut() {
  byId('menu').hidePopover?.();
  try {
    await call('sign-out');
  } catch (reason) {
    return showBanner(`You are still signed in: ${reason.message}`);
  }
  items.clear();
  making.clear();
  live.replaceChildren();
  heardHistory = false;
  outbox = [];
  draft('');
  ended('You are signed out. For another visit, ask for a link with /console in your chat.');
}

// ---- The page itself ----

const onTouch = matchMedia('(pointer: coarse)').matches;

function submit(event) {
  event.preventDefault();
  if (attached.some(({ id }) => !id)) return complain('Your files are still on their way; a moment.');
  if (speak(say.value, attached)) {
    draft('');
    attached = [];
    complain('');
    drawAttached();
  }
  if (!onTouch || document.activeElement === say) say.focus();
}

/** Enter sends, except on a touch keyboard, with Shift, or while an input method is composing a word. */
function enter(event) {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || onTouch) return;
  submit(event);
}

/** Where a keyboard lies over the page (iOS), the page is made as high as what can be seen of it. */
function fitKeyboard() {
  document.documentElement.style.setProperty('--height', `${window.visualViewport.height}px`);
  scrollTo(0, 0);
}

function start() {
  byId('composer').addEventListener('submit', submit);
  say.addEventListener('keydown', enter);
  say.addEventListener('input', typed);
  say.addEventListener('paste', paste);
  for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) addEventListener(type, drag);
  byId('attach').addEventListener('click', () => byId('pick').click());
  byId('pick').addEventListener('change', () => {
    attach(byId('pick').files);
    byId('pick').value = ''; // the same file may be chosen again
    say.focus();
  });
  byId('open-machines').addEventListener('click', openMachines);
  byId('close-machines').addEventListener('click', () => byId('machines').close());
  byId('machines').addEventListener('close', () => showOffer(null));
  byId('pair').addEventListener('click', pair);
  byId('offer-copy').addEventListener('click', () => copyText(byId('offer-command').textContent, byId('offer-copy')));
  byId('sign-out').addEventListener('click', signOut);
  for (const example of document.querySelectorAll('.example')) example.addEventListener('click', () => speak(example.textContent));
  byId('hint').textContent = onTouch ? '' : 'Enter sends · Shift+Enter starts a new line';
  if (onTouch) say.enterKeyHint = 'enter';
  if (onTouch) window.visualViewport?.addEventListener('resize', fitKeyboard);
  unsent = JSON.parse(kept.get('unsent') || '[]');
  draft(kept.get('draft'));
  if (!onTouch) say.focus();
  connect();
}

start();
