// A headless Chromium that does what each line of standard input says, and answers each with a line.
//
//   {"goto": url}  {"click": selector}  {"fill": [selector, text]}  {"text": selector}  {"run": expression}
//   {"size": [width, height]}  {"errors": true}
//
//   {"ok": value} or {"error": text}
//
// node browser.mjs PROGRAM PROFILE; it ends when standard input does.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [program, profile] = process.argv.slice(2);
const context = await chromium.launchPersistentContext(profile, {
  executablePath: program,
  headless: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(30_000);

// All that a visitor would find in the console.
const errors = [];
page.on('console', (message) => {
  if (message.type() === 'error' || message.type() === 'warning') {
    errors.push(`console: ${message.text()}`);
  }
});
page.on('pageerror', (error) => errors.push(`thrown: ${error.message}`));
page.on('response', (response) => {
  if (response.status() >= 400) {
    errors.push(`answered: ${response.status()} ${response.url()}`);
  }
});
page.on('requestfailed', (request) => {
  const why = request.failure()?.errorText;
  // Whoever goes on gives up what was still on its way.
  if (why !== 'net::ERR_ABORTED') {
    errors.push(`failed: ${why} ${request.url()}`);
  }
});

const commands = {
  goto: (url) => page.goto(url).then((response) => response?.status()),
  click: (selector) => page.click(selector).then(() => null),
  fill: ([selector, text]) => page.fill(selector, text).then(() => null),
  text: (selector) => page.textContent(selector),
  run: (expression) => page.evaluate(expression),
  size: ([width, height]) => page.setViewportSize({ width, height }).then(() => null),
  errors: async () => errors.splice(0),
};

async function answer(line) {
  const [[command, argument]] = Object.entries(JSON.parse(line));
  try {
    return { ok: (await commands[command](argument)) ?? null };
  } catch (error) {
    return { error: `${command} ${JSON.stringify(argument)}: ${error.message}` };
  }
}

console.log(JSON.stringify({ ok: context.browser()?.version() ?? null }));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(line)));
}
await context.close();
