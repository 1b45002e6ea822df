// node flv.mjs ORIGIN DIR: HTTP-FLV and HTTP-TS through mpegts.js, in a page of another site.
import { join } from 'node:path';
import { check, open, plays, showsTheDemo, withBrowser, withSite } from './browser.mjs';

const [origin, dir] = process.argv.slice(2);
const html = (type, url) => `<!doctype html><video muted width="640" height="360"></video><script src="lib.js"></script>
<script>
  window.fatal = [];
  const player = mpegts.createPlayer({ type: '${type}', isLive: true, url: '${url}' });
  player.on(mpegts.Events.ERROR, (type, detail) => fatal.push(type + ' ' + detail));
  player.attachMediaElement(document.querySelector('video'));
  player.load();
  player.play();
</script>`;

for (const [type, url] of [['flv', `${origin}/live/demo.flv`], ['mpegts', `${origin}/live/demo.ts`]]) {
  await withSite('mpegts.js/dist/mpegts.js', html(type, url), (site) =>
    withBrowser(dir, {}, async (context) => {
      const { page, problems } = await open(context, site);
      await plays(page);
      await showsTheDemo(page, join(dir, `${type}.png`));
      const fatal = await page.evaluate(() => window.fatal);
      check(fatal.length === 0 && problems.length === 0, [...fatal, ...problems].join('\n'));
    }));
}
