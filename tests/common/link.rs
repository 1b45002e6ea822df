//! Two network namespaces and a link between them that is slow and loses packets, as the uplink of a
//! shop or a ship is: by `tc netem` where the kernel has that, else by TUN devices and a program.

use super::{SOON, eventually, skip, tool};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// The address of the near end.
pub const NEAR: &str = "10.77.0.1";
/// The address of the far end.
pub const FAR: &str = "10.77.0.2";

/// A network of its own, with nothing but a loopback device. It goes with its owner.
pub struct Namespace {
    /// Keeps it, and ends with its input: also when the test is killed.
    holder: Child,
    file: File,
}

impl Namespace {
    /// None where the test may not make one, which is told as [`tool`] does.
    pub fn new() -> Option<Self> {
        let (unshare, _) = (tool("unshare")?, tool("ip")?);
        if !rustix::process::geteuid().is_root() {
            return skip("root, for network namespaces");
        }
        let mut command = Command::new(unshare);
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut holder = command.spawn().unwrap();
        let path = format!("/proc/{}/ns/net", holder.id());
        let ours = fs::read_link(OURS).unwrap();
        let mut ended = false;
        eventually("a namespace", SOON, || {
            ended = holder.try_wait().unwrap().is_some();
            ended || fs::read_link(&path).is_ok_and(|its| its != ours)
        });
        if ended {
            return skip("the right to make network namespaces");
        }
        let namespace = Self { holder, file: File::open(path).unwrap() };
        namespace.ip("link set lo up");
        Some(namespace)
    }

    /// Runs `what` here: the sockets, threads and processes that it makes stay here, also when they
    /// are used elsewhere.
    pub fn run<T>(&self, what: impl FnOnce() -> T) -> T {
        let _back = Back(File::open(OURS).unwrap());
        enter(&self.file);
        what()
    }

    /// Runs `ip` with `args`, which are cut at blanks.
    pub fn ip(&self, args: &str) {
        self.command("ip", args);
    }

    /// Runs a program to its good end.
    pub fn command(&self, program: &str, args: &str) {
        assert!(self.try_command(program, args).is_some(), "{program} {args}");
    }

    /// What a program prints, if it ends well.
    fn try_command(&self, program: &str, args: &str) -> Option<String> {
        let path = tool(program)?;
        let output = self.run(|| Command::new(path).args(args.split(' ')).output().unwrap());
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Has a command run with `file`, or a directory, in the place of `at` for it alone: what is
/// appended to it is the program and its arguments. For root.
pub fn with_mount(file: &Path, at: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(file).arg(at);
    command
}

/// Where this thread is.
const OURS: &str = "/proc/thread-self/ns/net";

/// Brings the thread back, also when a test fails.
struct Back(File);

impl Drop for Back {
    fn drop(&mut self) {
        enter(&self.0);
    }
}

/// Moves this thread, and what it begins from here on.
fn enter(namespace: &File) {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).unwrap();
}

/// How bad a link is, in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    pub delay: Duration,
    /// The delay of each packet is longer or shorter by up to this, so that packets overtake others.
    pub jitter: Duration,
    /// The share of packets that are lost: 0 is none, 1 is a cable that is cut.
    pub loss: f64,
}

/// Two namespaces with a link between them, and nothing else.
pub struct Link {
    carrier: Carrier,
    pub near: Namespace,
    pub far: Namespace,
    /// What it had carried and lost before it was the test's.
    before: (u64, u64),
}

enum Carrier {
    Netem,
    /// The program, what it is told, what it says.
    Program(Child, Mutex<(ChildStdin, BufReader<ChildStdout>)>),
}

impl Link {
    /// None where the test may not make one, which is told as [`tool`] does. The program loses what
    /// `seed` says; netem does not care.
    pub fn new(quality: Quality, seed: u64) -> Option<Self> {
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        let carrier = if netem(&near) { Carrier::Netem } else { Carrier::program(&near, seed)? };
        near.ip(&format!("link set dev runnel1 netns {}", far.holder.id()));
        for (end, device, address) in [(&near, "runnel0", NEAR), (&far, "runnel1", FAR)] {
            end.ip(&format!("link set dev {device} addrgenmode none"));
            end.ip(&format!("address add {address}/30 dev {device}"));
            end.ip(&format!("link set dev {device} up"));
        }
        let mut link = Self { carrier, near, far, before: (0, 0) };
        link.set(Quality::default());
        link.wait_until_up();
        link.before = link.all();
        link.set(quality);
        Some(link)
    }

    /// A pair of devices takes up to a second until it carries something.
    fn wait_until_up(&self) {
        let sender = self.near.run(|| UdpSocket::bind((NEAR, 0)).unwrap());
        let receiver = self.far.run(|| UdpSocket::bind((FAR, 0)).unwrap());
        let to = receiver.local_addr().unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        eventually("the link carries packets", SOON, || {
            sender.send_to(b"up?", to).is_ok() && receiver.recv(&mut [0; 3]).is_ok()
        });
    }

    /// What is on its way is not touched.
    pub fn set(&self, quality: Quality) {
        let Quality { delay, jitter, loss } = quality;
        let [delay, jitter] = [delay, jitter].map(|time| time.as_secs_f64());
        match &self.carrier {
            Carrier::Netem => {
                for (end, device) in [(&self.near, "runnel0"), (&self.far, "runnel1")] {
                    let [delay, jitter] = [delay, jitter].map(|time| (time * 1e6).round());
                    end.command(
                        "tc",
                        &format!(
                            "qdisc replace dev {device} root netem delay {delay}us {jitter}us \
                             loss {}% limit 10000",
                            loss * 100.0
                        ),
                    );
                }
            }
            Carrier::Program(_, pipes) => {
                writeln!(pipes.lock().unwrap().0, "set {delay} {jitter} {loss}").unwrap();
            }
        }
    }

    /// How many packets the link has carried and lost, both ways.
    pub fn counts(&self) -> (u64, u64) {
        let (carried, lost) = self.all();
        (carried - self.before.0, lost - self.before.1)
    }

    fn all(&self) -> (u64, u64) {
        match &self.carrier {
            Carrier::Netem => {
                let ends =
                    [(&self.near, "runnel0"), (&self.far, "runnel1")].map(|(end, device)| {
                        let text = end.try_command("tc", &format!("-s qdisc show dev {device}"));
                        let text = text.expect("tc tells what it has lost");
                        (number_before(&text, " pkt"), number_after(&text, "dropped "))
                    });
                (ends[0].0 + ends[1].0, ends[0].1 + ends[1].1)
            }
            Carrier::Program(_, pipes) => {
                let (told, says) = &mut *pipes.lock().unwrap();
                writeln!(told, "count").unwrap();
                let mut line = String::new();
                says.read_line(&mut line).unwrap();
                (number_after(&line, "carried "), number_after(&line, "lost "))
            }
        }
    }
}

/// Makes a pair of devices that netem delays, if the kernel has it.
fn netem(near: &Namespace) -> bool {
    if near.try_command("ip", "link add name runnel0 type veth peer name runnel1").is_none() {
        return false;
    }
    // Packets as they go over a wire: one that is lost is one, not forty.
    let has = ["runnel0", "runnel1"].iter().all(|device| {
        near.try_command("ip", &format!("link set dev {device} gso_max_segs 1")).is_some()
            && near.try_command("tc", &format!("qdisc replace dev {device} root netem")).is_some()
    });
    if !has {
        near.ip("link delete dev runnel0");
    }
    has
}

impl Carrier {
    fn program(near: &Namespace, seed: u64) -> Option<Self> {
        let python = tool("python3")?;
        if !Path::new("/dev/net/tun").exists() {
            return skip("netem in the kernel or /dev/net/tun");
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/link.py");
        let mut command = Command::new(python);
        command.arg(script).args(["runnel0", "runnel1"]).arg(seed.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = near.run(|| command.spawn().unwrap());
        let told = program.stdin.take().unwrap();
        let mut says = BufReader::new(program.stdout.take().unwrap());
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the program carries packets");
        Some(Self::Program(program, Mutex::new((told, says))))
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if let Self::Program(program, _) = self {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

fn number_after(text: &str, word: &str) -> u64 {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no {word:?} in {text:?}"));
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn number_before(text: &str, word: &str) -> u64 {
    let (rest, _) = text.split_once(word).unwrap_or_else(|| panic!("no {word:?} in {text:?}"));
    rest.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}
