//! Local time without the C library: TZif files (RFC 8536) and the TZ variable of POSIX
//! (§8.3). `J` and day-of-year rules, which no zone in use needs, are not read.

use std::{env, fs, io::Read, path::Path};

/// A date and time of day, as a clock on the wall shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year, four digits in our lives.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Civil {
    /// The date and time of `seconds` since 1970, no zone applied.
    pub fn at(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = date(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Self { year, month, day, hour: hour as u8, minute: minute as u8, second: second as u8 }
    }
}

/// What the clocks of a place show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// When the offset changed, and to how many seconds east of UTC; in order of time.
    changes: Vec<(i64, i32)>,
    /// Before the first change.
    first: i32,
    /// After the last change.
    rule: Option<Rule>,
}

/// The last line of a TZif file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    standard: i32,
    summer: Option<Summer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summer {
    offset: i32,
    start: Change,
    end: Change,
}

/// `Mm.w.d/time`: the `week`-th (5: last) `weekday` of `month`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    month: u8,
    week: u8,
    weekday: u8,
    time: i32,
}

const DAY: i64 = 86_400;
/// The largest file read, twice what the tz database has; a larger one counts as none.
const FILE_MAX: u64 = 16 * 1024;

impl Zone {
    /// That of Greenwich, without summer time.
    pub const UTC: Self = Self { changes: Vec::new(), first: 0, rule: None };

    /// The zone of this process: from `TZ`, else from `/etc/localtime`, else UTC.
    pub fn local() -> Self {
        let zone = match env::var("TZ") {
            Ok(tz) if !tz.is_empty() => {
                let name = tz.strip_prefix(':').unwrap_or(&tz);
                // Joining an absolute path gives that path.
                file(&Path::new("/usr/share/zoneinfo").join(name)).or_else(|| Self::posix(name))
            }
            _ => file(Path::new("/etc/localtime")),
        };
        zone.unwrap_or_default()
    }

    /// Seconds east of UTC at `unix` seconds since 1970.
    pub fn offset(&self, unix: i64) -> i32 {
        let after = self.changes.partition_point(|&(at, _)| at <= unix);
        match (&self.rule, after.checked_sub(1).and_then(|i| self.changes.get(i))) {
            (Some(rule), _) if after == self.changes.len() => rule.offset(unix),
            (_, Some(&(_, offset))) => offset,
            (_, None) => self.first,
        }
    }

    /// A zone like `CST-8` or `CET-1CEST,M3.5.0,M10.5.0/3`.
    fn posix(text: &str) -> Option<Self> {
        Some(Self { rule: Some(Rule::parse(text)?), ..Self::default() })
    }

    /// A TZif file of any version.
    fn tzif(file: &[u8]) -> Option<Self> {
        let (version, body, counts) = header(file)?;
        if version == 0 {
            return block(body, &counts, 4).map(|(zone, _)| zone);
        }
        // The first block is for readers of 32 bits.
        let (_, body, counts) = header(body.get(counts.len(4)..)?)?;
        let (mut zone, footer) = block(body, &counts, 8)?;
        let footer = std::str::from_utf8(footer).ok()?;
        zone.rule = Rule::parse(footer.trim());
        Some(zone)
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let rest = name(text)?;
        let (standard, rest) = time(rest)?;
        let standard = -standard;
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let rest = name(rest)?;
        let (offset, rest) = match time(rest) {
            Some((offset, rest)) => (-offset, rest),
            None => (standard + 3600, rest),
        };
        // A zone without dates means those of the United States.
        let dates = if rest.is_empty() { ",M3.2.0,M11.1.0" } else { rest };
        let (start, end) = dates.strip_prefix(',')?.split_once(',')?;
        let summer = Summer { offset, start: Change::parse(start)?, end: Change::parse(end)? };
        Some(Self { standard, summer: Some(summer) })
    }

    fn offset(&self, unix: i64) -> i32 {
        let Some(summer) = self.summer else { return self.standard };
        let (year, ..) = date((unix + i64::from(self.standard)).div_euclid(DAY));
        let start = summer.start.at(year) - i64::from(self.standard);
        let end = summer.end.at(year) - i64::from(summer.offset);
        // South of the equator summer spans the new year.
        let summer_now =
            if start < end { (start..end).contains(&unix) } else { !(end..start).contains(&unix) };
        if summer_now { summer.offset } else { self.standard }
    }
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (day, at) = text.split_once('/').unwrap_or((text, "2"));
        let mut numbers = day.strip_prefix('M')?.split('.').map(str::parse::<u8>);
        let mut next = |range: std::ops::RangeInclusive<u8>| {
            numbers.next()?.ok().filter(|number| range.contains(number))
        };
        let (month, week, weekday) = (next(1..=12)?, next(1..=5)?, next(0..=6)?);
        let (time, rest) = time(at)?;
        rest.is_empty().then_some(Self { month, week, weekday, time })
    }

    /// Local seconds since 1970 at which it happens in `year`.
    fn at(&self, year: i64) -> i64 {
        let first = days(year, self.month, 1);
        // 1970-01-01 was a Thursday, day 4.
        let weekday = (first + 4).rem_euclid(7);
        let mut day = first + (i64::from(self.weekday) - weekday).rem_euclid(7);
        day += 7 * (i64::from(self.week) - 1);
        while date(day).1 != self.month {
            day -= 7;
        }
        day * DAY + i64::from(self.time)
    }
}

/// Passes over the name of a zone: three letters or more, or anything in angle brackets.
fn name(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('<') {
        return rest.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

/// `[+-]hh[:mm[:ss]]` in seconds, and what follows.
fn time(text: &str) -> Option<(i32, &str)> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| c != ':' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (time, rest) = text.split_at(end);
    let mut seconds = 0;
    for (part, scale) in time.split(':').zip([3600, 60, 1]) {
        let number: i32 = part.parse().ok().filter(|n| *n <= 167)?;
        seconds += number * scale;
    }
    Some((sign * seconds, rest))
}

fn file(path: &Path) -> Option<Zone> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Zone::tzif(&bytes)
}

/// The counts of a TZif header, in its order.
struct Counts {
    utc: usize,
    standard: usize,
    leap: usize,
    time: usize,
    kind: usize,
    chars: usize,
}

impl Counts {
    /// Bytes of the block, with times of `size` bytes.
    fn len(&self, size: usize) -> usize {
        let Self { utc, standard, leap, time, kind, chars } = self;
        time * (size + 1) + kind * 6 + chars + leap * (size + 4) + standard + utc
    }
}

/// Version, what follows the header, counts.
fn header(file: &[u8]) -> Option<(u8, &[u8], Counts)> {
    let (head, rest) = file.split_at_checked(44)?;
    let version = *head.strip_prefix(b"TZif")?.first()?;
    let mut counts = [0; 6];
    for (count, bytes) in counts.iter_mut().zip(head.get(20..)?.chunks_exact(4)) {
        // No more than the file can have, so that nothing overflows.
        *count = usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()?;
        if *count > file.len() {
            return None;
        }
    }
    let [utc, standard, leap, time, kind, chars] = counts;
    Some((version, rest, Counts { utc, standard, leap, time, kind, chars }))
}

/// The changes of a block with times of `size` bytes, and what follows the block.
fn block<'a>(body: &'a [u8], counts: &Counts, size: usize) -> Option<(Zone, &'a [u8])> {
    let (block, footer) = body.split_at_checked(counts.len(size))?;
    let (times, block) = block.split_at_checked(counts.time * size)?;
    let (indexes, block) = block.split_at_checked(counts.time)?;
    let (kinds, _) = block.split_at_checked(counts.kind * 6)?;
    let offset = |index: u8| {
        let kind = kinds.chunks_exact(6).nth(usize::from(index))?;
        Some(i32::from_be_bytes(kind.get(..4)?.try_into().ok()?))
    };
    let mut changes = Vec::new();
    for (at, &index) in times.chunks_exact(size).zip(indexes) {
        let at = match size {
            4 => i64::from(i32::from_be_bytes(at.try_into().ok()?)),
            _ => i64::from_be_bytes(at.try_into().ok()?),
        };
        changes.push((at, offset(index)?));
    }
    Some((Zone { changes, first: offset(0)?, rule: None }, footer))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that
/// the leap day is the last one.
fn days(year: i64, month: u8, day: u8) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (i64::from(month) + 9) % 12;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leaps + (153 * month + 2) / 5 + i64::from(day) - 1 - MARCH_1_OF_YEAR_0
}

/// The other way round: year, month, day.
fn date(days: i64) -> (i64, u8, u8) {
    let days = days + MARCH_1_OF_YEAR_0;
    // 400 years have 146097 days.
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

/// Days from then to 1970-01-01.
const MARCH_1_OF_YEAR_0: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    /// A file as `zic -b slim` writes it: an empty first block, one change, a footer.
    fn slim() -> Vec<u8> {
        let mut file = b"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        let block = |file: &mut Vec<u8>, counts: [u32; 6]| {
            counts.iter().for_each(|count| file.extend(count.to_be_bytes()));
        };
        block(&mut file, [0; 6]);
        file.extend(b"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        block(&mut file, [0, 0, 0, 1, 2, 4]);
        file.extend((-2_422_054_408_i64).to_be_bytes());
        file.push(1);
        file.extend([0, 0, 0x0c, 0x88, 0, 0]); // local mean time, 53:28
        file.extend([0, 0, 0x0e, 0x10, 0, 0]);
        file.extend(b"CET\0");
        file.extend(format!("\n{BERLIN}\n").as_bytes());
        file
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, (1970, 1, 1, 0, 0, 0)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (1_709_251_199, (2024, 2, 29, 23, 59, 59)),
            (4_107_542_399, (2100, 2, 28, 23, 59, 59)),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
            (-1, (1969, 12, 31, 23, 59, 59)),
        ] {
            let c = Civil::at(seconds);
            assert_eq!((c.year, c.month, c.day, c.hour, c.minute, c.second), want);
        }
        for day in -200_000..200_000 {
            let (year, month, d) = date(day);
            assert_eq!(days(year, month, d), day);
        }
    }

    #[test]
    fn zones_are_those_of_the_world() {
        for (zone, unix, hours) in [
            ("UTC0", 0, 0.0),
            ("CST-8", 1_700_000_000, 8.0),
            ("<-03>3", 1_700_000_000, -3.0),
            ("IST-5:30", 1_700_000_000, 5.5),
            (BERLIN, 1_711_846_799, 1.0), // 2024-03-31 00:59:59Z
            (BERLIN, 1_711_846_800, 2.0),
            (BERLIN, 1_729_990_799, 2.0), // 2024-10-27 00:59:59Z
            (BERLIN, 1_729_990_800, 1.0),
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", 1_704_067_200, 11.0), // 2024-01-01
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", 1_719_792_000, 10.0), // 2024-07-01
            ("EST5EDT", 1_719_792_000, -4.0),
        ] {
            let offset = Zone::posix(zone).expect(zone).offset(unix);
            assert_eq!(f64::from(offset) / 3600.0, hours, "{zone} {unix}");
        }
        for bad in ["", "X", "CET", "CET-1CEST,J60,J300", "CET-1CEST,M13.1.0,M10.5.0", "A/../b"] {
            assert_eq!(Zone::posix(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_is_read_with_its_footer() {
        let zone = Zone::tzif(&slim()).unwrap();
        assert_eq!(zone.offset(-3_000_000_000), 3208);
        assert_eq!(zone.offset(1_711_846_800), 7200);
        assert_eq!(zone.offset(1_729_990_800), 3600);
    }

    #[test]
    fn a_broken_file_is_no_zone_or_another_one() {
        let file = slim();
        let footer = file.len() - BERLIN.len() - 2;
        for len in 0..footer {
            assert_eq!(Zone::tzif(&file[..len]), None, "{len}");
        }
        mutations(&file, |changed| {
            if let Some(zone) = Zone::tzif(changed) {
                for unix in [-3_000_000_000, 0, 1_711_846_800, 4_107_542_400] {
                    let _ = zone.offset(unix);
                }
            }
        });
    }
}
