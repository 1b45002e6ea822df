//! The manifests for Kubernetes: what they say is checked, and what is in them is run, where there is
//! no cluster.

use crate::common::client::{Peer, play};
use crate::common::http::Http;
use crate::common::link::{FAR, Link, Quality, with_mount};
use crate::common::{self, RUNNEL, Server, TempDir, python, start, tool};
use crate::peers::Encoder;
use runnel::proto::rtmp::client::Config;
use rustix::process::Signal;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes/kubernetes.yaml")
}

#[test]
fn the_manifests_are_what_kubernetes_takes() {
    let Some(python) = python("kubernetes_validate") else { return };
    // It does look: two mistakes are found.
    let (dir, text) = (TempDir::new(), fs::read_to_string(manifests()).unwrap());
    let wrong = text.replace("clusterIP:", "clusterIp:").replace("replicas: 3", "replicas: three");
    fs::write(dir.join("wrong.yaml"), wrong).unwrap();
    let mut command = Command::new(&python);
    command.args(["-m", "kubernetes_validate", "--strict"]).arg(manifests());
    let output = command.arg(dir.join("wrong.yaml")).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    let passed = |file: PathBuf| said.matches(&format!("{} passed for ", file.display())).count();
    assert_eq!((passed(manifests()), passed(dir.join("wrong.yaml"))), (5, 3), "{said}");
}

/// Names and numbers that have to agree. The files of the ConfigMap go to a directory, the arguments
/// of each container are printed.
const AGREE: &str = r#"
import os, re, sys, yaml
with open(sys.argv[1]) as file:
    all = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(file)}
services = {name: each["spec"] for (kind, name), each in all.items() if kind == "Service"}
workloads = {name: each["spec"] for (kind, name), each in all.items()
             if kind in ("StatefulSet", "Deployment")}
files = {}
for name, spec in workloads.items():
    pod, labels = spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels, name
    if "serviceName" in spec:
        assert services[spec["serviceName"]]["clusterIP"] == "None", name
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert container["readinessProbe"]["tcpSocket"]["port"] in ports, name
    for service, its in services.items():
        if its["selector"] == labels:
            for port in its["ports"]:
                assert ports[port["name"]] == port.get("targetPort", port["port"]), (service, port)
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    option, path = container["args"]
    assert option == "-c" and os.path.dirname(path) == mount["mountPath"], path
    text = all["ConfigMap", volume["configMap"]["name"]]["data"][os.path.basename(path)]
    listens = [int(port) for port in re.findall(r"\blisten (\d+);", text)]
    assert sorted(listens) == sorted(ports.values()), (name, listens, ports)
    # Until nobody is sent here, until the clients are gone, and the end.
    assert "force_grace_quit on;" in text
    drain = int(re.search(r"\bdrain_timeout (\d+);", text)[1])
    assert 2.3 + drain + 3.2 < pod["terminationGracePeriodSeconds"], name
    for port, service in re.findall(r"srv:_(\S+)\._tcp\.(\S+)\.default\.svc\.cluster\.local;", text):
        assert services[service]["clusterIP"] == "None"
        assert port in [each["name"] for each in services[service]["ports"]], port
    with open(os.path.join(sys.argv[2], os.path.basename(path)), "w") as file:
        file.write(text)
    print(name, *container["args"])
for service, its in services.items():
    assert its["selector"] in [each["selector"]["matchLabels"] for each in workloads.values()]
"#;

#[test]
fn what_is_in_the_manifests_runs() {
    let Some(python) = python("yaml") else { return };
    let (Some(link), Some(dnsmasq)) = (Link::new(Quality::default(), 0), tool("dnsmasq")) else {
        return;
    };
    // What containers have at /etc, and what pods resolve by.
    let etc = TempDir::new();
    fs::create_dir(etc.join("runnel")).unwrap();
    fs::write(etc.join("hosts"), "127.0.0.1 localhost\n").unwrap();
    let resolv = "search default.svc.cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n";
    fs::write(etc.join("resolv.conf"), resolv).unwrap();
    let (agree, into) = (manifests(), etc.join("runnel"));
    let args = ["-c".into(), AGREE.into(), agree.into_os_string(), into.into_os_string()];
    let printed = common::run(&python, args);
    let pod = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        let mut command = with_mount(etc.path(), "/etc");
        command.arg(RUNNEL).args(line.expect("such a workload").split(' '));
        Server::spawn(&mut command, 1935, TempDir::new())
    };
    let origin = link.far.run(|| pod("origin"));
    let _encoder = link.far.run(|| Encoder::start(&origin, "s"));
    let name = "origin.default.svc.cluster.local";
    let _names = link.near.run(|| {
        let mut command = Command::new(dnsmasq);
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
        ]);
        command.args(["--no-resolv", "--no-hosts"]);
        command.arg(format!("--srv-host=_rtmp._tcp.{name},origin-0.{name},1935"));
        start(command.arg(format!("--address=/origin-0.{name}/{FAR}")))
    });
    let mut edge = link.near.run(|| pod("edge"));
    let mut player = link.near.run(|| {
        let config = Config::new(edge.tc_url(), "live", play("s"));
        Peer::over(TcpStream::connect(("127.0.0.1", 1935)).unwrap(), config)
    });
    assert!(player.packets(40).iter().any(|p| p.key));
    let mut other = link.near.run(|| Http::connect(8080));
    assert_eq!(other.ask("/live/s.flv", "").status, 200);
    assert!(other.chunks(5000).starts_with(b"FLV"));
    assert_eq!(origin.count("type=Play"), 1);
    // The pod is to go.
    edge.signal(Signal::TERM);
    edge.line("graceful stop, begins in 2300 ms");
    player.packets(40);
    edge.line("listens no more");
    drop((player, other));
    assert!(edge.wait(Duration::from_secs(15)).is_some_and(|status| status.success()));
    origin.line("stop play");
}
