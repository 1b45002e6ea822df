//! What is made for Buildroot, OpenWrt, Debian and containers: it parses, and installs what it says.
//! And what is said of a board's file with mistakes.

// Once is enough: the images are not those of this build.
#![cfg(feature = "hls")]

mod common;

use common::{RUNNEL, TempDir, python, run, tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn target() -> &'static Path {
    Path::new(RUNNEL).ancestors().nth(2).unwrap()
}

/// The image of `board`, and the packages that `boards/package` makes of it.
fn package(kind: &str, board: &str) -> Option<PathBuf> {
    common::image(board)?;
    let copy = TempDir::new();
    // It writes hashes into buildroot/, which here is a copy.
    let tree = copy.join("tree");
    fs::create_dir_all(&tree).unwrap();
    for part in ["boards", "buildroot", "dist", "Cargo.toml", "LICENSE", "CHANGELOG.md"] {
        if root().join(part).exists() {
            let from = root().join(part);
            run(&tool("cp")?, ["-r".as_ref(), from.as_os_str(), tree.as_os_str()]);
        }
    }
    let made = Command::new(tree.join("boards/package"))
        .args([kind, board])
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(String::from_utf8(made.stdout).unwrap().trim().into())
}

/// Files below `dir`, with `/` before them, sorted.
fn files(dir: &TempDir) -> Vec<String> {
    let all = dir.listing().into_iter().filter(|path| path.is_file());
    all.map(|path| format!("/{}", path.strip_prefix(dir.path()).unwrap().display())).collect()
}

const KCONFIG: &str = r#"
import kconfiglib, os, sys
os.environ["BR2_EXTERNAL_RUNNEL_PATH"] = sys.argv[1]
def load(*on):
    stub = sys.argv[2] + "/Config.in"
    names = ("PACKAGE_HOST_RUSTC_TARGET_ARCH_SUPPORTS PACKAGE_HOST_RUSTC ARM_CPU_ARMV6 "
             "ARM_CPU_ARMV7A aarch64 RISCV_64 mips mipsel MIPS_CPU_MIPS32R2 USE_MMU").split()
    with open(stub, "w") as file:
        for name in names:
            file.write(f'config BR2_{name}\n\tbool "{name}"\n')
        file.write('source "$BR2_EXTERNAL_RUNNEL_PATH/Config.in"\n')
    tree = kconfiglib.Kconfig(stub, warn_to_stderr=False)
    for name in on:
        tree.syms["BR2_" + name].set_value(2)
    assert not tree.warnings, tree.warnings
    return tree
arm = load("PACKAGE_HOST_RUSTC_TARGET_ARCH_SUPPORTS", "ARM_CPU_ARMV7A", "PACKAGE_RUNNEL")
assert arm.syms["BR2_PACKAGE_RUNNEL_BOARD"].str_value == "imx6ull"
assert arm.syms["BR2_PACKAGE_HOST_RUSTC"].str_value == "y"
assert arm.syms["BR2_PACKAGE_RUNNEL_BIN"].visibility == 0
for value, condition in arm.syms["BR2_PACKAGE_RUNNEL_BOARD"].defaults:
    path = f"{sys.argv[1]}/../boards/{value.str_value}.toml"
    assert os.path.exists(path), path
mips = load("mips", "MIPS_CPU_MIPS32R2", "USE_MMU", "PACKAGE_RUNNEL_BIN")
assert mips.syms["BR2_PACKAGE_RUNNEL_BIN"].str_value == "y"
assert mips.syms["BR2_PACKAGE_RUNNEL"].visibility == 0
print(*(name[4:] for name, symbol in arm.syms.items()
        if "_FEATURE_" in name and symbol.str_value == "y"))
"#;

#[test]
fn the_options_for_buildroot_parse_and_name_features() {
    let Some(python) = python("kconfiglib") else { return };
    let dir = TempDir::new();
    let tree = root().join("buildroot");
    let args = ["-c".as_ref(), KCONFIG.as_ref(), tree.as_os_str(), dir.path().as_os_str()];
    let text = run(&python, args);
    for option in ["DIGEST", "HLS", "DVR", "REMUX", "STATIC_FILES", "WEB"] {
        assert!(text.contains(&format!("PACKAGE_RUNNEL_FEATURE_{option}")), "{option}: {text}");
    }
    assert!(!text.contains("DEMO"), "{text}");
}

/// What Buildroot has around a package, as far as these use it.
const MAKE: &str = "
LOWERCASE = $(shell echo '$(1)' | tr A-Z_ a-z_)
qstrip = $(strip $(subst \",,$(1)))
cargo-package = $(info features $(strip $(RUNNEL_FEATURES)))$(info env $(RUNNEL_CARGO_ENV))
generic-package = $(info source $(RUNNEL_BIN_SOURCE))
BR2_PACKAGE_RUNNEL_BOARD = \"imx6ull\"
BR2_PACKAGE_RUNNEL_FEATURE_HLS = y
BR2_PACKAGE_RUNNEL_FEATURE_STATIC_FILES = y
BR2_mips = y
all: ;
";

#[test]
fn the_recipes_for_buildroot_ask_for_the_features_that_are_on() {
    let Some(make) = tool("make") else { return };
    let dir = TempDir::new();
    let file = dir.join("Makefile");
    fs::write(&file, format!("{MAKE}include {}/buildroot/external.mk\n", root().display()))
        .unwrap();
    let tree = format!("BR2_EXTERNAL_RUNNEL_PATH={}/buildroot", root().display());
    let text = run(&make, ["-s", "-f", file.to_str().unwrap(), &tree]);
    assert!(
        text.contains("features hls static-files") || text.contains("features static-files hls")
    );
    assert!(text.contains("BOARD=imx6ull"), "{text}");
    assert!(text.contains(concat!("source runnel-", env!("CARGO_PKG_VERSION"), "-ar9344.tar.gz")));
    for recipe in ["runnel/runnel.mk", "runnel-bin/runnel-bin.mk"] {
        let text = fs::read_to_string(root().join("buildroot/package").join(recipe)).unwrap();
        assert!(text.contains(concat!("VERSION = ", env!("CARGO_PKG_VERSION"))), "{recipe}");
    }
}

#[test]
fn the_archive_for_routers_has_the_image_and_its_hash() {
    let Some(archive) = package("prebuilt", "ar9344") else { return };
    let name = format!("runnel-{}-ar9344", env!("CARGO_PKG_VERSION"));
    let text = run(&tool("tar").unwrap(), ["-tzf", archive.to_str().unwrap()]);
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    let want = ["", "LICENSE", "runnel", "runnel.conf"].map(|file| format!("{name}/{file}"));
    assert_eq!(lines, want);
}

#[test]
fn a_package_of_debian_installs_program_configuration_and_unit() {
    for (board, arch) in [("imx6ull", "armhf"), ("rpi4", "arm64"), ("x86-vps", "amd64")] {
        let Some(deb) = package("deb", board) else { continue };
        let deb = deb.to_str().unwrap();
        let dpkg = tool("dpkg-deb").unwrap();
        assert_eq!(run(&dpkg, ["-f", deb, "Architecture"]), arch);
        let dir = TempDir::new();
        run(&dpkg, ["-x", deb, dir.path().to_str().unwrap()]);
        assert_eq!(
            files(&dir),
            [
                "/etc/runnel/runnel.conf",
                "/lib/systemd/system/runnel.service",
                "/usr/bin/runnel",
                "/usr/share/doc/runnel/changelog.gz",
                "/usr/share/doc/runnel/copyright",
            ]
        );
        let unit = fs::read_to_string(dir.join("lib/systemd/system/runnel.service")).unwrap();
        assert!(unit.contains("ExecStart=/usr/bin/runnel -c /etc/runnel/runnel.conf"), "{unit}");
        assert!(!unit.contains("@PREFIX@"), "{unit}");
    }
}

#[test]
fn a_container_has_nothing_but_the_program() {
    let Some(dir) = package("container", "x86-vps") else { return };
    let recipe = fs::read_to_string(dir.join("Containerfile")).unwrap();
    assert!(recipe.contains("FROM scratch"));
    for line in recipe.lines().filter(|line| line.starts_with("COPY")) {
        let from = line.split(' ').find(|word| !word.starts_with("--") && *word != "COPY").unwrap();
        assert!(dir.join(from).exists(), "{line}");
    }
}

/// What the build needs to look at a board `x`, whose file is that of `imx6ull` with `from` made `to`.
fn board_with(from: &str, to: &str) -> TempDir {
    let dir = TempDir::new();
    for part in ["boards", "src", "conf"] {
        fs::create_dir(dir.join(part)).unwrap();
    }
    for file in ["Cargo.toml", "build.rs", "boards/build", "conf/board.conf", "src/limits.rs"] {
        fs::copy(root().join(file), dir.join(file)).unwrap();
    }
    run(&tool("cp").unwrap(), ["-r".into(), root().join("src/limits"), dir.join("src/limits")]);
    fs::write(dir.join("src/lib.rs"), "pub mod limits;").unwrap();
    let board = fs::read_to_string(root().join("boards/imx6ull.toml")).unwrap();
    assert!(board.contains(from), "{board}");
    fs::write(dir.join("boards/x.toml"), board.replace(from, to)).unwrap();
    dir
}

/// What a step of the build complains about, there.
fn complaint(dir: &TempDir, command: &mut Command) -> String {
    let command = command.current_dir(dir.path()).env("OUT_DIR", dir.path()).env("BOARD", "x");
    let out = command.env("CARGO_CFG_TARGET_POINTER_WIDTH", "64").output().unwrap();
    if out.status.success() { String::new() } else { String::from_utf8(out.stderr).unwrap() }
}

/// What is said of a board by build.rs, and by the compiler, which sums up its limits.
fn said_of(rustc: &Path, dir: &TempDir) -> [String; 2] {
    let compile = |args: &[&str]| {
        complaint(dir, Command::new(rustc).args(["--edition=2024", "-Awarnings"]).args(args))
    };
    assert_eq!(compile(&["build.rs", "-o", "written"]), "");
    let written = complaint(dir, &mut Command::new(dir.join("written")));
    let lib = ["--crate-type=lib", "--emit=metadata", "src/lib.rs"];
    let summed = if written.is_empty() { compile(&lib) } else { String::new() };
    [written, summed]
}

#[test]
fn a_board_file_with_a_mistake_is_told_with_its_line() {
    let Some(rustc) = tool("rustc") else { return };
    for (from, to, what) in [
        ("[\"pi\"]", "[\"pi\", \"teleport\"]", " line 3: there is no feature teleport\n"),
        ("max_clients = 110", "max_clients = many", " line 12: max_clients: invalid digit"),
        ("max_streams = 8", "max_dreams = 8", " line 11: max_dreams is none of max_streams,"),
        ("sndbuf = 131072", "", ": sndbuf is not set\n"),
        ("target = ", "memory = 1\ntarget = ", " line 7: memory is there already\n"),
    ] {
        let dir = board_with(from, to);
        let what = format!("boards/x.toml{what}");
        let [written, _] = said_of(&rustc, &dir);
        assert!(written.contains(&what), "{what}: {written}");
        if to.contains("teleport") {
            let said = complaint(&dir, Command::new(dir.join("boards/build")).arg("x"));
            assert_eq!(said, format!("boards/build: {what}"));
        }
    }
}

#[test]
fn limits_that_do_not_fit_a_board_are_told_with_the_line_and_the_sum() {
    let Some(rustc) = tool("rustc") else { return };
    for (from, to, parts) in [
        (
            "max_clients = 110",
            "max_clients = 111000",
            ["boards/x.toml line 10: these limits need ", " bytes at most, memory is 83886080"],
        ),
        (
            "message_max = 1048576",
            "message_max = 2097152",
            ["error", "a ring must hold four of the longest messages"],
        ),
        ("max_clients = 110", "max_clients = 100", ["", ""]),
    ] {
        let [written, summed] = said_of(&rustc, &board_with(from, to));
        assert_eq!(written, "", "{to}");
        assert!(parts.iter().all(|part| summed.contains(part)), "{to}: {summed}");
        assert_eq!(summed.is_empty(), parts[0].is_empty(), "{to}: {summed}");
    }
}

#[test]
fn scripts_are_clean() {
    let Some(shellcheck) = tool("shellcheck") else { return };
    let scripts = ["boards/cross", "boards/system", "boards/package"];
    run(&shellcheck, scripts.map(|script| root().join(script)));
    let sh = ["buildroot/package/runnel/S80runnel"].map(|script| root().join(script));
    run(&shellcheck, ["-s".into(), "sh".into()].into_iter().chain(sh));
}
