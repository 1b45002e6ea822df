//! What is made for Buildroot, OpenWrt, Debian and containers: it parses, and installs what it says.
//! And what is said of a board's file with mistakes.

// Once is enough: the images are not those of this build.
#![cfg(feature = "hls")]

mod common;

use common::{RUNNEL, TempDir, python, run, tool};
use std::fs;
use std::os::unix::fs::PermissionsExt;
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
             "ARM_CPU_ARMV7A aarch64 RISCV_64 i386 mips mipsel MIPS_CPU_MIPS32R2 mips_xburst "
             "arm ARM_CPU_HAS_VFPV2 ARM_CPU_HAS_VFPV3 "
             "USE_MMU").split()
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
without_mips16 = load("mipsel", "MIPS_CPU_MIPS32R2", "mips_xburst", "USE_MMU")
assert without_mips16.syms["BR2_PACKAGE_RUNNEL_BIN"].visibility == 0
for processor in ("ARM_CPU_ARMV6 ARM_CPU_HAS_VFPV2", "ARM_CPU_ARMV7A ARM_CPU_HAS_VFPV2 ARM_CPU_HAS_VFPV3"):
    for last, there in (("USE_MMU", 2), (None, 0)):
        on = processor.split() + ["USE_MMU"]
        image = load("arm", *(on if last else on[:-2] + on[-1:]))
        assert image.syms["BR2_PACKAGE_RUNNEL_BIN"].visibility == there, (processor, last)
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

/// How it installs them: a build directory each, hooks, the script of init.
const INSTALL: &str = "
INSTALL = install
SED = sed -i -e
RUNNEL_PKGDIR = $(BR2_EXTERNAL_RUNNEL_PATH)/package/runnel/
RUNNEL_BIN_PKGDIR = $(BR2_EXTERNAL_RUNNEL_PATH)/package/runnel-bin/
define line


endef
runnel/installed:
	$(foreach hook,$(RUNNEL_POST_INSTALL_TARGET_HOOKS),$($(hook))$(line))
	$(RUNNEL_INSTALL_INIT_SYSV)
runnel-bin/installed:
	$(RUNNEL_BIN_INSTALL_TARGET_CMDS)
	$(RUNNEL_BIN_INSTALL_INIT_SYSV)
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
    for (processor, board) in
        [("mipsel", "mt7621"), ("ARM_CPU_ARMV6", "rpi-zero"), ("ARM_CPU_ARMV7A", "imx6ull")]
    {
        let on = format!("BR2_{processor}=y");
        let text = run(&make, ["-s", "-f", file.to_str().unwrap(), &tree, "BR2_mips=", &on]);
        let source = format!("source runnel-{}-{board}.tar.gz", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&source), "{processor}: {text}");
    }
    for recipe in ["runnel/runnel.mk", "runnel-bin/runnel-bin.mk"] {
        let text = fs::read_to_string(root().join("buildroot/package").join(recipe)).unwrap();
        assert!(text.contains(concat!("VERSION = ", env!("CARGO_PKG_VERSION"))), "{recipe}");
    }
}

#[test]
fn what_buildroot_installs_starts_at_boot_and_logs_to_syslogd() {
    let Some(make) = tool("make") else { return };
    let board = fs::read_to_string(root().join("conf/board.conf")).unwrap();
    // What cargo installs is cargo's.
    for (package, conf, program) in [
        ("runnel", "conf/board.conf", None),
        ("runnel-bin", "runnel.conf", Some("/usr/bin/runnel")),
    ] {
        let (dir, target) = (TempDir::new(), TempDir::new());
        fs::create_dir_all(dir.join(package).join("conf")).unwrap();
        fs::write(dir.join(package).join(conf), &board).unwrap();
        fs::write(dir.join(package).join("runnel"), "the program").unwrap();
        let include = format!("{MAKE}include {}/buildroot/external.mk\n", root().display());
        fs::write(dir.join("Makefile"), include + INSTALL).unwrap();
        let tree = format!("BR2_EXTERNAL_RUNNEL_PATH={}/buildroot", root().display());
        let to = format!("TARGET_DIR={}", target.path().display());
        let at = dir.path().to_str().unwrap();
        run(&make, ["-s", "-C", at, &tree, &to, &format!("{package}/installed")]);
        let mut want = vec!["/etc/init.d/S80runnel", "/etc/runnel.conf"];
        want.extend(program);
        assert_eq!(files(&target), want, "{package}");
        assert!(target.join("var/lib/runnel").is_dir(), "{package}");
        let mode = |file| fs::metadata(target.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode("etc/init.d/S80runnel"), mode("etc/runnel.conf")], [0o755, 0o644]);
        let installed = |file| fs::read_to_string(target.join(file)).unwrap();
        let script = root().join("buildroot/package/runnel/S80runnel");
        assert_eq!(installed("etc/init.d/S80runnel"), fs::read_to_string(script).unwrap());
        if program.is_some() {
            assert_eq!(
                (installed("usr/bin/runnel").as_str(), mode("usr/bin/runnel")),
                ("the program", 0o755)
            );
        }
        // Its standard error is /dev/null there.
        let conf = installed("etc/runnel.conf");
        assert!(conf.contains("\nsrs_log_tank syslog;\n"), "{package}: {conf}");
        let back =
            conf.replace("tank syslog", "tank console").replace("to syslogd", "to standard error");
        assert_eq!(back, board, "{package}: nothing else differs");
        let conf = target.join("etc/runnel.conf");
        run(Path::new(RUNNEL), ["-t".as_ref(), "-c".as_ref(), conf.as_os_str()]);
    }
}

#[test]
fn the_machine_of_the_configuration_for_buildroot_is_one() {
    let text = "buildroot/configs/runnel_qemu_arm_defconfig";
    let text = fs::read_to_string(root().join(text)).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{name} is not set")).trim_matches('"')
    };
    let tree = value("BR2_LINUX_KERNEL_INTREE_DTS_NAME");
    let number = tree.rsplit_once("-ca").expect("a device tree of a Cortex-A").1;
    assert_eq!(value(&format!("BR2_cortex_a{number}")), "y", "{tree}");
    assert_eq!(text.matches("BR2_cortex_").count(), 1, "one processor");
    // What that one has; of the image the least is wanted, VFPv3 with 16 registers.
    assert_eq!((number, value("BR2_ARM_FPU_VFPV3D16")), ("9", "y"));
    assert_eq!(value("BR2_ARM_ENABLE_VFP"), "y");
    assert_eq!(value("BR2_PACKAGE_RUNNEL"), "y");
    // How it is started, and which Buildroot has the compiler for it, is in the manual.
    let rust = format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"));
    for language in ["en", "zh"] {
        let manual = fs::read_to_string(root().join(format!("docs/{language}/boards.md"))).unwrap();
        for said in ["qemu-system-arm -M vexpress-a9", "vexpress-v2p-ca9.dtb", "2025.08", &rust] {
            assert!(manual.contains(said), "{language}: {said}");
        }
    }
}

/// What OpenWrt has around a package, as far as this one uses it.
const RULES: &str = "
qstrip = $(strip $(subst \",,$(1)))
ARCH := $(call qstrip,$(CONFIG_ARCH))
INCLUDE_DIR := $(TOPDIR)/include
BUILD_DIR := $(TOPDIR)/build
INSTALL_BIN := install -m0755
INSTALL_DIR := install -d -m0755
INSTALL_DATA := install -m0644
INSTALL_CONF := install -m0600
";
const PACKAGE: &str = "
define BuildPackage
$(Package/$(1))
$$(info board $$(RUNNEL_BOARD))$$(info source $$(PKG_SOURCE))$$(info depends $$(DEPENDS))
install:
$(call Package/$(1)/install,$(DESTDIR))
endef
metadata: ;
";

#[test]
fn openwrt_installs_the_image_that_fits_the_processor() {
    let Some(make) = tool("make") else { return };
    let top = TempDir::new();
    fs::create_dir(top.join("include")).unwrap();
    fs::write(top.join("rules.mk"), RULES).unwrap();
    fs::write(top.join("include/package.mk"), PACKAGE).unwrap();
    let openwrt = root().join("openwrt");
    let made = |cpu: [&str; 3], goal: &str, to: &TempDir| {
        let mut command = Command::new(&make);
        command.arg("-C").arg(&openwrt).args(["-s", "--no-print-directory", goal]);
        command.arg(format!("TOPDIR={}", top.path().display()));
        command.arg(format!("DESTDIR={}", to.path().display()));
        for (name, value) in ["CONFIG_ARCH", "CONFIG_CPU_TYPE", "CONFIG_HAS_MIPS16"].iter().zip(cpu)
        {
            command.arg(format!("{name}={value}"));
        }
        let out = command.output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{cpu:?}: {said}");
        String::from_utf8(out.stdout).unwrap()
    };
    for (arch, cpu, mips16, board) in [
        ("mipsel", "24kc", "y", "mt7621"),
        ("mipsel", "mips32", "", ""),
        ("mips", "24kc", "y", "ar9344"),
        ("mips", "24kc+nomips16", "y", ""),
        ("arm", "arm1176jzf-s+vfp", "", "rpi-zero"),
        ("arm", "cortex-a7+neon-vfpv4", "", "imx6ull"),
        ("arm", "cortex-a9+vfpv3-d16", "", "imx6ull"),
        // Without a floating point unit.
        ("arm", "cortex-a9", "", ""),
        ("arm", "arm926ej-s", "", ""),
        ("arm", "xscale", "", ""),
        ("aarch64", "cortex-a53", "", "rpi4"),
        ("riscv64", "generic", "", "riscv64"),
        ("i386", "pentium4", "", "x86-32"),
        ("i386", "geode", "", ""),
        ("x86_64", "", "", "x86-vps"),
        ("powerpc", "8548", "", ""),
    ] {
        let (quoted, version) = (format!("\"{cpu}\""), env!("CARGO_PKG_VERSION"));
        let cpu = [&format!("\"{arch}\""), &quoted as &str, mips16];
        let text = made(cpu, "metadata", &top);
        let board = if board.is_empty() { "no-image-for-" } else { board };
        assert!(text.contains(&format!("board {board}")), "{cpu:?}: {text}");
        assert!(text.contains(&format!("source runnel-{version}-{board}")), "{cpu:?}: {text}");
        if board != "no-image-for-" {
            assert!(text.contains(&format!("-{board}.tar.gz\n")), "{cpu:?}: {text}");
            assert!(root().join(format!("boards/{board}.toml")).exists(), "{board}");
            let built = top.join(&format!("build/runnel-{version}-{board}"));
            fs::create_dir_all(&built).unwrap();
            fs::write(built.join("runnel"), board).unwrap();
            fs::copy(root().join("conf/board.conf"), built.join("runnel.conf")).unwrap();
            let to = TempDir::new();
            made(cpu, "install", &to);
            let want = [
                ("/etc/init.d/runnel", 0o755, openwrt.join("files/runnel.init")),
                // The server, which is not root, reads it.
                ("/etc/runnel.conf", 0o644, root().join("conf/board.conf")),
                ("/usr/bin/runnel", 0o755, built.join("runnel")),
            ];
            assert_eq!(files(&to), want.each_ref().map(|(file, ..)| *file), "{cpu:?}");
            for (file, mode, from) in want {
                let file = to.join(file.trim_start_matches('/'));
                assert_eq!(fs::read(&file).unwrap(), fs::read(from).unwrap(), "{file:?}");
                let permissions = fs::metadata(&file).unwrap().permissions();
                assert_eq!(permissions.mode() & 0o777, mode, "{file:?}");
            }
        }
    }
    let Some(python) = python("kconfiglib") else { return };
    let text = made(["x86_64", "", ""], "metadata", &top);
    let depends = text.lines().find_map(|line| line.strip_prefix("depends @")).unwrap();
    let dir = top.path().to_str().unwrap();
    run(&python, ["-c", OFFERED, dir, depends]);
}

/// On which targets of OpenWrt the package is offered.
const OFFERED: &str = r#"
import kconfiglib, sys
def offered(*on):
    with open(sys.argv[1] + "/Config.in", "w") as file:
        for name in ("mips mipsel arm arm_v6 arm_v7 HAS_FPU HAS_MIPS16 aarch64 riscv64 i386 x86_64 "
                     "TARGET_x86_generic powerpc").split():
            file.write(f'config {name}\n\tbool "{name}"\n')
        file.write(f'config runnel\n\tbool "runnel"\n\tdepends on {sys.argv[2]}\n')
    tree = kconfiglib.Kconfig(sys.argv[1] + "/Config.in", warn_to_stderr=False)
    for name in on:
        tree.syms[name].set_value(2)
    assert not tree.warnings, tree.warnings
    return tree.syms["runnel"].visibility == 2
for on in ("mips HAS_MIPS16", "mipsel HAS_MIPS16", "arm arm_v6 HAS_FPU", "arm arm_v7 HAS_FPU",
           "aarch64", "riscv64", "i386 TARGET_x86_generic", "x86_64"):
    assert offered(*on.split()), on
for off in ("mips", "mipsel", "arm", "arm HAS_FPU", "arm arm_v6", "arm arm_v7", "i386", "powerpc HAS_FPU"):
    assert not offered(*off.split()), off
"#;

const CROSS: &str = r#"
import os, sys, tomllib
read = lambda path: tomllib.load(open(os.path.join(sys.argv[1], path), "rb"))
cross = read("cross.toml")
assert set(cross) == {"build", "target"} and set(cross["build"]) == {"env"}, cross
assert set(cross["build"]["env"]) == {"passthrough"}, cross
passed = dict((entry + "=").split("=", 1) for entry in cross["build"]["env"]["passthrough"])
passed = {name: value.removesuffix("=") for name, value in passed.items()}
assert passed["RUSTC_BOOTSTRAP"] == passed["RUST_LIBC_UNSTABLE_MUSL_V1_2_3"] == "1", passed
assert passed["BOARD"] == "", passed
boards = [name for name in os.listdir(os.path.join(sys.argv[1], "boards")) if name.endswith(".toml")]
narrow = {read("boards/" + name)["target"] for name in boards}
narrow = {target for target in narrow if "64" not in target.split("-")[0]}
assert set(cross["target"]) == narrow, (narrow, cross)
for target, said in cross["target"].items():
    assert said == {"build-std": True, "image": f"ghcr.io/cross-rs/{target}:main"}, said
    if target.startswith("mips"):
        flags = passed[f"CARGO_TARGET_{target.upper().replace('-', '_')}_RUSTFLAGS"]
        assert "+crt-static" in flags, flags
"#;

#[test]
fn cross_is_told_what_each_processor_needs() {
    let Some(python) = tool("python3") else { return };
    run(&python, ["-c", CROSS, root().to_str().unwrap()]);
    for language in ["en", "zh"] {
        let manual = fs::read_to_string(root().join(format!("docs/{language}/boards.md"))).unwrap();
        let command = "BOARD=mt7621 CROSS_CONFIG=cross.toml cross build --release";
        assert!(manual.contains(command), "{language}");
    }
}

#[test]
fn the_archive_of_the_sources_has_all_crates_and_its_hash() {
    let (Some(git), Some(cargo)) = (tool("git"), tool("cargo")) else { return };
    let fetched =
        Command::new(cargo).args(["fetch", "-q", "--locked", "--offline"]).output().unwrap();
    if !(fetched.status.success() && root().join(".git").exists()) {
        let _: Option<()> =
            common::skip("a repository, and the crates of every system: cargo fetch");
        return;
    }
    let (copy, out) = (TempDir::new(), TempDir::new());
    let (from, to) = (root().as_os_str(), copy.join("tree"));
    run(&git, ["clone".as_ref(), "-q".as_ref(), "--shared".as_ref(), from, to.as_os_str()]);
    let mut command = Command::new(to.join("boards/package"));
    // Whatever the tests were built with is not for the cargo in there.
    command.arg("source").env("CARGO_TARGET_DIR", out.path()).env("CARGO_NET_OFFLINE", "true");
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let archive = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
    let name = archive.file_stem().unwrap().to_str().unwrap().trim_end_matches(".tar").to_owned();
    assert_eq!(name, concat!("runnel-", env!("CARGO_PKG_VERSION")));
    let list = run(&tool("tar").unwrap(), ["-tzf", archive.to_str().unwrap()]);
    let has = |file: &str| list.lines().any(|line| line == format!("{name}/{file}"));
    for file in [
        ".cargo/config.toml",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "VENDOR/rustix/Cargo.toml",
        "boards/imx6ull.toml",
        "build.rs",
        "conf/board.conf",
        "src/main.rs",
    ] {
        assert!(has(file), "{file}");
    }
    assert!(!list.contains("/buildroot/"), "its hash cannot be in it");
    let sum = run(&tool("sha256sum").unwrap(), [&archive]);
    let line = format!("sha256  {}  {name}.tar.gz", sum.split(' ').next().unwrap());
    let hashes = fs::read_to_string(to.join("buildroot/package/runnel/runnel.hash")).unwrap();
    assert!(hashes.lines().any(|there| there == line), "{line}: {hashes}");
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
    for (board, arch) in
        [("imx6ull", "armhf"), ("rpi4", "arm64"), ("x86-32", "i386"), ("x86-vps", "amd64")]
    {
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
            [
                "boards/x.toml line 16: message_max is 2097152, ",
                "a quarter of ring_bytes is 1048576",
            ],
        ),
        (
            "media_pool = 25165824",
            "media_pool = 4194303",
            ["boards/x.toml line 13: media_pool is 4194303, ", "one ring (ring_bytes) is 4194304"],
        ),
        ("max_clients = 110", "max_clients = 100", ["", ""]),
    ] {
        let dir = board_with(from, to);
        let [written, summed] = said_of(&rustc, &dir);
        assert_eq!(written, "", "{to}");
        assert!(parts.iter().all(|part| summed.contains(part)), "{to}: {summed}");
        assert_eq!(summed.is_empty(), parts[0].is_empty(), "{to}: {summed}");
        if summed.is_empty() {
            continue;
        }
        // Which is all that boards/build says of it; what cargo does there the compiler does here.
        let cross = dir.join("boards/cross");
        let compile =
            "exec rustc --edition=2024 -Awarnings --crate-type=lib --emit=metadata src/lib.rs";
        fs::write(&cross, format!("#!/bin/sh\n{compile}\n")).unwrap();
        fs::set_permissions(&cross, PermissionsExt::from_mode(0o755)).unwrap();
        let said = complaint(&dir, Command::new(dir.join("boards/build")).arg("x"));
        assert!(said.starts_with(&format!("boards/build: {}", parts[0])), "{to}: {said}");
        assert!(said.trim_end().ends_with(parts[1]) && said.lines().count() == 1, "{to}: {said}");
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
