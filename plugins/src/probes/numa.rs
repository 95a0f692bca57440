//! Memory nodes of the processors, from `/sys/devices/system/node`
//! (Documentation/admin-guide/numastat.rst).
//!
//! `numa_memory` says how full each node is, `numa_stat` whether memory came
//! from the wanted node, and `numa_balance.imbalance` how unevenly they fill:
//! **the used share of the fullest node minus that of the emptiest, in
//! percentage points**. 0 is even; near 100, one node swaps while the other is
//! empty. (There is no swap usage per node in Linux.) The sum of the nodes need
//! not be the machine's memory, on virtual machines above all.
//!
//! On two nodes the misses of one are the foreigns of the other: *foreign*
//! names the node that was short, *miss* the one that gave instead.

use super::support::{keyed, lines, no_settings, number, words};
use crate::host::HotFile;
use crate::{Cells, Draw, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "numa",
    about: "memory and allocations of each NUMA node, imbalance (/sys/devices/system/node)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Numa::default()) as Box<dyn Probe>),
};

/// More nodes than any machine has; the rest is left out.
const NODES_MAX: u64 = 1024;

/// Key of `nodeN/meminfo`, field, label, explanation.
const MEMORY: [(&str, &str, &str, &str); 6] = [
    ("MemTotal:", "total", "total", "Memory of this node"),
    ("MemUsed:", "used", "used", "Memory in use, file cache included"),
    ("MemFree:", "free", "free", "Memory that is not used for anything"),
    ("FilePages:", "file", "file", "Contents of files and shared memory"),
    ("AnonPages:", "anon", "anon", "Programs' own memory"),
    ("SwapCached:", "swap_cached", "swap cache", "Pages fetched back from swap and not changed"),
];

/// Positions in [`MEMORY`].
const TOTAL: usize = 0;
const USED: usize = 1;
const FREE: usize = 2;

/// Key of `nodeN/numastat`, field, explanation.
const KEYS: [&str; 6] =
    ["numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node"];
const STAT: [(&str, &str); 6] = [
    ("hit", "Pages that were wanted on this node and came from it"),
    ("miss", "Pages that were wanted on another node, which had none left, and came from here"),
    ("foreign", "Pages that were wanted here, where none was left, and came from another node"),
    ("interleave", "Interleaved pages that came from this node as planned"),
    ("local", "Pages for programs that run on this node"),
    ("other", "Pages for programs that run on another node"),
];

/// Position in [`STAT`].
const MISS: usize = 1;

#[derive(Debug)]
struct Node {
    id: u64,
    meminfo: HotFile,
    numastat: HotFile,
    /// Bytes, in the order of [`MEMORY`].
    memory: [Option<u64>; 6],
    /// Pages, in the order of [`STAT`].
    stat: [Option<u64>; 6],
}

impl Node {
    fn new(host: &Host, id: u64) -> Node {
        let file = |name| host.hot_sys(format!("devices/system/node/node{id}/{name}"));
        let (meminfo, numastat) = (file("meminfo"), file("numastat"));
        Node { id, meminfo, numastat, memory: [None; 6], stat: [None; 6] }
    }

    fn refresh(&mut self) -> Result<(), ProbeError> {
        self.memory = memory(self.meminfo.text()?);
        if self.memory[TOTAL].is_none() {
            return Err(self.meminfo.malformed("has no line MemTotal"));
        }
        self.stat = keyed(self.numastat.text()?, &KEYS);
        Ok(())
    }

    /// Used of total, in percent; `None` for a node without memory.
    fn used_percent(&self) -> Option<f64> {
        let (used, total) = (self.memory[USED]?, self.memory[TOTAL].filter(|t| *t > 0)?);
        Some(used as f64 / total as f64 * 100.0)
    }
}

#[derive(Debug, Default)]
struct Numa {
    nodes: Vec<Node>,
}

impl Probe for Numa {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        let path = host.sys("devices/system/node/online");
        let text = std::fs::read(&path).map_err(|e| ProbeError::file(&path, &e))?;
        self.nodes = online(&text).into_iter().map(|id| Node::new(host, id)).collect();
        if self.nodes.is_empty() {
            let path = path.display();
            return Err(ProbeError::Failed(format!("{path}: lists no node: {text:?}")));
        }
        self.nodes.iter_mut().try_for_each(Node::refresh)?;
        let mut services = vec![memory_overview(&self.nodes)];
        services.extend(self.nodes.iter().map(memory_of));
        services.push(stat_overview(&self.nodes));
        services.extend(self.nodes.iter().map(stat_of));
        services.push(balance(&self.nodes));
        Ok(services)
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        for node in &mut self.nodes {
            match node.refresh() {
                Err(ProbeError::NotHere(_)) => return Ok(Read::Changed),
                done => done?,
            }
        }
        let mut push = |v: Option<u64>| super::support::push(out, v);
        self.nodes.iter().for_each(|node| push(node.memory[FREE]));
        self.nodes.iter().flat_map(|node| node.memory).for_each(&mut push);
        self.nodes.iter().for_each(|node| push(node.stat[MISS]));
        self.nodes.iter().flat_map(|node| node.stat).for_each(&mut push);
        let mut push = |v: Option<f64>| out.push(v.map_or(crate::Value::Unknown, Into::into));
        push(imbalance(&self.nodes));
        self.nodes.iter().for_each(|node| push(node.used_percent()));
        Ok(Read::Done)
    }
}

/// The fullest node's used share minus the emptiest's, in percentage points.
fn imbalance(nodes: &[Node]) -> Option<f64> {
    let shares = || nodes.iter().filter_map(Node::used_percent);
    let max = shares().max_by(f64::total_cmp)?;
    let min = shares().min_by(f64::total_cmp)?;
    Some(max - min)
}

fn memory_overview(nodes: &[Node]) -> ServiceSpec {
    let field = |node: &Node| {
        let id = node.id;
        FieldSpec::gauge(&format!("node{id}_free"), &format!("node {id} free"))
            .info(&format!("Memory of NUMA node {id} that is not used for anything"))
    };
    ServiceSpec::new("numa_memory", "Free memory per NUMA node", "numa")
        .vlabel("Bytes")
        .args("--base 1024 -l 0")
        .info("A node without free memory takes it from another, which is slower, or swaps.")
        .fields(nodes.iter().map(field).collect())
}

fn memory_of(node: &Node) -> ServiceSpec {
    let id = node.id;
    let field = |(_, name, label, info): &(&str, &str, &str, &str)| FieldSpec {
        hidden: *name == "total",
        ..FieldSpec::gauge(name, label).info(info)
    };
    let title = format!("Memory of NUMA node {id}");
    ServiceSpec::new(&format!("numa_memory.node{id}"), &title, "numa")
        .vlabel("Bytes")
        .args("--base 1024 -l 0")
        .info(&format!("What the memory of NUMA node {id} is used for."))
        .fields(MEMORY.iter().map(field).collect())
}

fn stat_overview(nodes: &[Node]) -> ServiceSpec {
    let field = |node: &Node| {
        let id = node.id;
        FieldSpec::derive(&format!("node{id}_miss"), &format!("node {id} miss"))
            .info(&format!("Pages that node {id} gave because the wanted node had none left"))
    };
    ServiceSpec::new("numa_stat", "NUMA misses per node", "numa")
        .vlabel("pages per ${graph_period}")
        .args("--base 1000 -l 0")
        .info("Pages that had to come from another node than the wanted one.")
        .fields(nodes.iter().map(field).collect())
}

fn stat_of(node: &Node) -> ServiceSpec {
    let id = node.id;
    let field = |(name, info): &(&str, &str)| FieldSpec::derive(name, name).info(info);
    let title = format!("Allocations on NUMA node {id}");
    ServiceSpec::new(&format!("numa_stat.node{id}"), &title, "numa")
        .vlabel("pages per ${graph_period}")
        .args("--base 1000 -l 0")
        .info(&format!("Where pages came from, as NUMA node {id} counts it."))
        .fields(STAT.iter().map(field).collect())
}

fn balance(nodes: &[Node]) -> ServiceSpec {
    let share = |node: &Node| {
        let id = node.id;
        FieldSpec::gauge(&format!("node{id}"), &format!("node {id} used"))
            .info(&format!("Used share of the memory of NUMA node {id}, file cache included"))
    };
    let mut fields =
        vec![FieldSpec::gauge("imbalance", "imbalance").draw(Draw::Line2).info(
            "Used share of the fullest node minus that of the emptiest, in percentage points",
        )];
    fields.extend(nodes.iter().map(share));
    ServiceSpec::new("numa_balance", "NUMA balance", "numa")
        .vlabel("%")
        .args("--base 1000 --lower-limit 0 --upper-limit 100")
        .unscaled()
        .info(
            "How evenly the nodes are filled. When one is full and another is not, programs \
             bound to the full one swap although there is free memory.",
        )
        .fields(fields)
}

/// `Node 0 MemTotal:         256588 kB`: in bytes.
fn memory(text: &[u8]) -> [Option<u64>; 6] {
    let mut found = [None; 6];
    for line in lines(text) {
        let mut words = words(line).skip(2);
        let Some(key) = words.next() else {
            continue;
        };
        if let Some(i) = MEMORY.iter().position(|(name, ..)| name.as_bytes() == key) {
            found[i] = words.next().and_then(number).map(|kib| kib.saturating_mul(1024));
        }
    }
    found
}

/// `0-1,3`: the nodes; nothing where it makes no sense.
pub(super) fn online(text: &[u8]) -> Vec<u64> {
    let mut nodes = Vec::new();
    for part in text.trim_ascii().split(|b| *b == b',') {
        let mut ends = part.splitn(2, |b| *b == b'-').map(number);
        let (Some(Some(first)), last) = (ends.next(), ends.next()) else {
            return Vec::new();
        };
        let Some(last) = last.unwrap_or(Some(first)) else {
            return Vec::new();
        };
        nodes.extend(first..=last.min(NODES_MAX));
        if nodes.len() as u64 > NODES_MAX {
            return Vec::new();
        }
    }
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{fixture, lookup, ready, values};
    use proptest::prelude::*;

    fn recorded(stage: &str) -> impl Fn(&str, &str) -> Value {
        let host = fixture(&format!("numa-2node/{stage}"));
        let (mut probe, services) = ready("numa", "", &host);
        let cells = values(probe.as_mut(), &host).unwrap();
        move |service: &str, field: &str| lookup(&services, &cells, service, field)
    }

    #[test]
    fn a_spill_shows_as_imbalance() {
        let (idle, spilled) = (recorded("idle"), recorded("spilled"));
        let float = |v: Value| v.as_f64().unwrap();
        let before = float(idle("numa_balance", "imbalance"));
        let after = float(spilled("numa_balance", "imbalance"));
        assert!(before < 2.0, "{before}");
        assert!((after - 63.24).abs() < 0.01, "{after}");
        assert!((float(spilled("numa_balance", "node0")) - 94.95).abs() < 0.01);
    }

    #[test]
    fn bytes_and_pages_are_exact() {
        let spilled = recorded("spilled");
        assert_eq!(spilled("numa_memory.node0", "free"), Value::Int(12_948 * 1024));
        assert_eq!(spilled("numa_memory", "node1_free"), Value::Int(329_200 * 1024));
        assert_eq!(spilled("numa_memory.node0", "anon"), Value::Int(222_784 * 1024));
        assert_eq!(spilled("numa_stat.node0", "foreign"), Value::Int(20_960));
        assert_eq!(spilled("numa_stat", "node1_miss"), Value::Int(20_976));
        assert_eq!(spilled("numa_stat.node1", "other"), Value::Int(22_298));
    }

    #[test]
    fn lists_of_nodes() {
        assert_eq!(online(b"0-1,3\n"), [0, 1, 3]);
        assert_eq!(online(b"0\n"), [0]);
        for bad in ["", "x", "0-", "-1", "0-x", "0-1000,0-1000"] {
            assert!(online(bad.as_bytes()).is_empty(), "{bad}");
        }
        assert!(online(b"0-18446744073709551615").is_empty());
    }

    #[test]
    fn a_node_that_goes_is_a_change() {
        let from = fixture("numa-2node/idle");
        let host = crate::probes::testing::TestHost::new(&[]);
        let node = "devices/system/node";
        for file in ["online", "node0/meminfo", "node0/numastat", "node1/meminfo"] {
            let text = std::fs::read_to_string(from.sys(format!("{node}/{file}"))).unwrap();
            host.write(&format!("sys/{node}/{file}"), &text);
        }
        let numastat = format!("sys/{node}/node1/numastat");
        host.write(&numastat, "numa_hit 1\n");
        let mut probe = Numa::default();
        probe.discover(&host.host).unwrap();
        host.write("sys/devices/system/node/node1/meminfo", "");
        assert!(values(&mut probe, &host.host).is_err(), "an empty file is an error");
        // A file that is gone is seen when it is opened anew.
        probe.nodes[1].numastat = HotFile::new("/nonexistent".into());
        host.write(
            "sys/devices/system/node/node1/meminfo",
            "Node 1 MemTotal: 1 kB\nNode 1 MemUsed: 1 kB\n",
        );
        let mut out = Cells::new();
        assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Changed);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>, list in "[0-9,-]{0,20}") {
            let _ = memory(&text);
            let _ = online(&text);
            let _ = online(list.as_bytes());
        }
    }
}
