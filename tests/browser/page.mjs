// node page.mjs ORIGIN DIR WIDTH HEIGHT [dark]: the page at / with its own player.
import { join } from 'node:path';
import { check, open, plays, showsTheDemo, until, withBrowser } from './browser.mjs';

const [origin, dir, width, height, scheme] = process.argv.slice(2);
const picture = (name) => join(dir, `page-${width}-${name}.png`);

const screen = { viewport: { width: Number(width), height: Number(height) } };
if (screen.viewport.width < 600) Object.assign(screen, { isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
if (scheme) screen.colorScheme = scheme;

await withBrowser(dir, screen, async (context) => {
  const { page, problems, hosts } = await open(context, origin);
  const card = page.locator('article', { hasText: 'live/demo' });
  await card.waitFor();
  const text = () => card.locator('p').first().textContent();
  await until('size and rate are known', async () => /320×180\s2\d\sfps/.test(await text()));
  const facts = await text();
  check(/H\.?264/.test(facts) && facts.includes('AAC') && /[1-9]\d*\skbit\/s/.test(facts), facts);
  await page.screenshot({ path: picture('list'), fullPage: true });
  await card.getByText('Addresses').click();
  const urls = await card.locator('code').allTextContents();
  for (const ending of ['live/demo', '.flv', '.ts', '.aac', '.m3u8']) {
    check(urls.some((url) => url.endsWith(ending)), `no address with ${ending} in ${urls}`);
  }
  await page.screenshot({ path: picture('addresses'), fullPage: true });
  await card.getByText('Addresses').click();
  await card.getByRole('button', { name: 'Play' }).click();
  await plays(page);
  check(await page.locator('#note').textContent() === '', await page.locator('#note').textContent());
  await page.screenshot({ path: picture('plays') });
  // Nothing is wider than the screen.
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(wide <= 0, `the page is ${wide} px wider than the screen`);
  await showsTheDemo(page, picture('video'));
  await page.getByRole('button', { name: 'Close' }).click();
  check(!(await page.locator('#stage').isVisible()), 'the player is closed');
  check(problems.length === 0, problems.join('\n'));
  check([...hosts].join() === new URL(origin).host, `asked ${[...hosts]}`);
});
