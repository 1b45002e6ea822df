// Plays HTTP-FLV (H.264, AAC) through Media Source Extensions: tags become fragments of MP4.

const SourceOfMedia = () => window.ManagedMediaSource || window.MediaSource;
const KEEP = 20; // seconds behind the picture
const LATE = 2.5; // seconds of delay at which the player jumps ahead
const GOAL = 0.6;

export class Player {
  static supported() {
    return Boolean(SourceOfMedia() && window.ReadableStream);
  }

  // `stream` says where (`flv`) and how large (`width`, `height`).
  constructor(video, stream, note) {
    Object.assign(this, { video, stream, note, closed: false, tracks: {}, begun: false, base: null });
    this.abort = new AbortController();
    this.media = new (SourceOfMedia())();
    // Safari wants it with a managed source.
    video.disableRemotePlayback = true;
    this.media.addEventListener('sourceopen', () => this.run(), { once: true });
    this.failed = () => this.note(`cannot play: ${video.error?.message || 'unknown'}`);
    video.addEventListener('error', this.failed);
    this.object = URL.createObjectURL(this.media);
    video.src = this.object;
    this.timer = setInterval(() => this.follow(), 500);
  }

  close() {
    this.closed = true;
    this.abort.abort();
    this.video.removeEventListener('error', this.failed);
    clearInterval(this.timer);
    URL.revokeObjectURL(this.object);
  }

  async run() {
    try {
      const answer = await fetch(this.stream.flv, { signal: this.abort.signal });
      if (!answer.ok) throw new Error(`the server says ${answer.status}`);
      const reader = answer.body.getReader();
      let rest = new Uint8Array(0);
      let skip = 13;
      for (;;) {
        const { done, value } = await reader.read();
        if (this.closed) return;
        if (done) break;
        rest = join(rest, value);
        let at = 0;
        if (skip && rest.length >= skip) { at = skip; skip = 0; }
        while (!skip && rest.length - at >= 15) {
          const len = (rest[at + 1] << 16) | (rest[at + 2] << 8) | rest[at + 3];
          if (rest.length - at < 15 + len) break;
          const time = ((rest[at + 7] << 24) | (rest[at + 4] << 16) | (rest[at + 5] << 8) | rest[at + 6]) >>> 0;
          this.tag(rest[at] & 31, time, rest.subarray(at + 11, at + 11 + len));
          at += 15 + len;
        }
        rest = rest.slice(at);
        for (const track of Object.values(this.tracks)) track.flush();
      }
      this.ended = true;
      this.note('the stream has ended; it is played again when it is back');
    } catch (e) {
      if (!this.closed) this.note(`cannot play: ${e.message}`);
    }
  }

  tag(type, time, body) {
    if (type === 9) this.videoTag(time, body);
    if (type === 8) this.audioTag(time, body);
  }

  videoTag(time, body) {
    if ((body[0] & 15) !== 7 || body[0] & 0x80) throw new Error('the picture is not H.264');
    const data = body.slice(5);
    if (body[1] === 0) {
      this.header('video', `avc1.${hex(data[1])}${hex(data[2])}${hex(data[3])}`, avcInit(data, this.stream), data);
    } else if (body[1] === 1) {
      const cts = ((body[2] << 24) | (body[3] << 16) | (body[4] << 8)) >> 8;
      this.sample('video', { time, cts, key: body[0] >> 4 === 1, data });
    }
  }

  audioTag(time, body) {
    if (body[0] >> 4 !== 10) {
      this.mute = true;
      return;
    }
    const data = body.slice(2);
    if (body[1] === 0) {
      const kind = data[0] >> 3 === 31 ? 32 + (((data[0] & 7) << 3) | (data[1] >> 5)) : data[0] >> 3;
      this.header('audio', `mp4a.40.${kind}`, aacInit(data), data);
    } else {
      this.sample('audio', { time, cts: 0, key: true, data });
    }
  }

  header(name, codec, init, record) {
    const known = this.tracks[name];
    if (known) {
      if (!same(known.record, record)) known.change(init, codec, record);
    } else if (!this.begun) {
      this.tracks[name] = new Track(this, name, codec, init, record);
    }
  }

  sample(name, sample) {
    const track = this.tracks[name];
    if (!track) return;
    if (!this.begun) {
      // Sequence headers come before all frames: what is not there now is not in the stream.
      this.begun = true;
      for (const each of Object.values(this.tracks)) each.open(this.media);
      this.video.play().catch(() => {});
      this.note(this.mute ? 'without sound: it is not AAC' : '');
    }
    this.base ??= sample.time;
    track.push({ ...sample, time: Math.max(0, (sample.time - this.base) | 0) });
  }

  // Stays near the newest picture.
  follow() {
    const { video } = this;
    const { buffered } = video;
    if (!buffered.length || video.paused) return;
    const end = buffered.end(buffered.length - 1);
    const start = buffered.start(buffered.length - 1);
    const late = end - video.currentTime;
    if (late > LATE || video.currentTime < start) video.currentTime = Math.max(start, end - GOAL);
    video.playbackRate = late > 2 * GOAL ? 1.08 : 1;
  }
}

class Track {
  constructor(player, name, codec, init, record) {
    Object.assign(this, { player, name, codec, init, record, held: null, ready: [], queue: [], sequence: 0 });
    this.scale = 1000;
  }

  open(media) {
    const type = `${this.name}/mp4; codecs="${this.codec}"`;
    if (!SourceOfMedia().isTypeSupported(type)) throw new Error(`this browser does not know ${this.codec}`);
    this.buffer = media.addSourceBuffer(type);
    this.buffer.addEventListener('updateend', () => this.pump());
    this.queue.push(this.init);
    this.pump();
  }

  change(init, codec, record) {
    this.flush();
    Object.assign(this, { init, codec, record });
    this.queue.push(init);
  }

  push(sample) {
    if (this.held) {
      // A frame lasts until the next one; a pause is no frame of an hour.
      this.held.duration = Math.min(Math.max(sample.time - this.held.time, 1), 5000);
      this.ready.push(this.held);
    }
    this.held = sample;
  }

  flush() {
    if (!this.ready.length || !this.buffer) return;
    this.queue.push(fragment(++this.sequence, this.ready, this.name === 'video'));
    this.ready = [];
    this.pump();
  }

  pump() {
    const { buffer, player } = this;
    if (player.closed || buffer.updating || player.media.readyState !== 'open') return;
    try {
      const now = player.video.currentTime;
      if (buffer.buffered.length && now - buffer.buffered.start(0) > 2 * KEEP) {
        buffer.remove(0, now - KEEP);
      } else if (this.queue.length) {
        buffer.appendBuffer(this.queue.shift());
      }
    } catch (e) {
      player.note(`cannot play: ${e.message}`);
      player.close();
    }
  }
}

const hex = (byte) => byte.toString(16).padStart(2, '0');
const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

function join(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const u16 = (n) => [(n >> 8) & 255, n & 255];
const u32 = (n) => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
const zeros = (n) => new Array(n).fill(0);
const text = (s) => [...s].map((c) => c.charCodeAt(0));

function box(type, ...parts) {
  const body = parts.map((part) => (part instanceof Uint8Array ? part : Uint8Array.from(part)));
  const size = 8 + body.reduce((sum, part) => sum + part.length, 0);
  return join(Uint8Array.from([...u32(size), ...text(type)]), ...body);
}

const MATRIX = [1, 0, 0, 0, 1, 0, 0, 0, 0x4000].flatMap((n) => (n === 1 ? u32(0x10000) : n === 0x4000 ? u32(0x40000000) : u32(0)));

function init(handler, header, entry) {
  const table = box('stbl', box('stsd', u32(0), u32(1), entry), box('stts', zeros(8)), box('stsc', zeros(8)), box('stsz', zeros(12)), box('stco', zeros(8)));
  const data = box('dinf', box('dref', u32(0), u32(1), box('url ', u32(1))));
  const media = box('mdia',
    box('mdhd', zeros(12), u32(1000), u32(0), [0x55, 0xc4, 0, 0]),
    box('hdlr', zeros(8), text(handler), zeros(13)),
    box('minf', header, data, table));
  const track = box('trak', box('tkhd', [0, 0, 0, 3], zeros(8), u32(1), zeros(20), handler === 'soun' ? [1, 0] : [0, 0], [0, 0], MATRIX, zeros(8)), media);
  return join(
    box('ftyp', text('isom'), u32(512), text('isomiso5mp41')),
    box('moov',
      box('mvhd', zeros(12), u32(1000), u32(0), u32(0x10000), [1, 0], zeros(10), MATRIX, zeros(24), u32(2)),
      track,
      box('mvex', box('trex', u32(0), u32(1), u32(1), zeros(12)))));
}

function avcInit(record, { width, height }) {
  // The decoder reads the size from the parameter sets, but some size has to be here.
  const entry = box('avc1', zeros(6), u16(1), zeros(16), u16(width || 640), u16(height || 360), u32(0x480000), u32(0x480000), u32(0), u16(1), zeros(32), u16(24), [255, 255], box('avcC', record));
  return init('vide', box('vmhd', [0, 0, 0, 1], zeros(8)), entry);
}

function aacInit(config) {
  const decoder = [4, 15 + config.length + 2, 0x40, 0x15, ...zeros(11), 5, config.length, ...config];
  const descriptor = [3, 3 + decoder.length + 3, 0, 1, 0, ...decoder, 6, 1, 2];
  const entry = box('mp4a', zeros(6), u16(1), zeros(8), u16(2), u16(16), zeros(4), u32(0), box('esds', u32(0), descriptor));
  return init('soun', box('smhd', zeros(8)), entry);
}

function fragment(sequence, samples, video) {
  const rows = samples.flatMap((s) => [
    ...u32(s.duration), ...u32(s.data.length), ...u32(s.key ? 0x02000000 : 0x01010000), ...u32(s.cts),
  ]);
  const size = (offset) => box('moof',
    box('mfhd', u32(0), u32(sequence)),
    box('traf',
      box('tfhd', [0, 2, 0, 0], u32(1)),
      box('tfdt', [1, 0, 0, 0], u32(0), u32(samples[0].time)),
      box('trun', [1, 0, 0x0f, 0x01], u32(samples.length), u32(offset), rows)));
  const moof = size(size(0).length + 8);
  return join(moof, box('mdat', ...samples.map((s) => s.data)));
}
