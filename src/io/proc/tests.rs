use super::*;

/// `/proc/self/stat` and `/proc/self/status`, of a desktop, of a MIPS router with Linux 2.6, and of a
/// program whose name looks like fields.
const PROCESSES: &[(&str, &str, Process)] = &[
    (
        "3552 (runnel) S 3541 3541 7371 0 -1 4194304 99 0 0 0 120 35 0 0 20 0 4 0 1202981 3133440 \
         388 18446744073709551615 93863796129792 93863796149673 140732991270432 0 0 0 0 0 0 0 0 0 17 \
         1 0 0 0 0 0 93863796165680 93863796167296 93863844933632 140732991273686 0 0 0 0\n",
        "Name:\trunnel\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t3552\nPPid:\t3541\nVmPeak:\t  9000 \
         kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1552 kB\nThreads:\t4\n",
        Process { pid: 3552, ppid: 3541, threads: 4, resident_kb: 1552, most_kb: 2048, ticks: 155 },
    ),
    (
        "411 (runnel) R 1 411 411 0 -1 256 330 0 2 0 4021 977 0 0 15 0 2 0 8120 1433600 231 \
         2147483647 4194304 4251668 2143247952 2143245944 715997744 0 0 4096 0 0 0 0 17 0 0 0 0\n",
        "Name:\trunnel\nState:\tR (running)\nTgid:\t411\nPPid:\t1\nVmHWM:\t     924 kB\nVmRSS:\t     900 kB\n",
        Process { pid: 411, ppid: 1, threads: 2, resident_kb: 900, most_kb: 924, ticks: 4998 },
    ),
    (
        "7 (a) S 1 (b)) S 6 7 7 0 -1 256 0 0 0 0 1 2 0 0 20 0 1 0 5 0 0\n",
        "VmRSSX:\t5 kB\n",
        Process { pid: 7, ppid: 6, threads: 1, resident_kb: 0, most_kb: 0, ticks: 3 },
    ),
];

/// `/proc/stat`: today's, and that of Linux 2.4 and of a single core without a number of its own.
const STATS: &[(&str, Cpu, u32)] = &[
    (
        "cpu  715661 152996 210142 1255799 22839 0 28135 1567 100 0\n\
         cpu0 320783 71991 104591 672036 6189 0 18502 737 0 0\n\
         cpu1 394878 81005 105551 583763 16650 0 9633 830 0 0\nintr 1 2 3\nctxt 5\n",
        Cpu { busy: 1_108_501, all: 2_387_139 },
        2,
    ),
    ("cpu  1000 0 500 8500\ncpu0 1000 0 500 8500\npage 1 2\n", Cpu { busy: 1500, all: 10_000 }, 1),
    ("cpu  6 0 3 80 1 0 0\nintr 9\n", Cpu { busy: 9, all: 90 }, 0),
];

/// `/proc/meminfo`, with and without `MemAvailable` and swap.
const MEMORIES: &[(&str, Memory)] = &[
    (
        "MemTotal:        8019328 kB\nMemFree:          236120 kB\nMemAvailable:    5120000 kB\n\
         Buffers:          101000 kB\nCached:          4500000 kB\nSwapCached:            0 kB\n\
         SwapTotal:       1000000 kB\nSwapFree:         750000 kB\n",
        Memory {
            total: 8_019_328,
            free: 236_120,
            available: 5_120_000,
            swap_total: 1_000_000,
            swap_free: 750_000,
        },
    ),
    (
        "MemTotal:        60364 kB\nMemFree:         20100 kB\nBuffers:          2040 kB\n\
         Cached:          10000 kB\nSwapCached:          0 kB\n",
        Memory { total: 60_364, free: 20_100, available: 32_140, swap_total: 0, swap_free: 0 },
    ),
];

/// Name, bytes received, sent.
type Moved = (&'static str, u64, u64);
/// Name, bytes read, written, operations, milliseconds busy.
type Worked = (&'static str, u64, u64, u64, u64);

/// `/proc/net/dev`: today's, and one without blanks behind the colon and with an alias.
const DEVICES: &[(&str, &[Moved])] = &[
    (
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop \
         fifo colls carrier compressed\n    \
         lo: 668572407563 88602349    0  588    0     0          0         0 668572407563 88602349 0 0 \
         0 0 0 0\n  eth0: 983056247   22846    0    0    0     0          0         0  1171959   14799 \
         0 0 0 0 0 0\n",
        &[("lo", 668_572_407_563, 668_572_407_563), ("eth0", 983_056_247, 1_171_959)],
    ),
    (
        "eth0.2:4294967295 1 0 0 0 0 0 0 17 1 0 0 0 0 0 0\nbr-lan:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n\
         eth0:1:5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\nwlan0: half a line\n",
        &[("eth0.2", 4_294_967_295, 17), ("br-lan", 1, 2), ("eth0:1", 5, 6)],
    ),
];

/// `/proc/diskstats`: Linux 5.5 and later, 2.6.25 and later, before.
const DISKS: &[(&str, &[Worked])] = &[
    (
        " 179       0 mmcblk0 5000 10 2048 900 700 20 4096 800 0 1234 1700 0 0 0 0 5 6\n \
         179       1 mmcblk0p1 1 2 3 4 5 6 7 8 9 10 11 0 0 0 0 0 0\n",
        &[("mmcblk0", 2048 * 512, 4096 * 512, 5700, 1234)],
    ),
    (
        "   8    0 sda 5000 10 2048 900 700 20 4096 800 0 1234 1700\n   8    1 sda1 50 16 70 90\n",
        &[("sda", 2048 * 512, 4096 * 512, 5700, 1234), ("sda1", 16 * 512, 90 * 512, 120, 0)],
    ),
    ("  31    0 mtdblock0\n   8    0 sda 1 2 3\n", &[]),
];

#[test]
fn processes_are_read() {
    for (stat, status, process) in PROCESSES {
        assert_eq!(Process::parse(stat, status), *process, "{stat}");
    }
    assert_eq!(Process::parse("", ""), Process::default());
}

#[test]
fn cores_and_their_time_are_read() {
    for (stat, cpu, cores) in STATS {
        assert_eq!((Cpu::parse(stat), parse::cores(stat)), (*cpu, *cores), "{stat}");
    }
    for (list, count) in [("0\n", 1), ("0-3\n", 4), ("0-1,4,6-7\n", 5), ("", 0), ("3-1", 0)] {
        assert_eq!(parse::count_ranges(list), count, "{list}");
    }
}

#[test]
fn memory_load_and_uptime_are_read() {
    for (text, memory) in MEMORIES {
        assert_eq!(Memory::parse(text), *memory, "{text}");
    }
    let first = MEMORIES[0].1;
    assert!((first.swap_used() - 0.25).abs() < 1e-9);
    assert!((first.used() - 0.3615).abs() < 1e-3, "{}", first.used());
    assert_eq!(Memory::default().used() + Memory::default().share(5), 0.0);
    assert_eq!(parse::uptime("12029.82 12558.00\n"), (12029.82, 12558.0));
    assert_eq!(parse::uptime(""), (0.0, 0.0));
    assert_eq!(parse::load("1.16 1.67 1.62 2/95 3555\n"), [1.16, 1.67, 1.62]);
    assert_eq!(parse::load("nan inf"), [0.0; 3]);
}

#[test]
fn devices_and_disks_are_read() {
    for (text, want) in DEVICES {
        let found = Traffic::parse(text);
        let found: Vec<_> = found.iter().map(|d| (d.name.as_str(), d.received, d.sent)).collect();
        assert_eq!(found, *want, "{text}");
    }
    for (text, want) in DISKS {
        let found = Disk::parse(text, &["mmcblk0", "sda", "sda1"].map(String::from));
        let found: Vec<_> = found
            .iter()
            .map(|d| (d.name.as_str(), d.read, d.written, d.operations, d.busy_ms))
            .collect();
        assert_eq!(found, *want, "{text}");
    }
}

#[test]
fn sockets_are_counted() {
    let snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
                Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails \
                EstabResets CurrEstab InSegs\nTcp: 1 200 120000 -1 284477 283222 1180 144426 12 886\n";
    let four = "sockets: used 17\nTCP: inuse 9 orphan 0 tw 4 alloc 11 mem 1\nUDP: inuse 3 mem 0\n";
    let six = "TCP6: inuse 5\nUDP6: inuse 2\n";
    let want = Sockets { tcp: 18, established: 12, time_wait: 4, udp: 5 };
    assert_eq!(Sockets::parse(four, six, snmp), want);
    assert_eq!(Sockets::parse("", "", ""), Sockets::default());
    // A kernel without IPv6, and one whose UDP line ends there.
    let old = Sockets::parse("TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 0\nUDP: inuse 2\n", "", snmp);
    assert_eq!((old.tcp, old.udp), (1, 2));
}

const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 192.168.1.0/24 2 0 2
        |-- 192.168.1.0
           /24 link UNICAST
        |-- 192.168.1.5
           /32 host LOCAL
        |-- 192.168.1.255
           /32 link BROADCAST
Local:
     |-- 192.168.1.5
        /32 host LOCAL
     |-- 203.0.113.9
        /32 host LOCAL
";

#[test]
fn a_device_with_a_public_address_is_told_from_the_others() {
    // As a little endian machine and as a big endian one print them.
    let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
    let line = |device, network, mask| {
        format!("{device}\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n", hex(network), hex(mask))
    };
    let route = [
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
            .into(),
        line("ppp0", [0; 4], [0; 4]),
        line("br-lan", [192, 168, 1, 0], [255, 255, 255, 0]),
    ]
    .concat();
    let inet6 = "fe8000000000000000fc00fffe000001 04 40 20 80     eth1\n\
                 00000000000000000000000000000001 01 80 10 80       lo\n\
                 fd000000000000000000000000000002 04 40 00 82     eth1\n\
                 20010db8000000000000000000000002 05 40 00 82     eth2\n";
    let addresses = Addresses::parse(TRIE, &route, inet6);
    let ipv4: Vec<String> = addresses.ipv4.iter().map(ToString::to_string).collect();
    assert_eq!(ipv4, ["192.168.1.5", "203.0.113.9"]);
    let public: Vec<&str> = ["lo", "br-lan", "eth1", "ppp0", "eth2"]
        .into_iter()
        .filter(|device| addresses.is_public(device))
        .collect();
    assert_eq!(public, ["ppp0", "eth2"]);
    assert_eq!(Addresses::parse("", "", ""), Addresses::default());
}

#[test]
fn texts_that_are_cut_or_damaged_never_panic() {
    let mut random = fastrand::Rng::with_seed(3);
    let texts: Vec<&str> = PROCESSES
        .iter()
        .flat_map(|(a, b, _)| [*a, *b])
        .chain(STATS.iter().map(|s| s.0))
        .chain(MEMORIES.iter().map(|s| s.0))
        .chain(DEVICES.iter().map(|s| s.0))
        .chain(DISKS.iter().map(|s| s.0))
        .chain([TRIE, "0-3,5\n", "1.5 2.5 3.5\n"])
        .collect();
    let all = |text: &str| {
        let _ = (Process::parse(text, text), Cpu::parse(text), parse::cores(text));
        let _ = (parse::count_ranges(text), Memory::parse(text).used(), parse::uptime(text));
        let _ = (parse::load(text), Traffic::parse(text), Sockets::parse(text, text, text));
        let _ = (Disk::parse(text, &["sda".into()]), Addresses::parse(text, text, text));
    };
    for text in &texts {
        for end in 0..text.len() {
            all(&text[..end]);
        }
        for _ in 0..300 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(..bytes.len());
                bytes[at] = *random.choice(b"09-:.( )\n~").unwrap();
            }
            all(&String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn rates_are_those_between_two_samples() {
    let disk = |read, written, busy_ms| {
        let operations = read / 100;
        Disk { name: "sda".into(), read, written, operations, busy_ms }
    };
    let before = Raw {
        at: 1000,
        process_ticks: 100,
        cpu: Cpu { busy: 50, all: 100 },
        disks: vec![disk(1000, 0, 10)],
        net: [(4_294_967_000, 5), (10, 10)],
    };
    let after = Raw {
        at: 3000,
        process_ticks: 200,
        cpu: Cpu { busy: 125, all: 200 },
        disks: vec![disk(5000, 512, 510)],
        net: [(704, 5), (4, 2010)],
    };
    let mut figures = Figures::default();
    after.rates(&before, 100, &mut figures);
    assert!(figures.ok);
    assert_eq!((figures.process_cpu, figures.cpu), (0.5, 0.75));
    assert_eq!((figures.disk_rates, figures.disk_busy), ((2000.0, 256.0), 0.25));
    assert_eq!(figures.disk_operations, 20.0);
    // A counter of 32 bits began again; a device went.
    assert_eq!(figures.net_rates, [(500.0, 0.0), (0.0, 1000.0)]);
}

/// Whether qemu-user made up /proc/self/stat: it says that there are no threads.
fn made_up() -> bool {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    text.rsplit_once(')').unwrap().1.split_whitespace().nth(17) == Some("0")
}

#[test]
fn this_machine_is_seen_as_it_is() {
    let mut stats = Stats::new(&[]);
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let (start, before) = (std::time::Instant::now(), cpu());
    assert!(!stats.sample().ok);
    while start.elapsed() < std::time::Duration::from_millis(800) {
        std::hint::spin_loop();
    }
    let figures = stats.sample().clone();
    let used = (cpu() - before) / start.elapsed().as_secs_f64();
    assert!(figures.ok);
    assert_eq!(figures.process.pid, std::process::id());
    if made_up() {
        return;
    }
    assert!(figures.process.ppid > 0 && figures.process.threads > 0);
    assert!(figures.process.resident_kb > 100);
    assert!(figures.process.most_kb >= figures.process.resident_kb);
    // Ticks are 10 ms on most machines; tests beside this one use cores, too.
    assert!((figures.process_cpu - used).abs() < 0.1, "{} {used}", figures.process_cpu);
    assert!((0.0..=1.0).contains(&figures.cpu) && figures.cpu > 0.0);
    assert!(figures.cpus >= figures.cpus_online && figures.cpus_online > 0);
    assert!(figures.memory.total > figures.memory.available && figures.memory.available > 0);
    assert!(figures.uptime > 1.0);
    assert!(figures.devices.iter().any(|device| device.name == "lo"));
    let found = open_files();
    let (_one, _two) = (std::fs::File::open("/proc"), std::fs::File::open("/proc"));
    assert!(open_files() > 2 && found > 0);
    assert!(!command_line().is_empty() && directory().starts_with('/'));
}
