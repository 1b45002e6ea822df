"""A link that is slow and loses packets: two TUN devices, and what carries IP packets between them.

    link.py NAME NAME SEED

makes the devices and says `ready`. They may be moved to other network namespaces then. It reads lines:

    set DELAY JITTER LOSS   seconds, seconds and a share from 0 to 1, the same in both directions
    count                   is answered by `carried N lost N`

and ends with its input. What is longer on its way than a packet behind it comes after that one.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
if os.uname().machine.startswith(("mips", "ppc", "sparc")):
    TUNSETIFF = 0x800454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
# Packets on their way in one direction; further ones are lost, as by a router.
QUEUE = 10000


def device(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


class Way:
    """One direction."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.under_way = []

    def take(self, link):
        while True:
            try:
                packet = os.read(self.source, 65536)
            except OSError:
                # Nothing more, or the device is down.
                return
            if packet[0] >> 4 != 4:
                # What IPv6 tells about itself must not use up the random numbers.
                continue
            if link.random.random() < link.loss or len(self.under_way) >= QUEUE:
                link.lost += 1
                continue
            link.number += 1
            due = time.monotonic() + link.delay + link.jitter * link.random.uniform(-1, 1)
            heapq.heappush(self.under_way, (due, link.number, packet))

    def give(self, link):
        while self.under_way and self.under_way[0][0] <= time.monotonic():
            packet = heapq.heappop(self.under_way)[2]
            try:
                os.write(self.sink, packet)
                link.carried += 1
            except OSError:
                link.lost += 1


class Link:
    def __init__(self, names, seed):
        self.random = random.Random(seed)
        self.delay = self.jitter = self.loss = 0.0
        self.number = self.carried = self.lost = 0
        one, two = [device(name) for name in names]
        self.ways = [Way(one, two), Way(two, one)]

    def told(self, line):
        word, *values = line.split()
        if word == "set":
            self.delay, self.jitter, self.loss = map(float, values)
        elif word == "count":
            print("carried", self.carried, "lost", self.lost, flush=True)

    def run(self):
        stdin, rest = sys.stdin.fileno(), b""
        poll = select.poll()
        for fd in [stdin] + [way.source for way in self.ways]:
            poll.register(fd, select.POLLIN)
        while True:
            dues = [way.under_way[0][0] for way in self.ways if way.under_way]
            wait = max(0, min(dues) - time.monotonic()) * 1000 if dues else None
            ready = [fd for fd, _ in poll.poll(wait)]
            if stdin in ready:
                read = os.read(stdin, 4096)
                if not read:
                    return
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self.told(line.decode())
            for way in self.ways:
                if way.source in ready:
                    way.take(self)
                way.give(self)


if __name__ == "__main__":
    carrier = Link(sys.argv[1:3], int(sys.argv[3]))
    print("ready", flush=True)
    carrier.run()
