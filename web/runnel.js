// The list of streams. Names come from publishers: they are only ever set as text.
import { Player } from './player.js';

const $ = (id) => document.getElementById(id);
const host = location.hostname || 'localhost';
const web = location.origin;
let player = null;
let current = null;
let shown = '';

function make(tag, props = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages that did not come over https have no clipboard.
    const area = make('textarea', { value: text });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
}

function row(name, text) {
  const button = make('button', { textContent: 'Copy', onclick: () => copy(text, button) });
  button.setAttribute('aria-label', `Copy ${name}`);
  return make('div', { className: 'url' }, make('b', { textContent: name }), make('code', { textContent: text }), button);
}

function rtmp(port) {
  return `rtmp://${host}${port === 1935 ? '' : `:${port}`}`;
}

function age(ms) {
  const s = Math.floor(ms / 1000);
  const parts = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  return parts.map((n, i) => (i ? String(n).padStart(2, '0') : n)).join(':');
}

function facts(s) {
  const list = [[s.video, s.width && `${s.width}×${s.height}`, s.fps && `${s.fps} fps`].filter(Boolean).join(' '), s.audio];
  list.push(`${s.kbps} kbit/s`, `${s.viewers} watching`, age(s.age));
  // Lines break between facts only.
  return list.filter(Boolean).map((fact) => fact.replaceAll(' ', '\u00a0')).join('\u00a0· ');
}

const path = (s) => `${s.app}/${s.stream}${s.vhost === '__defaultVhost__' ? '' : `?vhost=${s.vhost}`}`;

function card(s, port) {
  const play = make('button', { className: 'main', textContent: 'Play', onclick: () => start(s) });
  const urls = make('details', {}, make('summary', { textContent: 'Addresses' }));
  urls.append(row('RTMP', `${rtmp(port)}/${path(s)}`), row('VLC', `vlc ${rtmp(port)}/${path(s)}`));
  for (const form of ['flv', 'ts', 'aac', 'mp3', 'hls']) {
    if (s[form]) urls.append(row(form.toUpperCase(), web + s[form]));
  }
  urls.append(row('ffplay', `ffplay -fflags nobuffer ${s.flv ? web + s.flv : `${rtmp(port)}/${path(s)}`}`));
  return { node: make('article', {}, make('h2', { textContent: path(s) }), make('p'), play, urls), key: path(s) };
}

function start(s) {
  stop();
  current = path(s);
  $('stage').hidden = false;
  $('playing').textContent = current;
  $('note').textContent = 'connecting …';
  const video = $('video');
  const native = s.hls && video.canPlayType('application/vnd.apple.mpegurl');
  if (Player.supported() && s.flv) {
    player = new Player(video, s, (text) => { $('note').textContent = text; });
  } else if (native) {
    video.src = s.hls;
    video.play().catch(() => {});
    $('note').textContent = '';
  } else {
    $('note').textContent = 'this browser cannot play it; use one of the addresses with VLC';
  }
  $('stage').scrollIntoView({ block: 'nearest' });
}

function stop() {
  player?.close();
  player = null;
  current = null;
  $('video').removeAttribute('src');
  $('video').load();
  $('stage').hidden = true;
}

function show({ rtmp: port, count, streams }) {
  const key = JSON.stringify(streams.map((s) => [path(s), s.flv, s.hls]));
  if (key !== shown) {
    shown = key;
    $('streams').replaceChildren(...streams.map((s) => card(s, port).node));
  }
  streams.forEach((s, i) => { $('streams').children[i].querySelector('p').textContent = facts(s); });
  const again = player?.ended && streams.find((s) => path(s) === current);
  if (again) start(again);
  $('state').textContent = count ? `${count} live` : 'nothing is published yet';
  if (!$('publish').children.length) {
    $('publish').append(
      row('OBS', `${rtmp(port)}/live`),
      row('Key', 'livestream'),
      row('ffmpeg', `ffmpeg -re -i FILE -c copy -f flv ${rtmp(port)}/live/livestream`),
    );
  }
}

async function poll() {
  try {
    const answer = await fetch('streams.json', { cache: 'no-store' });
    show(await answer.json());
  } catch {
    $('state').textContent = 'the server does not answer';
  }
  setTimeout(poll, 2000);
}

$('stop').onclick = stop;
poll();
