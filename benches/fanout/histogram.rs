//! Latencies in a fixed table: 256 steps in each doubling, so a figure is right to 0.4 %.

/// How often each duration was seen.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    pub(crate) fn add(&mut self, ns: u64) {
        self.counts[bucket_of(ns)] += 1;
        self.total += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The duration in milliseconds that a share `part` (0.0 to 1.0) of all does not exceed.
    /// `None` when nothing was seen.
    pub(crate) fn quantile_ms(&self, part: f64) -> Option<f64> {
        let rank = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| upper_ns(bucket) as f64 / 1e6)
        })
    }
}

fn bucket_of(ns: u64) -> usize {
    let units = ns / UNIT_NS;
    if units < STEPS {
        return units as usize;
    }
    let doubling = units.ilog2() - STEPS.ilog2();
    let step = (units >> doubling) - STEPS;
    (STEPS + u64::from(doubling) * STEPS + step).min(BUCKETS as u64 - 1) as usize
}

fn upper_ns(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return (bucket + 1) * UNIT_NS;
    }
    let (doubling, step) = ((bucket - STEPS) / STEPS, (bucket - STEPS) % STEPS);
    ((STEPS + step + 1) << doubling) * UNIT_NS
}

const UNIT_NS: u64 = 1_000;
const STEPS: u64 = 256;
/// The last bucket is past an hour.
const BUCKETS: usize = 256 * 26;
