// node again.mjs ORIGIN DIR RTMP FFMPEG FILE: the page's player when the encoder goes and comes back.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { check, open, plays, showsTheDemo, until, withBrowser } from './browser.mjs';

const [origin, dir, rtmp, ffmpeg, file] = process.argv.slice(2);

async function publishing(test) {
  const args = ['-v', 'error', '-re', '-stream_loop', '-1', '-i', file, '-c', 'copy', '-f', 'flv', `${rtmp}/live/again`];
  const encoder = spawn(ffmpeg, args, { stdio: 'inherit' });
  const ended = new Promise((end) => { encoder.once('exit', end); });
  try {
    return await test();
  } finally {
    encoder.kill('SIGTERM');
    await ended;
  }
}

await withBrowser(dir, {}, async (context) => {
  const { page, problems } = await open(context, origin);
  const card = page.locator('article', { hasText: 'live/again' });
  const note = () => page.locator('#note').textContent();
  await publishing(async () => {
    await card.getByRole('button', { name: 'Play' }).click();
    await plays(page, 2);
  });
  await until('the end is told', async () => (await note()).includes('has ended'));
  await card.waitFor({ state: 'detached' });
  await publishing(async () => {
    await until('it begins again', async () => (await note()) === '');
    await plays(page, 2);
    await showsTheDemo(page, join(dir, 'again.png'));
  });
  check(problems.length === 0, problems.join('\n'));
});
