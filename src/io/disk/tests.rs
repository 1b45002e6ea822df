use super::testing::Dir;
use super::*;
use crate::io::run;
use std::sync::mpsc;

const LONG: Duration = Duration::from_secs(20);

const NEW: CreateOptions = CreateOptions { dirs: true, append: false, exclusive: false };

/// Keeps the thread busy until the sender goes.
fn stall(disk: &Disk) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel::<()>();
    drop(disk.ask(move || receiver.recv().is_ok()));
    sender
}

#[test]
fn work_is_done_in_order() {
    let (dir, disk) = (Dir::new(), Disk::new());
    let file = disk.create(dir.join("a/b/c.tmp"), NEW);
    file.append(Bytes::from_static(b"hello ")).unwrap();
    file.append(Bytes::from_static(b"world")).unwrap();
    file.write_at(0, Bytes::from_static(b"H")).unwrap();
    file.append(Bytes::from_static(b"!")).unwrap();
    file.sync();
    file.rename(dir.join("a/b/c"));
    let closed = file.close();
    assert_eq!(run::run(|_| closed).unwrap(), Ok(Ok(())));
    assert_eq!(fs::read(dir.join("a/b/c")).unwrap(), b"Hello world!");
    assert!(!dir.join("a/b/c.tmp").exists());

    let file = disk.create(dir.join("a/b/c"), CreateOptions { append: true, ..NEW });
    file.append(Bytes::from_static(b"!")).unwrap();
    drop(file);
    disk.rename(dir.join("a/b/c"), dir.join("d"));
    assert!(disk.finish(LONG));
    assert_eq!(fs::read(dir.join("d")).unwrap(), b"Hello world!!");
    let file = disk.create(dir.join("d"), NEW);
    file.remove();
    assert!(disk.finish(LONG));
    assert!(!dir.join("d").exists());
    assert_eq!(disk.queued(), 0);
}

#[test]
fn no_thread_runs_before_there_is_work() {
    let disk = Disk::new();
    assert!(!disk.0.0.queue().running);
    assert!(disk.finish(Duration::ZERO));
    drop(disk.ask(|| ()));
    assert!(disk.0.0.queue().running);
}

#[test]
fn the_thread_ends_with_its_work_done() {
    let (dir, disk) = (Dir::new(), Disk::start().unwrap());
    let gate = stall(&disk);
    let file = disk.create(dir.join("a"), NEW);
    file.append(Bytes::from_static(b"a")).unwrap();
    let shared = Arc::downgrade(&disk.0.0);
    drop((file, disk));
    drop(gate);
    let start = Instant::now();
    while shared.strong_count() > 0 {
        assert!(start.elapsed() < LONG);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"a");
}

#[test]
fn a_stalled_disk_refuses_bytes_and_takes_what_finishes_files() {
    let (dir, disk) = (Dir::new(), Disk::new());
    let gate = stall(&disk);
    let file = disk.create(dir.join("a"), NEW);
    let block = Bytes::from(vec![7; 64 * 1024]);
    let mut taken = 0;
    while file.append(block.clone()).is_ok() {
        taken += 1;
        assert!(taken <= DISK_QUEUE / block.len());
    }
    assert!(disk.queued() <= DISK_QUEUE);
    assert!((taken + 2) * (COST + block.len()) > DISK_QUEUE);
    assert!(!disk.finish(Duration::from_millis(10)));
    file.write_at(0, block.clone()).unwrap();
    file.rename(dir.join("b"));
    assert_eq!(file.failed(), None);
    drop(gate);
    assert!(disk.finish(LONG));
    assert_eq!(fs::metadata(dir.join("b")).unwrap().len(), (taken * block.len()) as u64);
    file.append(block).unwrap();
}

#[test]
fn beyond_the_reserve_a_file_fails_and_nothing_grows() {
    let (dir, disk) = (Dir::new(), Disk::new());
    let gate = stall(&disk);
    let file = disk.create(dir.join("a"), NEW);
    for _ in 0..2 * DISK_RESERVE / COST {
        file.sync();
    }
    assert!(disk.queued() <= DISK_RESERVE);
    assert!(file.failed().is_some());
    assert_eq!(disk.ask(|| ()).take(), Some(Err(Full)));
    drop(gate);
    assert!(disk.finish(LONG));
}

#[test]
fn what_goes_wrong_is_told_once_and_ends_the_file() {
    let (dir, disk) = (Dir::new(), Disk::new());
    fs::write(dir.join("file"), b"").unwrap();
    let file = disk.create(dir.join("file/below"), NEW);
    assert!(disk.finish(LONG));
    let told = file.failed().unwrap().to_owned();
    assert!(told.contains("file/below: ") && told.contains("os error"), "{told}");
    file.append(Bytes::from_static(b"a")).unwrap();
    file.rename(dir.join("c"));
    assert_eq!(run::run(|_| file.close()).unwrap(), Ok(Err(told)));

    let exclusive = CreateOptions { exclusive: true, ..NEW };
    let file = disk.create(dir.join("file"), exclusive);
    let closed = run::run(|_| file.close()).unwrap().unwrap();
    assert!(closed.unwrap_err().contains("exists"));
}

#[test]
fn a_full_device_is_told() {
    let disk = Disk::new();
    let file = disk.create("/dev/full", CreateOptions { append: true, ..CreateOptions::default() });
    file.append(Bytes::from_static(b"a")).unwrap();
    assert!(disk.finish(LONG));
    assert!(file.failed().unwrap().contains("os error 28"), "{:?}", file.failed());
}

#[test]
fn a_file_is_replaced_at_once() {
    let (dir, disk) = (Dir::new(), Disk::new());
    for text in [&b"one"[..], b"two"] {
        let reply = disk.replace(dir.join("x/list"), Bytes::from_static(text)).unwrap();
        assert!(run::run(|_| reply).unwrap().unwrap().is_ok());
        assert_eq!(fs::read(dir.join("x/list")).unwrap(), text);
    }
    assert_eq!(fs::read_dir(dir.join("x")).unwrap().count(), 1, "no temporary file is left");
    let free = run::run(|_| disk.free(dir.join("x/not/there"))).unwrap();
    let above = run::run(|_| disk.free(dir.path())).unwrap().unwrap().unwrap();
    assert!(free.unwrap().unwrap() > 0 && above > 0);
}

#[test]
fn a_fifo_that_nobody_reads_holds_up_the_thread_and_nobody_else() {
    let (dir, disk) = (Dir::new(), Disk::new());
    let made = std::process::Command::new("mkfifo").arg(dir.join("fifo")).status();
    if !made.is_ok_and(|status| status.success()) {
        let _ = writeln!(io::stderr(), "SKIPPED: needs mkfifo");
        return;
    }
    let file = disk.create(dir.join("fifo"), NEW);
    let start = Instant::now();
    while file.append(Bytes::from(vec![0; 64 * 1024])).is_ok() {}
    assert!(start.elapsed() < Duration::from_secs(5));
    // A reader comes and goes: the file ends with an error, the thread goes on.
    drop(fs::File::open(dir.join("fifo")).unwrap());
    assert!(disk.finish(LONG));
    assert!(file.failed().unwrap().contains("os error 32"));
}
