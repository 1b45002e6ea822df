// A headless Chromium with an empty profile that reaches nothing but this machine, and what a test
// asks of a <video> in it.
import { chromium } from 'playwright-core';
import { createServer } from 'node:http';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
];

export function check(holds, what) {
  if (!holds) throw new Error(what);
}

// Asks here and not in the page, whose policy allows no code from elsewhere.
export async function until(what, holds) {
  const end = Date.now() + 30_000;
  while (!(await holds())) {
    check(Date.now() < end, `not within 30 s: ${what}`);
    await new Promise((later) => { setTimeout(later, 50); });
  }
}

// Runs `test` with a browser; `dir` gets its profile, `screen` is what it shows.
export async function withBrowser(dir, screen, test) {
  const profile = await mkdtemp(join(dir, 'profile-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM,
    // In the flags, in the spelling of today.
    headless: false,
    args: FLAGS,
    ...screen,
  });
  try {
    return await test(context);
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  }
}

// A page that has gone wrong says so in `problems`; `hosts` is whom it asked for anything.
export async function open(context, url) {
  const page = await context.newPage();
  const problems = [];
  const hosts = new Set();
  page.on('pageerror', (e) => problems.push(e.message));
  page.on('console', (line) => line.type() === 'error' && problems.push(line.text()));
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol.startsWith('http')) hosts.add(host);
  });
  await page.goto(url);
  return { page, problems, hosts };
}

// Where the picture is, how many frames came out of the decoder.
const state = (page) => page.evaluate(() => {
  const video = document.querySelector('video');
  const { totalVideoFrames: frames, droppedVideoFrames: dropped } = video.getVideoPlaybackQuality();
  const { currentTime: time, videoWidth: width, videoHeight: height, error } = video;
  return { time, frames, dropped, width, height, error: error?.message };
});

// Waits until frames are decoded, then looks on for `seconds`.
export async function plays(page, seconds = 4) {
  const begin = Date.now();
  await until('frames are decoded', async () => (await state(page)).frames > 5);
  const before = await state(page);
  const first = Date.now() - begin;
  await page.waitForTimeout(seconds * 1000);
  const after = await state(page);
  const time = after.time - before.time;
  const frames = after.frames - before.frames;
  console.log(JSON.stringify({ first, time, frames, dropped: after.dropped }));
  check(!after.error, `error: ${after.error}`);
  check(after.width === 320 && after.height === 180, `size: ${after.width}x${after.height}`);
  check(time > seconds * 0.6, `currentTime went on by ${time} s in ${seconds} s`);
  // The demo has 25 a second.
  check(frames > seconds * 25 * 0.6, `${frames} frames in ${seconds} s`);
}

// A screenshot of the <video> has the test picture in it: the frame of the bar is brighter than what
// is above, a disc is somewhere above it, and there are colours.
export async function showsTheDemo(page, path) {
  await page.evaluate(() => { document.querySelector('video').controls = false; });
  const png = await page.locator('video').screenshot({ path });
  // Read on a page without the policy of ours.
  const reader = await page.context().newPage();
  const seen = await reader.evaluate(async (data) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    // The picture keeps its shape inside of the element.
    const scale = Math.min(image.width / 320, image.height / 180);
    const [w, h] = [320 * scale, 180 * scale];
    const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
    const to = canvas.getContext('2d');
    to.drawImage(image, (image.width - w) / 2, (image.height - h) / 2, w, h, 0, 0, 320, 180);
    const { data: rgb } = to.getImageData(0, 0, 320, 180);
    const luma = (x, y) => {
      const at = 4 * (y * 320 + x);
      return 0.3 * rgb[at] + 0.59 * rgb[at + 1] + 0.11 * rgb[at + 2];
    };
    const row = (y) => {
      let sum = 0;
      for (let x = 30; x < 290; x += 1) sum += luma(x, y);
      return sum / 260;
    };
    let bright = 0;
    for (let y = 10; y < 132; y += 1) for (let x = 0; x < 320; x += 1) bright += luma(x, y) > 115;
    const colours = new Set();
    for (let at = 0; at < rgb.length; at += 4) colours.add((rgb[at] >> 4 << 8) | (rgb[at + 1] >> 4 << 4) | (rgb[at + 2] >> 4));
    return { bar: row(150) - row(142), bright, colours: colours.size };
  }, png.toString('base64'));
  await reader.close();
  console.log(JSON.stringify(seen));
  check(seen.bar > 15, `no bar in the picture: ${JSON.stringify(seen)}`);
  check(seen.bright > 600 && seen.bright < 5000, `no disc in the picture: ${JSON.stringify(seen)}`);
  check(seen.colours > 60, `no colours in the picture: ${JSON.stringify(seen)}`);
}

// Serves a page of another site, with a player that is not ours, for as long as `test` runs.
export async function withSite(script, html, test) {
  const file = await readFile(new URL(`node_modules/${script}`, import.meta.url));
  const server = createServer((request, response) => {
    const [type, body] = request.url === '/lib.js' ? ['text/javascript', file] : ['text/html', html];
    response.writeHead(200, { 'Content-Type': `${type}; charset=utf-8` }).end(body);
  });
  await new Promise((ready) => { server.listen(0, '127.0.0.1', ready); });
  try {
    return await test(`http://127.0.0.1:${server.address().port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
