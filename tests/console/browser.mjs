// Uses the console as a person would, in a real Chromium, and reports what it saw.
//
//   node tests/console/browser.mjs <sign-in link> <output folder> < steps.json
//
// `steps.json` is a list of steps, done in order; each may name a `timeout` in milliseconds:
//   {"say": "list", "answer": "notes.md", "tool": "files.list", "file": "proof.pdf"}   write it, wait for what is named
//   {"say": "save it", "attach": [{"name": "a.txt", "text": "…", "by": "drop"}]}       with files, picked (or dropped, or pasted)
//   {"too_large": 60}                      pick a file of so many MB; the page says that it takes none such
//   {"example": "help", "answer": "…"}     press an example of the empty page
//   {"press": "Yes, once", "answer": "…"}  press a button under the newest message that has one
//   {"see": "text"}                        wait for a text in the conversation
//   {"bridge": "mac-mini", "state": "away"}
//   {"pair": true}                         write the pairing command to <output folder>/pair.json
//   {"confirm": "study"}                   wait for that machine's six words, and say that they match
//   {"offline_say": "list", "answer": "…"} write it while the network is gone; it arrives once, when the network is back
//   {"reload": true}  {"screenshot": "name"}
//   {"sign_out": true}                     only as the last step: nothing is open after it
//
// It prints one line of JSON, and ends with 0 where all checks held. Chromium is taken from CHROMIUM, else /usr/bin/chromium.

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [link, folder] = process.argv.slice(2);
if (!link || !folder) {
  console.error('usage: browser.mjs <sign-in link> <output folder> < steps.json');
  process.exit(2);
}
const steps = JSON.parse(readFileSync(0, 'utf8') || '[]');
mkdirSync(folder, { recursive: true });

const PATIENCE = 60_000; // a turn on a cold runtime, with two cores shared by all tests
const THUMB = 44; // pixels: the least that a thumb hits
const SIZES = [
  { name: 'desktop', viewport: { width: 1280, height: 800 } },
  { name: 'phone', viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  { name: 'narrow', viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
];

const report = { ok: false, checks: [], console: [], page_errors: [], violations: [], failed_requests: [], answers: [], files: [], words: [], screenshots: [] };

function check(name, ok, detail = '') {
  report.checks.push({ name, ok: Boolean(ok), ...(detail === '' ? {} : { detail }) });
}

// ---- Watching ----

/** Collects everything that a page complains of. Of a page that ought to be refused, its status is no complaint. */
async function watch(page, { refused = false } = {}) {
  page.on('pageerror', (error) => report.page_errors.push(String(error.stack ?? error)));
  page.on('console', (message) => {
    if (message.text().includes('ERR_INTERNET_DISCONNECTED')) return; // the step `offline_say` asked for it
    if (['error', 'warning'].includes(message.type()) && !refused) report.console.push(`${message.type()}: ${message.text()}`);
  });
  page.on('requestfailed', (request) => {
    const reason = request.failure()?.errorText;
    // a download is taken over by the browser, which aborts the page's own request for it
    if (!['net::ERR_ABORTED', 'net::ERR_INTERNET_DISCONNECTED'].includes(reason)) report.failed_requests.push(`${reason} ${pathOf(request.url())}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400 && !refused) report.failed_requests.push(`${response.status()} ${pathOf(response.url())}`);
  });
  await page.exposeFunction('reportViolation', (text) => report.violations.push(text));
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) => window.reportViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`)));
}

/** An address without what might be secret in it. */
function pathOf(address) {
  return new URL(address).pathname.replace(/(sign-in\/).+/, '$1…');
}

async function shoot(page, name) {
  const path = join(folder, `${name}.png`);
  await page.screenshot({ path });
  report.screenshots.push(path);
}

async function until(what, holds, timeout = PATIENCE) {
  const deadline = Date.now() + timeout;
  while (Date.now() < deadline) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`waited ${timeout / 1000} s for ${what}`);
}

// ---- Signing in ----

async function signIn(page) {
  const first = await page.goto(link);
  check('the sign-in page is served', first.status() === 200, String(first.status()));
  const again = await page.goto(link);
  check('looking at the link does not use it up', again.status() === 200, String(again.status()));
  await shoot(page, 'sign-in');
  await page.getByRole('button').click();
  await page.locator('#chips button').first().waitFor({ timeout: PATIENCE });
  check('the chat opens', new URL(page.url()).pathname === '/console/', pathOf(page.url()));
  const served = await page.reload();
  const policy = served.headers()['content-security-policy'] ?? '';
  check('the policy forbids inline script and strangers', policy.includes("default-src 'none'") && !policy.includes('unsafe'), policy);
  const cookies = await page.context().cookies();
  const kept = cookies.length > 0 && cookies.every((cookie) => cookie.httpOnly && cookie.sameSite === 'Strict');
  check('the session is a strict cookie that scripts cannot read', kept, cookies.map(({ name }) => name).join(' '));
}

async function secondUseIsRefused(browser) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await watch(page, { refused: true });
  const answer = await page.goto(link);
  const text = await page.locator('body').innerText();
  check('the link does not work twice', answer.status() >= 400 && !(await page.locator('form').count()), String(answer.status()));
  check('the refusal says how to get another link', text.includes('/console') && text.includes('cargo xtask dev'), text.slice(0, 120));
  await shoot(page, 'refused');
  const console_ = await page.goto(new URL('/console/', link).href);
  check('without a session there is no console', console_.status() >= 400 && (await page.locator('#say').count()) === 0, String(console_.status()));
  await context.close();
}

// ---- Steps ----

const answers = (page, text) => page.locator('#log .message.bernard').filter({ hasText: text });
const tools = (page, name) => page.locator(`#log [data-tool="${name}"][data-state="done"]`);
const cards = (page, name) => page.locator('#log .file').filter({ hasText: name });

/** Does something that Bernard answers, and waits for whatever the step expects of the answer. */
async function expecting(page, step, act) {
  const counts = [
    step.answer !== undefined && [answers(page, step.answer), `an answer with “${step.answer}”`],
    step.tool !== undefined && [tools(page, step.tool), `the tool ${step.tool}`],
    step.file !== undefined && [cards(page, step.file), `the file ${step.file}`],
  ].filter(Boolean);
  const before = await Promise.all(counts.map(([found]) => found.count()));
  await act();
  for (const [at, [found, what]] of counts.entries()) {
    await until(what, async () => (await found.count()) > before[at], step.timeout);
    check(`${what} is shown`, true);
  }
  if (step.answer !== undefined) report.answers.push(await answers(page, step.answer).last().locator('.bubble').innerText());
  if (step.file !== undefined) await download(page, step.file);
}

async function download(page, name) {
  const [got] = await Promise.all([page.waitForEvent('download'), cards(page, name).last().locator('a').click()]);
  const bytes = readFileSync(await got.path());
  report.files.push({ name: got.suggestedFilename(), size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
}

/** Gives the page a file in one of the three ways, and waits until the Worker has it. */
async function attach(page, { name, text, by }) {
  const there = page.locator('#attached [data-state="there"]');
  const before = await there.count();
  if (by === undefined) {
    await page.locator('#pick').setInputFiles({ name, mimeType: 'text/plain', buffer: Buffer.from(text) });
  } else {
    await page.evaluate(([name, text, by]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], name, { type: 'text/plain' }));
      const event = by === 'paste' ? new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true }) : new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
      document.getElementById('say').dispatchEvent(event);
    }, [name, text, by]);
  }
  await until(`${name} to be attached`, async () => (await there.count()) > before);
  check(`a file is attached (${by ?? 'picked'})`, (await there.last().innerText()).includes(name));
}

async function tooLarge(page, megabytes) {
  const path = join(folder, 'large.bin');
  writeFileSync(path, Buffer.alloc(megabytes * 1_000_000));
  await page.locator('#pick').setInputFiles(path);
  const told = page.locator('#attach-error');
  await told.waitFor({ timeout: PATIENCE });
  check('a file that is too large is refused in plain words', (await told.innerText()) === `large.bin is ${megabytes.toFixed(1)} MB; 50 MB is the most.`, await told.innerText());
  check('and not attached', (await page.locator('#attached li').count()) === 0);
}

async function write(page, text, timeout, files = []) {
  await closeMachines(page);
  for (const file of files) await attach(page, file);
  if (files.length > 0) await shoot(page, 'attached');
  await page.locator('#say').focus();
  await page.keyboard.insertText(text);
  await page.keyboard.press('Enter');
  await until('the message to be stored', async () => (await page.locator('#log .sending').count()) === 0, timeout);
  check('the box is empty after sending', (await page.locator('#say').inputValue()) === '' && (await page.locator('#attached li').count()) === 0);
}

async function writeOffline(page, text) {
  const written = page.locator('#log .message.person').filter({ hasText: text });
  const before = await written.count();
  await page.context().setOffline(true);
  await page.locator('#banner').filter({ hasText: 'Offline' }).waitFor({ timeout: PATIENCE });
  await page.locator('#say').fill(text);
  await page.locator('#say').press('Enter');
  check('what is written offline is shown as not sent', (await page.locator('#log .sending').count()) === 1);
  await page.context().setOffline(false);
  await until('the message to be stored', async () => (await page.locator('#log .sending').count()) === 0);
  check('it is sent once', (await written.count()) === before + 1, `${before} before, ${await written.count()} after`);
}

async function pressChoice(page, label) {
  const choice = page.locator('#log .choice:enabled').filter({ hasText: label }).last();
  await choice.waitFor({ timeout: PATIENCE });
  const { height } = await choice.boundingBox();
  check(`“${label}” is large enough for a thumb`, height >= THUMB, `${height}px`);
  const group = page.locator('#log .choices').last();
  await choice.click();
  await until('the buttons to be disabled', async () => (await group.locator('button:enabled').count()) === 0);
  check('a pressed question cannot be answered twice', true);
}

async function openMachines(page) {
  if (!(await page.locator('#machines[open]').count())) await page.locator('#chips button').first().click();
}

async function closeMachines(page) {
  if (await page.locator('#machines[open]').count()) await page.locator('#close-machines').click();
}

async function pairMachine(page) {
  await openMachines(page);
  await page.locator('#pair').click();
  const command = page.locator('#offer-command');
  await until('a pairing command', async () => (await command.textContent()).startsWith('local-bridge pair '));
  writeFileSync(join(folder, 'pair.json'), JSON.stringify({ command: await command.textContent() }));
}

async function confirmMachine(page, name, timeout) {
  await openMachines(page);
  const row = page.locator('.machine.pending').filter({ hasText: name });
  await row.waitFor({ timeout: timeout ?? PATIENCE });
  report.words.push(await row.locator('.six li').allTextContents());
  await row.getByRole('button', { name: 'The words match' }).click();
  await until(`${name} to be paired`, async () => (await row.count()) === 0, timeout);
  await closeMachines(page);
}

async function signOut(page) {
  await page.locator('#menu-button').click();
  await page.locator('#sign-out').click();
  await page.getByText('You are signed out').waitFor({ timeout: PATIENCE });
  check('signing out empties the page', (await page.locator('#log').innerText()) === '');
  const answer = await page.request.get(new URL('/console/', link).href);
  check('a session that was signed out opens nothing', answer.status() >= 400, String(answer.status()));
}

const STEPS = {
  say: (page, step) => expecting(page, step, () => write(page, step.say, step.timeout, step.attach)),
  too_large: (page, step) => tooLarge(page, step.too_large),
  offline_say: (page, step) => expecting(page, step, () => writeOffline(page, step.offline_say)),
  example: (page, step) => expecting(page, step, () => page.locator('.example').filter({ hasText: step.example }).click()),
  press: (page, step) => expecting(page, step, () => pressChoice(page, step.press)),
  see: (page, step) => page.locator('#log').getByText(step.see).last().waitFor({ timeout: step.timeout ?? PATIENCE }),
  bridge: (page, step) => page.locator(`.chip.${step.state}`).filter({ hasText: step.bridge }).waitFor({ timeout: step.timeout ?? PATIENCE }),
  pair: (page) => pairMachine(page),
  confirm: (page, step) => confirmMachine(page, step.confirm, step.timeout),
  reload: (page) => reload(page),
  screenshot: (page, step) => shoot(page, step.screenshot),
  sign_out: (page) => signOut(page),
};

async function take(page, step) {
  const name = Object.keys(STEPS).find((each) => each in step);
  if (!name) throw new Error(`not a step: ${JSON.stringify(step)}`);
  await STEPS[name](page, step);
}

async function reload(page) {
  const before = await page.locator('#log .message').count();
  await page.reload();
  await until('the conversation to be there again', async () => (await page.locator('#log .message').count()) >= Math.min(before, 1));
  check('a reload shows the conversation again', (await page.locator('#log .message').count()) === before, `${before} messages`);
}

// ---- Keyboard, width, looks ----

/** What the keyboard reaches, in order, each with whether one sees that it is there. */
async function tabThrough(page) {
  await page.locator('#say').focus();
  const reached = [];
  for (let at = 0; at < 80; at += 1) {
    await page.keyboard.press('Tab');
    const here = await page.evaluate(() => {
      const element = document.activeElement;
      const shows = (each) => each && getComputedStyle(each).outlineStyle !== 'none' && parseFloat(getComputedStyle(each).outlineWidth) >= 2;
      const name = element.id || element.className || element.tagName;
      return { name, seen: shows(element) || shows(element.closest('.box')), named: Boolean(element.getAttribute('aria-label') || element.labels?.length || element.textContent.trim()) };
    });
    if (here.name !== 'BODY') reached.push(here);
    if (here.name === 'say') break;
  }
  return reached;
}

async function keyboardReachesAll(page) {
  await closeMachines(page);
  const reached = await tabThrough(page);
  const names = reached.map(({ name }) => name);
  for (const needed of ['send', 'menu-button', 'chip', 'say']) check(`Tab reaches ${needed}`, names.some((name) => name.split(' ').includes(needed)), names.join(', '));
  const unseen = reached.filter(({ seen }) => !seen).map(({ name }) => name);
  check('the focus is always visible', unseen.length === 0, unseen.join(', '));
  const unnamed = reached.filter(({ named }) => !named).map(({ name }) => name);
  check('all that can be focused has a name', unnamed.length === 0, unnamed.join(', '));
  await page.locator('#chips button').first().press('Enter');
  check('Enter on a chip opens the machines', await page.locator('#machines').isVisible());
  await page.keyboard.press('Escape');
  check('Escape closes them, and the focus returns', !(await page.locator('#machines').isVisible()) && (await page.evaluate(() => document.activeElement.classList.contains('chip'))));
}

async function look(browser, state, { name, ...device }) {
  const context = await browser.newContext({ ...device, storageState: state });
  const page = await context.newPage();
  await watch(page);
  await page.goto(new URL('/console/', link).href);
  await page.locator('#chips button').first().waitFor({ timeout: PATIENCE });
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.waitForTimeout(300); // let pictures and the list settle: this is for eyes, nothing is decided by it
    await shoot(page, `${name}-${colorScheme}`);
  }
  await fits(page, name);
  await page.locator('#chips button').first().click();
  await shoot(page, `${name}-machines`);
  await context.close();
}

async function fits(page, name) {
  const wide = await page.evaluate(() => {
    const over = (element) => element.scrollWidth > element.clientWidth;
    return [document.documentElement, document.getElementById('scroller')].filter(over).map((element) => `${element.tagName} ${element.scrollWidth} > ${element.clientWidth}`);
  });
  check(`${name}: nothing scrolls sideways`, wide.length === 0, wide.join(', '));
  if (name === 'desktop') return;
  const small = await page.evaluate((least) => [...document.querySelectorAll('button, summary, .file-link')]
    .filter((element) => element.checkVisibility() && element.getBoundingClientRect().height < least)
    .map((element) => element.id || element.className), THUMB);
  check(`${name}: thumbs can press all there is`, small.length === 0, small.join(', '));
}

// ---- The visit ----

async function visit(browser) {
  const context = await browser.newContext({ viewport: SIZES[0].viewport, reducedMotion: 'reduce' });
  const page = await context.newPage();
  await watch(page);
  try {
    await signIn(page);
    await secondUseIsRefused(browser);
    const leaves = steps.at(-1)?.sign_out === true;
    for (const step of leaves ? steps.slice(0, -1) : steps) await take(page, step);
    await keyboardReachesAll(page);
    const state = await context.storageState();
    for (const size of SIZES) await look(browser, state, size);
    if (leaves) await take(page, steps.at(-1));
  } catch (error) {
    check('the visit goes to its end', false, String(error.message ?? error));
    await shoot(page, 'failure');
  }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
try {
  await visit(browser);
} finally {
  await browser.close();
}
for (const complaints of ['console', 'page_errors', 'violations', 'failed_requests']) check(`no ${complaints.replace('_', ' ')}`, report[complaints].length === 0);
report.ok = report.checks.every(({ ok }) => ok);
console.log(JSON.stringify(report));
process.exitCode = report.ok ? 0 : 1;
