// Drives one Firefox for a test: reads a JSON line per order from its input, writes one per answer.
// Firefox speaks WebDriver BiDi, and Playwright drives only a Firefox of its own.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { executable, preferences, web, viewport, scripts } = JSON.parse(process.argv[2]);
const puppeteer = (await import(pathToFileURL(createRequire(`${web}/`).resolve("puppeteer-core")).href)).default;

const say = (/** @type {object} */ line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: executable,
  headless: true,
  extraPrefsFirefox: preferences,
});
const [page] = await browser.pages();
await page.setViewport(viewport);
page.on("pageerror", (error) => say({ error: String(error.message ?? error) }));
page.on("console", (message) => {
  if (["error", "warn"].includes(message.type())) say({ error: `console: ${message.text()}` });
});
for (const script of scripts) await page.evaluateOnNewDocument(script);

const orders = {
  goto: ({ url }) => page.goto(url, { waitUntil: "load" }).then(() => null),
  reload: () => page.reload({ waitUntil: "load" }).then(() => null),
  // What comes back travels as text: BiDi's own form of a value has no equal in Python. An element would come
  // as an empty object, which is false there.
  evaluate: async ({ expression }) =>
    JSON.parse(
      await page.evaluate(
        `(async () => JSON.stringify((await (${expression})) ?? null, (_, value) => value instanceof Node || value))()`,
      ),
    ),
  click: ({ selector }) => page.click(selector),
  fill: async ({ selector, text }) => {
    await page.click(selector, { count: 3 });
    await page.keyboard.type(text);
  },
};

say({ ready: await browser.version() });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, order, given } = JSON.parse(line);
  // Not awaited: an expression that waits for something must not keep the next order back.
  orders[order](given).then(
    (result) => say({ id, result: result ?? null }),
    (error) => say({ id, failed: String(error) }),
  );
}
await browser.close();
