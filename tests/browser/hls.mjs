// node hls.mjs ORIGIN DIR: HLS through hls.js, in a page of another site.
import { join } from 'node:path';
import { check, open, plays, showsTheDemo, withBrowser, withSite } from './browser.mjs';

const [origin, dir] = process.argv.slice(2);
const html = `<!doctype html><video muted width="640" height="360"></video><script src="lib.js"></script>
<script>
  window.fatal = [];
  const hls = new Hls({ enableWorker: false });
  hls.on(Hls.Events.ERROR, (_, e) => { if (e.fatal) fatal.push(e.type + ' ' + e.details); });
  hls.loadSource('${origin}/live/demo.m3u8');
  hls.attachMedia(document.querySelector('video'));
  hls.on(Hls.Events.MANIFEST_PARSED, () => document.querySelector('video').play());
</script>`;

// It may come before the first segment, for which it waits.
await withSite('hls.js/dist/hls.min.js', html, (site) =>
  withBrowser(dir, {}, async (context) => {
    const { page, problems } = await open(context, site);
    // Several segments long.
    await plays(page, 7);
    await showsTheDemo(page, join(dir, 'hls.png'));
    const fatal = await page.evaluate(() => window.fatal);
    check(fatal.length === 0 && problems.length === 0, [...fatal, ...problems].join('\n'));
  }));
