//! The memory that media lives in: one pool of the process, from which each publisher's [`Arena`]
//! takes blocks as its stream needs them, and to which they go back when their packets are gone.
//!
//! A message is cut from the end of the current block; the block is used again when no packet cut
//! from it is left. Nothing is allocated per packet, and payloads are contiguous.

use crate::limits::MEDIA_KEPT;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// Block sizes. A stream of 200 kbit/s lives in blocks of the first, one of 20 Mbit/s in the last.
const SIZES: [usize; 4] = [8 << 10, 32 << 10, 128 << 10, 512 << 10];
/// A block is this fraction of what the stream held last, so that a block that is still pinned by
/// its last packet wastes little.
const BLOCKS_A_STREAM: usize = 8;

/// Why there is no room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The message is longer than this.
    TooLong {
        /// The most that a message may have.
        max: usize,
    },
    /// The pool of the process is used up, or this stream's share of it.
    NoMemory,
}

/// Where the payload of a packet gets its bytes: an [`Arena`], or what stands in front of one.
pub trait Memory {
    /// An empty buffer with room for `len` bytes.
    fn alloc(&mut self, len: usize) -> Result<BytesMut, Full>;
}

impl Memory for Arena {
    fn alloc(&mut self, len: usize) -> Result<BytesMut, Full> {
        Self::alloc(self, len)
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { max } => write!(f, "a message is longer than {max} bytes"),
            Self::NoMemory => f.write_str("no media memory is left"),
        }
    }
}

impl std::error::Error for Full {}

/// The media memory of the process (of one thread of it), `limit` bytes at most.
#[derive(Debug)]
pub struct Pool {
    limit: usize,
    used: Cell<usize>,
    kept: Cell<usize>,
    free: RefCell<[Vec<BytesMut>; SIZES.len()]>,
    /// Blocks of arenas that are gone, with packets that players have not read yet.
    orphans: RefCell<Vec<Block>>,
}

impl Pool {
    /// A pool of `limit` bytes. Nothing is allocated before it is needed.
    pub fn new(limit: usize) -> Rc<Self> {
        let (used, kept) = (Cell::new(0), Cell::new(0));
        let (free, orphans) = (RefCell::default(), RefCell::default());
        Rc::new(Self { limit, used, kept, free, orphans })
    }

    /// Bytes that arenas hold now, and packets of arenas that are gone; what is kept free for the
    /// next one is not counted.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// Takes back what was pinned by packets of arenas that are gone, as far as these packets
    /// have been read. To be called now and then.
    pub fn reap(&self) {
        let orphans = self.orphans.take();
        for mut block in orphans {
            if block.reclaim() {
                self.give_back(block.handle, block.size);
            } else {
                self.orphans.borrow_mut().push(block);
            }
        }
    }

    fn lease(&self, size: usize) -> Option<BytesMut> {
        let more = || self.used.get().checked_add(size).filter(|&used| used <= self.limit);
        let used = more().or_else(|| {
            self.reap();
            more()
        })?;
        self.used.set(used);
        let class = SIZES.iter().position(|&s| s == size);
        let kept = class.and_then(|class| self.free.borrow_mut()[class].pop());
        Some(match kept {
            Some(block) => {
                self.kept.set(self.kept.get() - size);
                block
            }
            None => BytesMut::with_capacity(size),
        })
    }

    fn give_back(&self, block: BytesMut, size: usize) {
        self.used.set(self.used.get().saturating_sub(size));
        let kept = self.kept.get() + size;
        if let Some(class) = SIZES.iter().position(|&s| s == size)
            && kept <= MEDIA_KEPT
        {
            self.kept.set(kept);
            self.free.borrow_mut()[class].push(block);
        }
    }
}

/// One block: what is left of it to cut messages from. `handle` keeps the memory, so that it can
/// be reclaimed whole.
#[derive(Debug)]
struct Block {
    handle: BytesMut,
    size: usize,
}

impl Block {
    /// Whether nothing cut from the block is left; if so, all of it is free again.
    fn reclaim(&mut self) -> bool {
        self.handle.try_reclaim(self.size)
    }
}

/// The blocks of one publisher.
#[derive(Debug)]
pub struct Arena {
    pool: Rc<Pool>,
    /// The last one is being filled; the others are, in the order in which they were filled,
    /// pinned by packets that are still in use.
    blocks: Vec<Block>,
    /// Bytes of all blocks.
    held: usize,
    /// The most that `held` may reach.
    share: usize,
    message_max: usize,
}

impl Arena {
    /// An arena that takes at most `share` bytes from the pool and messages of at most
    /// `message_max` bytes.
    pub fn new(pool: Rc<Pool>, share: usize, message_max: usize) -> Self {
        Self { pool, blocks: Vec::new(), held: 0, share, message_max }
    }

    /// Bytes that the arena holds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// An empty buffer with room for `len` bytes.
    pub fn alloc(&mut self, len: usize) -> Result<BytesMut, Full> {
        if len > self.message_max {
            return Err(Full::TooLong { max: self.message_max });
        }
        if self.blocks.last().is_none_or(|block| block.handle.capacity() < len) {
            self.next_block(len)?;
        }
        let block = self.blocks.last_mut().ok_or(Full::NoMemory)?;
        let rest = block.handle.split_off(len);
        Ok(std::mem::replace(&mut block.handle, rest))
    }

    /// Makes the last block one with room for `len`: a block of ours that is free again, or one
    /// from the pool. Blocks that came free beyond that go back.
    fn next_block(&mut self, len: usize) -> Result<(), Full> {
        let mut reuse = None;
        let mut i = 0;
        while i < self.blocks.len() {
            if !self.blocks[i].reclaim() {
                // Stepped over: a block may be pinned long after younger ones are free.
                i += 1;
            } else if reuse.is_none() && self.fits(self.blocks[i].size, len) {
                reuse = Some(self.blocks.remove(i));
            } else {
                let block = self.blocks.remove(i);
                self.held -= block.size;
                self.pool.give_back(block.handle, block.size);
            }
        }
        if let Some(block) = reuse {
            self.blocks.push(block);
            return Ok(());
        }
        let size = Self::block_size(self.held, len);
        if self.held + size > self.share {
            return Err(Full::NoMemory);
        }
        let handle = self.pool.lease(size).ok_or(Full::NoMemory)?;
        self.held += size;
        self.blocks.push(Block { handle, size });
        Ok(())
    }

    /// Whether a block of `size` is neither too small for a message of `len` nor, for a stream
    /// that became small, much too large.
    fn fits(&self, size: usize, len: usize) -> bool {
        size >= len && size <= Self::block_size(self.held - size, len).saturating_mul(4)
    }

    /// The size of a block for a stream that holds `held` bytes in others.
    fn block_size(held: usize, len: usize) -> usize {
        let wanted = (held / BLOCKS_A_STREAM).max(len);
        let class = SIZES.iter().copied().find(|&size| size >= wanted);
        class.or_else(|| SIZES.last().copied().filter(|&size| size >= len)).unwrap_or(len)
    }
}

impl Drop for Arena {
    /// Blocks that players still read from stay counted, until they have read them.
    fn drop(&mut self) {
        self.pool.orphans.borrow_mut().append(&mut self.blocks);
        self.pool.reap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::collections::VecDeque;

    fn message(arena: &mut Arena, len: usize) -> Bytes {
        let mut buffer = arena.alloc(len).expect("there is room");
        assert!(buffer.is_empty() && buffer.capacity() >= len);
        buffer.resize(len, 7);
        buffer.freeze()
    }

    #[test]
    fn a_stream_holds_little_more_than_what_is_cached() {
        let pool = Pool::new(64 << 20);
        let mut arena = Arena::new(pool.clone(), 16 << 20, 1 << 20);
        let mut ring = VecDeque::new();
        let mut bytes = 0;
        let mut most = 0;
        for i in 0..20_000usize {
            let len = if i % 50 == 0 { 8000 } else { 300 + (i * 37) % 900 };
            ring.push_back(message(&mut arena, len));
            bytes += len;
            while bytes > 50_000 {
                bytes -= ring.pop_front().expect("not empty").len();
            }
            most = most.max(arena.held());
        }
        assert!(most <= 50_000 + 4 * SIZES[0], "{most} bytes held for 50,000 cached");
        drop(ring);
        drop(arena);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn a_pinned_block_is_stepped_over() {
        let pool = Pool::new(1 << 20);
        let mut arena = Arena::new(pool, 1 << 20, 64 << 10);
        let pinned = message(&mut arena, 100);
        for _ in 0..10_000 {
            message(&mut arena, 1000);
        }
        assert!(arena.held() <= 2 * SIZES[0], "{}", arena.held());
        assert!(pinned.iter().all(|&b| b == 7), "its bytes were not written over");
    }

    #[test]
    fn the_bounds_hold_at_and_over_the_number() {
        let pool = Pool::new(64 << 10);
        let mut arena = Arena::new(pool.clone(), 32 << 10, 16 << 10);
        assert_eq!(arena.alloc((16 << 10) + 1).unwrap_err(), Full::TooLong { max: 16 << 10 });
        let kept = [message(&mut arena, 16 << 10), message(&mut arena, 16 << 10)];
        assert_eq!(arena.alloc(1).unwrap_err(), Full::NoMemory, "its share is used up");
        drop(kept);
        message(&mut arena, 16 << 10);
        let mut second = Arena::new(pool.clone(), 64 << 10, 16 << 10);
        let kept = message(&mut second, 16 << 10);
        let mut third = Arena::new(pool.clone(), 64 << 10, 16 << 10);
        assert_eq!(third.alloc(1).unwrap_err(), Full::NoMemory, "the pool is used up");
        drop(second);
        assert_eq!(kept.len(), 16 << 10, "a packet outlives its arena");
        assert_eq!(third.alloc(1).unwrap_err(), Full::NoMemory, "and is counted as long");
        drop(kept);
        message(&mut third, 1);
    }

    #[test]
    fn the_pool_keeps_little_of_what_comes_back() {
        let pool = Pool::new(64 << 20);
        for _ in 0..3 {
            let mut arena = Arena::new(pool.clone(), 32 << 20, 1 << 20);
            let kept: Vec<_> = (0..300).map(|_| message(&mut arena, 64 << 10)).collect();
            assert!(arena.held() >= 300 * (64 << 10));
            drop(kept);
            drop(arena);
            let free: usize =
                pool.free.borrow().iter().flatten().map(|block| block.capacity()).sum();
            assert_eq!(free, pool.kept.get());
            assert!(free <= MEDIA_KEPT && pool.used() == 0, "{free}");
        }
    }

    #[test]
    fn a_message_longer_than_the_largest_block_gets_one_of_its_own() {
        let pool = Pool::new(8 << 20);
        let mut arena = Arena::new(pool.clone(), 8 << 20, 2 << 20);
        assert_eq!(message(&mut arena, 2 << 20).len(), 2 << 20);
        message(&mut arena, 10);
        assert_eq!(arena.held(), SIZES[0], "and its block went back");
    }
}
